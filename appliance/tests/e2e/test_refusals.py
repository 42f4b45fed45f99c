"""Frames that are wrong: each is dropped, under the name of what is wrong with it, and never answered."""

import pytest
from scapy.layers.inet import IP, fragment
from scapy.layers.inet6 import IPv6ExtHdrDestOpt, IPv6ExtHdrFragment
from scapy.packet import Raw

from frames import ECHO, assert_well_formed, exchange, frame, ipv4, ipv6, is_reply, request, rpc, udp
from lambda_rpc import CRC_OFFSET, KINDS, UNKNOWN_RPC, LambdaRpc

PAYLOAD = b"hello, lambda"


@pytest.fixture
def wire(silent):
    """The peer's end of the wire. Whatever a test does, the appliance answers after it."""
    with silent.wire() as opened:
        yield opened
        opened.drain()
        assert exchange(opened, request(silent, rpc(ECHO, b"alive")))[LambdaRpc].body == b"alive"


def refused(silent, wire, frames, **drops):
    """Sends frames. Each has to be dropped, for these reasons and as often, and none answered."""
    frames = list(frames)
    assert sum(drops.values()) == len(frames)
    with silent.appliance.counting() as counted:
        for packet in frames:
            wire.send(packet)
    assert counted.drops == drops
    assert counted.frames == {"received": len(frames), "dropped": len(frames)}
    assert not any(counted.lambdas.values())
    assert not [data for data in wire.drain() if is_reply(data)]


def damaged(at, value):
    """A datagram with another byte at `at`."""
    data = bytearray(bytes(rpc(ECHO, PAYLOAD)))
    assert data[at] != value
    data[at] = value
    return bytes(data)


@pytest.mark.parametrize("version", [4, 6])
def test_wrong_crc(silent, wire, version):
    good = bytes(rpc(ECHO, PAYLOAD))
    # Bytes whose every value is otherwise allowed: IDs, and all from the CRC on.
    places = [*range(4, 16), *range(CRC_OFFSET, len(good))]
    datagrams = [damaged(at, good[at] ^ 0x40) for at in places if at not in range(8, 16)]
    datagrams += [bytes(rpc(ECHO, PAYLOAD, crc=0)), bytes(rpc(ECHO, PAYLOAD, crc=0xFFFFFFFF))]
    refused(silent, wire, [request(silent, data, version) for data in datagrams], rpc_crc=len(datagrams))


@pytest.mark.parametrize("first", [0xA0, 0xA2, 0xAF, 0x01, 0xB1, 0x00, 0xFF])
def test_wrong_magic_or_version(silent, wire, first):
    refused(silent, wire, [request(silent, damaged(0, first))], rpc_version=1)


def test_types_that_only_a_client_receives(silent, wire):
    frames = [request(silent, rpc(ECHO, PAYLOAD, kind=kind)) for kind in ("RSP", "CHAL", "PONG")]
    refused(silent, wire, frames, rpc_type=3)


def test_words_about_messages_that_nobody_knows(silent, wire):
    frames = [request(silent, rpc(ECHO, kind=kind)) for kind in ("ACK", "CANCEL")]
    refused(silent, wire, frames, message_unknown=2)
    # Who waits for more of a reply is told that there is none.
    for kind in ("NACK", "GRANT"):
        reply = exchange(wire, request(silent, rpc(ECHO, kind=kind)))
        answer = reply[LambdaRpc]
        assert (KINDS[answer.kind], answer.status, answer.body) == ("RSP", UNKNOWN_RPC, b"")


def test_unknown_types_and_short_headers(silent, wire):
    unknown = [request(silent, rpc(ECHO, PAYLOAD, kind=kind)) for kind in range(9, 16)]
    short = [request(silent, rpc(ECHO, PAYLOAD, words=words)) for words in range(4)]
    refused(silent, wire, unknown + short, rpc_header=11)


def test_headers_longer_than_the_datagram(silent, wire):
    frames = [request(silent, rpc(ECHO, PAYLOAD, words=words)) for words in range(6, 16)]
    refused(silent, wire, frames, rpc_truncated=10)


def test_lengths_that_disagree(silent, wire):
    wrong = [rpc(ECHO, PAYLOAD, message_length=length) for length in (0, 1, 12, 14, 1024)]
    wrong.append(rpc(ECHO, PAYLOAD, fragment_index=1))
    refused(silent, wire, [request(silent, packet) for packet in wrong], rpc_length=6)


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("flags, reason", [("CRC", "rpc_crc"), (0, "rpc_length")])
def test_datagrams_cut_at_every_length(silent, wire, version, flags, reason):
    """The packet around them is right: the sender itself has sent too little."""
    whole = bytes(rpc(ECHO, PAYLOAD, flags=flags))
    frames = [request(silent, whole[:length], version) for length in range(len(whole))]
    refused(silent, wire, frames, rpc_truncated=32, **{reason: len(PAYLOAD)})


