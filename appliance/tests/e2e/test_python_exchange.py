"""The state machine of the Python client against a peer and a network in memory, in virtual time."""

import random
import socket
import threading
import time

import pytest

import lambda_rpc
import lnic
import rpc_peer
from rpc_peer import AT_MOST_ONCE, Datagram, Network, Peer, converse
from test_vectors import REPLY, REQUEST

TIMEOUT_S = 30.0
MTU_ROOM = 1472


def reverse(payload):
    """A lambda whose reply tells whether all bytes are in their place."""
    return rpc_peer.OK, payload[::-1]


def make(payload, *, request_id=1 << 32, peer=None, flags=0, timeout=TIMEOUT_S, size=1024, now=0.0, **fields):
    """A request that has not sent anything."""
    budget_us, trace = fields.get("budget_us", 0), fields.get("trace")
    options = lnic._Options(timeout, budget_us, flags, trace, size, lnic.MESSAGE_BYTES)
    lambda_id = fields.get("lambda_id", 1)
    return lnic._Request(request_id, lambda_id, payload, options, peer or lnic._Peer(), MTU_ROOM, now)


def drain(request, now):
    """Everything that it sends now."""
    sent = []
    while (data := request.poll(now)) is not None:
        sent.append(Datagram.decode(data))
    return sent


def test_vectors():
    assert lnic.crc32c(b"123456789") == 0xE3069283
    header = lnic._Header(lnic._Kind.REQUEST, AT_MOST_ONCE, 7, 0xC0FFEE0100000001, 13, 1024, 0, 5000)
    assert lnic._encode(header, b"", b"hello, lambda").hex() == REQUEST
    assert lnic._decode(bytes.fromhex(REQUEST)) == (header._replace(flags=0x8000 | AT_MOST_ONCE), {}, b"hello, lambda")
    made = make(b"hello, lambda", request_id=0xC0FFEE0100000001, lambda_id=7, budget_us=5000)
    assert made.poll(0.0)[32:] == b"hello, lambda"
    made.receive(bytes.fromhex(REPLY), 0.001)
    assert made.result == lnic.Reply(lnic.Status.OK, b"HELLO, LAMBDA", 42)


@pytest.mark.parametrize("length", [0, 1, 3, 4, 511, 512, 513, 514, 515, 516, 1056, 5000])
def test_crc_of_every_way_to_compute_it(length):
    data = random.Random(length).randbytes(length)
    assert lnic._crc32c(data) == lnic.crc32c(data) == lambda_rpc.crc32c(data)


def test_a_request_of_one_packet_takes_two():
    request, peer, network = make(b"hello"), Peer(reverse), Network(random.Random(0))
    converse(request, peer, network)
    assert request.result == lnic.Reply(lnic.Status.OK, b"olleh", 42)
    assert network.sent == {"peer": 1, "client": 1}


def test_without_faults_nothing_is_sent_twice():
    payload = random.Random(1).randbytes(100 * 1024)
    client = lnic._Peer()
    for number, challenges in ((1, 1), (2, 0)):
        request, peer = make(payload, request_id=number, peer=client), Peer(reverse)
        network = Network(random.Random(0))
        ended = converse(request, peer, network)
        for _, data in network.arriving(ended + 1):
            peer.receive(data, ended)
        assert request.result.payload == payload[::-1]
        # The cookie of the first call does for the second.
        assert peer.received["REQ"] == 100 + challenges
        assert (peer.received["NACK"], peer.received["ACK"]) == (0, 1)
        assert peer.received["GRANT"] <= 8
        assert network.sent["client"] <= 100 + challenges + 8


@pytest.mark.parametrize("length, requests", [(0, 3), (15, 3), (16, 2), (500, 2)])
def test_a_long_reply_to_a_short_request_is_challenged(length, requests):
    """What is too short to be answered by a challenge goes again with room for one."""
    reply = random.Random(length).randbytes(50_000)
    request, peer = make(bytes(length)), Peer(lambda payload: (rpc_peer.OK, reply))
    converse(request, peer, Network(random.Random(0)))
    assert request.result.payload == reply
    assert (peer.received["REQ"], sum(peer.runs.values())) == (requests, 1)


