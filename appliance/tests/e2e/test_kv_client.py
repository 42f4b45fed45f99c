"""The key-value client against a real memcached on another host: what it answers, how many requests wait at a time, and what happens on
a bad network and without memcached."""

import contextlib
import json
import struct
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

import lnic
from conftest import ROOT
from hosts import Memcached, Network
from labs import DRIVERS, IPV4, MODES, ONE_WORKER, Lab

FOLDER = ROOT / "lambdas" / "kv-client"
CLIENT = "10.77.0.2/24"
CACHE = "10.77.0.3"
FAR_CACHE = "10.79.0.3"
ROUTER, FAR_ROUTER = "10.77.0.254", "10.79.0.254"
SERVICES = {
    "services": {"allowed": ["10.77.0.0/24", "10.79.0.0/24"]},
    # Not calibrated: on a busy machine that comes out low, and budgets short.
    "budget": {"fuel_per_us": 2000},
}
#: What one packet takes of a set, at an MTU of 1500: more is refused before it is sent.
TOO_LONG_BYTES = 1500
LATENCY_MS = 5


def deployed(lab, folder, *settings):
    """Deploys a lambda as its manifest says, but for these settings; its ID."""
    words = [word for setting in settings for word in ("--set", setting)]
    # It is built first.
    ended = lab.cli("deploy", str(folder), "--json", "--socket", str(lab.appliance.socket), *words, timeout=300)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return json.loads(ended.stdout)["id"]


class Site:
    """An appliance with the key-value client, a host that calls it, and a memcached."""

    def __init__(self, lab, caller, cache, lambda_id):
        self.lab, self.caller, self.cache, self.lambda_id = lab, caller, cache, lambda_id

    def client(self):
        """A client on the caller's host. Use as a context manager."""
        return self.caller.inside(lambda: lnic.Client(IPV4))

    def call(self, payload, **options):
        """One request, with a client of its own."""
        with self.client() as client:
            return client.call(self.lambda_id, payload, **options).payload

    def counters(self):
        """The lambda's own."""
        lines = self.call(b"stats").decode().splitlines()
        return {name: int(value) for name, value in (line.split() for line in lines)}

    def bench(self, *arguments, lambda_id=None):
        """What `lnic bench` measures from the caller's host."""
        command = [self.lab.appliance.binary, "bench", "--to", IPV4, "--lambda", str(lambda_id or self.lambda_id)]
        ended = self.caller.run(*command, "--json", *map(str, arguments), check=False, timeout=60)
        assert ended.returncode in (0, 1), ended.stderr
        return json.loads(ended.stdout)


@contextlib.contextmanager
def site(lab, settings=(), cable=None, routed=False):
    """Starts the lab and deploys the lambda; `cable` says how the memcached's cable harms what it answers."""
    lab.start()
    with Network(lab) as network:
        caller = network.host("caller", CLIENT)
        address = FAR_CACHE if routed else CACHE
        if routed:
            host = network.host_behind_router("cache", f"{address}/24", f"{ROUTER}/24", f"{FAR_ROUTER}/24")
        elif cable is not None:
            host = network.impaired_host("cache", f"{address}/24", **cable)
        else:
            host = network.host("cache", f"{address}/24")
        with Memcached(host, address) as cache:
            lambda_id = deployed(lab, FOLDER, f"services.memcached.address={address}:11211", *settings)
            yield Site(lab, caller, cache, lambda_id)


@pytest.fixture(scope="module", params=DRIVERS)
def near(request, binary, privileged, tmp_path_factory):
    """A site with a memcached on the appliance's own network, for tests that leave it as it was."""
    lab = Lab(request.param, binary, tmp_path_factory.mktemp("kv"), {}, settings=SERVICES)
    try:
        with site(lab, ["environment.TIMEOUT_US=500000"]) as made:
            yield made
    finally:
        lab.close()


@pytest.fixture
def make_site(make_lab):
    """Makes sites of a test's own."""
    with contextlib.ExitStack() as stack:

        def make(driver, mode=MODES[0], port=None, settings=(), lambdas=None, workers=None, **options):
            tables = {**SERVICES, "scheduling": {"mode": mode}, **(workers or {})}
            lab = make_lab(driver, lambdas or {}, settings=tables, port_settings=port)
            return stack.enter_context(site(lab, settings, **options))

        yield make


