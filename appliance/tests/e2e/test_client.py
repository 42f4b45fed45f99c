"""The program's own client, through the kernel of a peer."""

import json
import struct

import pytest

import lambda_rpc
from labs import IPV4, IPV6, PEER_IPV4

TARGETS = [IPV4, IPV6]


def invoke(lab, *arguments):
    """Runs `lnic invoke --json` on the peer: exit code, and the objects that it printed."""
    done = lab.cli("invoke", *arguments, "--timeout-ms", "1000", "--json")
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()], done.stderr


@pytest.mark.parametrize("target", TARGETS)
def test_echo(addressed, target):
    with addressed.appliance.counting() as counted:
        code, replies, errors = invoke(addressed, "1", "--to", target, "--data", "hello, lambda")
    assert code == 0, errors
    assert (replies[0]["status"], replies[0]["payload"]) == ("OK", "hello, lambda")
    assert counted.lambdas["echo"]["invocations"] == replies[0]["attempts"]
    assert counted.lambdas["echo"]["forwarded"] == replies[0]["attempts"]
    assert counted.lambdas["echo"]["fuel"] > 0


@pytest.mark.parametrize("target", TARGETS)
def test_web_server(addressed, target, tmp_path):
    code, replies, errors = invoke(addressed, "2", "--to", target, "--data", "GET /")
    assert code == 0, errors
    index = replies[0]["payload"]
    assert index.startswith("<!doctype html>") and index.endswith("</html>\n")
    number = tmp_path / "number"
    number.write_bytes(struct.pack(">I", 0))
    code, replies, errors = invoke(addressed, "2", "--to", target, "--file", str(number))
    assert (code, replies[0]["payload"]) == (0, index), errors


def test_web_server_statuses(addressed, tmp_path):
    for data, status in (("GET /no-such-page", lambda_rpc.NOT_FOUND), ("no request", lambda_rpc.INVALID_ARGUMENT)):
        code, replies, _ = invoke(addressed, "2", "--to", IPV4, "--data", data)
        assert (code, replies[0]["code"]) == (1, status), data
    number = tmp_path / "number"
    number.write_bytes(struct.pack(">I", 1000))
    code, replies, _ = invoke(addressed, "2", "--to", IPV4, "--file", str(number))
    assert (code, replies[0]["code"]) == (1, lambda_rpc.NOT_FOUND)


def test_names_from_the_configuration(addressed):
    config = str(addressed.appliance.config)
    code, replies, errors = invoke(addressed, "echo", "--config", config, "--to", IPV4, "--data", "by name")
    assert (code, replies[0]["payload"]) == (0, "by name"), errors


def test_unknown_lambda(addressed):
    with addressed.appliance.counting() as counted:
        code, replies, _ = invoke(addressed, "99", "--to", IPV4, "--data", "anybody?")
    assert (code, replies[0]["code"]) == (1, lambda_rpc.UNIMPLEMENTED)
    assert counted.frames["unknown_lambda"] == replies[0]["attempts"]


@pytest.mark.parametrize("target", TARGETS)
def test_bench_closed_loop(addressed, target):
    seconds = 2
    done = addressed.cli(
        *("bench", "--to", target, "--lambda", "1", "--closed-loop", "8", "--bytes", "64"),
        *("--duration", str(seconds), "--warmup", "0.5", "--json"),
    )
    assert done.returncode == 0, done.stderr
    outcome = json.loads(done.stdout)
    assert (outcome["lost"], outcome["corrupt"], outcome["malformed"]) == (0, 0, 0), outcome
    assert outcome["sent"] == outcome["replied"] > 100
    latency = outcome["latency"]
    assert 0 < latency["min_us"] <= latency["p50_us"] <= latency["p99_us"] <= latency["max_us"] < seconds * 1e6
    assert [count["status"] for count in outcome["statuses"]] == ["OK"]


def test_checksums_that_the_peer_left_to_a_card(addressed):
    """A veth's peer computes no checksums unless told to: what arrives has the pseudo-header's sum in their place."""
    if addressed.driver != "af_packet":
        pytest.skip("a tap's kernel side computes checksums")
    addressed.offload(True)
    try:
        with addressed.nic_wire() as nic:
            code, replies, errors = invoke(addressed, "1", "--to", IPV4, "--data", "partial")
            request = nic.receive(1, lambda data: data[12:14] == b"\x08\x00" and data[23] == 17)
            assert request is not None and nic.checksum_was_partial
        assert (code, replies[0]["payload"], replies[0]["attempts"]) == (0, "partial", 1), errors
        code, replies, errors = invoke(addressed, "1", "--to", IPV6, "--data", "partial")
        assert (code, replies[0]["payload"], replies[0]["attempts"]) == (0, "partial", 1), errors
    finally:
        addressed.offload(False)


def test_stats_of_the_command_line_are_those_of_the_socket(addressed):
    appliance = addressed.appliance
    expected = appliance.rest()
    done = addressed.cli("stats", "--socket", str(appliance.socket), "--json")
    shown = json.loads(done.stdout)
    assert shown.keys() == expected.keys()
    assert (shown["name"], shown["lambdas"]) == ("e2e", expected["lambdas"])
    assert shown["frames"]["received"] >= expected["frames"]["received"] > 0
    table = addressed.cli("stats", "--socket", str(appliance.socket)).stdout
    assert all(word in table for word in ("echo", "web-server", "p0", shown["ports"][0]["mac"])), table
    assert PEER_IPV4 not in table
