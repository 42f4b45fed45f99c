"""A host with addresses on its wire: what ping and arping of the distribution say of it."""

import ipaddress

import pytest

from labs import INTERFACE, IPV4, IPV6, PEER_MAC


def link_local(mac):
    """The address that the MAC makes (RFC 4291, appendix A)."""
    first, *rest = bytes.fromhex(mac.replace(":", ""))
    identifier = bytes([first ^ 2, *rest[:2], 0xFF, 0xFE, *rest[2:]])
    return ipaddress.IPv6Address(b"\xfe\x80" + bytes(6) + identifier)


@pytest.mark.parametrize("size", [8, 56, 1400])
def test_ping(addressed, size):
    with addressed.appliance.counting() as counted:
        done = addressed.peer.run("ping", "-c", "5", "-i", "0.02", "-W", "2", "-s", str(size), IPV4)
    assert " 0% packet loss" in done.stdout
    assert counted.frames["answered"] >= 5


@pytest.mark.parametrize("size", [8, 56, 1400])
def test_ping6(addressed, size):
    with addressed.appliance.counting() as counted:
        done = addressed.peer.run("ping", "-6", "-c", "5", "-i", "0.02", "-W", "2", "-s", str(size), IPV6)
    assert " 0% packet loss" in done.stdout
    assert counted.frames["answered"] >= 5


def test_ping_link_local(addressed):
    address = f"{link_local(addressed.mac)}%{INTERFACE}"
    done = addressed.peer.run("ping", "-6", "-c", "3", "-i", "0.05", "-W", "2", address)
    assert " 0% packet loss" in done.stdout


def test_arping(addressed):
    done = addressed.peer.run("arping", "-c", "3", "-w", "5", "-I", INTERFACE, IPV4)
    replies = [line for line in done.stdout.splitlines() if line.startswith("Unicast reply")]
    assert len(replies) >= 3, done.stdout
    assert all(addressed.mac.lower() in line.lower() for line in replies)


def test_a_probe_finds_the_address_taken(addressed):
    done = addressed.peer.run("arping", "-D", "-c", "2", "-w", "3", "-I", INTERFACE, IPV4, check=False)
    assert done.returncode == 1, done.stdout


def test_the_kernel_learns_the_appliance_as_a_neighbour(addressed):
    addressed.peer.run("ip", "neigh", "flush", "dev", INTERFACE)
    addressed.peer.run("ping", "-c", "1", "-W", "2", IPV4)
    addressed.peer.run("ping", "-6", "-c", "1", "-W", "2", IPV6)
    for family, address in (("-4", IPV4), ("-6", IPV6)):
        shown = addressed.peer.run("ip", family, "neigh", "show", address, "dev", INTERFACE).stdout
        assert addressed.mac.lower() in shown and PEER_MAC not in shown, shown


def test_another_address_is_not_answered(addressed):
    done = addressed.peer.run("arping", "-c", "2", "-w", "2", "-I", INTERFACE, "10.77.0.200", check=False)
    assert done.returncode == 1
    assert "Received 0 response" in done.stdout