@contextlib.contextmanager
def waiting(appliance):
    """Looks now and then how many requests to services are under way; the list of what it saw."""
    seen, ended = [], threading.Event()

    def look():
        while not ended.wait(0.05):
            each = appliance.lambda_stats("kv-client")
            answered = each["replies"] + each["requests_timed_out"] + each["requests_failed"]
            seen.append(each["requests"] - answered)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield seen
    finally:
        ended.set()
        thread.join()


def compact_get(key):
    """A get as a load generator sends it."""
    return struct.pack(">BB", 1, len(key)) + key


def compact_set(key, value, expiry_s=0):
    """A set as a load generator sends it."""
    return struct.pack(">BBI", 2, len(key), expiry_s) + key + value


def test_what_a_person_types(near):
    near.cache.delete(b"hey")
    with pytest.raises(lnic.NotFound, match="no such key"):
        near.call(b"get hey")
    assert near.call(b"set hey dude, where is it?") == b"STORED\n"
    assert near.cache.get(b"hey") == b"dude, where is it?"
    for asked in (b"get hey", b"GET hey", b"get hey\n", b"Get hey\r\n"):
        assert near.call(asked) == b"dude, where is it?", asked
    assert near.call(b"SET hey \r\n") == b"STORED\n"
    # A value is what it is, the end of a line included.
    assert near.call(b"get hey") == b"\r\n"
    assert near.call(b"set hey ") == b"STORED\n"
    assert near.call(b"get hey") == b""


def test_the_compact_form(near):
    value = bytes(range(256)) * 2
    assert near.call(compact_set(b"\xc3\xa9", value)) == b""
    assert near.cache.get(b"\xc3\xa9") == value
    assert near.call(compact_get(b"\xc3\xa9")) == value
    # What follows is padding.
    assert near.call(compact_get(b"\xc3\xa9") + bytes(100)) == value
    assert near.call(compact_set(b"\xc3\xa9", b"")) == b""
    assert near.call(compact_get(b"\xc3\xa9")) == b""


def test_a_value_expires(near):
    assert near.call(compact_set(b"soon", b"gone", expiry_s=1)) == b""
    assert near.call(b"get soon") == b"gone"
    deadline = time.monotonic() + 5
    with pytest.raises(lnic.NotFound):
        while time.monotonic() < deadline:
            near.call(b"get soon")
            time.sleep(0.1)


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"",
        b"get",
        b"get ",
        b"set ",
        b"set hey",
        b"set  value",
        b"gets hey",
        b"get two keys",
        b"get hey\r\nflush_all",
        b"get hey\r\nflush_all\r\n",
        b"get hey\0",
        b"get \x7f",
        b"set a\r\nflush_all b",
        b"set a\tb c",
        b"get " + b"k" * 251,
        b"set " + b"k" * 251 + b" v",
        b"stats items",
        b"flush_all",
        b"\x00",
        b"\x01",
        b"\x01\x00",
        b"\x01\x04hey",
        b"\x01\x0ahey\r\nflush",
        b"\x02\x01\x00\x00\x00",
        b"\x02\x04\x00\x00\x00\x00hey",
        b"\x02\x0b\x00\x00\x00\x00a\r\nflush_all",
        b"\x03\x03hey",
        b"\xff",
    ],
    ids=repr,
)
def test_nothing_is_smuggled_to_memcached(near, request_bytes):
    near.cache.set(b"kept", b"here")
    before, own = near.cache.counters(), near.counters()
    with pytest.raises(lnic.InvalidArgument):
        near.call(request_bytes)
    after = near.cache.counters()
    assert {name: after[name] for name in ("cmd_get", "cmd_set", "cmd_flush")} == {
        name: before[name] for name in ("cmd_get", "cmd_set", "cmd_flush")
    }
    assert near.counters() == {**own, "refused": own["refused"] + 1}