@pytest.mark.parametrize("version", [4, 6])
def test_frames_cut_at_every_length(silent, wire, version):
    """From the Ethernet header on; the kernel sends nothing shorter."""
    whole = bytes(request(silent, rpc(ECHO, PAYLOAD), version))
    network = 20 if version == 4 else 40
    frames = [whole[:length] for length in range(14, len(whole))]
    refused(silent, wire, frames, truncated=network, ip_length=len(whole) - 14 - network)


def test_tagged_frames_cut_in_the_tag(silent, wire):
    whole = bytes(request(silent, rpc(ECHO, PAYLOAD), vlan=5))
    if silent.driver == "af_packet":
        pytest.skip("the kernel drops a cut tag itself")
    refused(silent, wire, [whole[:length] for length in range(14, 18)], truncated=4)


def test_wrong_checksums(silent, wire):
    good = rpc(ECHO, PAYLOAD)
    refused(silent, wire, [frame(silent, ipv4(udp(good, chksum=0xBAD0)))], udp_checksum=1)
    refused(silent, wire, [frame(silent, ipv6(udp(good, chksum=0xBAD0)))], udp_checksum=1)
    refused(silent, wire, [frame(silent, ipv6(udp(good, chksum=0)))], udp_checksum=1)
    refused(silent, wire, [frame(silent, ipv4(udp(good), chksum=0xBAD0))], ip_checksum=1)


def test_wrong_lengths(silent, wire):
    good = rpc(ECHO, PAYLOAD)
    lengths = [0, 7, 8 + 32 + 14, 65535]
    frames = [frame(silent, ipv4(udp(good, len=length))) for length in lengths]
    refused(silent, wire, frames, udp_length=4)
    frames = [frame(silent, ipv4(udp(good), len=length)) for length in (74, 1500, 65535)]
    refused(silent, wire, frames, ip_length=3)
    refused(silent, wire, [frame(silent, ipv6(udp(good), plen=54))], ip_length=1)


def test_headers_that_are_none(silent, wire):
    frames = [frame(silent, ipv4(udp(rpc(ECHO)), ihl=4)), frame(silent, ipv4(udp(rpc(ECHO)), version=5))]
    frames.append(frame(silent, ipv6(udp(rpc(ECHO)), version=7)))
    refused(silent, wire, frames, ip_header=3)


def test_extension_headers_without_end(silent, wire):
    chain = [IPv6ExtHdrDestOpt() for _ in range(40)]
    refused(silent, wire, [frame(silent, ipv6(*chain, udp(rpc(ECHO))))], ipv6_extension=1)


def test_ipv6_fragments(silent, wire):
    whole = bytes(udp(rpc(ECHO, PAYLOAD)))
    first = ipv6(IPv6ExtHdrFragment(id=1, m=1, nh=17), Raw(whole[:24]))
    last = ipv6(IPv6ExtHdrFragment(id=1, offset=3, nh=17), Raw(whole[24:]))
    refused(silent, wire, [frame(silent, first), frame(silent, last)], fragment=2)


def ipv4_fragments(silent, identification):
    """A request in three frames, and the request."""
    packet = rpc(ECHO, PAYLOAD)
    parts = fragment(IP(bytes(ipv4(udp(packet), flags=0, id=identification))), fragsize=24)
    assert len(parts) == 3
    return [frame(silent, part) for part in parts], packet


def test_ipv4_fragments(silent, wire):
    if silent.driver == "af_packet":
        pytest.skip("the kernel puts fragments together for AF_PACKET")
    refused(silent, wire, ipv4_fragments(silent, 1)[0], fragment=3)


def test_ipv4_fragments_that_the_kernel_puts_together(silent, wire):
    """AF_PACKET's fanout does so: the appliance sees the whole datagram, or nothing of it."""
    if silent.driver != "af_packet":
        pytest.skip("only AF_PACKET does so")
    parts, packet = ipv4_fragments(silent, 2)
    with silent.appliance.counting() as counted:
        for part in parts[:-1]:
            wire.send(part)
    assert not counted.frames
    wire.send(parts[-1])
    data = wire.receive(2, is_reply)
    reply = type(parts[0])(data)
    assert_well_formed(reply)
    assert (reply[LambdaRpc].request_id, reply[LambdaRpc].body) == (packet.request_id, PAYLOAD)


def test_what_nobody_wants(silent, wire):
    frames = [
        frame(silent, b"LLDP or so", type=0x88CC),
        frame(silent, ipv4(b"GRE or so", proto=47)),
        frame(silent, ipv4(udp(b"another port", port=9))),
        frame(silent, ipv4(udp(rpc(ECHO, PAYLOAD)), dst="10.77.0.200")),
    ]
    refused(silent, wire, frames, unmatched=4)