def test_at_most_once_asks_for_a_cookie_first_and_survives_a_loss():
    request, peer, network = make(b"x", flags=AT_MOST_ONCE), Peer(reverse), Network(random.Random(0))
    assert Datagram.decode(request.poll(0.0)).tlvs == {rpc_peer.COOKIE: bytes(8)}
    # That one is lost. Without a cookie the peer would have to call what comes again stale.
    converse(request, peer, network)
    assert request.result.payload == b"x"
    assert (peer.received["REQ"], peer.runs[1 << 32]) == (2, 1)


@pytest.mark.parametrize("seed", range(80))
def test_every_call_ends_in_the_right_bytes(seed):
    source = random.Random(seed)
    faults = {name: source.choice([0.0, 0.02, 0.1, 0.25]) for name in ("lose", "double", "damage")}
    network = Network(source, jitter_s=source.choice([0.0, 1e-4, 2e-3, 2e-2]), **faults)
    validates, busy, reply_bytes = source.random() < 0.8, source.choice([0, 0, 2]), source.choice([64, 500])
    peer = Peer(reverse, validates=validates, busy=busy, reply_bytes=reply_bytes)
    client, now = lnic._Peer(), 0.0
    for number in range(1, 6):
        payload = source.randbytes(source.choice([0, 1, 63, 64, 65, 640, 4000, 9000]))
        flags = source.choice([0, AT_MOST_ONCE])
        size = source.choice([64, 100, 1024])
        request = make(payload, request_id=number, peer=client, flags=flags, size=size, now=now)
        now = converse(request, peer, network, now)
        # Without a restart nothing is forgotten, and there is time enough.
        assert isinstance(request.result, lnic.Reply), request.result
        assert request.result.payload == payload[::-1]
        assert peer.runs[number] == 1 or not flags


def test_with_one_in_twenty_lost_each_way_all_are_answered_at_little_cost():
    source = random.Random(5)
    network, peer, client = Network(source, lose=0.05), Peer(reverse), lnic._Peer()
    now, calls, fragments = 0.0, 100, 64
    for number in range(calls):
        payload = source.randbytes(fragments * 256)
        request = make(payload, request_id=number, peer=client, size=256, now=now)
        peer.reply_bytes = 256
        now = converse(request, peer, network, now)
        assert isinstance(request.result, lnic.Reply) and request.result.payload == payload[::-1]
    ideal = calls * 2 * fragments
    cost = sum(network.sent.values()) / ideal
    print(f"{cost:.3f} datagrams for each of the ideal {ideal}")
    assert cost < 1.25


@pytest.mark.parametrize("seed", range(40))
def test_at_most_once_over_a_restart(seed):
    source = random.Random(seed)
    network, peer, client = Network(source, lose=0.15, jitter_s=1e-3), Peer(reverse), lnic._Peer()
    # A first call, so that the client knows the epoch.
    first = make(bytes(5000), request_id=1, peer=client)
    now = converse(first, peer, network)
    request = make(source.randbytes(20000), request_id=2, peer=client, flags=AT_MOST_ONCE, now=now)
    converse(request, peer, network, now, [(now + source.random() * 0.03, peer.restart)])
    assert peer.runs[2] <= 1
    assert isinstance(request.result, (lnic.Reply, lnic.Stale, lnic.UnknownRpc, lnic.NoReply))
    if isinstance(request.result, lnic.Reply):
        assert peer.runs[2] == 1


def test_busy_is_waited_for_and_then_reported():
    request, peer = make(b"x", timeout=1.0), Peer(reverse, busy=3)
    ended = converse(request, peer, Network(random.Random(0)))
    # Never sooner than the hint, and without marking what is no retransmission.
    assert request.result.payload == b"x" and ended >= 3 * 500e-6
    request, peer = make(b"x", timeout=1.0), Peer(reverse, busy=1 << 30)
    ended = converse(request, peer, Network(random.Random(0)))
    assert isinstance(request.result, lnic.Busy) and 1.0 <= ended < 1.01
    assert request.result.reply.service_us == 500
    assert peer.received["REQ"] < 40