def test_the_longest_key(near):
    key = b"k" * 250
    assert near.call(b"set " + key + b" v") == b"STORED\n"
    assert near.cache.get(key) == b"v"
    assert near.call(b"get " + key) == b"v"
    assert near.call(compact_get(key)) == b"v"


@pytest.mark.parametrize("size", [1, 1000, 1400, 1401, 1472, 2800, 8192, 9150])
def test_values_of_several_datagrams(near, size):
    """memcached cuts them in datagrams of 1400 bytes, the appliance in frames."""
    value = bytes((7 * at + size) % 251 for at in range(size))
    near.cache.set(b"long", value)
    with near.client() as client:
        for _ in range(3):
            assert client.call(near.lambda_id, b"get long").payload == value


def test_a_value_that_no_reply_has_room_for(near):
    near.cache.set(b"longer", bytes(9300))
    with pytest.raises(lnic.OutOfRange, match="longer than a reply"):
        near.call(b"get longer")


def test_a_value_that_no_packet_has_room_for(near):
    near.cache.delete(b"long")
    with pytest.raises(lnic.InvalidArgument, match="does not fit one packet"):
        near.call(compact_set(b"long", bytes(TOO_LONG_BYTES)))
    assert near.cache.get(b"long") is None
    assert near.call(compact_set(b"long", bytes(1300))) == b""
    assert near.cache.get(b"long") == bytes(1300)


def test_what_it_counts(near):
    near.cache.set(b"counted", b"x")
    before = near.counters()
    for _ in range(3):
        near.call(b"get counted")
    near.call(b"set counted y")
    with pytest.raises(lnic.NotFound):
        near.call(b"get missing")
    after = near.counters()
    changed = {name: after[name] - before[name] for name in after if after[name] != before[name]}
    assert changed == {"gets": 4, "sets": 1, "hits": 3, "misses": 1, "stored": 1}


def test_everybody_gets_the_own_answer_at_once(near):
    """Sixteen callers, each with keys of its own."""

    def caller(number):
        with near.client() as client:
            for at in range(50):
                key, value = b"key-%d-%d" % (number, at), b"value-%d-%d" % (number, at) * (1 + at % 5)
                client.call(near.lambda_id, compact_set(key, value))
                assert client.call(near.lambda_id, compact_get(key)).payload == value
                assert client.call(near.lambda_id, b"get " + key).payload == value

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(caller, range(16)))
    assert near.lab.appliance.lambda_stats("kv-client")["state"] == "active"


@pytest.mark.parametrize("driver, mode", [(DRIVERS[1], MODES[0]), (DRIVERS[0], MODES[1])])
def test_one_npu_waits_for_many_answers_at_a_time(make_site, driver, mode):
    """memcached answers 5 ms late: one after the other would be 200 requests a second at most."""
    made = make_site(
        driver, mode, workers=ONE_WORKER, cable={"delay_ms": LATENCY_MS}, settings=["environment.TIMEOUT_US=500000"]
    )
    made.cache.set(b"hey", b"dude")
    before = made.counters()
    with waiting(made.lab.appliance) as most:
        outcome = made.bench("--closed-loop", 48, "--data", "get hey", "--duration", 2, "--warmup", 0.5)
    assert max(most) > 20, "requests that waited for memcached when somebody looked"
    assert outcome["lost"] == 0 and {each["status"] for each in outcome["statuses"]} == {"OK"}, outcome
    assert outcome["latency"]["min_us"] > 1000 * LATENCY_MS, "the cable does not delay"
    at_once = outcome["achieved_rate"] * outcome["latency"]["mean_us"] / 1e6
    # Twice what could be one after the other, however busy the machine is.
    assert outcome["achieved_rate"] > 2 * 1000 / LATENCY_MS and at_once > 20, outcome
    after = made.counters()
    assert after["hits"] - before["hits"] == after["gets"] - before["gets"] >= outcome["replied"]
    assert after["retries"] == before["retries"], "every request was asked once"
    (lcore,) = [each for each in made.lab.appliance.stats()["lcores"] if "NPU" in each["roles"] or each["npu_ns"]]
    assert lcore["suspended"] >= outcome["replied"]


