"""The kv-server in front of a real memcached, and in its place: clients that we did not write, coherence, and the same answers."""

import contextlib
import random
import re
import shutil
import struct
import threading
import time

import pytest

from conftest import ROOT, require
from labs import DRIVERS, IPV4
from memcached import PORT, Memcached, UdpClient, behind_host_port, binary
from namespaces import Namespace

KV_SERVER = ROOT / "lambdas" / "kv-server"
GUARD_S = 0.1


@pytest.fixture(scope="session", autouse=True)
def tools():
    """The server, and the load generator of libmemcached."""
    missing = [tool for tool in ("memcached", "memcaslap") if shutil.which(tool) is None]
    require(not missing, f"needs {', '.join(missing)}: apt-get install memcached libmemcached-tools")


def deploy(lab, *settings):
    """Deploys the kv-server."""
    arguments = [argument for setting in settings for argument in ("--set", setting)]
    ended = lab.ask("deploy", str(KV_SERVER), *arguments)
    assert ended.returncode == 0, ended.stdout + ended.stderr


@pytest.fixture(params=DRIVERS)
def lab(request, make_lab):
    """A lab with a host port, whose peer has addresses; both run without lambdas."""
    return make_lab(request.param, {}, addressed=True, host=True).start()


@pytest.fixture
def cached(lab):
    """A memcached behind the host port, and the kv-server before it."""
    with behind_host_port(lab) as memcached:
        deploy(lab, f"environment.GUARD_MS={GUARD_S * 1000:.0f}")
        # Nothing is kept in its first moments: the first datagram counts as a write of everything.
        client = UdpClient(lab.peer)
        client.get(b"first")
        client.close()
        time.sleep(2 * GUARD_S)
        yield lab, memcached
        assert_sound(lab)


def assert_sound(lab):
    """It has not failed once."""
    count = lab.appliance.lambda_stats("kv-server")
    assert (count["traps"], count["exhausted"], count["bad_verdicts"]) == (0, 0, 0), count


def test_hits_do_not_reach_memcached(cached):
    lab, memcached = cached
    client = UdpClient(lab.peer)
    client.set(b"key", b"value", 7)
    time.sleep(2 * GUARD_S)
    assert client.get(b"key") == b"value"
    asked = memcached.gets()
    before = lab.appliance.lambda_stats("kv-server")["forwarded"]
    for _ in range(100):
        assert client.ask(b"get key\r\n") == b"VALUE key 7 5\r\nvalue\r\nEND\r\n"
    assert memcached.gets() == asked
    assert lab.appliance.lambda_stats("kv-server")["forwarded"] == before + 100
    # By CAS and by the binary protocol, memcached is asked once each.
    gets = client.ask(b"gets key\r\n")
    assert re.fullmatch(rb"VALUE key 7 5 \d+\r\nvalue\r\nEND\r\n", gets)
    assert client.ask(b"gets key\r\n") == gets
    assert memcached.gets() == asked + 1
    reply = client.ask(binary(0x0C, b"key", opaque=0xCAFE))
    assert struct.unpack(">BBHBBHII", reply[:16]) == (0x81, 0x0C, 3, 4, 0, 0, 12, 0xCAFE)
    assert reply[24:] == struct.pack(">I", 7) + b"keyvalue"
    assert memcached.gets() == asked + 1
    client.close()


def test_what_is_not_kept_is_answered_by_memcached(cached):
    lab, memcached = cached
    client = UdpClient(lab.peer)
    assert client.get(b"nothing") is None
    client.set(b"large", b"x" * 1025)
    for _ in range(3):
        assert client.get(b"large") == b"x" * 1025
    assert client.ask(b"version\r\n").startswith(b"VERSION ")
    assert client.ask(b"incr large 1\r\n").startswith(b"CLIENT_ERROR")
    assert memcached.gets() >= 3
    client.close()


def test_writes_over_tcp_are_seen(cached):
    pymemcache = pytest.importorskip("pymemcache.client.base")
    lab, memcached = cached
    client = UdpClient(lab.peer)
    connection = lab.peer.inside(lambda: pymemcache.Client((IPV4, PORT), timeout=5, no_delay=True))
    # It connects in the thread that asks first.
    lab.peer.inside(connection.version)
    for number in range(3):
        connection.set("key", str(number), noreply=False)
        assert client.get(b"key") == str(number).encode()
        time.sleep(2 * GUARD_S)
        assert client.get(b"key") == str(number).encode()
        asked = memcached.gets()
        assert client.get(b"key") == str(number).encode()
        assert memcached.gets() == asked, "kept"
    # Several segments, cut anywhere.
    many = {f"key-{number}": "value-" * (number % 40) for number in range(500)}
    connection.set_many(many, noreply=False)
    time.sleep(2 * GUARD_S)
    for key, value in many.items():
        assert client.get(key.encode()) == value.encode()
    connection.set_many({key: f"new {key}" for key in many}, noreply=False)
    for key in many:
        assert client.get(key.encode()) == f"new {key}".encode()
    connection.flush_all(noreply=False)
    assert all(client.get(key.encode()) is None for key in many)
    connection.close()
    client.close()