@pytest.mark.parametrize("status", sorted(set(lnic.Status) - {lnic.Status.OK, lnic.Status.BUSY}))
def test_every_status_is_its_own_error(status):
    request = make(b"x")
    drain(request, 0.0)
    request.receive(Datagram(rpc_peer.RSP, 1 << 32, aux=status << 24, length=4, payload=b"why?").encode(), 0.1)
    assert type(request.result) is lnic.StatusError._classes[status]
    assert request.result.status is status
    assert str(request.result) == f"{status.name}: why?"


def test_a_status_without_a_name():
    request = make(b"x")
    drain(request, 0.0)
    request.receive(Datagram(rpc_peer.RSP, 1 << 32, aux=99 << 24).encode(), 0.1)
    assert type(request.result) is lnic.StatusError and str(request.result) == "STATUS_99"


def test_silence_is_answered_ever_more_slowly_and_the_budget_shrinks():
    request, sent, now = make(b"x", budget_us=900_000, timeout=5.0), [], 0.0
    while request.result is None:
        sent += [(now, datagram) for datagram in drain(request, now)]
        now = request.wake_at()
        if now >= 5.0:
            drain(request, now)
    assert isinstance(request.result, lnic.NoReply)
    assert [bool(datagram.flags & rpc_peer.RTX) for _, datagram in sent] == [False] + [True] * (len(sent) - 1)
    pauses = [later - earlier for (earlier, _), (later, _) in zip(sent, sent[1:])]
    assert pauses == sorted(pauses) and 5 < len(sent) < 12
    budgets = [datagram.aux for _, datagram in sent]
    assert budgets[0] == 900_000 and budgets == sorted(budgets, reverse=True) and budgets[-1] == 1


def test_giving_up_cancels_what_the_peer_remembers():
    for payload, cancels in ((bytes(5000), 1), (b"x", 0)):
        request, peer = make(payload, timeout=0.5), Peer(reverse)
        peer.receive = lambda data, now: None
        converse(request, peer, network := Network(random.Random(0)))
        assert isinstance(request.result, lnic.NoReply)
        last = list(network.arriving(1.0))[-1:]
        assert bool(last and last[0][1][1] >> 4 == rpc_peer.CANCEL) == bool(cancels)


def test_only_what_is_missing_is_sent_again():
    client = lnic._Peer()
    client.cookie = b"cookie\0\1"
    request = make(bytes(20 * 1024), peer=client)
    assert [datagram.index for datagram in drain(request, 0.0)] == list(range(20))
    nack = Datagram(rpc_peer.NACK, 1 << 32, aux=3, tlvs={rpc_peer.BITMAP: bytes([0b10000001, 0b00000010])})
    request.receive(nack.encode(), 0.02)
    assert [datagram.index for datagram in drain(request, 0.02)] == [3, 10, 17]
    # The same again, at once: they are still under way.
    request.receive(nack.encode(), 0.0205)
    assert drain(request, 0.0205) == []


def challenge(epoch=1):
    """A CHAL of the appliance's life of this number."""
    tlvs = {rpc_peer.COOKIE: b"cookie" + epoch.to_bytes(2, "big"), rpc_peer.EPOCH: epoch.to_bytes(4, "big")}
    return Datagram(rpc_peer.CHAL, 1 << 32, tlvs=tlvs).encode()


def test_challenges_for_what_is_under_way_count_once():
    request = make(bytes(5 * 1024))
    assert [datagram.index for datagram in drain(request, 0.0)] == [0]
    request.receive(challenge(), 0.001)
    assert [datagram.index for datagram in drain(request, 0.001)] == list(range(5))
    request.receive(challenge(), 0.002)
    assert drain(request, 0.002) == []
    # Another cookie is another matter.
    request.receive(challenge(epoch=2), 0.003)
    assert [datagram.index for datagram in drain(request, 0.003)] == list(range(5))


