"""Quarantine as an operator meets it: the log, `lnic list`, `lnic stats`, `lnic release`."""

import json
import time

import pytest

import lambda_rpc
from frames import burst, exchange, request, rpc
from hostile_lambdas import statuses
from labs import MODES, ONE_WORKER
from lambda_rpc import LambdaRpc

FAILURES = 5
REQUESTS = 8
ECHO, TRAP, COUNTER = 1, 2, 3


@pytest.fixture(params=MODES)
def lab(request, make_lab, lambdas, hostile_lambdas):
    """A lab with one lambda that fails, and two that do not."""
    deployed = {
        "echo": {"file": str(lambdas["echo"]), "weight": 7, "budget_us": 300},
        "trap": hostile_lambdas["trap"],
        "counter": hostile_lambdas["counter"],
    }
    quarantine = {"failures": FAILURES, "window_ms": 600_000}
    settings = {"scheduling": {"mode": request.param}, "quarantine": quarantine, **ONE_WORKER}
    return make_lab("af_packet", deployed, settings=settings).start()


def listed(lab, *arguments):
    """What `lnic list --json` prints, by name."""
    done = lab.ask("list", "--json", *arguments)
    assert done.returncode == 0, done.stderr
    return {each["name"]: each for each in json.loads(done.stdout)}


def fail(lab, wire):
    """Asks the lambda that traps; how often it said what."""
    return statuses(burst(wire, [request(lab, rpc(TRAP)) for _ in range(REQUESTS)], REQUESTS))


def row(text, name, column):
    """A cell of the table of lambdas that has this column, by the place of its heading; the heading's end for numbers."""
    lines = text.splitlines()
    heading = next(line for line in lines if line.startswith(("LAMBDA", "NAME")) and column in line)
    at = heading.index(column)
    line = next(line for line in lines[lines.index(heading) :] if line.startswith(name))
    return line[at:].split()[0] if line[at] != " " else line[: at + len(column)].split()[-1]


def test_a_lambda_that_fails_is_quarantined_until_it_is_released(lab):
    quarantined = {lambda_rpc.INTERNAL: FAILURES, lambda_rpc.UNAVAILABLE: REQUESTS - FAILURES}
    with lab.wire() as wire:
        assert {each["state"] for each in listed(lab).values()} == {"active"}
        assert listed(lab, "--state", "quarantined") == {}
        assert fail(lab, wire) == quarantined

        state = listed(lab)
        assert {name: each["state"] for name, each in state.items()} == {
            "echo": "active",
            "trap": "quarantined",
            "counter": "active",
        }
        assert (state["trap"]["traps"], state["trap"]["unavailable"]) == (FAILURES, REQUESTS - FAILURES)
        assert listed(lab, "--state", "quarantined").keys() == {"trap"}
        assert listed(lab, "--state", "active").keys() == {"echo", "counter"}
        assert row(lab.ask("list").stdout, "trap", "STATE") == "quarantined"
        assert row(lab.ask("stats").stdout, "trap", "STATE") == "quarantined"
        only = lab.ask("list", "--state", "quarantined").stdout.splitlines()
        assert len(only) == 2 and only[1].startswith("trap ")

        # The log is written a few times a second.
        time.sleep(0.5)
        warnings = [line for line in lab.appliance.tail().splitlines() if "quarantined" in line]
        assert len(warnings) == 1 and "WARN" in warnings[0], warnings
        assert 'lambda "trap"' in warnings[0] and "`lnic release trap`" in warnings[0]

        done = lab.ask("release", "trap")
        assert (done.returncode, done.stdout, done.stderr) == (0, "trap released\n", "")
        assert listed(lab)["trap"]["state"] == "active"
        # All its failures are forgiven.
        assert fail(lab, wire) == quarantined
        assert listed(lab)["trap"]["traps"] == 2 * FAILURES
        assert exchange(wire, request(lab, rpc(ECHO, b"unmoved")))[LambdaRpc].body == b"unmoved"


def test_releases_that_release_nothing(lab):
    done = lab.ask("release", "echo")
    assert (done.returncode, done.stdout) == (0, "echo was not quarantined\n"), done.stderr
    for name in ("nobody", "no/body", "..", "", "ECHO"):
        done = lab.ask("release", name)
        assert (done.returncode, done.stdout) == (1, ""), name
        assert len(done.stderr.splitlines()) == 1 and f'no lambda "{name}"' in done.stderr, done.stderr
    elsewhere = lab.cli("release", "trap", "--socket", "/nonexistent/lnic.sock")
    assert elsewhere.returncode == 1 and "/nonexistent/lnic.sock" in elsewhere.stderr


def test_tables_for_people(lab):
    with lab.wire() as wire:
        assert len(burst(wire, [request(lab, rpc(ECHO, b"x")) for _ in range(16)], 16)) == 16
        # In time with the sampling of run-to-completion, or not: more than it skips.
        burst(wire, [request(lab, rpc(COUNTER, bytes(4))) for _ in range(16)], 16)
    lab.appliance.rest()
    text, data = lab.ask("list").stdout, listed(lab)
    for name, each in data.items():
        assert row(text, name, "STATE") == each["state"]
        assert row(text, name, "CONCURRENCY") == each["concurrency"]
        assert int(row(text, name, "ID")) == each["id"]
        assert int(row(text, name, "WEIGHT")) == each["weight"]
        assert int(row(text, name, "BUDGET µs")) == each["budget_us"]
        assert int(row(text, name, "INVOCATIONS")) == each["invocations"]
    assert (data["echo"]["weight"], data["echo"]["budget_us"], data["echo"]["invocations"]) == (7, 300, 16)
    assert {name: each["concurrency"] for name, each in data.items()} == {
        "echo": "replicated",
        "trap": "replicated",
        "counter": "pinned",
    }
    text, stats = lab.ask("stats").stdout, lab.appliance.stats()
    assert stats["scheduling"] in text.splitlines()[0]
    for each in stats["lambdas"]:
        assert row(text, each["name"], "STATE") == "active"
        assert float(row(text, each["name"], "NPU MS")) == pytest.approx(each["npu_ns"] / 1e6, abs=0.06)
        for heading, times in (("QUEUE P50", "queueing"), ("RUN P50", "service")):
            assert float(row(text, each["name"], heading)) == pytest.approx(each[times]["p50_ns"] / 1e3, abs=0.06)
    counter = stats["lambdas"][2]
    assert 0 < counter["service"]["p50_ns"] <= counter["service"]["p99_ns"] <= counter["service"]["max_ns"]
    assert counter["npu_ns"] > 0
