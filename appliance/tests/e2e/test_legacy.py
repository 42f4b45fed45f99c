"""Clients of the public prototype of λ-NIC: their requests, byte for byte, to the lambda that takes them.

The prototype's gateway (`faas-netes`, Go) sends a job's number, big-endian, and sixteen blanks to UDP port 4369 through a connected
socket, waits two seconds and reads at most 32 bytes; its load generators do the same. The frames below are such requests as Linux puts
them on the wire; the prototype's own firmware sends with UDP checksum 0, and so do clients that were written against it.
"""

import contextlib
import random
import socket
import struct
import time
import zlib
from concurrent.futures import ThreadPoolExecutor

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether

import lnic
from conftest import ROOT
from frames import wrong_fields
from hosts import Memcached, Network
from labs import DRIVERS, IPV4, IPV6, MODES, Lab
from test_kv_client import SERVICES, deployed
from wire import Wire

FOLDER = ROOT / "lambdas" / "legacy"
PORT = 4369
MAC = "02:00:00:00:00:01"
CACHE = "10.77.0.3"
BLANKS = b" " * 16
WEB, IMAGE, GET, SET = range(4)

# Ethernet; IPv4 from 10.77.0.99 to 10.77.0.1, not to be fragmented; UDP from port 50000; job, parameter.
ETHERNET = "020000000001 020000000063 0800"
IP_HEADER = "450000301a2b400040110b950a4d00630a4d0001"
FRAMES = {
    "web": f"{ETHERNET} {IP_HEADER} c3501111001c1556 00000000 20202020202020202020202020202020",
    "web without a checksum": f"{ETHERNET} {IP_HEADER} c3501111001c0000 00000000 20202020202020202020202020202020",
    "image": f"{ETHERNET} {IP_HEADER} c3501111001c1555 00000001 20202020202020202020202020202020",
    "get": f"{ETHERNET} {IP_HEADER} c3501111001c1554 00000002 20202020202020202020202020202020",
    "set": f"{ETHERNET} {IP_HEADER} c3501111001c1553 00000003 20202020202020202020202020202020",
}
FRAMES = {name: bytes.fromhex(text) for name, text in FRAMES.items()}


def built_in_image():
    """Red its column, green its row, blue both by exclusive or."""
    return b"".join(bytes((column, row, row ^ column, 255)) for row in range(256) for column in range(256))


