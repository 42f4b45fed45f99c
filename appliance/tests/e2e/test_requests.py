"""Requests that a peer made by hand: every shape that has to be answered, and those that must not be."""

import json

import pytest
from scapy.layers.inet import IPOption_EOL, IPOption_NOP, IPOption_RR
from scapy.layers.inet6 import IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrHopByHop, IPv6ExtHdrRouting, PadN
from scapy.layers.l2 import Dot1Q, Ether
from scapy.utils import wrpcap

import lambda_rpc
from frames import (
    ECHO,
    PEER_MAC,
    WEB_SERVER,
    assert_well_formed,
    exchange,
    frame,
    ipv4,
    ipv6,
    is_reply,
    request,
    rpc,
    udp,
)
from lambda_rpc import KINDS, LambdaRpc
from namespaces import run


@pytest.fixture
def wire(silent):
    """The peer's end of the wire."""
    with silent.wire() as opened:
        yield opened


def ask(silent, wire, packet, payload, status=lambda_rpc.OK):
    """Sends a request; its reply, which has to be of this status and payload."""
    reply = exchange(wire, packet)
    assert reply is not None, "no reply"
    assert_well_formed(reply)
    assert (reply.src, reply.dst) == (silent.mac, PEER_MAC)
    answer = reply[LambdaRpc]
    assert (KINDS[answer.kind], answer.status, answer.body) == ("RSP", status, payload)
    assert answer.lambda_id == packet[LambdaRpc].lambda_id
    return reply


@pytest.mark.parametrize("version", [4, 6])
def test_payloads_of_every_size(silent, wire, version):
    most = 1440 if version == 4 else 1420
    with silent.appliance.counting() as counted:
        for size in (0, 1, 2, 3, 4, 13, 17, 18, 19, 64, 255, 512, 1000, 1023, 1024, most - 1, most):
            payload = bytes(number * 7 & 0xFF for number in range(size))
            ask(silent, wire, request(silent, rpc(ECHO, payload, fragment_bytes=most), version), payload)
    assert counted.frames == {"received": 17, "sent": 17}
    assert not counted.drops
    assert counted.lambdas["echo"]["forwarded"] == 17


def test_without_crc_the_reply_has_none(silent, wire):
    reply = ask(silent, wire, request(silent, rpc(ECHO, b"no CRC", flags=0)), b"no CRC")
    assert not reply[LambdaRpc].flags.CRC


def test_tlvs_are_no_payload(silent, wire):
    trace = b"\x02\x19" + bytes(25)
    packet = request(silent, rpc(ECHO, b"payload", tlvs=trace + bytes(-len(trace) % 8)))
    ask(silent, wire, packet, b"payload")


def test_udp_without_checksum(silent, wire):
    ask(silent, wire, frame(silent, ipv4(udp(rpc(ECHO, b"x"), chksum=0))), b"x")


def test_ethernet_padding_is_no_payload(silent, wire):
    padded = Ether(bytes(request(silent, rpc(ECHO, b"x"))) + bytes(30))
    ask(silent, wire, padded, b"x")


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("vlan", [0, 1, 5, 4094])
def test_a_tagged_request_has_a_tagged_reply(silent, wire, version, vlan):
    reply = ask(silent, wire, request(silent, rpc(ECHO, b"tagged"), version, vlan=vlan), b"tagged")
    assert Dot1Q in reply and reply[Dot1Q].vlan == vlan


def test_untagged_requests_have_untagged_replies(silent, wire):
    assert Dot1Q not in ask(silent, wire, request(silent, rpc(ECHO, b"plain")), b"plain")


@pytest.mark.parametrize(
    "options",
    [
        [IPOption_NOP(), IPOption_NOP(), IPOption_NOP(), IPOption_EOL()],
        [IPOption_RR(routers=["0.0.0.0"] * 9)],
        [IPOption_NOP()] * 40,
    ],
    ids=["padding", "record-route", "forty-bytes"],
)
def test_ipv4_options(silent, wire, options):
    ask(silent, wire, frame(silent, ipv4(udp(rpc(ECHO, b"options")), options=options)), b"options")


