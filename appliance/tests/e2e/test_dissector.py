"""The Wireshark dissector, client/wireshark/lnic.lua, as tshark runs it."""

import json
import random

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Raw
from scapy.utils import rdpcap, wrpcap

import lambda_rpc
import lnic
import namespaces
from conftest import ROOT, require
from frames import ECHO, WEB_SERVER
from labs import DRIVERS, IPV4, IPV6, PEER_IPV4, PEER_IPV6
from lambda_rpc import LambdaRpc
from rpc_peer import BITMAP, COOKIE, EPOCH, TRACE

SCRIPT = ROOT / "client" / "wireshark" / "lnic.lua"
CLIENT, SERVER = "10.77.0.2", "10.77.0.1"
CLIENT_PORT = 50000

#: Of lnic.crc.status.
BAD, GOOD, UNCHECKED = "0", "1", "2"


def tshark(capture, *options, timeout=120):
    """What tshark writes about a capture, in two passes; no Lua error may be in it."""
    command = ["tshark", "-2", "-n", "-X", f"lua_script:{SCRIPT}", "-r", str(capture), *options]
    done = namespaces.run(*command, timeout=timeout)
    for text in (done.stdout, done.stderr):
        assert "Lua Error" not in text and "lua:" not in text.lower(), text[:2000]
    return done.stdout


def _flatten(layer, found):
    for name, value in layer.items():
        for each in value if isinstance(value, list) else [value]:
            if isinstance(each, dict):
                _flatten(each, found)
            else:
                found.setdefault(name, []).append(each)
    return found


def decode(capture, *options):
    """The fields of each frame, lists by name; {} for frames that are not λ-RPC."""
    packets = json.loads(tshark(capture, "-T", "json", "--no-duplicate-keys", *options))
    return [_flatten(packet["_source"]["layers"].get("lnic", {}), {}) for packet in packets]


def only(fields, name):
    """The one value of a field."""
    (value,) = fields[name]
    return value


def expert(fields):
    """The expert messages of a frame that are more than chat."""
    return [text for text in fields.get("_ws.expert.message", []) if not text.startswith("CRC is right")]


@pytest.fixture(scope="module", autouse=True)
def tools():
    """tshark itself."""
    require(namespaces.run("tshark", "--version", check=False).returncode == 0, "needs tshark: scripts/setup.sh --test")


@pytest.fixture
def capture(tmp_path):
    """Writes datagrams as a capture: pairs of whether the client sent it, and what."""

    def write(datagrams, port=lambda_rpc.PORT, name="made.pcap"):
        packets = []
        for number, (from_client, message) in enumerate(datagrams):
            ip = IP(src=CLIENT, dst=SERVER) if from_client else IP(src=SERVER, dst=CLIENT)
            ports = (CLIENT_PORT, port) if from_client else (port, CLIENT_PORT)
            layer = Raw(message) if isinstance(message, bytes) else message
            udp = UDP(sport=ports[0], dport=ports[1])
            packet = Ether(src="02:00:00:00:00:02", dst="02:00:00:00:00:01") / ip / udp / layer
            packet.time = 1_700_000_000 + number / 1000
            packets.append(packet)
        path = tmp_path / name
        wrpcap(str(path), packets)
        return path

    return write


def tlvs(values):
    """The area of TLVs, padded."""
    area = b"".join(bytes((kind, len(value))) + value for kind, value in values.items())
    return area + bytes(-len(area) % 8)


IDS = {"lambda_id": 3, "session": 0x00C0FFEE, "sequence": 9}
BODY = bytes(number * 7 & 0xFF for number in range(2500))
SHOWN = {COOKIE: b"COOKIE78", EPOCH: (7).to_bytes(4, "big"), TRACE: bytes(range(25))}


def fragment(index, kind="REQ", body=BODY, **fields):
    """One of three fragments."""
    fields = {"message_length": len(body), **IDS, **fields}
    return LambdaRpc(kind=kind, fragment_index=index, **fields) / Raw(body[index * 1024 : (index + 1) * 1024])


