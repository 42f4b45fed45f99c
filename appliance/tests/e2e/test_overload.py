"""More requests than there is time for: deadlines, bounded queues, priorities; and state that stays exact."""

import os
import struct

import pytest

import lambda_rpc
from frames import burst, request, rpc
from hostile_lambdas import statuses
from labs import DRIVERS, MODES, ONE_WORKER
from lambda_rpc import LambdaRpc

#: What one slow request takes: `spin` without an end uses it up.
SLOW_US = 3_000
SPIN, COUNTER = 1, 2
ENDLESS = b""


def turns(number):
    """The payload for `spin` to turn so often."""
    return struct.pack(">I", number)


QUICK = turns(1)


@pytest.fixture
def overloaded(make_lab, hostile_lambdas):
    """Starts a lab with `spin` and `counter`, on one worker unless told otherwise."""

    def start(mode, driver="tap", spin=None, workers=ONE_WORKER):
        deployed = {
            "spin": {"file": str(hostile_lambdas["spin"]), "budget_us": SLOW_US, **(spin or {})},
            "counter": hostile_lambdas["counter"],
        }
        settings = {"scheduling": {"mode": mode}, "quarantine": {"failures": 0}, **workers}
        return make_lab(driver, deployed, settings=settings).start()

    return start


def ids(packets):
    """Of requests."""
    return {packet[LambdaRpc].request_id for packet in packets}


def of(replies, packets):
    """The replies to these requests."""
    wanted = ids(packets)
    return [reply for reply in replies if reply.request_id in wanted]


@pytest.mark.parametrize("mode", MODES)
def test_who_does_not_wait_any_more_is_told_so_and_not_served(overloaded, mode):
    """While the first runs the others arrive; the slow ones in front of the rest take longer than these wait."""
    lab = overloaded(mode)
    slow = [request(lab, rpc(SPIN, ENDLESS)) for _ in range(4)]
    impatient = [request(lab, rpc(SPIN, QUICK, aux=1_000)) for _ in range(12)]
    patient = [request(lab, rpc(SPIN, QUICK, aux=aux)) for aux in [0, 60_000_000] * 6]
    mixed = [packet for pair in zip(impatient, patient, strict=True) for packet in pair]
    with lab.wire() as wire, lab.appliance.counting() as counted:
        replies = burst(wire, slow + mixed, len(slow + mixed))
    assert statuses(of(replies, slow)) == {lambda_rpc.RESOURCE_EXHAUSTED: 4}
    late = of(replies, impatient)
    assert statuses(late) == {lambda_rpc.DEADLINE_EXCEEDED: 12}
    assert not any(reply.body for reply in late)
    assert statuses(of(replies, patient)) == {lambda_rpc.OK: 12}
    spin = counted.lambdas["spin"]
    assert (spin["late"], spin["invocations"], spin["forwarded"], spin["exhausted"]) == (12, 16, 12, 4)


@pytest.mark.parametrize("driver", DRIVERS)
def test_what_a_queue_has_no_room_for_is_busy(overloaded, driver):
    """Those that wait are served; the others are told when to ask again. Another lambda's queue has room."""
    lab = overloaded("dispatcher", driver, {"queue_frames": 4})
    crowd = [request(lab, rpc(SPIN, ENDLESS)) for _ in range(64)]
    others = [request(lab, rpc(COUNTER, bytes(4))) for _ in range(8)]
    with lab.wire() as wire, lab.appliance.counting() as counted:
        replies = burst(wire, crowd[:1] + others + crowd[1:], 72, timeout_s=5)
    told = statuses(of(replies, crowd))
    busy = told.pop(lambda_rpc.BUSY)
    # The first runs, four wait; more are taken only once one of these has gone.
    assert told == {lambda_rpc.RESOURCE_EXHAUSTED: 64 - busy} and 5 <= 64 - busy <= 32
    hints = [reply.service_us for reply in replies if reply.status == lambda_rpc.BUSY]
    assert min(hints) > 0
    # Who found four slow ones waiting is not told to come back at once.
    assert max(hints) > SLOW_US / 2
    assert not any(reply.body for reply in replies if reply.status == lambda_rpc.BUSY)
    assert statuses(of(replies, others)) == {lambda_rpc.OK: 8}
    spin = counted.lambdas["spin"]
    assert (spin["busy"], spin["invocations"]) == (busy, 64 - busy)
    assert not counted.lambdas["counter"]["busy"]


def test_higher_priorities_overtake(overloaded):
    """While one of them runs, all the others arrive; the last to come are the first to run, if they are urgent."""
    lab = overloaded("dispatcher")
    first = [request(lab, rpc(SPIN, ENDLESS)) for _ in range(2)]
    # Each takes longer than the queues are served between two looks at the port.
    some_us = turns(20_000)
    low = [request(lab, rpc(SPIN, some_us, priority=0)) for _ in range(12)]
    middle = [request(lab, rpc(SPIN, some_us, priority=3)) for _ in range(8)]
    high = [request(lab, rpc(SPIN, some_us, priority=7)) for _ in range(8)]
    with lab.wire() as wire:
        replies = burst(wire, first + low + middle + high, 30)
    assert statuses(of(replies, low + middle + high)) == {lambda_rpc.OK: 28}
    order = [reply.request_id for reply in replies]
    kinds = {"low": low, "middle": middle, "high": high}
    place = {kind: [order.index(each) for each in sorted(ids(packets))] for kind, packets in kinds.items()}
    assert max(place["high"]) < min(place["middle"]), place
    assert max(place["middle"]) < min(place["low"]), place
    # Among equals, the first to come.
    assert all(places == sorted(places) for places in place.values()), place


def counted_by(lab, requests):
    """The numbers that `counter` answers, in the order of the answers and sorted."""
    numbers = []
    with lab.wire() as wire:
        for start in range(0, requests, 50):
            packets = [request(lab, rpc(COUNTER, bytes(4))) for _ in range(min(50, requests - start))]
            replies = burst(wire, packets, len(packets))
            numbers += [int.from_bytes(reply.body, "big") for reply in replies]
    return numbers


@pytest.mark.parametrize("mode", MODES)
def test_a_pinned_lambda_counts_exactly(overloaded, mode):
    lab = overloaded(mode, "af_packet")
    assert lab.appliance.lambda_stats("counter")["concurrency"] == "pinned"
    assert counted_by(lab, 200) == list(range(1, 201))


@pytest.mark.parametrize("mode", MODES)
def test_a_pinned_lambda_counts_exactly_on_several_npus(overloaded, mode):
    """Requests of other lambdas fill the NPUs meanwhile, so that it has reason to move."""
    cpus = len(os.sched_getaffinity(0))
    if cpus < 3:
        pytest.skip(f"needs a CPU for each of two workers, and one for main: this machine has {cpus}")
    lab = overloaded(mode, workers={})
    noise = [bytes(request(lab, rpc(SPIN, turns(2_000)))) for _ in range(200)]
    with lab.wire() as wire:
        for data in noise:
            wire.send(data)
        assert sorted(counted_by(lab, 1_000)) == list(range(1, 1_001))