def grey(rgba):
    """As the prototype has it: thirds, each rounded down."""
    return bytes(r // 3 + g // 3 + b // 3 for r, g, b in zip(rgba[::4], rgba[1::4], rgba[2::4], strict=True))


def image_parameter(rgba, number):
    """What job 1 answers."""
    return struct.pack(">II", zlib.adler32(grey(rgba)), number) + BLANKS[:8]


class Site:
    """An appliance with the lambda and a host port, a silent host for raw frames, one that calls, and a memcached."""

    def __init__(self, lab, silent, caller, cache, lambda_id):
        self.lab, self.silent, self.caller, self.cache, self.lambda_id = lab, silent, caller, cache, lambda_id

    def ask(self, job, parameter=BLANKS, address=IPV4, timeout_s=10.0):
        """A request as the original gateway makes it; the reply, or None."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET

        def connected():
            made = socket.socket(family, socket.SOCK_DGRAM)
            made.connect((address, PORT))
            return made

        with self.caller.inside(connected) as made:
            made.settimeout(timeout_s)
            made.send(struct.pack(">I", job) + parameter)
            try:
                return made.recv(32)
            except TimeoutError:
                return None

    def client(self):
        """A λ-RPC client. Use as a context manager."""
        return self.caller.inside(lambda: lnic.Client(IPV4))

    def dropped(self):
        """Requests that the lambda dropped."""
        return self.lab.appliance.lambda_stats("legacy")["dropped"]


@contextlib.contextmanager
def site(lab):
    """Starts the lab and deploys the lambda."""
    lab.start()
    with Network(lab) as network:
        silent, caller = network.host("silent"), network.host("caller", "10.77.0.2/24", "fd77::2/64")
        with Memcached(network.host("cache", f"{CACHE}/24"), CACHE) as cache:
            settings = f"services.memcached.address={CACHE}:11211", "environment.TIMEOUT_US=500000"
            lambda_id = deployed(lab, FOLDER, *settings)
            yield Site(lab, silent, caller, cache, lambda_id)


@pytest.fixture(scope="module", params=[(DRIVERS[0], MODES[1]), (DRIVERS[1], MODES[0])], ids="-".join)
def legacy(request, binary, privileged, tmp_path_factory):
    """A site that tests leave as it was."""
    driver, mode = request.param
    settings = {**SERVICES, "scheduling": {"mode": mode}}
    lab = Lab(driver, binary, tmp_path_factory.mktemp("legacy"), {}, mac=MAC, host=True, settings=settings)
    try:
        with site(lab) as made:
            yield made
    finally:
        lab.close()


def replay(legacy, name):
    """Puts a frame on the wire; the reply's payload, once all of its headers are what a client expects."""
    request = Ether(FRAMES[name])
    with Wire(legacy.silent, "eth0") as wire:
        wire.send(FRAMES[name])
        data = wire.receive(2, lambda data: data[:6] == FRAMES[name][6:12])
    assert data is not None, "no reply"
    reply = Ether(data)
    assert (reply.dst, reply.src) == (request.src, request.dst)
    assert (reply[IP].src, reply[IP].dst, reply[IP].proto) == (request[IP].dst, request[IP].src, 17)
    assert (reply[UDP].sport, reply[UDP].dport, reply[UDP].len) == (PORT, 50000, 28)
    assert wrong_fields(reply) == {}
    return bytes(reply[UDP].payload)[:20]


def test_frames_of_the_original_clients(legacy):
    legacy.cache.delete(b"hey")
    assert replay(legacy, "web") == bytes(4) + b"hi: " + BLANKS[:12]
    assert replay(legacy, "web without a checksum") == bytes(4) + b"hi: " + BLANKS[:12]
    image = replay(legacy, "image")
    assert image[:4] == b"\0\0\0\1" and image[12:] == BLANKS[:8]
    assert replay(legacy, "get") == b"\0\0\0\2NOT_FOUND       "
    assert replay(legacy, "set") == b"\0\0\0\3STORED          "
    assert legacy.cache.get(b"hey") == b"dude"
    assert replay(legacy, "get") == b"\0\0\0\2dude            "


@pytest.mark.parametrize("address", [IPV4, IPV6])
def test_the_rest_of_the_parameter_is_the_clients(legacy, address):
    parameter = bytes(range(0xA0, 0xB0))
    assert legacy.ask(WEB, parameter, address) == bytes(4) + b"hi: " + parameter[4:]


def test_values_of_others(legacy):
    for value, shown in [(b"", BLANKS), (b"exactly 16 bytes", b"exactly 16 bytes"), (b"more than 16 bytes", b"more than 16 byt")]:
        legacy.cache.set(b"hey", value)
        assert legacy.ask(GET) == b"\0\0\0\2" + shown
    # A value may look like the end of one.
    legacy.cache.set(b"hey", b"a\r\nEND\r\nb")
    assert legacy.ask(GET) == b"\0\0\0\2" + b"a\r\nEND\r\nb".ljust(16)
    legacy.cache.set(b"hey", b"v" * 5000)
    assert legacy.ask(GET) == b"\0\0\0\2" + b"ERROR".ljust(16)


def test_without_memcached(legacy):
    legacy.cache.stop()
    try:
        for job in (GET, SET):
            started = time.monotonic()
            assert legacy.ask(job) == struct.pack(">I", job) + b"TIMEOUT".ljust(16)
            assert 1 <= time.monotonic() - started < 3
        assert legacy.ask(WEB) == bytes(4) + b"hi: " + BLANKS[:12]
    finally:
        legacy.cache.go_on()
    legacy.cache.set(b"hey", b"again")
    assert legacy.ask(GET) == b"\0\0\0\2" + b"again".ljust(16)


def test_unknown_jobs_are_the_hosts(legacy):
    """The prototype's card had no rule for them, and passed them on."""
    for job in (4, 5, 256, 0xFFFFFFFF):
        frame = bytearray(FRAMES["web without a checksum"])
        frame[42:46] = struct.pack(">I", job)
        with Wire(legacy.silent, "eth0") as wire, legacy.lab.host_wire() as host:
            wire.send(frame)
            assert host.receive(2, lambda data, frame=frame: data[6:12] == frame[6:12]) == bytes(frame)
            assert not [data for data in wire.drain() if data[:6] == frame[6:12]]


@pytest.mark.parametrize("length", [0, 1, 4, 19, 21, 24, 1000])
def test_other_lengths_are_dropped_and_counted(legacy, length):
    before = legacy.dropped()
    with legacy.lab.appliance.counting():
        with legacy.caller.inside(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as made:
            made.settimeout(0.1)
            made.connect((IPV4, PORT))
            made.send(bytes(length))
            with pytest.raises(TimeoutError):
                made.recv(32)
    assert legacy.dropped() == before + 1
    assert legacy.ask(WEB) == bytes(4) + b"hi: " + BLANKS[:12]


def test_the_image(legacy):
    """The one from the build, then others; what job 1 says of them is what the grey image has."""
    images = [built_in_image(), random.Random(1).randbytes(1 << 18), bytes(1 << 18), b"\xff" * (1 << 18)]
    with legacy.client() as client:
        number = int.from_bytes(legacy.ask(IMAGE)[8:12], "big")
        for rgba in images[1:] + images[:1]:
            number += 1
            reply = client.call(legacy.lambda_id, rgba).payload
            assert reply == struct.pack(">II", zlib.adler32(grey(rgba)), number)
            assert legacy.ask(IMAGE) == b"\0\0\0\1" + image_parameter(rgba, number)
            assert client.call(legacy.lambda_id, b"").payload == grey(rgba)


def test_jobs_over_lambda_rpc(legacy):
    legacy.cache.set(b"hey", b"dude")
    with legacy.client() as client:
        assert client.call(legacy.lambda_id, bytes(4) + BLANKS).payload == bytes(4) + b"hi: " + BLANKS[:12]
        assert client.call(legacy.lambda_id, b"\0\0\0\2" + BLANKS).payload == b"\0\0\0\2dude            "
        with pytest.raises(lnic.Unimplemented, match="jobs are 0 to 3"):
            client.call(legacy.lambda_id, b"\0\0\0\4" + BLANKS)
        for length in (1, 19, 21, 4096):
            with pytest.raises(lnic.InvalidArgument):
                client.call(legacy.lambda_id, bytes(length))


def test_the_original_experiment(legacy):
    """Twenty clients at once, fifty requests each, of every job."""
    legacy.cache.set(b"hey", b"dude")
    image = legacy.ask(IMAGE)
    replies = {
        WEB: bytes(4) + b"hi: " + BLANKS[:12],
        IMAGE: image,
        GET: b"\0\0\0\2dude            ",
        SET: b"\0\0\0\3STORED          ",
    }

    def client(number):
        """The first job that was answered wrongly, and how."""
        for at in range(50):
            job = (number + at) % 4
            reply = legacy.ask(job)
            if reply != replies[job]:
                return job, reply
        return None

    with ThreadPoolExecutor(20) as pool:
        wrong = [each for each in pool.map(client, range(20)) if each is not None]
    assert not wrong, legacy.lab.appliance.lambda_stats("legacy")
    assert legacy.lab.appliance.rest()


def test_the_image_from_the_build(make_lab):
    """Before any other was loaded."""
    lab = make_lab(DRIVERS[1], {}, mac=MAC, settings=SERVICES)
    with site(lab) as made:
        assert made.ask(IMAGE) == b"\0\0\0\1" + image_parameter(built_in_image(), 0)
        # Without a host port an unknown job is dropped, and counted.
        assert made.ask(9, timeout_s=0.2) is None
        assert sum(lab.appliance.rest()["drops"].values()) >= 1
