"""λ-RPC version 1 in one file: calls lambdas of an lnic appliance over UDP. Python 3.9 or newer, no dependencies.

    from lnic import Client

    with Client("10.77.0.1") as client:
        print(client.call(1, b"hello, lambda").payload)

or `python3 lnic.py 10.77.0.1 1 --text 'hello, lambda'`.

Requests and replies of more than one packet go in fragments: the appliance hands out a cookie, then takes as many
fragments as it grants, and either side asks for what it misses. `_Request` is all of that, without socket or clock:
datagrams and the time go in, datagrams and a result come out. `Client` gives it both.
"""

from __future__ import annotations

import argparse
import collections
import enum
import functools
import os
import secrets
import socket
import struct
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import ClassVar, NamedTuple, Optional, Union

__all__ = ["Client", "LnicError", "NoReply", "Refused", "Reply", "ReplyTooLong", "Status", "StatusError", "crc32c"]

#: UDP port of λ-RPC unless configured otherwise.
PORT = 4793
#: Fragment size that fits IPv6's smallest MTU.
FRAGMENT_BYTES = 1024
#: Longest message in either direction.
MESSAGE_BYTES = 64 << 20

_MAGIC_VERSION = 0xA1
_HEADER = struct.Struct(">BBHIQIHHII")
_CRC_OFFSET = 28
_WORD_BYTES = 8
#: Room for TLVs: a header has at most 15 words.
_TLV_BYTES = 15 * _WORD_BYTES - _HEADER.size
_FRAGMENTS = 1 << 16

_CRC, _RTX, _IDEMPOTENT, _AT_MOST_ONCE = 0x8000, 0x4000, 0x2000, 0x1000
_COOKIE, _TRACE, _BITMAP, _EPOCH = 1, 2, 3, 4
_TLV_LENGTHS = {_COOKIE: 8, _TRACE: 25, _EPOCH: 4}
#: Most fragments that one NACK can name.
_BITMAP_BYTES = _TLV_BYTES - 2

#: Fragments that may be under way: what may be sent without a GRANT, and what a receiver grants beyond what it has.
_WINDOW = 64
#: What asks for a cookie, where a challenge is certain or the request too short to be answered by one.
_NO_COOKIE = bytes(8)
#: A receiver that has waited so long with something missing asks for it; again and again, ever more slowly.
_NACK_S, _NACK_MOST_S = 0.005, 0.16
#: A sender that hears nothing sends again.
_RETRY_S, _RETRY_MOST_S = 0.1, 1.0
#: A fragment that was asked for again this soon is still under way.
_UNDER_WAY_S, _UNDER_WAY_MOST_S = 0.002, 0.1
#: Longest wait after BUSY without a hint.
_BUSY_S, _BUSY_MOST_S = 0.001, 0.25
#: Requests whose acknowledgement is kept, in case that it is lost.
_ACKNOWLEDGED = 64


class _Kind(enum.IntEnum):
    REQUEST = 0
    REPLY = 1
    NACK = 2
    GRANT = 3
    CHALLENGE = 4
    ACK = 5
    PING = 6
    PONG = 7
    CANCEL = 8


class Status(enum.IntEnum):
    """How a request ended: gRPC's numbers, and three of λ-RPC."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16
    BUSY = 32
    UNKNOWN_RPC = 33
    STALE = 34


@dataclass(frozen=True)
class Reply:
    """An answer. `status` is a plain number if this version has no name for it."""

    status: Union[Status, int]
    payload: bytes
    #: How long the lambda ran, in µs; of BUSY, after how many µs to ask again.
    service_us: int


class LnicError(Exception):
    """Why there is no reply, or none of status OK."""


class NoReply(LnicError, TimeoutError):
    """Nothing, or not everything, came in time."""


class Refused(LnicError, ConnectionError):
    """Nothing listens on this UDP port."""


class ReplyTooLong(LnicError):
    """The reply is longer than the client takes."""


class StatusError(LnicError):
    """The request was answered, with another status than OK. Each status that has a name has a class."""

    _classes: ClassVar[dict[int, type[StatusError]]] = {}

    def __init_subclass__(cls, status: Status) -> None:
        super().__init_subclass__()
        StatusError._classes[status] = cls

    def __init__(self, reply: Reply, reason: str = "") -> None:
        name = reply.status.name if isinstance(reply.status, Status) else f"STATUS_{reply.status}"
        text = reason or reply.payload[:200].decode("utf-8", "replace").strip()
        super().__init__(f"{name}: {text}" if text else name)
        #: The answer, as it came.
        self.reply = reply

    @property
    def status(self) -> Union[Status, int]:
        """How the request ended."""
        return self.reply.status

    @staticmethod
    def of(reply: Reply, reason: str = "") -> StatusError:
        """The error of the class that the reply's status has."""
        return StatusError._classes.get(reply.status, StatusError)(reply, reason)


