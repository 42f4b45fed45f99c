"""An appliance in memory that speaks λ-RPC in fragments, and a network that loses, doubles, reorders and damages.

Neither has a socket or a clock. The peer checks what it gets as strictly as the wire format allows, and keeps the
books: what ran how often, and what an address that has not shown a cookie was sent. It shares no code with the clients.
"""

import heapq
import itertools
import struct
from collections import Counter

from lambda_rpc import HEADER_BYTES, KINDS, datagram_crc

HEADER = struct.Struct(">BBHIQIHHII")
REQ, RSP, NACK, GRANT, CHAL, ACK, PING, PONG, CANCEL = range(len(KINDS))
CRC, RTX, AT_MOST_ONCE = 0x8000, 0x4000, 0x1000
COOKIE, TRACE, BITMAP, EPOCH = 1, 2, 3, 4

OK, UNAUTHENTICATED, BUSY, UNKNOWN_RPC, STALE = 0, 16, 32, 33, 34
#: A challenge, which is never larger than what it answers.
CHALLENGE_BYTES = 48

WINDOW = 64
NACK_S = 0.005


class Datagram:
    """A datagram's fields; made from bytes, or turned into them."""

    def __init__(
        self,
        kind,
        request_id=0,
        lambda_id=1,
        flags=CRC,
        length=0,
        size=1024,
        index=0,
        aux=0,
        tlvs=(),
        payload=b"",
    ):
        self.kind, self.request_id, self.lambda_id, self.flags = kind, request_id, lambda_id, flags
        self.length, self.size, self.index, self.aux = length, size, index, aux
        self.tlvs, self.payload = dict(tlvs), payload

    def encode(self):
        """Its bytes, with the right CRC."""
        area = b"".join(bytes((kind, len(value))) + value for kind, value in self.tlvs.items())
        area += bytes(-len(area) % 8)
        words = (HEADER_BYTES + len(area)) // 8
        assert words < 16, "more TLVs than a header holds"
        fields = (self.flags, self.lambda_id, self.request_id, self.length, self.size, self.index, self.aux, 0)
        data = HEADER.pack(0xA1, self.kind << 4 | words, *fields) + area + self.payload
        return data[:28] + datagram_crc(data).to_bytes(4, "big") + data[32:]

    @classmethod
    def decode(cls, data):
        """The fields of what a client sent, which has to be right in every way; None if it was damaged underway."""
        if datagram_crc(data) != int.from_bytes(data[28:32], "big"):
            return None
        magic, first, flags, lambda_id, request_id, length, size, index, aux, _ = HEADER.unpack_from(data)
        words = first & 15
        assert magic == 0xA1 and flags & CRC and 4 <= words and first >> 4 < len(KINDS)
        area, tlvs = data[HEADER_BYTES : 8 * words], {}
        while area and area[0]:
            kind, bytes_ = area[0], area[1]
            assert len(area) >= 2 + bytes_ and kind not in tlvs
            tlvs[kind], area = area[2 : 2 + bytes_], area[2 + bytes_ :]
        assert len(area) < 8 and not any(area), "padding"
        made = cls(first >> 4, request_id, lambda_id, flags, length, size, index, aux, tlvs, data[8 * words :])
        made.bytes = len(data)
        return made


