"""The host port: what no lambda wants goes to the kernel, and what the kernel sends leaves on the wire."""

import pytest
from scapy.layers.inet import IP, fragment
from scapy.layers.l2 import ARP, Ether

from frames import ECHO, PEER_MAC, exchange, frame, ipv4, ipv6, request, rpc, udp, wrong_fields
from lambda_rpc import LambdaRpc
from labs import DRIVERS, IPV4, PEER_IPV4


@pytest.fixture(params=DRIVERS)
def lab(request, make_lab):
    """A silent lab with a host port."""
    return make_lab(request.param, addressed=False, host=True).start()


def test_unmatched_frames_reach_the_host_and_its_frames_the_wire(lab):
    strange = [
        frame(lab, b"LLDP or so" * 6, type=0x88CC),
        frame(lab, ipv4(b"GRE or so" * 5, proto=47)),
        frame(lab, ipv4(udp(b"another port" * 4, port=9))),
        frame(lab, ipv6(udp(b"another port" * 4, port=9))),
        frame(lab, ipv4(udp(b"tagged" * 8, port=9)), vlan=5),
        frame(lab, ARP(op="is-at", psrc=PEER_IPV4, pdst="10.77.0.200")),
    ]
    with lab.wire() as wire, lab.host_wire() as host:
        with lab.appliance.counting() as counted:
            for packet in strange:
                wire.send(packet)
                assert host.receive() == bytes(packet), packet.summary()
        assert counted.frames == {"received": 6, "to_host": 6}
        assert not wire.drain()

        with lab.appliance.counting() as counted:
            for packet in strange:
                packet[Ether].src, packet[Ether].dst = lab.mac, PEER_MAC
                host.send(packet)
                assert wire.receive() == bytes(packet), packet.summary()
        assert counted.frames == {"received": 6, "sent": 6}
        assert not host.drain()

        reply = exchange(wire, request(lab, rpc(ECHO, b"both ways")))
        assert reply[LambdaRpc].body == b"both ways"
        assert not host.drain(), "requests are not the host's"


def test_fragments_are_the_hosts(lab):
    if lab.driver == "af_packet":
        pytest.skip("the kernel puts fragments together for AF_PACKET")
    parts = fragment(IP(bytes(ipv4(udp(rpc(ECHO, bytes(100))), flags=0))), fragsize=64)
    with lab.wire() as wire, lab.host_wire() as host:
        for part in parts:
            packet = frame(lab, part)
            wire.send(packet)
            assert host.receive() == bytes(packet)


def test_a_partial_checksum_is_complete_when_the_host_gets_it(make_lab):
    lab = make_lab("af_packet", addressed=True, host=True).start()
    lab.offload(True)
    with lab.host_wire() as host:
        lab.peer.run("bash", "-c", f"echo -n another port >/dev/udp/{IPV4}/9")
        data = host.receive(2, lambda data: data[12:14] == b"\x08\x00" and data[23] == 17)
        assert data is not None
        assert wrong_fields(Ether(data)) == {}
