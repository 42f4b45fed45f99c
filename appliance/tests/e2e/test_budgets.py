"""Budgets are time: a lambda that never ends is ended after about what its `budget_us` says."""

import os
import re
import signal
import struct
import time
from pathlib import Path

import pytest

import lambda_rpc
from frames import burst, exchange, request, rpc
from labs import MODES, ONE_WORKER
from lambda_rpc import LambdaRpc

CALIBRATED = r"budgets: (\d+) fuel a microsecond, calibrated"
BUDGETS_US = {"short": 1_000, "long": 5_000}
#: Of which sampling takes five, so that a disturbance of the machine does not make the median.
REQUESTS = 40


@pytest.fixture
def spinning(make_lab, hostile_lambdas):
    """Starts a lab with a lambda for each budget, and nothing that quarantines them."""

    def start(mode, **budget):
        deployed = {
            name: {"file": str(hostile_lambdas["spin"]), "entry": "spin", "budget_us": budget_us}
            for name, budget_us in BUDGETS_US.items()
        }
        settings = {"scheduling": {"mode": mode}, "quarantine": {"failures": 0}, "budget": budget, **ONE_WORKER}
        return make_lab("tap", deployed, settings=settings).start()

    return start


def exhaust(lab, wire, number):
    """One request that never ends; how long that was, in µs."""
    packet = request(lab, rpc(number))
    bytes(packet)
    start = time.perf_counter()
    reply = exchange(wire, packet)
    elapsed_us = (time.perf_counter() - start) * 1e6
    assert reply is not None and reply[LambdaRpc].status == lambda_rpc.RESOURCE_EXHAUSTED
    return elapsed_us


def on_cpu_us(pid):
    """Time that all threads have had a CPU; what others took meanwhile is not in it."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e3


@pytest.mark.parametrize("mode", MODES)
def test_an_endless_loop_ends_with_its_budget(spinning, mode):
    """Not much sooner by the clock, and not much later by the CPU's: on a busy machine an lcore is away at times."""
    lab = spinning(mode)
    with lab.wire() as wire:
        for number, (name, budget_us) in enumerate(BUDGETS_US.items(), 1):
            used_us = on_cpu_us(lab.appliance.pid)
            seen_us = [exhaust(lab, wire, number) for _ in range(REQUESTS)]
            used_us = on_cpu_us(lab.appliance.pid) - used_us
            assert min(seen_us) > 0.4 * budget_us, seen_us
            # Looking for frames in vain takes a share.
            assert 0.4 * budget_us < used_us / REQUESTS < 2 * budget_us + 500, used_us
            stats = lab.appliance.lambda_stats(name)
            assert (stats["invocations"], stats["exhausted"], stats["state"]) == (REQUESTS, REQUESTS, "active")
            assert 0.4 * budget_us < stats["service"]["p50_ns"] / 1e3, stats
            assert stats["service"]["p50_ns"] <= stats["service"]["max_ns"] < 1.2e3 * max(seen_us), stats
            # In mode dispatcher all of them are measured, else a few for all.
            measured_us = stats["npu_ns"] / 1e3
            assert measured_us > 0.4 * budget_us * REQUESTS, stats
            assert measured_us < sum(seen_us) or mode != "dispatcher", stats
    said = re.search(CALIBRATED, lab.appliance.log.read_text())
    assert said and 10 < int(said[1]) < 100_000


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("fuel_per_us", [50, 9_000])
def test_configured_fuel_is_used_whatever_time_it_takes(spinning, mode, fuel_per_us):
    """Equally far on every machine: also where that takes much longer, or ends much sooner, than `budget_us` says."""
    lab = spinning(mode, fuel_per_us=fuel_per_us)
    assert f"budgets: {fuel_per_us} fuel a microsecond, configured" in lab.appliance.log.read_text()
    with lab.wire() as wire:
        for _ in range(REQUESTS):
            exhaust(lab, wire, 1)
    lab.appliance.rest()
    stats = lab.appliance.lambda_stats("short")
    fuel = BUDGETS_US["short"] * fuel_per_us
    assert stats["exhausted"] == REQUESTS
    assert stats["fuel"] == pytest.approx(fuel * REQUESTS, rel=0.001)


def test_an_absence_of_the_machine_is_not_the_lambdas_doing(spinning):
    """It loses time, as to another process on its CPU, in the middle of requests that need a good part of their budget."""
    lab = spinning("dispatcher")
    sample, part_us, requests, pauses = 100_000, 700, 200, 3
    with lab.wire() as wire:
        burst(wire, [request(lab, rpc(1, struct.pack(">I", sample)))], 1)
        fuel_of_turn = lab.appliance.rest()["lambdas"][0]["fuel"] / sample
        fuel_per_us = int(re.search(CALIBRATED, lab.appliance.log.read_text())[1])
        payload = struct.pack(">I", int(part_us * fuel_per_us / fuel_of_turn))
        packets = [request(lab, rpc(1, payload)) for _ in range(requests)]
        for data in [bytes(packet) for packet in packets[1:]]:
            wire.send(data)
        for _ in range(pauses):
            time.sleep(0.03)
            os.kill(lab.appliance.pid, signal.SIGSTOP)
            time.sleep(0.02)
            os.kill(lab.appliance.pid, signal.SIGCONT)
        assert burst(wire, packets[:1], 1)
    stats = lab.appliance.rest()["lambdas"][0]
    assert stats["service"]["max_ns"] > 10e6, "no pause hit a request"
    assert (stats["forwarded"], stats["exhausted"], stats["state"]) == (requests + 1, 0, "active")


def test_what_ends_in_time_is_answered(spinning):
    """The same lambda with an end: the budget costs only those who need more."""
    lab = spinning("dispatcher")
    with lab.wire() as wire:
        for payload in (b"\0\0\0\1", b"\0\0\1\0"):
            (reply,) = burst(wire, [request(lab, rpc(1, payload))], 1)
            assert (reply.status, reply.body) == (lambda_rpc.OK, payload)
    lab.appliance.rest()
    stats = lab.appliance.lambda_stats("short")
    assert (stats["forwarded"], stats["exhausted"]) == (2, 0)
