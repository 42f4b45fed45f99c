"""Services outside, asked by a lambda in C: real sockets answer, beside the wire and behind a router."""

import contextlib
import os
import socket
import struct
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

import lambda_rpc
from control import Control, Refused
from labs import DRIVERS, INTERFACE, IPV4, IPV6, MODES, PEER_IPV4, PEER_IPV6, PEER_MAC
from namespaces import Namespace

#: What a service listens on.
UDP_PORT = 7007
#: A network behind the peer.
FAR_IPV4, FAR_IPV6 = "192.0.2.7", "2001:db8::7"
ROUTER_IPV4, ROUTER_IPV6 = "192.0.2.1", "2001:db8::1"
#: A neighbour that is not there.
NOBODY = "10.77.0.99"
ALLOWED = ["10.77.0.0/24", "fd77::/64", "192.0.2.0/24", "2001:db8::/64"]
PORT = {
    "ipv4": f"{IPV4}/24",
    "ipv6": f"{IPV6}/64",
    "ipv4_gateway": PEER_IPV4,
    "ipv6_gateway": PEER_IPV6,
}
CPUS = sorted(os.sched_getaffinity(0))
#: Roles of two CPUs: each polls; or one dispatches to an NPU on the other.
TWO_POLLERS = {"lcores": {"workers": CPUS[:2]}}
BEHIND = {
    "scheduling": {"mode": "dispatcher"},
    "[islands]": {"name": "island0", "npus": CPUS[1:2]},
    "[dispatchers]": {"cpu": CPUS[0]},
}
RIGS = [(driver, {"scheduling": {"mode": mode}}) for driver in DRIVERS for mode in MODES]
IDS = [f"{driver}-{mode}" for driver in DRIVERS for mode in MODES]
if len(CPUS) > 1:
    RIGS += [("tap", TWO_POLLERS), ("tap", BEHIND)]
    IDS += ["tap-two-pollers", "tap-npu-behind"]


def endpoint(address, port=UDP_PORT):
    """As a manifest has it."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


class Server:
    """A UDP server in a namespace, on a thread of its own. `answer` makes a list of (datagram, to whom) of each datagram."""

    def __init__(self, namespace, address, answer=lambda data, source: [(data, source)], port=UDP_PORT):
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self.answer = answer
        self.sources = []
        self._socket = namespace.inside(lambda: socket.socket(family, socket.SOCK_DGRAM))
        self._socket.bind((address, port))
        self._socket.settimeout(0.05)
        self._is_open = True
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self):
        while self._is_open:
            try:
                data, source = self._socket.recvfrom(65_535)
            except TimeoutError:
                continue
            self.sources.append(source)
            for reply, to in self.answer(data, source):
                self._socket.sendto(reply, to)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._is_open = False
        self._thread.join()
        self._socket.close()


@contextlib.contextmanager
def network_behind(lab):
    """A namespace behind the peer, which passes packets on."""
    namespace = Namespace("far")
    try:
        namespace.sysctl(ipv6__conf__default__accept_dad=0)
        lab.peer.sysctl(ipv4__ip_forward=1, ipv6__conf__all__forwarding=1)
        lab.peer.run("ip", "link", "add", "near0", "type", "veth", "peer", "name", "far0", "netns", namespace.name)
        ends = [(lab.peer, "near0", ROUTER_IPV4, ROUTER_IPV6), (namespace, "far0", FAR_IPV4, FAR_IPV6)]
        for where, interface, ipv4, ipv6 in ends:
            where.run("ip", "address", "add", f"{ipv4}/24", "dev", interface)
            where.run("ip", "-6", "address", "add", f"{ipv6}/64", "dev", interface, "nodad")
            where.run("ip", "link", "set", interface, "up")
        # Checksums are made where packets begin: a tap takes them as they are.
        namespace.run("ethtool", "-K", "far0", "tx", "off")
        namespace.run("ip", "route", "add", "default", "via", ROUTER_IPV4)
        namespace.run("ip", "-6", "route", "add", "default", "via", ROUTER_IPV6)
        yield namespace
    finally:
        namespace.close()


@pytest.fixture
def asking(make_lab, hostile_lambdas, tmp_path):
    """Makes a lab, started, with `asker` deployed for these services."""

    def make(rig, services, **manifest):
        driver, roles = rig
        settings = {"control": {"state": str(tmp_path / "state")}, "services": {"allowed": ALLOWED}, **roles}
        lab = make_lab(driver, {}, addressed=True, settings=settings, port_settings=PORT).start()
        control = Control(lab.appliance)
        control.deploy("asker", hostile_lambdas["asker"], services=services, **manifest)
        return lab, control

    return make


def ask(control, request=b"hello", which=0, timeout_us=2_000_000, name="asker"):
    """What the lambda's request returned, and the reply."""
    status, answer = control.call(name, struct.pack(">Ii", which, timeout_us) + request)
    assert status == 200, answer
    return struct.unpack(">i", answer[:4])[0], answer[4:]