@pytest.mark.parametrize(
    "extensions",
    [
        [IPv6ExtHdrHopByHop(options=[PadN(optdata=bytes(4))])],
        [IPv6ExtHdrDestOpt(options=[PadN(optdata=bytes(12))])],
        [IPv6ExtHdrRouting(segleft=0, addresses=["fd77::3"])],
        [IPv6ExtHdrHopByHop(options=[PadN(optdata=bytes(4))]), IPv6ExtHdrDestOpt(options=[PadN(optdata=bytes(4))])],
    ],
    ids=["hop-by-hop", "destination", "routing", "two"],
)
def test_ipv6_extension_headers(silent, wire, extensions):
    packet = frame(silent, ipv6(*extensions, udp(rpc(ECHO, b"extensions"))))
    reply = ask(silent, wire, packet, b"extensions")
    assert reply[IPv6].src == "fd77::1"


def test_unknown_lambda(silent, wire):
    with silent.appliance.counting() as counted:
        for version in (4, 6):
            packet = request(silent, rpc(99, b"anybody?"), version)
            ask(silent, wire, packet, b"", status=lambda_rpc.UNIMPLEMENTED)
    assert counted.frames == {"received": 2, "sent": 2, "unknown_lambda": 2}


def test_a_status_of_the_lambda(silent, wire):
    reply = ask(silent, wire, request(silent, rpc(WEB_SERVER, b"GET /robots.txt")), b"User-agent: *\nDisallow:\n")
    assert reply[LambdaRpc].service_us < 1_000_000
    missing = request(silent, rpc(WEB_SERVER, b"GET /missing"))
    ask(silent, wire, missing, b"404: no such page\n", status=lambda_rpc.NOT_FOUND)


def challenged(silent, wire, packet):
    """Sends a request, which has to be answered by a challenge that is no longer; its cookie as TLVs."""
    reply = exchange(wire, packet)
    assert reply is not None, "no reply"
    assert_well_formed(reply)
    assert (reply.src, KINDS[reply[LambdaRpc].kind], reply[LambdaRpc].body) == (silent.mac, "CHAL", b"")
    assert len(reply) <= len(packet)
    # The cookie is the first; the epoch comes behind it.
    tlvs = reply[LambdaRpc].tlvs
    assert tlvs[:2] == b"\x01\x08" and len(tlvs) == 16
    return tlvs[:10] + bytes(6)


def test_several_fragments_are_refused_with_a_status(silent, wire):
    """A lambda without slots has no place for them. That is said to whoever shows a cookie."""
    several = {"message_length": 5000}
    with silent.appliance.counting() as counted:
        cookie = challenged(silent, wire, request(silent, rpc(ECHO, bytes(1024), **several)))
        packet = request(silent, rpc(ECHO, bytes(1024), tlvs=cookie, **several))
        ask(silent, wire, packet, b"", status=lambda_rpc.UNIMPLEMENTED)
    assert counted.frames == {"received": 2, "sent": 2}
    assert not counted.lambdas.get("echo")


@pytest.mark.parametrize("version", [4, 6])
def test_a_reply_of_over_three_times_its_request_wants_a_cookie(silent, wire, version):
    page = request(silent, rpc(WEB_SERVER, b"GET /", tlvs=b"\x01\x08" + bytes(14)), version)
    with silent.appliance.counting() as counted:
        cookie = challenged(silent, wire, page)
        answer = exchange(wire, request(silent, rpc(WEB_SERVER, b"GET /", tlvs=cookie), version))[LambdaRpc]
        assert (KINDS[answer.kind], answer.status, answer.body[:15]) == ("RSP", lambda_rpc.OK, b"<!doctype html>")
        # A cookie of another source is none.
        stranger = frame(silent, ipv4(udp(rpc(WEB_SERVER, b"GET /", tlvs=cookie)), src="10.77.0.98"))
        assert KINDS[exchange(wire, stranger)[LambdaRpc].kind] == "CHAL"
        # There is no room for a challenge in answer to less.
        short = request(silent, rpc(WEB_SERVER, b"GET /"), version)
        ask(silent, wire, short, b"", status=lambda_rpc.UNAUTHENTICATED)
    assert counted.frames == {"received": 4, "sent": 4, "challenged": 3}