@pytest.mark.parametrize("mode", MODES)
def test_answers_find_their_requests_on_a_bad_network(make_site, mode):
    """One in twenty of memcached's datagrams is lost, a fifth comes twice, half come late. Values of several datagrams are among them."""
    made = make_site(
        DRIVERS[1],
        mode,
        cable={"delay_ms": 1, "loss": 0.05, "duplicate": 0.2, "reorder": 0.5, "seed": 7},
        settings=["environment.TIMEOUT_US=30000", "environment.ATTEMPTS=8"],
    )
    keys, rounds, callers = 40, 3, 8
    values = {b"key-%d" % at: b"%d." % at * (1 + 50 * (at % 30)) for at in range(keys)}
    for key, value in values.items():
        made.cache.set(key, value)
    wrong = []

    def caller(number):
        with made.client() as client:
            for at in range(rounds * keys):
                key = b"key-%d" % ((at * 7 + number) % keys)
                got = client.call(made.lambda_id, compact_get(key), timeout=10).payload
                if got != values[key]:
                    wrong.append((key, got))

    threads = [threading.Thread(target=caller, args=(number,)) for number in range(callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong, wrong[0]
    counters = made.counters()
    assert counters["gets"] >= callers * rounds * keys
    assert counters["hits"] == counters["gets"] and counters["retries"] > 0, counters
    assert made.lab.appliance.rest()


def test_without_memcached_callers_are_told_in_time_and_others_go_on(make_site, lambdas):
    echo = {"echo": lambdas["echo"]}
    made = make_site(DRIVERS[1], lambdas=echo, workers=ONE_WORKER, settings=["environment.TIMEOUT_US=200000"])
    assert made.call(b"set hey dude") == b"STORED\n"
    before = made.counters()

    made.cache.stop()
    started = time.monotonic()
    with pytest.raises(lnic.DeadlineExceeded, match="did not answer in time"):
        made.call(b"get hey")
    took_s = time.monotonic() - started
    # Twice the time-out, and what a client in Python takes.
    assert 0.4 <= took_s < 2, took_s
    with pytest.raises(lnic.DeadlineExceeded):
        made.call(compact_set(b"hey", b"you"))
    # Who waits no longer than this is told so by then.
    started = time.monotonic()
    with pytest.raises(lnic.DeadlineExceeded):
        made.call(b"get hey", budget_us=5_000)
    assert time.monotonic() - started < 0.2

    # Nearly all that can wait on the NPU do; echo does not notice: it would wait for one of them at least.
    crowd = threading.Thread(
        target=made.bench, args=("--closed-loop", 60, "--data", "get hey", "--duration", 2.5, "--warmup", 0)
    )
    crowd.start()
    time.sleep(0.5)
    with waiting(made.lab.appliance) as most:
        outcome = made.bench("--closed-loop", 1, "--bytes", 64, "--duration", 1, "--warmup", 0, lambda_id=1)
    crowd.join()
    assert max(most) > 30, most
    assert outcome["lost"] == 0 and outcome["latency"]["p50_us"] < 100_000, outcome
    assert {each["status"] for each in outcome["statuses"]} == {"OK"}

    made.cache.go_on()
    assert made.call(b"get hey") in (b"dude", b"you")
    assert made.call(b"set hey dude") == b"STORED\n"
    assert made.call(b"get hey") == b"dude"
    after = made.counters()
    assert after["timeouts"] - before["timeouts"] >= 3 and after["errors"] == before["errors"]
    ended = sum(after[name] for name in ("hits", "misses", "stored", "timeouts", "errors"))
    assert ended == after["gets"] + after["sets"], after
    assert made.lab.appliance.lambda_stats("kv-client")["state"] == "active"


@pytest.mark.parametrize("driver", DRIVERS)
def test_memcached_behind_a_router(make_site, driver):
    made = make_site(driver, port={"ipv4": f"{IPV4}/24", "ipv4_gateway": ROUTER}, routed=True)
    assert made.call(b"set hey dude", timeout=5) == b"STORED\n"
    assert made.cache.get(b"hey") == b"dude"
    assert made.call(b"get hey") == b"dude"
    made.cache.set(b"long", b"l" * 8192)
    assert made.call(b"get long") == b"l" * 8192
