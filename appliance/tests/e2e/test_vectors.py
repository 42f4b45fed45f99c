"""The encoder of these tests against the vectors of the specification."""

import pytest
from scapy.layers.inet import IP, UDP
from scapy.packet import Raw

from lambda_rpc import KINDS, PORT, LambdaRpc, crc32c

REQUEST = "a104900000000007c0ffee01000000010000000d0400000000001388cf892e5268656c6c6f2c206c616d626461"
REPLY = "a114800000000007c0ffee01000000010000000d040000000020002a8647ed5448454c4c4f2c204c414d424441"


def test_crc32c():
    assert crc32c(b"123456789") == 0xE3069283
    assert crc32c(b"") == 0


def test_request_vector():
    packet = LambdaRpc(
        flags="CRC+AT_MOST_ONCE", lambda_id=7, session=0xC0FFEE01, sequence=1, aux=5000
    ) / Raw(b"hello, lambda")
    assert bytes(packet).hex() == REQUEST
    parsed = LambdaRpc(bytes.fromhex(REQUEST))
    assert (parsed.kind, parsed.words, parsed.lambda_id, parsed.message_length) == (0, 4, 7, 13)
    assert (parsed.request_id, parsed.body) == ((0xC0FFEE01, 1), b"hello, lambda")
    assert parsed.crc_is_right()


def test_reply_vector():
    packet = LambdaRpc(
        kind="RSP", lambda_id=7, session=0xC0FFEE01, sequence=1, aux=0x0020002A
    ) / Raw(b"HELLO, LAMBDA")
    assert bytes(packet).hex() == REPLY
    parsed = LambdaRpc(bytes.fromhex(REPLY))
    assert (KINDS[parsed.kind], parsed.status, parsed.credit, parsed.service_us) == ("RSP", 0, 32, 42)
    assert parsed.crc_is_right()


@pytest.mark.parametrize("at", range(0, 45))
def test_every_byte_is_under_the_crc(at):
    damaged = bytearray.fromhex(REQUEST)
    damaged[at] ^= 1
    parsed = LambdaRpc(bytes(damaged))
    # The CRC's own bytes are not summed, but then they are not the sum any more.
    assert not parsed.crc_is_right()


def test_tlvs_lie_in_the_header():
    trace = b"\x02\x19" + bytes(25)
    packet = LambdaRpc(tlvs=trace + bytes(-len(trace) % 8)) / Raw(b"payload")
    parsed = LambdaRpc(bytes(packet))
    assert (parsed.words, parsed.body, parsed.message_length) == (8, b"payload", 7)
    assert parsed.tlvs[:27] == trace


def test_scapy_knows_it_by_its_port():
    packet = IP(bytes(IP() / UDP(sport=50000, dport=PORT) / LambdaRpc(lambda_id=3) / Raw(b"x")))
    assert packet[LambdaRpc].lambda_id == 3
