"""Frames as a peer makes them, and replies as it reads them."""

import itertools
import random
import time

from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Dot1Q, Ether
from scapy.packet import Packet, Raw

from lambda_rpc import PORT, LambdaRpc
from labs import IPV4, IPV6

#: A peer that no kernel knows.
PEER_MAC = "02:00:00:00:00:63"
PEER_IPV4 = "10.77.0.99"
PEER_IPV6 = "fd77::99"
PEER_PORT = 50000

ECHO = 1
WEB_SERVER = 2

SESSION = 0x5EED0001
_sequences = itertools.count(1)


def rpc(lambda_id=ECHO, payload=b"", **fields):
    """A λ-RPC datagram with a sequence of its own."""
    fields.setdefault("session", SESSION)
    fields.setdefault("sequence", next(_sequences))
    packet = LambdaRpc(lambda_id=lambda_id, **fields)
    return packet / Raw(payload) if payload else packet


def udp(message, port=PORT, **fields):
    """A UDP datagram to the appliance; `message` is bytes or a packet."""
    return UDP(sport=PEER_PORT, dport=port, **fields) / (message if isinstance(message, Packet) else Raw(message))


def ipv4(upper, **fields):
    """An IPv4 packet to the appliance."""
    return IP(**{"src": PEER_IPV4, "dst": IPV4, "flags": "DF", **fields}) / upper


def ipv6(*layers, **fields):
    """An IPv6 packet to the appliance: extension headers, then what they lead to."""
    packet = IPv6(**{"src": PEER_IPV6, "dst": IPV6, **fields})
    for layer in layers:
        packet = packet / layer
    return packet


def frame(lab, packet, vlan=None, **fields):
    """A frame to the appliance; `packet` is bytes or a packet."""
    ether = Ether(**{"dst": lab.mac, "src": PEER_MAC, **fields})
    if vlan is not None:
        ether = ether / Dot1Q(vlan=vlan)
    return ether / packet


def request(lab, message, version=4, **fields):
    """A frame with a λ-RPC datagram, the ordinary way."""
    return frame(lab, ipv4(udp(message)) if version == 4 else ipv6(udp(message)), **fields)


def is_reply(data):
    """True for frames with λ-RPC from the appliance."""
    packet = Ether(data)
    return packet.dst == PEER_MAC and UDP in packet and packet[UDP].sport == PORT


def exchange(wire, packet, timeout_s=2.0):
    """Sends a frame; the reply to its request, or None."""
    wire.send(packet)
    wanted = packet[LambdaRpc].request_id

    def answers(data):
        return is_reply(data) and Ether(data)[LambdaRpc].request_id == wanted

    data = wire.receive(timeout_s, answers)
    return None if data is None else Ether(data)


def burst(wire, packets, expected, timeout_s=3.0):
    """Sends frames with λ-RPC requests as close together as can be; that many replies to them, in order of arrival.

    Fewer if the time is up; if more than one answers a request, that is an error.
    """
    wanted = {packet[LambdaRpc].request_id for packet in packets}
    datas = [bytes(packet) for packet in packets]
    for data in datas:
        wire.send(data)
    replies, deadline = [], time.monotonic() + timeout_s
    while len(replies) < expected and (left := deadline - time.monotonic()) > 0:
        data = wire.receive(left, is_reply)
        reply = None if data is None else Ether(data)[LambdaRpc]
        if reply is not None and reply.request_id in wanted:
            replies.append(reply)
    answered = [reply.request_id for reply in replies]
    assert len(answered) == len(set(answered)), "answered twice"
    return replies


def wrong_fields(packet):
    """Lengths and checksums that are not what scapy would have set: what they are, and what they should be."""
    fields = {IP: ["ihl", "len", "chksum"], IPv6: ["plen"], UDP: ["len", "chksum"]}
    present = [(layer, name) for layer, names in fields.items() if layer in packet for name in names]
    bare = Ether(bytes(packet.original))
    for layer, name in present:
        bare[layer].delfieldval(name)
    right = Ether(bytes(bare))
    pairs = {f"{layer.__name__}.{name}": (packet[layer].getfieldval(name), right[layer].getfieldval(name))
             for layer, name in present}
    return {field: pair for field, pair in pairs.items() if pair[0] != pair[1]}


def assert_well_formed(packet):
    """Lengths and checksums are right, the CRC too if there is one."""
    assert wrong_fields(packet) == {}
    assert packet[LambdaRpc].crc_is_right() or not packet[LambdaRpc].flags.CRC


def template_frames(lab):
    """Valid frames of the kinds that the appliance treats differently, to be damaged."""
    tcp = TCP(sport=PEER_PORT, dport=80, flags="S")
    packets = [
        ipv4(udp(rpc(ECHO, b"hello, lambda"))),
        ipv4(udp(rpc(WEB_SERVER, b"GET /"))),
        ipv4(udp(rpc(99, bytes(200)))),
        ipv4(udp(rpc(ECHO, bytes(1024), message_length=5000))),
        ipv4(udp(rpc(ECHO, kind="ACK"))),
        ipv6(udp(rpc(ECHO, kind="NACK", tlvs=b"\x03\x02\x80\x01" + bytes(4)))),
        ipv4(udp(bytes(40), port=7)),
        ipv4(tcp),
        ipv6(udp(rpc(ECHO, b"hello, lambda"))),
        ipv6(tcp),
    ]
    frames = [bytes(frame(lab, packet)) for packet in packets]
    return frames + [bytes(frame(lab, packets[0], vlan=5))]


def mutated(source, templates):
    """A frame with damage: some bytes changed, its end cut off, or bytes put behind it."""
    data = bytearray(source.choice(templates))
    for _ in range(source.randrange(4)):
        data[source.randrange(len(data))] = source.randrange(256)
    if source.random() < 0.2:
        del data[source.randrange(14, len(data) + 1) :]
    if source.random() < 0.1:
        data += source.randbytes(source.randrange(1, 200))
    return bytes(data)


def hostile(seed, lab):
    """Without end: random bytes of random length, and mutated frames. The same for the same seed."""
    source = random.Random(seed)
    templates = template_frames(lab)
    mac = bytes.fromhex(lab.mac.replace(":", ""))
    while True:
        kind = source.randrange(4)
        if kind == 0:
            yield source.randbytes(source.randrange(14, 1514))
        elif kind == 1:
            # To the appliance, as IP: random from there on.
            ether_type = source.choice([b"\x08\x00", b"\x86\xdd", b"\x08\x06", b"\x81\x00"])
            yield mac + source.randbytes(6) + ether_type + source.randbytes(source.randrange(0, 300))
        else:
            yield mutated(source, templates)