def conversation():
    """A request of three fragments, challenged, out of order, one lost and one twice; a reply of three."""
    shown = {"tlvs": tlvs(SHOWN)}
    return [
        (True, fragment(0, aux=5000)),
        (False, LambdaRpc(kind="CHAL", **IDS, **shown)),
        (True, fragment(0, flags="CRC+AT_MOST_ONCE", priority=5, **shown)),
        (True, fragment(2, **shown)),
        (True, fragment(2, **shown)),
        (False, LambdaRpc(kind="NACK", aux=1, tlvs=tlvs({BITMAP: b"\xa0\x01"}), **IDS)),
        (True, fragment(1, flags="CRC+RTX", **shown)),
        (False, LambdaRpc(kind="GRANT", aux=64, **IDS)),
        (False, fragment(0, "RSP", BODY[::-1], aux=0x0020002A)),
        (False, fragment(1, "RSP", BODY[::-1], aux=0x0020002A)),
        (False, fragment(2, "RSP", BODY[::-1], aux=0x0020002A)),
        (True, LambdaRpc(kind="ACK", **IDS)),
        (False, LambdaRpc(kind="PONG", aux=1472, **IDS)),
    ]


def test_every_field_of_a_conversation(capture):
    frames = decode(capture(conversation()))
    assert [only(frame, "lnic.type") for frame in frames] == list("0400020311157")
    for frame in frames:
        assert (only(frame, "lnic.magic"), only(frame, "lnic.version")) == ("0x0a", "1")
        assert (only(frame, "lnic.lambda"), only(frame, "lnic.sequence")) == ("3", "9")
        assert only(frame, "lnic.session") == "0x00c0ffee"
        assert only(frame, "lnic.crc.status") == GOOD
    first, challenge, second = frames[:3]
    assert (only(first, "lnic.budget_us"), only(first, "lnic.header_words")) == ("5000", "4")
    assert [only(first, f"lnic.{name}") for name in ("message_length", "fragment_bytes")] == ["2500", "1024"]
    assert only(second, "lnic.flags.at_most_once") == "1" and only(second, "lnic.flags.priority") == "5"
    assert only(first, "lnic.flags.at_most_once") == "0"
    for frame in (challenge, second):
        assert only(frame, "lnic.tlv.cookie") == b"COOKIE78".hex(":")
        assert only(frame, "lnic.tlv.epoch") == "7"
        assert only(frame, "lnic.tlv.trace.version") == "0"
        assert only(frame, "lnic.tlv.trace.id") == bytes(range(1, 17)).hex(":")
        assert only(frame, "lnic.tlv.trace.parent") == bytes(range(17, 25)).hex(":")
    nack, again, grant, reply = frames[5:9]
    assert only(nack, "lnic.first_missing") == "1"
    assert nack["lnic.tlv.bitmap.missing"] == ["1", "3", "16"]
    assert only(again, "lnic.flags.rtx") == "1" and only(grant, "lnic.granted") == "64"
    assert only(frames[12], "lnic.heard_bytes") == "1472"
    assert [only(reply, f"lnic.{name}") for name in ("status", "credit", "service_us")] == ["0", "32", "42"]


def test_requests_replies_and_fragments_are_linked(capture):
    frames = decode(capture(conversation()))
    for frame in frames:
        if only(frame, "lnic.type") == "0":
            assert only(frame, "lnic.response_in") == "9" and "lnic.request_in" not in frame
        else:
            assert only(frame, "lnic.request_in") == "1" and "lnic.response_in" not in frame
    assert [float(only(frame, "lnic.response_time")) for frame in frames[8:11]] == pytest.approx([0.008, 0.009, 0.010])
    assert [only(frames[at], "lnic.fragment") for at in (0, 2, 3, 6)] == [
        f"fragment {number} of 3" for number in (1, 1, 3, 2)
    ]
    # Each message is put together where its last fragment arrived, and the others say where.
    assert only(frames[6], "lnic.message") == BODY.hex(":")
    assert only(frames[10], "lnic.message") == BODY[::-1].hex(":")
    assert only(frames[6], "lnic.reassembled.length") == "2500"
    assert [frame["lnic.reassembled_in"] for frame in frames[2:5]] == [["7"]] * 3
    assert [frame["lnic.reassembled_in"] for frame in frames[8:10]] == [["11"]] * 2
    assert [at for at, frame in enumerate(frames) if "lnic.message" in frame] == [6, 10]
    # Sent again: what was challenged, the double, and what has the flag.
    assert [frame.get("lnic.fragment.first_in") for frame in frames[2:5]] == [["1"], None, ["4"]]
    marked = [at for at, frame in enumerate(frames) if "Retransmission" in expert(frame)]
    assert marked == [2, 4, 6]