class Keys:
    """The last write of each key that was acknowledged. Values are numbers that grow."""

    def __init__(self, count):
        self.names = [b"shared-%d" % number for number in range(count)]
        self.acknowledged = dict.fromkeys(self.names, 0)
        self.locks = {name: threading.Lock() for name in self.names}
        self.hits = 0


def _read(client, keys, until, seed, errors):
    choices = random.Random(seed)
    try:
        while time.monotonic() < until:
            name = choices.choice(keys.names)
            least = keys.acknowledged[name]
            value = client.get(name)
            if least and (value is None or int(value) < least):
                errors.append(f"{name}: {value} after {least} was acknowledged")
                return
            keys.hits += 1
    except Exception as error:  # pylint: disable=broad-except
        errors.append(f"reader: {error!r}")


def _write(write, keys, until, seed, errors):
    choices = random.Random(seed)
    try:
        while time.monotonic() < until:
            name = choices.choice(keys.names)
            # One writer a key at a time: which of two came last is memcached's business.
            with keys.locks[name]:
                value = keys.acknowledged[name] + 1
                write(name, b"%d" % value)
                keys.acknowledged[name] = value
            time.sleep(choices.random() * 0.2)
    except Exception as error:  # pylint: disable=broad-except
        errors.append(f"writer: {error!r}")


