"""Every lambda of the repository on one appliance, all called at the same time, under load: each answers right, none gets in another's
way, and the counts add up. A folder of lambdas/ without a checker here is a failure."""

import contextlib
import itertools
import json
import random
import socket
import struct
import threading
import time
import tomllib

import pytest

import images
import lnic
from conftest import ROOT
from hosts import Memcached, Network
from labs import DRIVERS, IPV4, MODES, Lab
from test_kv_client import SERVICES, compact_get, compact_set, deployed
from test_legacy import BLANKS, GET, IMAGE, SET, WEB, built_in_image, image_parameter

LAMBDAS = ROOT / "lambdas"
#: What lies beside them.
NO_LAMBDAS = {"abi", "sdk"}
FOLDERS = sorted(path.name for path in LAMBDAS.iterdir() if path.is_dir() and path.name not in NO_LAMBDAS)
#: How long all are called.
SECONDS = 4
CACHE = "10.77.0.3"
#: What is set over the manifests: memcached shares the tests' machine, and may be slow.
SETTINGS = {
    "kv-client": ["environment.TIMEOUT_US=1000000"],
    "kv-server": ["environment.BACKEND=none"],
    "legacy": ["environment.TIMEOUT_US=1000000"],
    "image-transformer": ["message_slots=8", "message_kib=64", "budget_us=10000"],
}


def expect(status, call, *arguments):
    """The call has to end with this status."""
    try:
        call(*arguments)
    except lnic.StatusError as error:
        assert error.status == status, error
    else:
        raise AssertionError(f"answered OK, not {status.name}")


class Caller:
    """Who calls one lambda: each round says how many of its runs it knows of."""

    def __init__(self, site, name):
        self.site, self.name, self.id = site, name, site.ids[name]
        self.client = site.host.inside(lambda: lnic.Client(IPV4))

    def call(self, payload):
        """A reply's payload."""
        return self.client.call(self.id, payload, timeout=10).payload

    def datagrams(self, port):
        """A plain UDP socket to a port of the appliance."""

        def connected():
            made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            made.settimeout(10)
            made.connect((IPV4, port))
            return made

        return self.site.host.inside(connected)


def echo(caller):
    """Payloads of every kind that fits a frame."""
    dice = random.Random(1)
    while True:
        payload = dice.randbytes(dice.randrange(1 + lnic.FRAGMENT_BYTES))
        assert caller.call(payload) == payload
        yield 1


def web_server(caller):
    """Its pages, and one that is not there."""
    while True:
        page = caller.call(b"GET /")
        assert page.startswith(b"<!doctype html>") and page.endswith(b"</html>\n")
        expect(lnic.Status.NOT_FOUND, caller.call, b"GET /no-such-page")
        yield 2


def image_transformer(caller):
    """Images of one frame and of several."""
    for seed in itertools.count():
        width, height = [(16, 16), (100, 100)][seed % 2]
        pixels = images.noise(width, height, seed)
        assert caller.call(images.request(width, height, pixels)) == images.grey(width, height, pixels)
        yield 1


def kv_client(caller):
    """Values of its own in memcached, and those that others see there."""
    for at in itertools.count():
        key, value = b"own-%d" % (at % 100), b"value %d " % at * (1 + at % 50)
        caller.call(compact_set(key, value))
        assert caller.call(b"get " + key) == value
        assert caller.call(compact_get(b"from-tcp")) == b"over TCP"
        expect(lnic.Status.NOT_FOUND, caller.call, b"get nobody-set-this")
        yield 4


def kv_server(caller):
    """memcached's own protocol over UDP."""
    with caller.datagrams(11211) as made:
        for at in itertools.count():
            key, value = b"udp-%d" % (at % 100), b"value %d" % at

            def ask(request, number=at):
                header = struct.pack(">HHHH", number & 0xFFFF, 0, 1, 0)
                made.send(header + request)
                reply = made.recv(1 << 16)
                assert reply[:8] == header
                return reply[8:]

            assert ask(b"set %s 5 0 %d\r\n%s\r\n" % (key, len(value), value)) == b"STORED\r\n"
            assert ask(b"get %s\r\n" % key) == b"VALUE %s 5 %d\r\n%s\r\nEND\r\n" % (key, len(value), value)
            assert ask(b"get nobody-set-this\r\n") == b"END\r\n"
            yield 3


def legacy(caller):
    """All jobs, as the original clients send them."""
    replies = {
        WEB: b"hi: " + BLANKS[:12],
        IMAGE: image_parameter(built_in_image(), 0),
        SET: b"STORED".ljust(16),
        GET: b"dude".ljust(16),
    }
    with caller.datagrams(4369) as made:
        while True:
            for job, parameter in replies.items():
                made.send(struct.pack(">I", job) + BLANKS)
                assert made.recv(32) == struct.pack(">I", job) + parameter
            yield len(replies)


