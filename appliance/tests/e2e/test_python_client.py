"""The Python client, client/python/lnic.py, through the kernel of a peer."""

import sys

import pytest

import lnic
from conftest import ROOT
from frames import ECHO, WEB_SERVER
from labs import IPV4, IPV6

TARGETS = [IPV4, IPV6]
SCRIPT = ROOT / "client" / "python" / "lnic.py"


@pytest.fixture
def connect(addressed):
    """Opens clients where the peer is."""
    opened = []

    def make(target, **options):
        opened.append(addressed.peer.inside(lambda: lnic.Client(target, **options)))
        return opened[-1]

    yield make
    for client in opened:
        client.close()


@pytest.mark.parametrize("target", TARGETS)
def test_payloads_of_every_size_that_one_packet_takes(addressed, connect, target):
    most = 1440 if target == IPV4 else 1420
    client = connect(target)
    with addressed.appliance.counting() as counted:
        for size in (0, 1, 13, 511, 512, 513, 1024, most):
            payload = bytes(number * 7 & 0xFF for number in range(size))
            reply = client.call(ECHO, payload, fragment_bytes=most)
            assert (reply.status, reply.payload) == (lnic.Status.OK, payload)
    assert counted.lambdas["echo"]["forwarded"] >= 8
    # The peer's kernel speaks of itself now and then.
    assert set(counted.drops) <= {"unmatched"}, counted.drops


@pytest.mark.parametrize("target", TARGETS)
def test_statuses_are_errors(connect, target):
    client = connect(target)
    assert client.call(WEB_SERVER, b"GET /").payload.startswith(b"<!doctype html>")
    with pytest.raises(lnic.NotFound, match="no such page") as raised:
        client.call(WEB_SERVER, b"GET /no-such-page")
    assert raised.value.status is lnic.Status.NOT_FOUND
    assert raised.value.reply.payload == b"404: no such page\n"
    with pytest.raises(lnic.InvalidArgument):
        client.call(WEB_SERVER, b"no request")
    with pytest.raises(lnic.Unimplemented):
        client.call(99, b"anybody?")
    # And it goes on.
    assert client.call(ECHO, b"still here").payload == b"still here"


def test_flags_budget_priority_and_trace_are_taken(connect):
    client = connect(IPV4)
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    for options in (
        {"idempotent": True},
        {"at_most_once": True},
        {"priority": 7},
        {"budget_us": 1_000_000},
        {"trace": trace},
    ):
        assert client.call(ECHO, b"x", **options).payload == b"x", options


def test_silence_is_no_reply(connect):
    # Nobody has this address.
    with pytest.raises(lnic.NoReply, match="within 0.3 s"):
        connect("10.77.0.77").call(ECHO, b"anybody?", timeout=0.3)
    with pytest.raises(TimeoutError):
        connect("10.77.0.77").call(ECHO, b"anybody?", timeout=0.05)


def test_a_port_that_nobody_listens_on_is_refused(connect):
    with pytest.raises(lnic.Refused):
        connect("127.0.0.1").call(ECHO, b"anybody?")


def run(addressed, *arguments):
    """The script as a command, where the peer is."""
    return addressed.peer.run(sys.executable, str(SCRIPT), *arguments, check=False)


@pytest.mark.parametrize("target", TARGETS)
def test_the_command(addressed, target, tmp_path):
    done = run(addressed, target, str(ECHO), "--text", "hello, lambda")
    assert (done.returncode, done.stdout, done.stderr) == (0, "hello, lambda", "")
    sent, got = tmp_path / "sent", tmp_path / "got"
    sent.write_bytes(bytes(range(256)) * 4)
    done = run(addressed, target, str(ECHO), "--file", str(sent), "--output", str(got))
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert got.read_bytes() == sent.read_bytes()


def test_the_command_says_what_went_wrong(addressed, tmp_path):
    done = run(addressed, IPV4, str(WEB_SERVER), "--text", "GET /no-such-page")
    assert (done.returncode, done.stderr) == (1, "lnic.py: NOT_FOUND: 404: no such page\n")
    done = run(addressed, "10.77.0.77", str(ECHO), "--timeout", "0.2")
    assert done.returncode == 3 and "no reply within 0.2 s" in done.stderr
    for wrong in (["--file", str(tmp_path / "none")], ["--priority", "9"], ["--fragment-bytes", "9000"]):
        done = run(addressed, IPV4, str(ECHO), *wrong)
        assert done.returncode == 2 and done.stderr.startswith("lnic.py: "), done.stderr
