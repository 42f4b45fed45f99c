"""Lambdas that attack: what they do is theirs alone. Beside each a victim answers every request, and the appliance stays."""

import re
import struct
import time

import pytest

import hostile_lambdas as hostile
import lambda_rpc
from frames import burst, exchange, request, rpc
from hostile_lambdas import ATTACKS, FAILURES, WAVE, WAVES, Attack
from labs import MODES, Lab
from lambda_rpc import LambdaRpc


@pytest.fixture(scope="module", params=hostile.RIGS, ids="-".join)
def lab(request, binary, lambdas, hostile_lambdas, privileged, tmp_path_factory):
    """An appliance with a victim and every attacker; `ids` are theirs."""
    driver, mode = request.param
    attacks = ATTACKS | {
        "chatter": Attack("chatter", budget_us=5_000),
        "nested": Attack("nested", budget_us=1_000),
    }
    deployed, ids = hostile.deployment(lambdas, hostile_lambdas, attacks)
    settings = {"scheduling": {"mode": mode}, "quarantine": hostile.QUARANTINE}
    made = Lab(driver, binary, tmp_path_factory.mktemp("attackers"), deployed, settings=settings)
    made.ids = ids
    try:
        yield made.start()
    finally:
        made.close()


@pytest.fixture
def wire(lab):
    """The peer's end of the wire. Whatever a test does, no frame buffer stays away, and the appliance answers after it."""
    with lab.wire() as opened:
        # What the first frames leave in queues and caches stays there.
        burst(opened, [request(lab, rpc(lab.ids["victim"], b"warm")) for _ in range(64)], 64)
        pools = lab.appliance.rest()["pools"]
        yield opened
        opened.drain()
        assert exchange(opened, request(lab, rpc(lab.ids["victim"], b"alive")))[LambdaRpc].body == b"alive"
        assert lab.appliance.rest()["pools"] == pools
        assert lab.appliance.process.poll() is None


def npus(lab):
    """How many there are."""
    return sum("NPU" in lcore["roles"] for lcore in lab.appliance.stats()["lcores"])


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attacker_and_its_victim(lab, wire, name):
    attack, requests = ATTACKS[name], WAVE * WAVES
    payload = attack.payload(lab.ids) if callable(attack.payload) else attack.payload
    with lab.appliance.counting() as counted:
        replies = hostile.waves(lab, wire, lab.ids, name, payload, replies=0 if attack.status is None else WAVE)
    statuses, counts = hostile.statuses(replies), counted.lambdas[name]
    if attack.status is None:
        assert not statuses
        assert counted.drops == {"lambda_drop": requests}
    elif attack.is_failure:
        failed = statuses.pop(attack.status)
        # Those that are under way while one of them is found to be too much go on.
        under_way = npus(lab) * (WAVE if counts["calls"] else 1)
        assert FAILURES <= failed < FAILURES + under_way
        assert statuses == {lambda_rpc.UNAVAILABLE: requests - failed}
        assert counts["unavailable"] == requests - failed
        assert (counts["invocations"], counts[attack.counter]) == (failed, failed)
        assert lab.appliance.lambda_stats(name)["state"] == "quarantined"
        assert not any(reply.body for reply in replies)
    else:
        assert statuses == {attack.status: requests}
    if not attack.is_failure:
        assert counts["invocations"] == counts[attack.counter] == requests
        assert (counts["calls"], counts["calls_timed_out"]) == (
            attack.calls * requests,
            attack.calls_timed_out * requests,
        )
        assert lab.appliance.lambda_stats(name)["state"] == "active"
        if attack.body is not None:
            assert {reply.body for reply in replies} == {attack.body}
    victim = counted.lambdas["victim"]
    assert (victim["invocations"], victim["forwarded"]) == (requests, requests)
    assert not victim["busy"] and not victim["late"]
    mute = counted.lambdas["mute"]["dropped"]
    assert mute == (requests if "mute" in name else 0)