class Cancelled(StatusError, status=Status.CANCELLED):
    """The caller cancelled."""


class Unknown(StatusError, status=Status.UNKNOWN):
    """Some error without a better name."""


class InvalidArgument(StatusError, status=Status.INVALID_ARGUMENT):
    """The request makes no sense."""


class DeadlineExceeded(StatusError, status=Status.DEADLINE_EXCEEDED):
    """The budget passed before the lambda ended or began."""


class NotFound(StatusError, status=Status.NOT_FOUND):
    """What the request names does not exist."""


class AlreadyExists(StatusError, status=Status.ALREADY_EXISTS):
    """What the request would make exists."""


class PermissionDenied(StatusError, status=Status.PERMISSION_DENIED):
    """The caller may not do this."""


class ResourceExhausted(StatusError, status=Status.RESOURCE_EXHAUSTED):
    """A quota is used up, or the reply did not fit."""


class FailedPrecondition(StatusError, status=Status.FAILED_PRECONDITION):
    """The state does not allow it."""


class Aborted(StatusError, status=Status.ABORTED):
    """Given up for a conflict."""


class OutOfRange(StatusError, status=Status.OUT_OF_RANGE):
    """Past the valid range."""


class Unimplemented(StatusError, status=Status.UNIMPLEMENTED):
    """There is no such lambda, or it does not take such requests."""


class Internal(StatusError, status=Status.INTERNAL):
    """The lambda failed."""


class Unavailable(StatusError, status=Status.UNAVAILABLE):
    """The lambda cannot run now."""


class DataLoss(StatusError, status=Status.DATA_LOSS):
    """Data is lost."""


class Unauthenticated(StatusError, status=Status.UNAUTHENTICATED):
    """The caller is not known."""


class Busy(StatusError, status=Status.BUSY):
    """The queue was full until the time was up."""


class UnknownRpc(StatusError, status=Status.UNKNOWN_RPC):
    """The appliance knows nothing of this request, or nothing any more."""


class Stale(StatusError, status=Status.STALE):
    """The request is older than the at-most-once window, or the appliance was restarted: it may have run once."""


@functools.lru_cache(maxsize=None)
def _byte_table() -> tuple[int, ...]:
    """CRC32C of each byte: Castagnoli's polynomial, bits reversed."""
    table = []
    for crc in range(256):
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
        table.append(crc)
    return tuple(table)


@functools.lru_cache(maxsize=None)
def _word_tables() -> tuple[list[int], list[int]]:
    """What the upper and the lower half of a 32-bit word leave behind. They take a few MB and some 20 ms."""
    byte = _byte_table()
    upper = [byte[(at >> 8) ^ (byte[at & 255] & 255)] ^ byte[at & 255] >> 8 for at in range(1 << 16)]
    return upper, [upper[crc & 0xFFFF] ^ crc >> 16 for crc in upper]