def test_ping_is_answered_with_pong(silent, wire):
    with silent.appliance.counting() as counted:
        for version in (4, 6):
            reply = exchange(wire, request(silent, rpc(0, kind="PING"), version))
            assert_well_formed(reply)
            assert (KINDS[reply[LambdaRpc].kind], reply[LambdaRpc].body) == ("PONG", b"")
    assert counted.frames == {"received": 2, "sent": 2, "pongs": 2}


def test_no_reply_means_none(silent, wire):
    with silent.appliance.counting() as counted:
        for lambda_id in (ECHO, 99):
            wire.send(request(silent, rpc(lambda_id, b"quiet", flags="CRC+NOREPLY")))
    assert counted.frames == {"received": 2, "dropped": 2, "unknown_lambda": 1}
    assert counted.drops == {"rpc_no_reply": 2}
    assert counted.lambdas["echo"]["invocations"] == 1
    assert not [data for data in wire.drain() if is_reply(data)]


@pytest.mark.parametrize("source", ["255.255.255.255", "224.0.0.1", "239.1.2.3", "0.0.0.0", "ff02::1", "::"])
def test_sources_that_are_not_one_host_are_not_answered(silent, wire, source):
    message = udp(rpc(ECHO, b"x"))
    packet = ipv6(message, src=source) if ":" in source else ipv4(message, src=source)
    with silent.appliance.counting() as counted:
        wire.send(frame(silent, packet))
    assert counted.drops == {"source_address": 1}
    assert not wire.drain()


def test_broadcast_mac_addresses_are_not_answered(silent, wire):
    with silent.appliance.counting() as counted:
        wire.send(request(silent, rpc(ECHO, b"x"), src="ff:ff:ff:ff:ff:ff"))
        wire.send(request(silent, rpc(ECHO, b"x"), dst="ff:ff:ff:ff:ff:ff"))
    assert counted.drops["source_address"] == 1
    assert (counted.frames["received"], counted.frames["sent"], counted.frames["dropped"]) == (2, 0, 2)
    assert not wire.drain()


def test_frames_for_another_mac_are_not_ours(silent, wire):
    with silent.appliance.counting() as counted:
        wire.send(request(silent, rpc(ECHO, b"x"), dst="02:00:00:00:00:77"))
    assert counted.drops == {"not_our_mac": 1}


@pytest.mark.parametrize("version", [4, 6])
def test_tshark_finds_nothing_wrong(silent, wire, version, tmp_path):
    replies = [
        exchange(wire, request(silent, rpc(lambda_id, payload), version, vlan=vlan))
        for lambda_id, payload in ((ECHO, b"odd"), (ECHO, bytes(1024)), (WEB_SERVER, b"GET /"), (99, b""))
        for vlan in (None, 5)
    ]
    capture = tmp_path / "replies.pcap"
    wrpcap(str(capture), replies)
    options = ["-o", "udp.check_checksum:TRUE", "-o", "ip.check_checksum:TRUE"]
    packets = json.loads(run("tshark", "-r", str(capture), *options, "-T", "json").stdout)
    assert len(packets) == 8
    for packet in packets:
        layers = packet["_source"]["layers"]
        assert "_ws.malformed" not in layers, layers
        assert layers["udp"]["udp.srcport"] == "4793"
        # 1 is good; 2, not checked.
        assert layers["udp"]["udp.checksum.status"] == "1", layers["udp"]
        if version == 4:
            assert layers["ip"]["ip.checksum.status"] == "1", layers["ip"]