def service_counts(appliance, name="asker"):
    """Requests, replies, timed out, failed."""
    stats = appliance.lambda_stats(name)
    return tuple(stats[key] for key in ("requests", "replies", "requests_timed_out", "requests_failed"))


def neighbours(appliance):
    """Next hops by address."""
    return {hop["address"]: hop for hop in appliance.stats()["neighbours"]}


@pytest.mark.parametrize("rig", RIGS, ids=IDS)
def test_neighbours_are_asked(asking, rig):
    services = {"first": {"address": endpoint(PEER_IPV4)}, "second": {"address": endpoint(PEER_IPV6)}}
    lab, control = asking(rig, services)
    with Server(lab.peer, PEER_IPV4) as first, Server(lab.peer, PEER_IPV6) as second:
        for which in (0, 1):
            for size in (0, 1, 100, 1400):
                request = bytes(at % 251 for at in range(size))
                assert ask(control, request, which) == (size, request), (which, size)
    # Replies find the lambda by UDP ports that are not the host's.
    for server, address in ((first, IPV4), (second, IPV6)):
        assert len(server.sources) == 4
        assert all(source[0] == address and 61_000 <= source[1] <= 65_535 for source in server.sources)
        assert len({source[1] for source in server.sources}) > 1, "ports rest before they are used again"
    assert service_counts(lab.appliance) == (8, 8, 0, 0)
    known = neighbours(lab.appliance)
    assert {(hop["state"], hop["mac"], hop["port"]) for hop in known.values()} == {("known", PEER_MAC, "p0")}
    assert set(known) == {PEER_IPV4, PEER_IPV6}
    lcores = lab.appliance.rest()["lcores"]
    assert sum(lcore["replies"] for lcore in lcores) == 8
    assert 2 <= sum(lcore["neighbours_asked"] for lcore in lcores) <= 8


@pytest.mark.parametrize("rig", [RIGS[0], RIGS[3]], ids=[IDS[0], IDS[3]])
def test_a_router_leads_to_others(asking, rig):
    services = {"first": {"address": endpoint(FAR_IPV4)}, "second": {"address": endpoint(FAR_IPV6)}}
    lab, control = asking(rig, services)
    with network_behind(lab) as far, Server(far, FAR_IPV4) as first, Server(far, FAR_IPV6) as second:
        for which in (0, 1):
            for size in (1, 1400):
                assert ask(control, bytes(size), which) == (size, bytes(size))
    assert {source[0] for source in first.sources} == {IPV4}
    assert {source[0] for source in second.sources} == {IPV6}
    assert set(neighbours(lab.appliance)) == {PEER_IPV4, PEER_IPV6}, "routers are asked for, and not the services"
    described = {service["name"]: service for service in control.get("asker")["services"]}
    assert described["first"] == {
        "name": "first",
        "address": endpoint(FAR_IPV4),
        "framing": "datagram",
        "port": "p0",
        "next_hop": PEER_IPV4,
    }
    assert described["second"]["next_hop"] == PEER_IPV6