def _crc32c(data: bytes) -> int:
    crc, start = 0xFFFFFFFF, 0
    # The tables of words pay for themselves with the first long message.
    if len(data) > 512:
        upper, lower = _word_tables()
        words = len(data) // 4
        for word in struct.unpack_from(f"<{words}I", data):
            crc ^= word
            crc = lower[crc & 0xFFFF] ^ upper[crc >> 16]
        start = 4 * words
    table = _byte_table()
    for byte in data[start:]:
        crc = crc >> 8 ^ table[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


try:  # In C, if it is there: pip install crc32c
    from crc32c import crc32c as _fastest  # type: ignore[import-not-found,unused-ignore]
except ImportError:
    _fastest = _crc32c


def crc32c(data: bytes) -> int:
    """CRC32C of `data`: at some 20 ns a byte, or faster if the module `crc32c` is installed."""
    return int(_fastest(data))


class _Header(NamedTuple):
    """A datagram's header, but for lengths and CRC."""

    kind: _Kind
    flags: int
    lambda_id: int
    request_id: int
    message_length: int = 0
    fragment_bytes: int = FRAGMENT_BYTES
    fragment_index: int = 0
    aux: int = 0


def _encode(header: _Header, tlvs: bytes = b"", payload: bytes = b"") -> bytes:
    first = header.kind << 4 | (_HEADER.size + len(tlvs)) // _WORD_BYTES
    fields = _HEADER.pack(_MAGIC_VERSION, first, header.flags | _CRC, *header[2:], 0)
    crc = crc32c(fields + tlvs + payload)
    return b"".join((fields[:_CRC_OFFSET], crc.to_bytes(4, "big"), tlvs, payload))


def _encode_tlvs(tlvs: Iterable[tuple[int, Optional[bytes]]]) -> bytes:
    """TLVs in order, those without a value left out, and their padding."""
    area = b"".join(bytes((kind, len(value))) + value for kind, value in tlvs if value is not None)
    return area + bytes(-len(area) % _WORD_BYTES)


def _decode_tlvs(area: bytes) -> Optional[dict[int, bytes]]:
    """TLVs by type; None if they are malformed."""
    found: dict[int, bytes] = {}
    at = 0
    while at < len(area):
        if area[at] == 0:
            return found if len(area) - at < _WORD_BYTES and not any(area[at:]) else None
        end = at + 2 + (area[at + 1] if at + 1 < len(area) else len(area))
        kind, value = area[at], area[at + 2 : end]
        wrong_length = len(value) != _TLV_LENGTHS.get(kind, len(value)) or (kind == _BITMAP and not value)
        if end > len(area) or wrong_length or (kind in found and kind <= _EPOCH):
            return None
        found[kind] = value
        at = end
    return found


def _decode(datagram: bytes) -> Optional[tuple[_Header, dict[int, bytes], bytes]]:
    """Header, TLVs and payload; None for what is malformed, or has not the right CRC: every request asks for one."""
    if len(datagram) < _HEADER.size:
        return None
    magic, first, *fields, crc = _HEADER.unpack_from(datagram)
    kind, header_bytes = first >> 4, (first & 15) * _WORD_BYTES
    if magic != _MAGIC_VERSION or kind > _Kind.CANCEL or not _HEADER.size <= header_bytes <= len(datagram):
        return None
    header = _Header(_Kind(kind), *fields)
    if not header.flags & _CRC or crc32c(datagram[:_CRC_OFFSET] + bytes(4) + datagram[_CRC_OFFSET + 4 :]) != crc:
        return None
    tlvs = _decode_tlvs(datagram[_HEADER.size : header_bytes])
    return None if tlvs is None else (header, tlvs, datagram[header_bytes:])


class _Options(NamedTuple):
    """How to call."""

    timeout_s: float
    budget_us: int
    flags: int
    trace: Optional[bytes]
    fragment_bytes: int
    reply_bytes: int


class _Peer:
    """What the appliance has said about itself; each call goes on from there."""

    def __init__(self) -> None:
        #: Shows that datagrams to this address arrive here.
        self.cookie: Optional[bytes] = None
        #: Changes when the appliance has lost its state.
        self.epoch: Optional[bytes] = None


class _Assembly:
    """A reply in fragments: what has come, and what to ask for."""

    def __init__(self, first: _Header, now_s: float) -> None:
        self.first = first
        self.fragments = max(-(-first.message_length // first.fragment_bytes), 1) if first.fragment_bytes else 1
        self._data = bytearray(first.message_length)
        self._missing = bytearray(b"\x01") * self.fragments
        self.arrived = 0
        #: Fragments below this index may be sent.
        self.granted = min(_WINDOW, self.fragments)
        self._nack_s = _NACK_S
        self.nack_at_s = now_s + _NACK_S

    def is_complete(self) -> bool:
        return self.arrived == self.fragments

    def place(self, header: _Header, payload: bytes, now_s: float) -> bool:
        """Puts a fragment where it belongs; True if it is new. One that is not like the others is refused."""
        same = (header.message_length, header.fragment_bytes, header.aux >> 24)
        index, size = header.fragment_index, header.fragment_bytes
        if same != (self.first.message_length, self.first.fragment_bytes, self.first.aux >> 24):
            return False
        if index >= self.fragments or not self._missing[index]:
            return False
        self._data[index * size : index * size + len(payload)] = payload
        self._missing[index] = 0
        self.arrived += 1
        self._nack_s = _NACK_S
        self.nack_at_s = now_s + _NACK_S
        return True

    def grant(self) -> Optional[int]:
        """How many fragments may have been sent in all, if it is time to say so."""
        wanted = min(self.arrived + _WINDOW, self.fragments)
        if wanted - self.granted < _WINDOW // 2 and (wanted < self.fragments or wanted == self.granted):
            return None
        self.granted = wanted
        return wanted

    def nack(self, now_s: float) -> tuple[int, bytes]:
        """The first missing fragment, and from there on a bit for each that is."""
        first = self._missing.index(1)
        # What is past the grant has not been sent; ask for one at least, so that a lost GRANT does no harm.
        end = min(max(self.granted, first + 1), first + 8 * _BITMAP_BYTES)
        bits = self._missing[first:end].translate(bytes.maketrans(b"\x00\x01", b"01")).decode("ascii")
        bits += "0" * (-len(bits) % 8)
        self._nack_s = min(2 * self._nack_s, _NACK_MOST_S)
        self.nack_at_s = now_s + self._nack_s
        return first, int(bits, 2).to_bytes(len(bits) // 8, "big")

    def reply(self) -> Reply:
        status = self.first.aux >> 24
        named = Status(status) if status in Status._value2member_map_ else status
        return Reply(named, bytes(self._data), self.first.aux & 0xFFFF)


class _Request:
    """One call: its fragments and the reply's. The driver sends what `poll` returns, and waits until `wake_at`."""

    def __init__(
        self,
        request_id: int,
        lambda_id: int,
        payload: bytes,
        options: _Options,
        peer: _Peer,
        room_bytes: int,
        now_s: float,
    ) -> None:
        self.request_id = request_id
        self.result: Union[Reply, LnicError, None] = None
        #: Says that the reply is here; to be sent again if the reply comes again.
        self.acknowledgement: Optional[bytes] = None
        self._lambda_id = lambda_id
        self._payload = payload
        self._options = options
        self._peer = peer
        self._room_bytes = room_bytes
        self._started_s = now_s
        self._deadline_s = now_s + options.timeout_s
        self._out: collections.deque[bytes] = collections.deque()
        self._challenged = False
        self._asks_for_cookie = bool(options.flags & _AT_MOST_ONCE)
        self._reply: Optional[_Assembly] = None
        self._busy: Optional[Reply] = None
        self._busy_s = _BUSY_S
        self._resume_at_s: Optional[float] = None
        self._under_way_s = _UNDER_WAY_S
        self._first_sent_s: Optional[float] = None
        self._ever_whole = False
        self._begin(now_s)

    def _begin(self, now_s: float) -> None:
        """Starts with the first fragment, as if nothing had been sent."""
        cookie = self._peer.cookie
        # What may run only once is bound to the appliance's life: without that it could not be sent twice.
        shown = cookie or (_NO_COOKIE if self._asks_for_cookie else None)
        self._tlvs = self._request_tlvs(shown)
        is_wanted = self._challenged or self._asks_for_cookie
        if cookie and not is_wanted and self._room() < len(self._payload) <= self._options.fragment_bytes:
            # One packet without a cookie that nobody has asked for is better than two with.
            cookie = shown = None
            self._tlvs = self._request_tlvs(None)
        self._size = min(self._options.fragment_bytes, self._room())
        self._fragments = max(-(-len(self._payload) // self._size), 1)
        self._next = 0
        self._sent_s: dict[int, float] = {}
        # Without a cookie there would be no room for the others.
        self._limit = _WINDOW if cookie else 1
        self._shows_cookie = shown is not None
        self._resend: collections.OrderedDict[int, None] = collections.OrderedDict()
        self._retry_s = _RETRY_S
        self._retry_at_s = now_s + _RETRY_S

    def _request_tlvs(self, cookie: Optional[bytes]) -> bytes:
        epoch = self._peer.epoch if self._options.flags & _AT_MOST_ONCE else None
        self._epoch = epoch
        return _encode_tlvs(((_COOKIE, cookie), (_EPOCH, epoch), (_TRACE, self._options.trace)))

    def _room(self) -> int:
        return self._room_bytes - _HEADER.size - len(self._tlvs)

    def wake_at(self) -> float:
        """When to poll again, if nothing arrives before."""
        if self._resume_at_s is not None:
            return min(self._deadline_s, self._resume_at_s)
        return min(self._deadline_s, self._reply.nack_at_s if self._reply else self._retry_at_s)

    def poll(self, now_s: float) -> Optional[bytes]:
        """The next datagram to be sent, or None until `wake_at`."""
        if self._out:
            return self._out.popleft()
        if self.result is not None:
            return None
        if now_s >= self._deadline_s:
            self._give_up()
            return self._out.popleft() if self._out else None
        if self._resume_at_s is not None:
            if now_s < self._resume_at_s:
                return None
            self._resume_at_s = None
            self._begin(now_s)
        if self._reply is not None:
            if now_s < self._reply.nack_at_s:
                return None
            first, bitmap = self._reply.nack(now_s)
            if self._reply.granted > _WINDOW:
                # Perhaps what is missing was never sent, because the GRANT was lost.
                self._out.append(self._control(_Kind.GRANT, self._reply.granted))
            return self._control(_Kind.NACK, first, _encode_tlvs([(_BITMAP, bitmap)]))
        if self._resend:
            index, _ = self._resend.popitem(last=False)
            return self._fragment(index, now_s, _RTX)
        if self._next < min(self._limit, self._fragments):
            self._next += 1
            return self._fragment(self._next - 1, now_s)
        if now_s >= self._retry_at_s:
            datagram = self._fragment(self._next - 1, now_s, _RTX)
            self._retry_s = min(2 * self._retry_s, _RETRY_MOST_S)
            self._retry_at_s = now_s + self._retry_s
            return datagram
        return None

    def _give_up(self) -> None:
        if self._busy is not None:
            self.result = StatusError.of(self._busy, f"until {self._options.timeout_s:g} s were over")
            return
        progress = f"{self._next} of {self._fragments} fragments sent"
        if self._reply is not None:
            progress = f"{self._reply.arrived} of {self._reply.fragments} fragments of the reply arrived"
        self.result = NoReply(f"no reply within {self._options.timeout_s:g} s: {progress}")
        if self._is_remembered():
            self._out.append(self._control(_Kind.CANCEL))

    def _is_remembered(self) -> bool:
        """Whether the appliance keeps anything of this call until it is told that the reply is here."""
        long_reply = self._reply is not None and self._reply.fragments > 1
        return self._fragments > 1 or long_reply or bool(self._options.flags & _AT_MOST_ONCE)

    def _fragment(self, index: int, now_s: float, flags: int = 0) -> bytes:
        budget_us = self._options.budget_us
        if budget_us:
            # What is left of it; 0 would mean none at all.
            budget_us = max(budget_us - int((now_s - self._started_s) * 1e6), 1)
        if self._first_sent_s is None:
            self._first_sent_s = now_s
        # Cleared from the estimate of the round trip: it could be the answer to either.
        elif flags & _RTX:
            self._first_sent_s = float("-inf")
        self._sent_s[index] = now_s
        self._retry_at_s = now_s + self._retry_s
        self._ever_whole |= self._next == self._fragments
        flags |= self._options.flags
        payload = self._payload[index * self._size : (index + 1) * self._size]
        header = self._header(_Kind.REQUEST, flags, len(self._payload), self._size, index, budget_us)
        return _encode(header, self._tlvs, payload)

    def _header(self, kind: _Kind, flags: int, length: int, size: int, index: int, aux: int) -> _Header:
        return _Header(kind, flags, self._lambda_id, self.request_id, length, size, index, aux)

    def _control(self, kind: _Kind, aux: int = 0, tlvs: bytes = b"") -> bytes:
        """A datagram about the message that the other side sends, or would send."""
        length, size = 0, FRAGMENT_BYTES
        if self._reply is not None:
            length, size = self._reply.first.message_length, self._reply.first.fragment_bytes
        return _encode(self._header(kind, self._options.flags & 7, length, size, 0, aux), tlvs)

    def receive(self, datagram: bytes, now_s: float) -> None:
        """Takes a datagram that arrived, whatever it is."""
        decoded = _decode(datagram)
        if decoded is None or self.result is not None:
            return
        header, tlvs, payload = decoded
        if (header.request_id, header.lambda_id) != (self.request_id, self._lambda_id):
            return
        if self._first_sent_s is not None and self._first_sent_s > 0:
            round_trip_s = now_s - self._first_sent_s
            self._under_way_s = min(max(round_trip_s, _UNDER_WAY_S), _UNDER_WAY_MOST_S)
            self._first_sent_s = float("-inf")
        if header.kind == _Kind.REPLY:
            self._peer.epoch = tlvs.get(_EPOCH, self._peer.epoch)
            self._on_reply(header, payload, now_s)
        elif self._reply is not None or self._resume_at_s is not None:
            # About a request that has been answered.
            return
        elif header.kind == _Kind.CHALLENGE and _COOKIE in tlvs:
            self._on_challenge(tlvs, now_s)
        elif header.kind == _Kind.GRANT:
            self._heard(now_s)
            self._limit = max(self._limit, header.aux)
        elif header.kind == _Kind.NACK:
            self._on_nack(header.aux, tlvs.get(_BITMAP, b"\x80"), now_s)

    def _heard(self, now_s: float) -> None:
        """The appliance is at work on this request."""
        self._retry_s = _RETRY_S
        self._retry_at_s = now_s + _RETRY_S

    def _on_challenge(self, tlvs: dict[int, bytes], now_s: float) -> None:
        epoch = tlvs.get(_EPOCH, self._peer.epoch)
        restarted = self._epoch is not None and epoch != self._epoch
        if restarted and self._ever_whole and self._options.flags & _AT_MOST_ONCE:
            stale = Reply(Status.STALE, b"", 0)
            self.result = StatusError.of(stale, "the appliance was restarted; the request may have run")
            return
        # Each fragment under way is answered with the same cookie: the first one counts.
        if self._challenged and tlvs[_COOKIE] == self._peer.cookie and epoch == self._peer.epoch:
            return
        self._challenged = True
        self._peer.cookie, self._peer.epoch = tlvs[_COOKIE], epoch
        self._begin(now_s)

    def _on_nack(self, first: int, bitmap: bytes, now_s: float) -> None:
        self._heard(now_s)
        for at in range(8 * len(bitmap)):
            index = first + at
            if not bitmap[at >> 3] & 0x80 >> (at & 7):
                continue
            if index < self._next:
                if now_s - self._sent_s[index] >= self._under_way_s:
                    self._resend[index] = None
            elif index < self._next + _WINDOW:
                # Not sent yet: to ask for it is to grant it. The GRANT was lost.
                self._limit = max(self._limit, index + 1)

    def _on_reply(self, header: _Header, payload: bytes, now_s: float) -> None:
        offset = header.fragment_index * header.fragment_bytes
        if len(payload) != min(header.fragment_bytes, header.message_length - offset):
            return
        status = header.aux >> 24
        if status == Status.BUSY and self._reply is None:
            self._on_busy(Reply(Status.BUSY, payload, header.aux & 0xFFFF), now_s)
            return
        if status == Status.UNAUTHENTICATED and not payload and not self._shows_cookie:
            # The reply is long and the request was too short for a challenge.
            self._asks_for_cookie = True
            self._begin(now_s)
            return
        if status == Status.UNKNOWN_RPC and not payload:
            # The rest of a reply can be gone, too.
            self._reply = None
        if header.message_length > self._options.reply_bytes:
            self.result = ReplyTooLong(f"reply of {header.message_length} bytes, at most {self._options.reply_bytes}")
            return
        if header.message_length > header.fragment_bytes * _FRAGMENTS:
            return
        if self._reply is None:
            self._reply = _Assembly(header, now_s)
        self._reply.place(header, payload, now_s)
        if not self._reply.is_complete():
            if (granted := self._reply.grant()) is not None:
                self._out.append(self._control(_Kind.GRANT, granted))
            return
        reply = self._reply.reply()
        self.result = reply if reply.status == Status.OK else StatusError.of(reply)
        if self._is_remembered():
            self.acknowledgement = self._control(_Kind.ACK)
            self._out.append(self.acknowledgement)

    def _on_busy(self, reply: Reply, now_s: float) -> None:
        """Nothing of the request was kept: asks again when the appliance says, and ever later if it says it again."""
        if self._resume_at_s is not None:
            return
        self._busy = reply
        wait_s = max(reply.service_us / 1e6, self._busy_s)
        self._busy_s = min(2 * self._busy_s, _BUSY_MOST_S)
        self._resume_at_s = now_s + wait_s * (1 + secrets.randbelow(256) / 1024)


class Client:
    """A caller: one session, one appliance, one call at a time. Use as a context manager, or close it.

    `mtu` bounds the packets that it sends; they are never fragmented by IP.
    """

    def __init__(
        self, address: str, port: int = PORT, *, mtu: int = 1500, reply_bytes: int = MESSAGE_BYTES
    ) -> None:
        family, kind, protocol, _, target = socket.getaddrinfo(address, port, type=socket.SOCK_DGRAM)[0]
        self._target = f"[{target[0]}]:{port}" if family == socket.AF_INET6 else f"{target[0]}:{port}"
        self._room_bytes = mtu - (48 if family == socket.AF_INET6 else 28)
        self._reply_bytes = reply_bytes
        self._session = secrets.randbits(32)
        self._sequence = 0
        self._peer = _Peer()
        self._acknowledged: collections.OrderedDict[int, bytes] = collections.OrderedDict()
        self._socket = socket.socket(family, kind, protocol)
        try:
            self._forbid_fragments(family)
            # For what arrives while Python is at something else; the kernel's limit may be lower.
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
            self._socket.connect(target)
        except BaseException:
            self._socket.close()
            raise

    def _forbid_fragments(self, family: int) -> None:
        if not sys.platform.startswith("linux"):
            return
        # Linux's numbers, which older Pythons have no names for: IPV6_MTU_DISCOVER, IP_MTU_DISCOVER; PMTUDISC_DO.
        if family == socket.AF_INET6:
            self._socket.setsockopt(socket.IPPROTO_IPV6, 23, 2)
        else:
            self._socket.setsockopt(socket.IPPROTO_IP, 10, 2)

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the socket."""
        self._socket.close()

    def call(
        self,
        lambda_id: int,
        payload: bytes = b"",
        *,
        timeout: float = 2.0,
        budget_us: Optional[int] = None,
        idempotent: bool = False,
        at_most_once: bool = False,
        priority: int = 0,
        trace: Union[bytes, str, None] = None,
        fragment_bytes: int = FRAGMENT_BYTES,
    ) -> Reply:
        """Calls a lambda and waits up to `timeout` seconds for its reply, which has status OK.

        Raises a `StatusError` for any other status, `NoReply`, `Refused` or `ReplyTooLong`. The appliance stops working
        for a call after `budget_us`. A request may run again if its reply was lost, unless it is to run `at_most_once`;
        `idempotent` says that this does no harm. `priority` is 0–7, 7 first, among requests for the same lambda.
        `trace` is a W3C traceparent, as text or as 25 bytes. A payload over `fragment_bytes` goes in several packets.
        """
        largest = self._room_bytes - _HEADER.size
        _check("lambda_id", lambda_id, 0, 0xFFFFFFFF)
        _check("budget_us", budget_us or 0, 0, 0xFFFFFFFF)
        _check("priority", priority, 0, 7)
        _check("fragment_bytes", fragment_bytes, 64, largest)
        _check("payload bytes", len(payload), 0, min(MESSAGE_BYTES, fragment_bytes * _FRAGMENTS))
        if idempotent and at_most_once:
            raise ValueError("a request is idempotent, or runs at most once")
        flags = priority | (_IDEMPOTENT if idempotent else 0) | (_AT_MOST_ONCE if at_most_once else 0)
        traceparent = _traceparent(trace)
        options = _Options(timeout, budget_us or 0, flags, traceparent, fragment_bytes, self._reply_bytes)
        self._sequence = (self._sequence + 1) & 0xFFFFFFFF
        request_id = self._session << 32 | self._sequence
        now_s = time.monotonic()
        request = _Request(
            request_id, lambda_id, bytes(payload), options, self._peer, self._room_bytes, now_s
        )
        # An ICMP error that an earlier call left behind is not this call's.
        self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        try:
            result = self._drive(request)
        except ConnectionRefusedError as error:
            raise Refused(f"{self._target} refuses: nothing listens on this UDP port") from error
        except OSError as error:
            raise LnicError(f"UDP socket to {self._target}: {error}") from error
        if request.acknowledgement is not None:
            self._acknowledged[request_id] = request.acknowledgement
            while len(self._acknowledged) > _ACKNOWLEDGED:
                self._acknowledged.popitem(last=False)
        if isinstance(result, Reply):
            return result
        raise result

    def _drive(self, request: _Request) -> Union[Reply, LnicError]:
        while True:
            # What has arrived may make sending needless.
            self._receive(request, 0.0)
            datagram = request.poll(time.monotonic())
            if datagram is not None:
                self._send(datagram)
            elif request.result is not None:
                return request.result
            else:
                # The kernel waits at least this long; 0 would mean not at all.
                self._receive(request, max(request.wake_at() - time.monotonic(), 1e-4))

    def _send(self, datagram: bytes) -> None:
        self._socket.setblocking(True)
        self._socket.send(datagram)

    def _receive(self, request: _Request, wait_s: float) -> None:
        self._socket.settimeout(wait_s)
        try:
            datagram = self._socket.recv(1 << 16)
        except (BlockingIOError, socket.timeout):
            return
        request.receive(datagram, time.monotonic())
        # The reply to an earlier call again: its acknowledgement was lost.
        if self._acknowledged and len(datagram) >= _HEADER.size and datagram[1] >> 4 == _Kind.REPLY:
            acknowledgement = self._acknowledged.get(int.from_bytes(datagram[8:16], "big"))
            if acknowledgement is not None:
                self._send(acknowledgement)


def _check(name: str, value: int, least: int, most: int) -> None:
    if not least <= value <= most:
        raise ValueError(f"{name} is {value}: must be {least}–{most}")


def _traceparent(trace: Union[bytes, str, None]) -> Optional[bytes]:
    """Version, trace ID and parent ID of a traceparent; its flags do not travel."""
    if isinstance(trace, str):
        parts = trace.split("-")
        if [len(part) for part in parts] != [2, 32, 16, 2]:
            raise ValueError(f"trace {trace!r}: no W3C traceparent")
        trace = bytes.fromhex("".join(parts[:3]))
    if trace is not None and len(trace) != _TLV_LENGTHS[_TRACE]:
        raise ValueError(f"trace of {len(trace)} bytes: must be {_TLV_LENGTHS[_TRACE]}")
    return trace


def _arguments(arguments: Optional[Sequence[str]]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Calls a lambda of an lnic appliance and writes its reply.")
    parser.add_argument("host", help="address or name of the appliance")
    parser.add_argument("lambda_id", type=lambda text: int(text, 0), help="number of the lambda")
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--file", help="what to send; - for the standard input")
    source.add_argument("--text", help="text to send")
    parser.add_argument("--output", help="where the reply goes; default: the standard output")
    parser.add_argument("--port", type=int, default=PORT, help="UDP port (default %(default)s)")
    parser.add_argument("--timeout", type=float, default=2.0, metavar="S", help="seconds (default %(default)s)")
    parser.add_argument("--budget-us", type=int, metavar="US", help="longest time for the appliance")
    parser.add_argument("--fragment-bytes", type=int, default=FRAGMENT_BYTES, metavar="N", help="default: %(default)s")
    parser.add_argument("--priority", type=int, default=0, metavar="0-7")
    parser.add_argument("--trace", metavar="TRACEPARENT", help="W3C trace context")
    times = parser.add_mutually_exclusive_group()
    times.add_argument("--idempotent", action="store_true", help="may run more than once")
    times.add_argument("--at-most-once", action="store_true", help="must not run twice")
    return parser.parse_args(arguments)


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """The command: exit code 0 for OK, 1 for another status, 2 for wrong arguments, 3 if there is no reply."""
    given = _arguments(arguments)
    try:
        payload = (given.text or "").encode()
        if given.file == "-":
            payload = sys.stdin.buffer.read()
        elif given.file is not None:
            with open(given.file, "rb") as file:
                payload = file.read()
        with Client(given.host, given.port) as client:
            reply = client.call(
                given.lambda_id,
                payload,
                timeout=given.timeout,
                budget_us=given.budget_us,
                idempotent=given.idempotent,
                at_most_once=given.at_most_once,
                priority=given.priority,
                trace=given.trace,
                fragment_bytes=given.fragment_bytes,
            )
        if given.output is None:
            sys.stdout.buffer.write(reply.payload)
            sys.stdout.buffer.flush()
        else:
            with open(given.output, "wb") as file:
                file.write(reply.payload)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except StatusError as error:
        print(f"lnic.py: {error}", file=sys.stderr)
        return 1
    except LnicError as error:
        print(f"lnic.py: {error}", file=sys.stderr)
        return 3
    except (OSError, ValueError) as error:
        print(f"lnic.py: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
