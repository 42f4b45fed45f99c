"""λ-RPC version 1 as the specification of the wire format has it; shares no code with the appliance.

`LambdaRpc` fills in header length, message length and CRC unless they are given, so that a test can send wrong ones.
"""

from scapy.fields import (
    BitEnumField,
    BitField,
    FlagsField,
    IntField,
    ShortField,
    StrLenField,
    XByteField,
    XIntField,
)
from scapy.layers.inet import UDP
from scapy.packet import Packet, bind_layers

PORT = 4793
HEADER_BYTES = 32
FRAGMENT_BYTES = 1024

KINDS = ["REQ", "RSP", "NACK", "GRANT", "CHAL", "ACK", "PING", "PONG", "CANCEL"]

OK = 0
INVALID_ARGUMENT = 3
DEADLINE_EXCEEDED = 4
NOT_FOUND = 5
RESOURCE_EXHAUSTED = 8
OUT_OF_RANGE = 11
UNIMPLEMENTED = 12
INTERNAL = 13
UNAVAILABLE = 14
UNAUTHENTICATED = 16
BUSY = 32
UNKNOWN_RPC = 33

# From bit 3 up; the three below are the priority.
FLAGS = ["b3", "b4", "b5", "b6", "b7", "b8", "b9", "CE", "NOREPLY", "AT_MOST_ONCE", "IDEMPOTENT", "RTX", "CRC"]

CRC_OFFSET = 28


def _table():
    """CRC32C of each byte: Castagnoli's polynomial, bits reversed."""
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    return table


_TABLE = _table()


def crc32c(data):
    """CRC32C of `data`."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ _TABLE[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


def datagram_crc(datagram):
    """CRC of a datagram, its own field taken as zero."""
    return crc32c(datagram[:CRC_OFFSET] + bytes(4) + datagram[CRC_OFFSET + 4 :])


class LambdaRpc(Packet):
    """A header with its TLVs; what follows is the payload."""

    name = "LambdaRpc"
    fields_desc = [
        XByteField("magic_version", 0xA1),
        BitEnumField("kind", 0, 4, KINDS),
        BitField("words", None, 4),
        FlagsField("flags", "CRC", 13, FLAGS),
        BitField("priority", 0, 3),
        IntField("lambda_id", 0),
        XIntField("session", 0),
        IntField("sequence", 0),
        IntField("message_length", None),
        ShortField("fragment_bytes", FRAGMENT_BYTES),
        ShortField("fragment_index", 0),
        XIntField("aux", 0),
        XIntField("crc", None),
        StrLenField("tlvs", b"", length_from=lambda packet: max((packet.words or 4) * 8 - HEADER_BYTES, 0)),
    ]

    def post_build(self, header, payload):
        """Fills in what depends on the rest."""
        header = bytearray(header)
        if self.words is None:
            header[1] |= len(header) // 8
        if self.message_length is None:
            header[16:20] = len(payload).to_bytes(4, "big")
        if self.crc is None and self.flags.CRC:
            header[CRC_OFFSET : CRC_OFFSET + 4] = datagram_crc(bytes(header) + payload).to_bytes(4, "big")
        return bytes(header) + payload

    @property
    def request_id(self):
        """What ties a reply to its request."""
        return self.session, self.sequence

    @property
    def status(self):
        """Of a reply."""
        return self.aux >> 24

    @property
    def credit(self):
        """Of a reply."""
        return self.aux >> 16 & 0xFF

    @property
    def service_us(self):
        """Of a reply."""
        return self.aux & 0xFFFF

    @property
    def body(self):
        """The payload's bytes."""
        return bytes(self.payload)

    def crc_is_right(self):
        """True if the CRC is the datagram's; meaningful for packets that were dissected."""
        return self.crc == datagram_crc(bytes(self.original))


bind_layers(UDP, LambdaRpc, sport=PORT)
bind_layers(UDP, LambdaRpc, dport=PORT)