@pytest.mark.parametrize("rig", [RIGS[0], RIGS[3]], ids=[IDS[0], IDS[3]])
def test_who_is_not_there_is_given_up(asking, rig):
    services = {"first": {"address": endpoint(PEER_IPV4)}, "second": {"address": endpoint(NOBODY)}}
    lab, control = asking(rig, services)
    # The host is there, its service is not: nothing comes back that would be one.
    began = time.monotonic()
    assert ask(control, timeout_us=300_000) == (-lambda_rpc.DEADLINE_EXCEEDED, b"")
    assert 0.25 < time.monotonic() - began < 2
    # No host at all: said so after a second, or at the deadline if that is earlier.
    assert ask(control, which=1, timeout_us=300_000) == (-lambda_rpc.DEADLINE_EXCEEDED, b"")
    began = time.monotonic()
    assert ask(control, which=1, timeout_us=8_000_000) == (-lambda_rpc.UNAVAILABLE, b"")
    assert time.monotonic() - began < 4
    hop = neighbours(lab.appliance)[NOBODY]
    assert hop["state"] == "unanswered" and "mac" not in hop
    assert service_counts(lab.appliance) == (3, 0, 2, 1)
    assert ask(control, which=7) == (-lambda_rpc.INVALID_ARGUMENT, b"")
    # It comes later, and is found.
    with Server(lab.peer, PEER_IPV4):
        assert ask(control, b"now") == (3, b"now")
    lab.peer.run("ip", "address", "add", f"{NOBODY}/24", "dev", INTERFACE)
    with Server(lab.peer, NOBODY):
        assert ask(control, b"me too", which=1) == (6, b"me too")
    lab.appliance.rest()


@pytest.mark.parametrize("rig", RIGS, ids=IDS)
def test_64_requests_wait_together(asking, rig):
    lab, control = asking(rig, {"first": {"address": endpoint(PEER_IPV4)}}, in_flight=64)
    waiting = []

    def answer(data, source):
        # Nobody is answered before all have asked; then the last one first.
        waiting.append((data, source))
        if len(waiting) < 64:
            return []
        replies = [(data.swapcase(), source) for data, source in reversed(waiting)]
        waiting.clear()
        return replies

    requests = [f"request {number}".encode() for number in range(64)]
    with Server(lab.peer, PEER_IPV4, answer) as server, ThreadPoolExecutor(64) as pool:
        for _ in range(3):
            answers = list(pool.map(lambda request: ask(control, request, timeout_us=8_000_000), requests))
            assert answers == [(len(request), request.swapcase()) for request in requests]
    # No two that wait together share a UDP port, by which their replies are told apart.
    assert len(set(server.sources[-64:])) == 64
    assert service_counts(lab.appliance) == (192, 192, 0, 0)
    lab.appliance.rest()


def test_only_the_service_itself_answers(asking):
    lab, control = asking(RIGS[0], {"first": {"address": endpoint(PEER_IPV4)}})
    lab.peer.run("ip", "address", "add", "10.77.0.3/24", "dev", INTERFACE)
    forgers = [lab.peer.inside(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) for _ in range(2)]
    forgers[0].bind(("10.77.0.3", UDP_PORT))
    forgers[1].bind((PEER_IPV4, UDP_PORT + 1))

    def answer(data, source):
        for forger in forgers:
            forger.sendto(b"forged", source)
        return [(data, source), (b"again", source)]

    try:
        with Server(lab.peer, PEER_IPV4, answer), lab.appliance.counting() as counted:
            for number in range(10):
                request = b"honest %d" % number
                assert ask(control, request) == (len(request), request)
    finally:
        for forger in forgers:
            forger.close()
    assert counted.drops["stray_reply"] == 30
    assert counted.lambdas["asker"]["replies"] == 10


def test_deployments_hold_their_next_hops(asking, hostile_lambdas):
    lab, control = asking(RIGS[0], {"first": {"address": endpoint(PEER_IPV4)}})
    module = control.upload(hostile_lambdas["asker"])

    def held():
        return {hop["address"]: hop["services"] for hop in lab.appliance.stats()["neighbours"]}

    def becomes(expected):
        deadline = time.monotonic() + 5
        while held() != expected and time.monotonic() < deadline:
            time.sleep(0.02)
        assert held() == expected

    control.deploy("other", module, entry="asker", services={"first": {"address": endpoint(FAR_IPV4)}})
    becomes({PEER_IPV4: 2})
    control.deploy("asker", module, services={"first": {"address": endpoint("10.77.0.50")}})
    becomes({PEER_IPV4: 1, "10.77.0.50": 1})
    control.act("other", "scale", {"replicas": 0})
    becomes({PEER_IPV4: 1, "10.77.0.50": 1})
    control.remove("other")
    becomes({"10.77.0.50": 1})
    control.act("asker", "rollback")
    becomes({PEER_IPV4: 1})
    control.remove("asker")
    becomes({})