def test_no_read_is_older_than_an_acknowledged_write(cached):
    pymemcache = pytest.importorskip("pymemcache.client.base")
    lab, _ = cached
    keys, errors, until = Keys(8), [], time.monotonic() + 8
    readers = [UdpClient(lab.peer) for _ in range(3)]
    writer = UdpClient(lab.peer)
    connection = lab.peer.inside(lambda: pymemcache.Client((IPV4, PORT), timeout=5, no_delay=True))
    lab.peer.inside(connection.version)
    threads = [
        threading.Thread(target=_read, args=(reader, keys, until, seed, errors)) for seed, reader in enumerate(readers)
    ]
    over_tcp = lambda name, value: connection.set(name, value, noreply=False)  # noqa: E731
    threads += [
        threading.Thread(target=_write, args=(writer.set, keys, until, 11, errors)),
        threading.Thread(target=_write, args=(over_tcp, keys, until, 12, errors)),
    ]
    before = lab.appliance.lambda_stats("kv-server")["forwarded"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors, errors
    forwarded = lab.appliance.lambda_stats("kv-server")["forwarded"] - before
    assert forwarded > 50 and sum(keys.acknowledged.values()) > 20, (forwarded, keys.acknowledged)
    connection.close()
    for client in (*readers, writer):
        client.close()


def test_memcaslap_does_not_notice(cached, tmp_path):
    lab, memcached = cached
    config = tmp_path / "memcaslap.cnf"
    config.write_text("key\n16 32 1\nvalue\n32 1000 1\ncmd\n0 0.1\n1 0.9\n")
    command = ["memcaslap", "-s", f"{IPV4}:{PORT}", "-U", "-T", "1", "-c", "8", "-t", "4s", "-w", "1k", "-F", str(config)]
    ended = lab.peer.run(*command, timeout=60)
    lines = dict(re.findall(r"^(cmd_get|cmd_set|get_misses): (\d+)$", ended.stdout, re.MULTILINE))
    assert int(lines["cmd_get"]) > 1000 and int(lines["cmd_set"]) > 100, ended.stdout
    count = lab.appliance.lambda_stats("kv-server")
    assert count["forwarded"] > 0, count
    assert memcached.gets() < int(lines["cmd_get"]), "hits"


def _hostile(choices):
    kind = choices.randrange(4)
    if kind == 0:
        return choices.randbytes(choices.randrange(1400))
    pieces = [b"get ", b"set ", b"key", b" 0 0 5", b"\r\n", b"\x80", b"\x80\x01\x00\x03", b"gat 0", b" ", b"flush_all", b"stats\r\n"]
    return b"".join(choices.choice(pieces) for _ in range(choices.randrange(12)))


@pytest.mark.parametrize("backend", ["host", "none"])
def test_hostile_datagrams(lab, backend):
    with behind_host_port(lab):
        deploy(lab, f"environment.BACKEND={backend}")
        choices, client = random.Random(4793), UdpClient(lab.peer)
        client.socket.settimeout(0)
        most = 0
        for number in range(5000):
            header = struct.pack(">HHHH", number, 0, 1, 0) if number % 5 else choices.randbytes(8)
            try:
                client.socket.send((header + _hostile(choices))[:1400])
            except BlockingIOError:
                # The queue is full: the other end gets its time.
                time.sleep(0.001)
            with contextlib.suppress(BlockingIOError):
                most = max(most, len(client.socket.recv(65536)))
        # memcached's own answers pass as they are; ours are short, for nothing is stored that long.
        assert backend == "host" or most <= 100, most
        lab.appliance.rest()
        assert_sound(lab)
        client.close()
        if backend == "none":
            # It would be answered by 150 times as much. Another client: the first one has replies left.
            client = UdpClient(lab.peer)
            assert client.ask(b"stats\r\n") == b"ERROR\r\n"
            client.close()


KEYS = [b"a", b"bb", b"k" * 250, b"key-3", b"x" * 31, b"\xff\xc3", b"y" * 8]
WRONG = [
    *(b"\r\n", b"bogus\r\n", b"get\r\n", b"set a\r\n", b"set a 0 0\r\n", b"delete\r\n", b"GET a\r\n", b" get a\r\n", b"get  a\r\n"),
    *(b"set a 0 0 x\r\n", b"set a -1 0 1\r\nx\r\n", b"set a 0 0 -1\r\nx\r\n", b"set a 0 0 3\r\nabcd\r\n", b"add a 0 0 1 foo\r\nx\r\n"),
    *(b"get " + b"k" * 251 + b"\r\n", b"set " + b"k" * 251 + b" 0 0 1\r\nx\r\n", b"delete " + b"k" * 251 + b"\r\n"),
]


def _value(choices):
    return bytes(choices.choice(b"abc\r\n \x80\0") for _ in range(choices.choice([0, 1, 3, 16, 17, 100, 1000, 1024])))


def _ascii(choices):
    key, kind = choices.choice(KEYS), choices.randrange(20)
    if kind < 7:
        return choices.choice([b"get ", b"gets "]) + key + choices.choice([b"\r\n", b"\n"])
    if kind < 13:
        value, name = _value(choices), choices.choice([b"set", b"add", b"replace"])
        numbers = (choices.choice([0, 1, 77, 2**32 - 1]), choices.choice([0, 0, 0, 100, -1]), len(value))
        return b"%s %s %d %d %d" % (name, key, *numbers) + choices.choice([b"", b"", b" noreply"]) + b"\r\n" + value + b"\r\n"
    if kind < 17:
        return b"delete " + key + choices.choice([b"", b"", b" 0", b" noreply", b" 5", b" 0 noreply"]) + b"\r\n"
    if kind < 18:
        return choices.choice([b"flush_all\r\n", b"flush_all noreply\r\n"])
    return choices.choice(WRONG)


def _binary(choices):
    key, kind, opaque = choices.choice(KEYS), choices.randrange(12), choices.getrandbits(32)
    if kind < 5:
        return binary(choices.choice([0x00, 0x09, 0x0C, 0x0D]), key, opaque=opaque)
    if kind < 8:
        extras = struct.pack(">II", choices.choice([0, 5]), choices.choice([0, 0, 100]))
        return binary(choices.choice([0x01, 0x02, 0x03, 0x11, 0x12, 0x13]), key, extras, _value(choices), opaque)
    if kind < 10:
        return binary(choices.choice([0x04, 0x14]), key, opaque=opaque)
    wrong = [(0x0A,), (0x08,), (0x18,), (0x00,), (0x00, key, b"1234"), (0x01, key, b"", b"v"), (0x04, key, b"", b"v"), (0x0A, key)]
    wrong += [(0x99,), (0x01, b"k" * 251, bytes(8), b"v"), (0x00, b"k" * 251), (0x0B, key), (0x04,), (0x01, b"", bytes(8), b"v")]
    return binary(*choices.choice(wrong), opaque=opaque)


def _without_cas(text):
    """A reply but for its CAS, which counts something else here and there."""
    if text is not None and text[:1] == b"\x81":
        return text[:16] + text[24:]
    if text is not None and text.startswith(b"VALUE "):
        return re.sub(rb"^(VALUE \S+ \d+ \d+) \d+\r\n", rb"\1\r\n", text)
    return text


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_store_answers_as_memcached_does(make_lab, seed):
    lab = make_lab("af_packet", {}, addressed=True).start()
    deploy(lab, "environment.BACKEND=none")
    reference = Namespace("reference")
    try:
        reference.run("ip", "link", "set", "lo", "up")
        memcached = Memcached(reference, "127.0.0.1", threads=1)
        theirs, ours = UdpClient(reference, "127.0.0.1", timeout_s=5), UdpClient(lab.peer, timeout_s=5)
        choices = random.Random(seed)
        for number in range(3000):
            request = _ascii(choices) if choices.random() < 0.5 else _binary(choices)
            expected, got = theirs.ask_before(request), ours.ask_before(request)
            assert _without_cas(got) == _without_cas(expected), (number, request)
        theirs.close()
        ours.close()
        memcached.close()
    finally:
        reference.close()
    assert_sound(lab)


def test_the_store_counts_time(make_lab):
    lab = make_lab("tap", {}, addressed=True).start()
    deploy(lab, "environment.BACKEND=none")
    client = UdpClient(lab.peer)
    assert client.ask(b"set brief 0 1 1\r\nx\r\n") == b"STORED\r\n"
    assert client.get(b"brief") == b"x"
    time.sleep(1.1)
    assert client.get(b"brief") is None
    # What no datagram of a store can be asked to bring.
    client.set(b"large", b"x" * 1024)
    assert client.ask(b"get large large\r\n").startswith(b"SERVER_ERROR")
    assert client.ask(b"version\r\n").startswith(b"VERSION ")
    client.close()
    assert_sound(lab)
