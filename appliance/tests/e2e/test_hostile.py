"""A megabyte of what no sender should send. The appliance survives it, counts every frame, and keeps no buffer."""

import pytest

from frames import ECHO, exchange, hostile, request, rpc
from lambda_rpc import LambdaRpc

BYTES = 1 << 20
# Fewer than every queue on the way holds.
BURST = 24


def send(lab, wire, seed, total_bytes):
    """Sends hostile frames as fast as they are taken; how many there were."""
    frames, sent_bytes, stream = 0, 0, hostile(seed, lab)
    received = lab.appliance.stats()["frames"]["received"]
    while sent_bytes < total_bytes:
        for data in (next(stream) for _ in range(BURST)):
            wire.send(data)
            frames += 1
            sent_bytes += len(data)
        for _ in range(20):
            latest = lab.appliance.stats()["frames"]["received"]
            if latest - received >= BURST:
                break
        received = latest
        wire.drain()
    return frames


@pytest.mark.parametrize("seed", [0x5EED, 4793])
def test_a_megabyte_of_hostile_frames(silent, seed):
    appliance = silent.appliance
    with silent.wire() as wire:
        # What the first frames leave in queues and caches stays there.
        send(silent, wire, seed + 1, BYTES // 8)
        pools = appliance.rest()["pools"]
        with appliance.counting() as counted:
            frames = send(silent, wire, seed, BYTES)
        assert frames > 1000
        # AF_PACKET does not see frames that the kernel puts together, or whose VLAN tag is cut.
        assert 0.9 * frames <= counted.frames["received"] <= frames
        # What no rule can match is not looked at further, and counts as `unmatched` whatever is wrong with it.
        assert len(counted.drops) >= 8, counted.drops
        assert counted.frames["sent"] > 0
        assert appliance.rest()["pools"] == pools
        wire.drain()
        for version in (4, 6):
            reply = exchange(wire, request(silent, rpc(ECHO, b"still here"), version))
            assert reply[LambdaRpc].body == b"still here"
    # `counting` has seen that the sums balance.
    assert appliance.process.poll() is None


def test_buffers_come_back_after_load(addressed):
    """Two snapshots at rest, with the same history between warm-up and end."""
    load = ["bench", "--to", "10.77.0.1", "--lambda", "1", "--closed-loop", "32"]
    load += ["--duration", "0.5", "--warmup", "0", "--json"]
    assert addressed.cli(*load).returncode == 0
    before = addressed.appliance.rest()["pools"]
    assert addressed.cli(*load).returncode == 0
    after = addressed.appliance.rest()["pools"]
    assert after == before
    assert all(pool["in_use"] < pool["frames"] for pool in after)