@pytest.mark.parametrize("length", [1, 5000])
def test_what_was_sent_in_one_life_of_the_appliance_is_not_sent_in_the_next(length):
    request = make(bytes(length), flags=AT_MOST_ONCE)
    drain(request, 0.0)
    request.receive(challenge(), 0.001)
    assert all(datagram.tlvs[rpc_peer.EPOCH] == b"\0\0\0\1" for datagram in drain(request, 0.001))
    request.receive(challenge(epoch=2), 0.002)
    assert isinstance(request.result, lnic.Stale) and "may have run" in str(request.result)
    assert drain(request, 10.0) == []


def test_a_reply_whose_rest_is_lost_with_the_appliance_is_a_definite_error():
    request = make(b"x")
    drain(request, 0.0)
    part = {"length": 1000, "size": 64, "payload": bytes(64)}
    request.receive(Datagram(rpc_peer.RSP, 1 << 32, **part).encode(), 0.001)
    (nack,) = drain(request, 0.006)
    assert nack.kind == rpc_peer.NACK
    request.receive(Datagram(rpc_peer.RSP, 1 << 32, aux=rpc_peer.UNKNOWN_RPC << 24).encode(), 0.007)
    assert isinstance(request.result, lnic.UnknownRpc)


def test_what_has_no_crc_is_not_believed():
    request = make(b"x")
    drain(request, 0.0)
    for flags in (0, 0x4000):
        request.receive(Datagram(rpc_peer.RSP, 1 << 32, flags=flags, length=2, payload=b"ok").encode(), 0.001)
    assert request.result is None


def test_what_the_client_misses_it_asks_for():
    request = make(b"x")
    drain(request, 0.0)
    part = {"length": 10 * 64, "size": 64, "payload": bytes(64)}
    for index in (0, 1, 4, 9):
        request.receive(Datagram(rpc_peer.RSP, 1 << 32, index=index, **part).encode(), 0.001)
    assert drain(request, 0.001) == [] and request.wake_at() == pytest.approx(0.006)
    (nack,) = drain(request, 0.006)
    assert (nack.kind, rpc_peer.missing(nack)) == (rpc_peer.NACK, [2, 3, 5, 6, 7, 8])


def test_a_fragment_without_room_for_the_cookie_goes_in_smaller_ones():
    payload = random.Random(0).randbytes(1440)
    request, peer = make(payload, size=1440), Peer(lambda payload: (rpc_peer.OK, payload[::-1] * 4))
    converse(request, peer, Network(random.Random(0)))
    assert request.result.payload == payload[::-1] * 4