def test_a_service_that_cannot_be_is_its_lambdas_problem(asking, hostile_lambdas, tmp_path):
    lab, control = asking(RIGS[0], {"first": {"address": endpoint(FAR_IPV4)}})
    module = control.upload(hostile_lambdas["asker"])
    wrong = [
        ({"address": "198.51.100.7:53"}, "198.51.100.7 is not among [services] allowed"),
        ({"address": f"{IPV4}:53"}, "is port \"p0\"'s own"),
        ({"address": "10.77.0.255:53"}, "is all of 10.77.0.0/24"),
        ({"address": endpoint(PEER_IPV4), "port": "p1"}, "no port \"p1\": did you mean \"p0\"?"),
        ({"address": endpoint(PEER_IPV4), "framing": "tcp"}, "framing"),
        ({"address": "localhost:53"}, "expected an IP address and a UDP port"),
    ]
    for service, text in wrong:
        with pytest.raises(Refused) as refused:
            control.deploy("wrong", module, entry="asker", services={"first": service})
        assert refused.value.status == 422 and text in refused.value.error, (service, refused.value)
    control.deploy("near", module, entry="asker", services={"first": {"address": endpoint(PEER_IPV4)}})
    # After a restart with a configuration that allows less, one lambda has a problem, and the other answers.
    settings = {"control": {"state": str(tmp_path / "state")}, "services": {"allowed": ["10.77.0.0/24"]}}
    assert lab.appliance.stop() == 0
    lab.appliance.reconfigure(settings)
    lab.start()
    asker = control.get("asker")
    assert asker["phase"] == "failed"
    assert "192.0.2.7 is not among [services] allowed: allowed are \"10.77.0.0/24\"" in asker["problem"]
    listed = lab.ask("list").stdout
    assert "failed" in listed
    with Server(lab.peer, PEER_IPV4):
        assert ask(control, b"still here", name="near") == (10, b"still here")


def test_what_people_are_shown(asking):
    lab, control = asking(RIGS[0], {"first": {"address": endpoint(PEER_IPV4)}})
    with Server(lab.peer, PEER_IPV4):
        ask(control)
    stats = lab.ask("stats").stdout
    row = next(line.split() for line in stats.splitlines() if line.startswith(PEER_IPV4))
    assert row[:4] == [PEER_IPV4, "p0", PEER_MAC, "known"]
    assert "REQUESTS" in stats and "NEIGHBOURS ASKED" in stats
    described = lab.ask("describe", "asker").stdout
    assert ["first", endpoint(PEER_IPV4), "datagram", "p0", PEER_IPV4] in [line.split() for line in described.splitlines()]
    status, _, text = control.ask("GET", "/metrics")
    metrics = text.decode().splitlines()
    assert status == 200
    assert f'lnic_neighbour_known{{port="p0",address="{PEER_IPV4}"}} 1' in metrics
    assert 'lnic_lambda_service_outcomes_total{namespace="default",lambda="asker",outcome="reply"} 1' in metrics
    checked = lab.cli("check", str(lab.appliance.config)).stdout
    assert "lambdas may ask 10.77.0.0/24, fd77::/64, 192.0.2.0/24, 2001:db8::/64" in checked
    assert f"gateway {PEER_IPV4}" in checked


@pytest.mark.parametrize("mode", MODES)
def test_lambdas_of_the_configuration_ask_too(make_lab, hostile_lambdas, mode):
    lambdas = {"asker": {"file": str(hostile_lambdas["asker"]), "services.first.address": endpoint(PEER_IPV4)}}
    settings = {"services": {"allowed": ALLOWED}, "scheduling": {"mode": mode}}
    lab = make_lab("tap", lambdas, addressed=True, settings=settings, port_settings=PORT).start()
    control = Control(lab.appliance)
    with Server(lab.peer, PEER_IPV4):
        assert ask(control, b"configured") == (10, b"configured")
    assert control.get("asker")["manifest"]["services"] == {"first": {"address": endpoint(PEER_IPV4), "port": "p0"}}
    checked = lab.cli("check", str(lab.appliance.config)).stdout
    assert f"leaves by p0 to {PEER_IPV4}" in checked