def test_crc_is_judged(capture):
    bad = fragment(0, crc=0xDEADBEEF)
    unchecked = fragment(0, flags=0)
    frames = decode(capture([(True, fragment(0)), (True, bad), (True, unchecked)]))
    assert [only(frame, "lnic.crc.status") for frame in frames] == [GOOD, BAD, UNCHECKED]
    right = lambda_rpc.datagram_crc(bytes(bad))
    assert [int(only(frames[1], name), 16) for name in ("lnic.crc", "lnic.crc.computed")] == [0xDEADBEEF, right]
    assert ["CRC is wrong" in expert(frame) for frame in frames] == [False, True, False]
    # What is damaged is no part of a conversation.
    assert "lnic.fragment.first_in" not in frames[1] and "lnic.fragment.first_in" in frames[2]
    frames = decode(capture([(True, fragment(0)), (True, bad)]), "-o", "lnic.check_crc:FALSE")
    assert [only(frame, "lnic.crc.status") for frame in frames] == [UNCHECKED] * 2


def test_statuses_have_names(capture):
    statuses = [*lnic.Status, 99]
    path = capture([(False, LambdaRpc(kind="RSP", aux=status << 24 | 500, **IDS)) for status in statuses])
    names = [*lnic.Status.__members__, "STATUS_99"]
    lines = tshark(path).splitlines()
    frames = decode(path)
    assert len(lines) == len(frames) == len(statuses)
    for status, name, line, frame in zip(statuses, names, lines, frames):
        assert f"RSP, {name}, lambda 3" in line
        assert only(frame, "lnic.status") == str(int(status))
        assert only(frame, "lnic.retry_us" if name == "BUSY" else "lnic.service_us") == "500"
        assert ("Status is not OK" in expert(frame)) == (name != "OK")


MALFORMED = [
    (b"\xa1", "1 bytes are no header"),
    (bytes(31), "31 bytes are no header"),
    (bytes(32), "not magic A, version 1"),
    (bytes(LambdaRpc(kind=9, **IDS)), "unknown type 9"),
    (bytes(LambdaRpc(words=3, **IDS)), "header of 24 bytes"),
    (bytes(LambdaRpc(words=15, **IDS)), "header of 120 bytes in a datagram of 32"),
    (bytes(LambdaRpc(message_length=5, **IDS) / Raw(b"four")), "payload of 4 bytes, not 5"),
    (bytes(fragment(0, fragment_bytes=0)), "2500 bytes in fragments of 0"),
    (bytes(fragment(2, message_length=2048)), "fragment 2 of a message of 2"),
    (bytes(LambdaRpc(tlvs=b"\x01\x09" + bytes(14), **IDS)), "TLV twice, or of a wrong length: Cookie"),
    (bytes(LambdaRpc(tlvs=b"\x04\x04abcd" * 2 + bytes(4), **IDS)), "TLV twice, or of a wrong length: Server epoch"),
    (bytes(LambdaRpc(tlvs=b"\x03\x00" + bytes(6), **IDS)), "TLV twice, or of a wrong length: Bitmap"),
    (bytes(LambdaRpc(tlvs=b"\x09\x40" + bytes(6), **IDS)), "TLV is longer than the header"),
    (bytes(LambdaRpc(tlvs=b"\x09\x05abcde\x09", **IDS)), "TLV without a length"),
    (bytes(LambdaRpc(tlvs=b"\x09\x00" + bytes(5) + b"\x01", **IDS)), "TLV padding is not zero"),
    (bytes(LambdaRpc(tlvs=bytes(8), **IDS)), "TLV padding is not zero"),
]


def test_what_is_malformed_is_said(capture):
    frames = decode(capture([(True, datagram) for datagram, _ in MALFORMED]))
    assert len(frames) == len(MALFORMED)
    for frame, (_, reason) in zip(frames, MALFORMED):
        assert any(reason in text for text in expert(frame)), (reason, frame)


def test_other_ports(capture):
    elsewhere = capture([(True, fragment(0)), (False, fragment(0, "RSP"))], port=7777)
    # By heuristics, the CRC of which has to be right.
    assert [only(frame, "lnic.lambda") for frame in decode(elsewhere)] == ["3", "3"]
    others = [(True, fragment(0, crc=1)), (True, bytes(100)), (True, b"\xa1" * 100)]
    assert decode(capture(others, port=7777)) == [{}] * 3
    (frame,) = decode(capture([(True, fragment(0, crc=1))], port=7777), "-o", "lnic.port:7777")
    assert only(frame, "lnic.crc.status") == BAD


def test_a_capture_that_cut_its_frames(capture, tmp_path):
    path, cut = capture([(True, fragment(0)), (True, fragment(1, tlvs=tlvs(SHOWN)))]), tmp_path / "cut.pcap"
    for bytes_ in (42, 50, 74, 80, 200):
        namespaces.run("editcap", "-s", str(bytes_), str(path), str(cut))
        for frame in decode(cut):
            assert frame.get("lnic.crc.status", [UNCHECKED]) == [UNCHECKED] and "lnic.message" not in frame