def test_a_trace_is_in_every_fragment():
    trace = lnic._traceparent("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
    assert trace.hex() == "000af7651916cd43dd8448eb211c80319cb7ad6b7169203331"
    client = lnic._Peer()
    client.cookie = b"cookie\0\1"
    sent = drain(make(bytes(3000), peer=client, trace=trace), 0.0)
    assert [datagram.tlvs[rpc_peer.TRACE] for datagram in sent] == [trace] * 3
    with pytest.raises(ValueError, match="traceparent"):
        lnic._traceparent("00-0af7")


def test_fragments_that_disagree_are_refused():
    request = make(b"x")
    drain(request, 0.0)

    def reply(**fields):
        fields = {"length": 100, "size": 64, "payload": b"a" * 64, **fields}
        request.receive(Datagram(rpc_peer.RSP, 1 << 32, **fields).encode(), 0.001)

    reply()
    reply(length=128, index=1, payload=b"b" * 64)
    reply(size=50, index=1, payload=b"b" * 50)
    reply(index=1, aux=3 << 24, payload=b"b" * 36)
    reply(index=1, payload=b"b" * 64)
    reply(index=2, payload=b"")
    assert request.result is None
    reply(index=1, payload=b"c" * 36)
    assert request.result.payload == b"a" * 64 + b"c" * 36


@pytest.mark.parametrize("length, size", [(0xFFFFFFFF, 1024), (lnic.MESSAGE_BYTES + 1, 0xFFFF)])
def test_a_reply_that_is_too_long_is_not_waited_for(length, size):
    request = make(b"x")
    drain(request, 0.0)
    request.receive(Datagram(rpc_peer.RSP, 1 << 32, length=length, size=size, payload=bytes(size)).encode(), 0.001)
    assert isinstance(request.result, lnic.ReplyTooLong)


@pytest.mark.parametrize("seed", range(30))
def test_hostile_datagrams_do_no_harm(seed):
    """Random headers with a right CRC and the right IDs, and garbage: no exception, and no wrong bytes."""
    source = random.Random(seed)
    request = make(bytes(3000), flags=source.choice([0, AT_MOST_ONCE]))
    kinds = [kind for kind in range(rpc_peer.CANCEL + 1) if kind != rpc_peer.RSP]
    now = 0.0
    for _ in range(300):
        now += source.random() * 0.01
        tlvs = {rpc_peer.BITMAP: source.randbytes(source.randrange(1, 60))}
        if source.random() < 0.1:
            tlvs = {rpc_peer.COOKIE: source.randbytes(8)}
        fields = {"length": source.getrandbits(32), "size": source.getrandbits(16), "index": source.getrandbits(16)}
        aux = source.choice([0, 1, 2, 3, source.getrandbits(32)])
        data = Datagram(source.choice(kinds), 1 << 32, aux=aux, tlvs=tlvs, **fields).encode()
        damaged = bytearray(data)
        damaged[source.randrange(len(data))] ^= source.randrange(1, 256)
        cut, noise = data[: source.randrange(len(data))], source.randbytes(source.randrange(100))
        for each in (data, bytes(damaged), cut, noise):
            request.receive(each, now)
        for datagram in drain(request, now):
            assert datagram.kind == rpc_peer.REQ and len(datagram.payload) in (1024, 3000 - 2048)
        assert request.result is None
    request.receive(Datagram(rpc_peer.RSP, 1 << 32, length=2, payload=b"ok").encode(), now)
    assert request.result.payload == b"ok"


def test_arguments_are_checked_before_anything_is_sent():
    with lnic.Client("127.0.0.1", 9) as client:
        for arguments in (
            {"priority": 8},
            {"budget_us": -1},
            {"fragment_bytes": 1441},
            {"fragment_bytes": 0},
            {"idempotent": True, "at_most_once": True},
            {"trace": b"short"},
        ):
            with pytest.raises(ValueError):
                client.call(1, b"x", **arguments)
        with pytest.raises(ValueError, match="payload"):
            client.call(1, bytes(64 * 65536 + 1), fragment_bytes=64)


class Served:
    """A peer behind a UDP socket of this host's loopback, which loses some of what it gets and sends."""

    def __init__(self, family, lose):
        self.peer, self.lose, self.source = Peer(reverse), lose, random.Random(0)
        self.socket = socket.socket(family, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self.socket.bind(("::1" if family == socket.AF_INET6 else "127.0.0.1", 0))
        self.socket.settimeout(0.002)
        self.ending = threading.Event()
        self.thread = threading.Thread(target=self.serve)

    def serve(self):
        """Until the end."""
        address = None
        while not self.ending.is_set():
            try:
                data, address = self.socket.recvfrom(1 << 16)
                if self.source.random() >= self.lose:
                    self.peer.receive(data, time.monotonic())
            except socket.timeout:
                pass
            self.peer.poll(time.monotonic())
            for data in self.peer.out:
                if self.source.random() >= self.lose:
                    self.socket.sendto(data, address)
            self.peer.out.clear()

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.ending.set()
        self.thread.join()
        self.socket.close()


@pytest.mark.parametrize("lose", [0.0, 0.05])
@pytest.mark.parametrize("family, host", [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_a_mebibyte_through_sockets(family, host, lose):
    payload = random.Random(7).randbytes(1 << 20)
    with Served(family, lose) as served, lnic.Client(host, served.socket.getsockname()[1]) as client:
        for options in ({}, {"at_most_once": True}):
            started = time.monotonic()
            assert client.call(1, payload, timeout=60.0, **options).payload == payload[::-1]
            print(f"{host}, {lose:.0%} lost each way: {time.monotonic() - started:.2f} s")
        # Small calls among them, and what is left of the long ones does not disturb them.
        assert client.call(1, b"abc", timeout=60.0).payload == b"cba"