def test_calls_without_end_are_many(lab, wire):
    """Each of them lets others run; the budget bounds them all together."""
    stats = lab.appliance.lambda_stats("calls-without-end")
    if stats["exhausted"] == 0:
        pytest.skip("needs the attack of that name to have run")
    assert stats["calls"] > 20 * stats["exhausted"]
    assert stats["calls_timed_out"] == 0
    assert lab.appliance.lambda_stats("helper")["forwarded"] >= stats["calls"]


def test_time_in_which_nothing_ran_is_not_the_time_of_who_is_called(lab, wire):
    """Else it would seem to overrun its budget, and get less of it."""
    with lab.appliance.counting() as counted:
        time.sleep(0.5)
        payload = hostile.arguments(lab.ids["helper"])
        (reply,) = burst(wire, [request(lab, rpc(lab.ids["calls-nobody"], payload))], 1)
    assert reply.body == struct.pack(">I", 4) + payload[:4]
    assert counted.lambdas["helper"]["invocations"] == 1
    for name in ("helper", "calls-nobody"):
        assert 0 <= counted.lambdas[name]["npu_ns"] < 0.1e9, name


def test_a_lambda_that_calls_itself_ends(lab, wire):
    """As many of it as may be under way at once, then no more; and once its callers are gone nothing of it runs."""
    timeout_us = 20_000
    payload = struct.pack(">I", timeout_us) + bytes(4)
    with lab.appliance.counting() as counted:
        (reply,) = burst(wire, [request(lab, rpc(lab.ids["nested"], payload))], 1)
        time.sleep(5 * timeout_us / 1e6)
        ended = lab.appliance.lambda_stats("nested")
        time.sleep(5 * timeout_us / 1e6)
        assert lab.appliance.lambda_stats("nested") == ended
    assert reply.status == lambda_rpc.OK
    depth, result = struct.unpack(">Ii", reply.body)
    assert depth < 64
    assert -result in (lambda_rpc.BUSY, lambda_rpc.DEADLINE_EXCEEDED)
    assert 2 <= counted.lambdas["nested"]["calls"] <= 64
    hostile.waves(lab, wire, lab.ids, "nested", payload, waves=1)


def test_a_flood_of_log_lines_is_limited_and_escaped(lab, wire):
    lines = 'lambda "chatter" says: '
    start = time.monotonic()
    replies = hostile.waves(lab, wire, lab.ids, "chatter", b"")
    assert hostile.statuses(replies) == {lambda_rpc.OK: WAVE * WAVES}
    # They are written a few times a second.
    time.sleep(0.5)
    log, elapsed_s = lab.appliance.log.read_bytes(), time.monotonic() - start
    said = [line for line in log.decode().splitlines() if lines in line]
    assert 16 <= len(said) <= (16 + 16 * elapsed_s + 1) * npus(lab)
    text = r"\x1b[2J\x1b[31mred\r\n2031-01-01T00:00:00Z ERROR forged\n\x07\x7f\xff"
    assert {line.partition(lines)[2] for line in said} == {text}
    assert not re.search(rb"[^\n\x20-\x7e\xc2-\xf4\x80-\xbf]", log), "control characters in the log"
    assert b"\n2031" not in log and b"\r" not in log


@pytest.mark.parametrize("mode", MODES)
def test_a_stop_does_not_wait_for_who_waits(make_lab, lambdas, hostile_lambdas, mode):
    """Callers whose answer would come in half an hour, and more of them queued behind these: all their frames come home."""
    deployed, ids = hostile.deployment(lambdas, hostile_lambdas)
    lab = make_lab("tap", deployed, settings={"scheduling": {"mode": mode}}).start()
    payload = hostile.arguments(ids["mute"], timeout_us=(1 << 31) - 1)
    with lab.wire() as wire:
        for _ in range(64):
            wire.send(request(lab, rpc(ids["calls-the-mute"], payload)))
        (reply,) = burst(wire, [request(lab, rpc(ids["victim"], b"unmoved"))], 1)
        assert reply.body == b"unmoved"
        assert lab.appliance.lambda_stats("calls-the-mute")["calls"] >= 8
        start = time.monotonic()
        assert lab.appliance.stop() == 0
        assert time.monotonic() - start < 3
    assert "did not come home" not in lab.appliance.tail(), lab.appliance.tail()
