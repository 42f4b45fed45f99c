"""Labs whose lambdas are the tests' own, and what attackers do."""

import dataclasses
import struct
from collections import Counter

import lambda_rpc
from frames import burst, request, rpc
from labs import MODES

#: Drivers and modes in which lambdas attack.
RIGS = [("tap", MODES[0]), ("tap", MODES[1]), ("af_packet", MODES[1])]

#: Requests to an attacker, and as many to its victim, that are under way at a time.
WAVE = 8
WAVES = 3
#: Failures that quarantine, within a time that no test takes.
FAILURES = 10
QUARANTINE = {"failures": FAILURES, "window_ms": 600_000}

#: Longer than the machine is ever away, and shorter.
TIMEOUT_US = 1_000_000
SHORT_TIMEOUT_US = 2_000
OUTSIDE = 0xFFFF_FFF0


def arguments(
    lambda_id, request_address=0, request_bytes=4, reply_address=0, reply_capacity=64, timeout_us=TIMEOUT_US, times=1
):
    """What `caller` is to call with. The arguments themselves are what it sends."""
    values = (lambda_id, request_address, request_bytes, reply_address, reply_capacity, timeout_us, times)
    return struct.pack(">7I", *(value & 0xFFFF_FFFF for value in values))


def returned(status):
    """The reply of `caller` whose call failed with this status."""
    return struct.pack(">i", -status)


@dataclasses.dataclass
class Attack:
    """One way to misbehave. `file` is its module; `payload` what makes it do so, or a function of the lambdas' IDs."""

    file: str
    payload: object = b""
    budget_us: int = 1_000
    #: Status of its replies; None if there are none.
    status: int | None = lambda_rpc.OK
    #: Payload of its replies, if that is known.
    body: bytes | None = None
    #: Counter of its statistics that counts these replies.
    counter: str = "forwarded"
    #: It is quarantined after its first failures.
    is_failure: bool = False
    #: Calls of each request.
    calls: int = 0
    calls_timed_out: int = 0

    def keys(self, files):
        """Its keys in a configuration."""
        entry = self.file.replace("-", "_")
        return {"file": str(files[self.file]), "entry": entry, "budget_us": self.budget_us}


def _exhausting(file, payload=b"", **fields):
    status = lambda_rpc.RESOURCE_EXHAUSTED
    return Attack(file, payload, status=status, counter="exhausted", is_failure=True, **fields)


def _trapping(file, payload=b""):
    return Attack(file, payload, status=lambda_rpc.INTERNAL, counter="traps", is_failure=True)


def _oversized(over):
    return Attack("oversized", struct.pack(">I", over), status=lambda_rpc.INTERNAL, counter="bad_verdicts")


def _calling(name, status=None, calls=1, calls_timed_out=0, **fields):
    """Calls the lambda of this name, which ends with this status."""
    body = None if status is None else returned(status)
    payload = lambda ids: arguments(ids[name], **fields)  # noqa: E731
    return Attack("caller", payload, body=body, calls=calls, calls_timed_out=calls_timed_out)


#: By name. A name is that of the lambda too.
ATTACKS = {
    "endless-loop": _exhausting("spin"),
    "trap": _trapping("trap"),
    "memory-thrash": _exhausting("thrash"),
    "one-byte-too-long": _oversized(1),
    "longest-length": _oversized(0),
    "mute": Attack("mute", status=None, counter="dropped"),
    "calls-the-mute": _calling("mute", lambda_rpc.DEADLINE_EXCEEDED, calls_timed_out=1, timeout_us=SHORT_TIMEOUT_US),
    "calls-nobody": Attack("caller", arguments(999), body=returned(lambda_rpc.UNIMPLEMENTED), calls=1),
    "calls-without-time": _calling("helper", lambda_rpc.INVALID_ARGUMENT, calls=0, timeout_us=0),
    "calls-with-negative-time": _calling("helper", lambda_rpc.INVALID_ARGUMENT, calls=0, timeout_us=-1),
    "calls-with-too-much": _calling("helper", lambda_rpc.INVALID_ARGUMENT, calls=0, request_bytes=9217),
    "calls-for-too-much": _calling("helper", lambda_rpc.OUT_OF_RANGE, reply_capacity=3),
    "calls-from-outside": _trapping("caller", arguments(1, request_address=OUTSIDE, request_bytes=64)),
    "calls-to-outside": _trapping("caller", arguments(1, reply_address=OUTSIDE, reply_capacity=64)),
    "calls-whole-memory": _trapping("caller", arguments(1, request_bytes=0xFFFF_FFFF)),
    "calls-without-end": _exhausting("caller", lambda ids: arguments(ids["helper"], times=0), budget_us=500),
}


def deployment(lambdas, files, attacks=None):
    """Lambdas of a lab, by name: a victim, a helper that can be called, and the attackers. Then their IDs."""
    deployed = {name: {"file": str(lambdas["echo"]), "entry": "echo"} for name in ("victim", "helper")}
    deployed |= {name: attack.keys(files) for name, attack in (ATTACKS if attacks is None else attacks).items()}
    return deployed, {name: number for number, name in enumerate(deployed, 1)}


def waves(lab, wire, ids, name, payload, waves=WAVES, replies=WAVE, timeout_s=3.0):
    """Requests to an attacker, each beside one to its victim, which answers every one. The attacker's replies."""
    answered = []
    for wave in range(waves):
        packets, echoes = [], {}
        for number in range(WAVE):
            packets.append(request(lab, rpc(ids[name], payload)))
            echo = rpc(ids["victim"], f"victim {wave}.{number}".encode())
            echoes[echo.request_id] = echo.body
            packets.append(request(lab, echo))
        got = burst(wire, packets, replies + WAVE, timeout_s)
        spared = {reply.request_id: (reply.status, reply.body) for reply in got if reply.lambda_id == ids["victim"]}
        assert spared == {request_id: (lambda_rpc.OK, body) for request_id, body in echoes.items()}
        answered += [reply for reply in got if reply.lambda_id == ids[name]]
    return answered


def statuses(replies):
    """How many there are of each."""
    return Counter(reply.status for reply in replies)