def test_damage_is_never_a_lua_error(capture):
    """Mutated and random datagrams, most with a CRC that is right, so that what is behind that check is reached too."""
    source = random.Random(4793)
    templates = [(sender, bytes(message)) for sender, message in conversation()]
    datagrams = []
    for _ in range(3000):
        sender, data = source.choice(templates)
        data = bytearray(data)
        for _ in range(source.randrange(1, 5)):
            data[source.randrange(min(len(data), 80))] = source.choice([0, 1, 255, source.randrange(256)])
        if source.random() < 0.3:
            del data[source.randrange(1, len(data)) :]
        if len(data) >= 32 and source.random() < 0.8:
            data[2] |= 0x80
            data[28:32] = lambda_rpc.datagram_crc(bytes(data)).to_bytes(4, "big")
        if source.random() < 0.05:
            data = source.randbytes(source.randrange(1, 200))
        datagrams.append((sender, bytes(data)))
    text = tshark(capture(datagrams), "-V")
    assert text.count("\nFrame ") + text.startswith("Frame ") == 3000
    # They were decoded, and not all of them as malformed.
    assert text.count("Request ID: ") > 2000 and text.count("[Request in: ") > 500


@pytest.mark.parametrize("driver", DRIVERS)
def test_what_the_appliance_and_the_client_say(make_lab, driver, tmp_path):
    """A port's own capture: every datagram is well-formed, its CRC right, and each reply is linked to its request."""
    path = tmp_path / "p0.pcap"
    lab = make_lab(driver, addressed=True, port_settings={"capture.file": str(path)})
    lab.start()
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    for target in (IPV4, IPV6):
        with lab.peer.inside(lambda: lnic.Client(target)) as client:
            assert client.call(ECHO, bytes(1000), trace=trace).payload == bytes(1000)
            assert client.call(WEB_SERVER, b"GET /", priority=3).status is lnic.Status.OK
            with pytest.raises(lnic.NotFound):
                client.call(WEB_SERVER, b"GET /nowhere")
            with pytest.raises(lnic.Unimplemented):
                client.call(99)
    lab.appliance.close()
    frames = decode(path, "-Y", "lnic")
    # The page is longer than three times its request: UNAUTHENTICATED to the short one, a challenge to one with room for it.
    assert [only(frame, "lnic.type") for frame in frames] == list("010104010101") * 2
    requests = [frame for frame in frames if only(frame, "lnic.type") == "0"]
    replies = [frame for frame in frames if only(frame, "lnic.type") == "1"]
    assert [only(frame, "lnic.status") for frame in replies] == ["0", "16", "0", "5", "12"] * 2
    shown = [only(frame, "lnic.tlv.cookie") for frame in frames if "lnic.tlv.cookie" in frame]
    none = bytes(8).hex(":")
    # Asked for, given, and shown from then on.
    assert all(given not in (none, "") for given in shown[1::5]) and shown[0::5] == [none] * 2
    assert [len(set(shown[at + 1 : at + 5])) for at in (0, 5)] == [1, 1] and len(shown) == 10
    assert all(only(frame, "lnic.crc.status") == GOOD for frame in frames)
    assert all("Malformed" not in text for frame in frames for text in expert(frame))
    assert only(requests[0], "lnic.tlv.trace.id") == bytes.fromhex("0af7651916cd43dd8448eb211c80319c").hex(":")
    packets = rdpcap(str(path))
    numbers = [number for number, packet in enumerate(packets, 1) if LambdaRpc in packet]
    # By call: the first request and the first reply.
    calls = {}
    for number, found in zip(numbers, frames, strict=True):
        call = tuple(only(found, f"lnic.{field}") for field in ("session", "sequence"))
        calls.setdefault(call, {}).setdefault(only(found, "lnic.type"), number)
    for found in frames:
        call = calls[tuple(only(found, f"lnic.{field}") for field in ("session", "sequence"))]
        if only(found, "lnic.type") == "0":
            assert only(found, "lnic.response_in") == str(call["1"])
        else:
            assert only(found, "lnic.request_in") == str(call["0"])
    assert len(calls) == 8
    # The port tells the time once for each burst.
    assert all(0 <= float(only(reply, "lnic.response_time")) < 1 for reply in replies)
    senders = {packet[IP if IP in packet else IPv6].src for packet in packets if LambdaRpc in packet}
    assert senders == {IPV4, IPV6, PEER_IPV4, PEER_IPV6}