class _Message:
    """A message in fragments, on its way in or out."""

    def __init__(self, length, size, now):
        self.length, self.size = length, size
        self.fragments = max(-(-length // size), 1)
        self.parts = {}
        self.granted = min(WINDOW, self.fragments)
        self.sent = 0
        self.nack_at = now + NACK_S

    def bounds(self, index):
        return index * self.size, min((index + 1) * self.size, self.length)


class Peer:
    """An appliance whose one lambda is `function`: request to status and reply."""

    def __init__(self, function, *, epoch=1, validates=True, busy=0, reply_bytes=1024):
        self.function, self.validates, self.busy, self.reply_bytes = function, validates, busy, reply_bytes
        self.epoch = epoch
        self.runs = Counter()
        self.acknowledged = set()
        self.received, self.cancelled = Counter(), 0
        self.out = []
        self._bytes_in = self._bytes_out = 0
        self._arriving, self._leaving = {}, {}

    def restart(self):
        """Forgets everything but the books: cookies of before are worth nothing."""
        self.epoch += 1
        self._arriving, self._leaving, self.acknowledged = {}, {}, set()

    @property
    def cookie(self):
        """What it gives to this one address."""
        return b"cookie" + self.epoch.to_bytes(2, "big")

    def receive(self, data, now):
        """Takes a datagram from the network."""
        got = Datagram.decode(data)
        if got is None:
            return
        self.received[KINDS[got.kind]] += 1
        validated = got.tlvs.get(COOKIE) == self.cookie
        self._bytes_in += len(data)
        before = len(self.out)
        if got.kind == REQ:
            self._on_request(got, validated, now)
        elif got.request_id in self._leaving:
            self._on_control(got)
        elif got.kind == CANCEL:
            self.cancelled += 1
            self._arriving.pop(got.request_id, None)
        elif got.kind in (NACK, GRANT):
            self._status(got.request_id, UNKNOWN_RPC)
        # Only what answers datagrams without a cookie counts: validated sources are owed nothing.
        if self.validates and got.kind == REQ and not validated:
            self._bytes_out += sum(map(len, self.out[before:]))
            assert self._bytes_out <= 3 * self._bytes_in, "amplification"

    def poll(self, now):
        """Asks for what has been missing for long enough."""
        for request_id, message in self._arriving.items():
            if now >= message.nack_at:
                self._nack(request_id, message, now)

    def wake_at(self):
        """When to poll."""
        return min((message.nack_at for message in self._arriving.values()), default=float("inf"))

    def _send(self, kind, request_id, **fields):
        self.out.append(Datagram(kind, request_id, **fields).encode())

    def _status(self, request_id, status, hint_us=0):
        self._send(RSP, request_id, aux=status << 24 | hint_us)

    def _challenge(self, got):
        if got.bytes < CHALLENGE_BYTES:
            return self._status(got.request_id, UNAUTHENTICATED)
        self._send(CHAL, got.request_id, tlvs={COOKIE: self.cookie, EPOCH: self._epoch_bytes()})

    def _on_request(self, got, validated, now):
        fragments = max(-(-got.length // got.size), 1)
        assert got.index < fragments
        assert len(got.payload) == min(got.size, got.length - got.index * got.size), "fragment length"
        request_id = got.request_id
        if request_id in self._leaving:
            if got.flags & RTX:
                message = self._leaving[request_id]
                self._fragment(request_id, message, message.sent - 1)
            return
        if request_id in self.acknowledged:
            return self._status(request_id, UNKNOWN_RPC)
        once = bool(got.flags & AT_MOST_ONCE)
        if self.validates and not validated:
            if fragments > 1 or (once and COOKIE in got.tlvs):
                return self._challenge(got)
            if once and got.flags & RTX:
                # Its first transmission may have run in an earlier life.
                return self._status(request_id, STALE)
        if request_id not in self._arriving:
            if self.busy > 0:
                self.busy -= 1
                return self._status(request_id, BUSY, 500)
            self._arriving[request_id] = _Message(got.length, got.size, now)
        message = self._arriving[request_id]
        assert (message.length, message.size) == (got.length, got.size), "fragments of one message disagree"
        assert got.index < message.granted, "beyond the grant"
        if got.index in message.parts:
            if got.flags & RTX:
                self._nack(request_id, message, now)
            return
        message.parts[got.index] = got.payload
        message.nack_at = now + NACK_S
        if len(message.parts) == message.fragments:
            return self._run(got, validated)
        wanted = min(len(message.parts) + WINDOW, message.fragments)
        if wanted > message.granted and (wanted == message.fragments or wanted - message.granted >= WINDOW // 2):
            message.granted = wanted
            self._send(GRANT, request_id, length=message.length, size=message.size, aux=wanted)

    def _epoch_bytes(self):
        return self.epoch.to_bytes(4, "big")

    def _run(self, got, validated):
        message = self._arriving.pop(got.request_id)
        payload = b"".join(message.parts[index] for index in range(message.fragments))
        status, reply = self.function(payload)
        if self.validates and not validated and len(reply) > 2 * len(payload) + 32 and len(reply) > 64:
            return self._challenge(got)
        self.runs[got.request_id] += 1
        leaving = _Message(len(reply), self.reply_bytes, 0)
        leaving.reply, leaving.status = reply, status
        if leaving.fragments > 1 or message.fragments > 1 or got.flags & AT_MOST_ONCE:
            self._leaving[got.request_id] = leaving
            return self._flow(got.request_id)
        self._fragment(got.request_id, leaving, 0)

    def _fragment(self, request_id, message, index):
        start, end = message.bounds(index)
        shape = {"length": message.length, "size": message.size, "index": index}
        answer = {"aux": message.status << 24 | 42, "tlvs": {EPOCH: self._epoch_bytes()}}
        self._send(RSP, request_id, **shape, **answer, payload=message.reply[start:end])

    def _flow(self, request_id):
        message = self._leaving[request_id]
        while message.sent < min(message.granted, message.fragments):
            self._fragment(request_id, message, message.sent)
            message.sent += 1

    def _on_control(self, got):
        message = self._leaving[got.request_id]
        if got.kind == ACK:
            del self._leaving[got.request_id]
            self.acknowledged.add(got.request_id)
        elif got.kind == CANCEL:
            self.cancelled += 1
            del self._leaving[got.request_id]
        elif got.kind == GRANT:
            assert message.granted <= got.aux + WINDOW and got.aux <= message.fragments
            message.granted = max(message.granted, got.aux)
            self._flow(got.request_id)
        elif got.kind == NACK:
            for index in missing(got):
                assert index < message.fragments
                if index < message.sent:
                    self._fragment(got.request_id, message, index)

    def _nack(self, request_id, message, now):
        first = next(index for index in range(message.fragments) if index not in message.parts)
        if first >= message.granted:
            self._send(GRANT, request_id, length=message.length, size=message.size, aux=message.granted)
            message.nack_at = now + NACK_S
            return
        end = min(message.granted, first + 64)
        bits = "".join("01"[index not in message.parts] for index in range(first, end))
        bits += "0" * (-len(bits) % 8)
        bitmap = int(bits, 2).to_bytes(len(bits) // 8, "big")
        self._send(NACK, request_id, length=message.length, size=message.size, aux=first, tlvs={BITMAP: bitmap})
        message.nack_at = now + NACK_S


def missing(nack):
    """The indices that a NACK names."""
    bitmap = nack.tlvs.get(BITMAP, b"\x80")
    return [nack.aux + at for at in range(8 * len(bitmap)) if bitmap[at >> 3] & 0x80 >> (at & 7)]


class Network:
    """Two directions with faults; probabilities are for each datagram. The same source makes the same sequence."""

    def __init__(self, source, *, lose=0.0, double=0.0, damage=0.0, jitter_s=0.0, delay_s=50e-6):
        self.source, self.lose, self.double, self.damage = source, lose, double, damage
        self.jitter_s, self.delay_s = jitter_s, delay_s
        self.sent = Counter()
        self._underway, self._numbers = [], itertools.count()

    def send(self, data, to, now):
        """Sends a datagram to "peer" or "client"."""
        self.sent[to] += 1
        for _ in range(2 if self.source.random() < self.double else 1):
            if self.source.random() < self.lose:
                continue
            arriving = bytearray(data)
            if self.source.random() < self.damage:
                arriving[self.source.randrange(len(arriving))] ^= 1 << self.source.randrange(8)
            at = now + self.delay_s + self.source.random() * self.jitter_s
            heapq.heappush(self._underway, (at, next(self._numbers), to, bytes(arriving)))

    def next_at(self):
        """When the next datagram arrives."""
        return self._underway[0][0] if self._underway else float("inf")

    def arriving(self, now):
        """What has arrived: to whom, and what."""
        while self._underway and self._underway[0][0] <= now:
            _, _, to, data = heapq.heappop(self._underway)
            yield to, data


def converse(request, peer, network, now=0.0, events=()):
    """Runs a call to its end in virtual time; when that was. `events` are times, and what to do then."""
    events = sorted(events, key=lambda event: event[0])
    while True:
        while events and events[0][0] <= now:
            events.pop(0)[1]()
        for to, data in network.arriving(now):
            (peer if to == "peer" else request).receive(data, now)
        while (data := request.poll(now)) is not None:
            network.send(data, "peer", now)
        peer.poll(now)
        for data in peer.out:
            network.send(data, "client", now)
        peer.out.clear()
        if request.result is not None:
            return now
        later = min(request.wake_at(), peer.wake_at(), network.next_at(), events[0][0] if events else float("inf"))
        # A machine that wants to be woken in the past would hang a real client.
        assert later > now or network.next_at() <= now, "no progress"
        now = max(later, now)