def rate_limiter(caller):
    """Packets to the host, of which it lets some pass: it counts all of them."""
    sent = 0
    with caller.datagrams(53) as made:
        while True:
            for _ in range(5):
                made.send(b"query")
            sent += 5
            reports, seen = 0, -1
            while seen < sent:
                words = caller.call(b"").split()
                seen, reports = int(words[1]) + int(words[3]), reports + 1
                assert reports < 1000, f"{sent} packets sent, {seen} counted"
            assert seen == sent
            yield 5 + reports


CHECKERS = {
    "echo": echo,
    "image-transformer": image_transformer,
    "kv-client": kv_client,
    "kv-server": kv_server,
    "legacy": legacy,
    "rate-limiter": rate_limiter,
    "web-server": web_server,
}


class Site:
    """An appliance with all lambdas, a host that calls them, and a memcached."""

    def __init__(self, lab, host, cache, ids):
        self.lab, self.host, self.cache, self.ids = lab, host, cache, ids


def settings_of(name):
    """What is set over a lambda's manifest."""
    path = LAMBDAS / name / "lambda.toml"
    manifest = tomllib.loads(path.read_text()) if path.exists() else {}
    services = [f"services.{service}.address={CACHE}:11211" for service in manifest.get("services", {})]
    return [*SETTINGS.get(name, []), *services]


@pytest.fixture(params=[(DRIVERS[1], MODES[0]), (DRIVERS[0], MODES[1])], ids="-".join)
def site(request, binary, privileged, tmp_path):
    """All of them deployed."""
    driver, mode = request.param
    settings = {**SERVICES, "scheduling": {"mode": mode}}
    lab = Lab(driver, binary, tmp_path, {}, host=True, settings=settings)
    try:
        lab.start()
        with Network(lab) as network:
            host = network.host("caller", "10.77.0.2/24")
            with Memcached(network.host("cache", f"{CACHE}/24"), CACHE) as cache:
                ids = {name: deployed(lab, LAMBDAS / name, *settings_of(name)) for name in FOLDERS}
                yield Site(lab, host, cache, ids)
    finally:
        lab.close()


def test_every_lambda_has_a_checker():
    assert set(FOLDERS) == set(CHECKERS), "lambdas without a checker, or checkers without a lambda"


class Work:
    """Checkers at work, each on a thread of its own; what the first of them that failed says."""

    def __init__(self, site):
        self.runs, self.errors = {}, []
        self._end = time.monotonic() + SECONDS
        self._threads = [threading.Thread(target=self._work, args=(site, name)) for name in site.ids]

    def _work(self, site, name):
        try:
            caller = Caller(site, name)
            with contextlib.closing(caller.client), contextlib.closing(CHECKERS[name](caller)) as rounds:
                self.runs[name] = 0
                while time.monotonic() < self._end:
                    self.runs[name] += next(rounds)
        except Exception as error:  # pylint: disable=broad-except; shown by the test
            self.errors.append(f"{name}: {type(error).__name__}: {error}")

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        for thread in self._threads:
            thread.join()


def test_all_at_once(site):
    appliance = site.lab.appliance
    site.cache.set(b"from-tcp", b"over TCP")
    site.cache.set(b"hey", b"dude")
    before = {each["name"]: each for each in appliance.rest()["lambdas"]}
    load = ["bench", "--to", IPV4, "--lambda", str(site.ids["echo"]), "--closed-loop", "4", "--bytes", "64"]
    load += ["--duration", str(SECONDS), "--warmup", "0", "--timeout-ms", "5000", "--json"]
    with Work(site) as work:
        ended = site.host.run(appliance.binary, *load, timeout=60)
    assert not work.errors, "\n".join(work.errors)
    outcome = json.loads(ended.stdout)
    assert outcome["lost"] == 0 and outcome["replied"] > 100, outcome
    assert [each["status"] for each in outcome["statuses"]] == ["OK"]
    assert min(work.runs.values()) > 0, work.runs

    after = appliance.rest()
    assert {each["name"] for each in after["lambdas"]} == set(FOLDERS)
    for each in after["lambdas"]:
        name = each["name"]
        changed = {key: value - before[name][key] for key, value in each.items() if isinstance(value, int)}
        assert each["state"] == "active", each
        assert (changed["traps"], changed["exhausted"], changed["bad_verdicts"]) == (0, 0, 0), each
        ends = changed["forwarded"] + changed["dropped"] + changed["to_host"]
        assert changed["invocations"] == ends, each
        # Requests that were sent again run again: at least what was asked, but not much more.
        asked = work.runs[name] + (outcome["sent"] if name == "echo" else 0)
        assert asked <= changed["invocations"] <= asked + asked // 10 + 50, (name, asked, changed)
    with contextlib.closing(site.host.inside(lambda: lnic.Client(IPV4))) as client:
        counters = client.call(site.ids["kv-client"], b"stats").payload.decode().split()
    counters = {name: int(value) for name, value in zip(counters[::2], counters[1::2], strict=True)}
    assert counters["gets"] + counters["sets"] >= work.runs["kv-client"]
    assert counters["timeouts"] == counters["errors"] == counters["refused"] == 0, counters
