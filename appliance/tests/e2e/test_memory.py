"""Memory of lambdas, end to end: counts are exact, `lnic inspect`, `stats` and `check` say the same, and what cannot be is refused
with its reason."""

import concurrent.futures
import json
import struct
from collections import Counter
from pathlib import Path

import pytest

import lnic
from labs import IPV4, MODES
from namespaces import run

ECHO, ATOMIC, COUNTER, LOCAL, CONSTANTS = range(1, 6)
CLIENTS = 4
CALLS = 50
TABLE_BYTES = 600 << 10


def number(value):
    """As lambdas take and answer it."""
    return struct.pack(">I", value)


def deployed(lambdas, hostile_lambdas):
    """One lambda of each kind."""
    files = {"echo": lambdas["echo"], **{name: hostile_lambdas[name] for name in ("atomic", "counter", "local", "constants")}}
    return {name: {"file": str(file)} for name, file in files.items()}


@pytest.fixture(params=MODES)
def lab(request, make_lab, lambdas, hostile_lambdas):
    """A lab with all of them, on as many NPUs as the machine has."""
    settings = {"scheduling": {"mode": request.param}}
    return make_lab("tap", deployed(lambdas, hostile_lambdas), addressed=True, settings=settings).start()


def call(lab, lambda_id, payload=b""):
    """What several clients at once are answered."""

    def client(_):
        with lab.peer.inside(lambda: lnic.Client(IPV4)) as each:
            return [each.call(lambda_id, payload, timeout=10).payload for _ in range(CALLS)]

    with concurrent.futures.ThreadPoolExecutor(CLIENTS) as pool:
        return [payload for answers in pool.map(client, range(CLIENTS)) for payload in answers]


def numbers(answers):
    """Counts, in order."""
    return sorted(int.from_bytes(answer, "big") for answer in answers)


def inspected(lab, name):
    """What `lnic inspect NAME --json` says."""
    done = lab.ask("inspect", name, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_counts_are_exact_and_memory_is_what_was_planned(lab):
    total = CLIENTS * CALLS
    npus = sum("npu" in lcore["roles"].lower() for lcore in lab.appliance.stats()["lcores"])
    before = used(lab)
    # One object, however many instances write it; calls in between, so that there are several at a time.
    assert numbers(call(lab, ATOMIC, number(ECHO)) + call(lab, ATOMIC)) == list(range(1, 2 * total + 1))
    # One instance.
    assert numbers(call(lab, COUNTER)) == list(range(1, total + 1))
    # One object for each NPU: each counts from 1, and all of them together count everything.
    counts = Counter(numbers(call(lab, LOCAL)))
    assert counts[1] <= npus and all(counts[count + 1] <= counts[count] for count in counts)
    assert counts.total() == total
    for place, byte in ((0, 3), (7, 5), (1, 0), (TABLE_BYTES - 1, 9)):
        assert set(call(lab, CONSTANTS, number(place))) == {bytes([byte])}
    # Traffic takes no memory, and `lnic check` knew how much it would be.
    assert used(lab) == before
    checked = lab.cli("check", str(lab.appliance.config), "--json")
    planned = {tier["tier"]: tier["planned_bytes"] for tier in json.loads(checked.stdout)["memory"]["tiers"]}
    assert before == {tier: bytes_ for tier, bytes_ in planned.items() if bytes_}


def used(lab):
    """Bytes in use of the fullest region of each tier."""
    fullest = {}
    for region in lab.appliance.stats()["regions"]:
        assert region["used_bytes"] <= region["slab_bytes"] <= region["limit_bytes"]
        fullest[region["tier"]] = max(fullest.get(region["tier"], 0), region["used_bytes"])
    return fullest


def test_inspect_says_where_everything_is_and_why(lab):
    atomic = inspected(lab, "atomic")
    assert (atomic["runs"], atomic["layout"], atomic["deployed"]["name"]) == ("any NPU", "windows", "atomic")
    (hits,) = atomic["objects"]
    assert (hits["name"], hits["kind"], hits["atomic"]) == ("hits", "variable", True)
    assert (hits["tier"], hits["shared_by"]) == ("ctm", "island")
    counter = inspected(lab, "counter")
    assert (counter["runs"], counter["layout"]) == ("one NPU at a time", "dense")
    assert '"count"' in counter["because"]
    local = inspected(lab, "local")
    assert (local["runs"], local["objects"][0]["tier"]) == ("any NPU", "local")
    constants = inspected(lab, "constants")
    assert (constants["runs"], constants["objects"][0]["kind"]) == ("any NPU", "constant")
    for each in (inspected(lab, "echo"), atomic, counter, local, constants):
        sites = each["sites"]
        assert (sites["attributed"], sites["lost"], sites["incomplete"]) == (sites["total"], [], None)
    text = lab.ask("inspect", "atomic").stdout
    for part in (
        "atomic: runs on any NPU, because its variables are accessed by atomics only\n",
        "\nmemory: windows layout, ",
        "  hits ",
        f"\naccess sites: {atomic['sites']['total']} of {atomic['sites']['total']} attributed\n",
        "  memory stratification ",
        "  lambda coalescing ",
        "\nparser plan of the appliance: ",
    ):
        assert part in text, text
    gone = lab.ask("inspect", "nobody")
    assert gone.returncode == 1 and '"nobody"' in gone.stderr


def test_inspect_of_a_file_needs_no_appliance(binary, hostile_lambdas):
    file = str(hostile_lambdas["atomic"])
    (near,) = json.loads(run(binary, "inspect", file, "--json").stdout)
    assert (near["objects"][0]["tier"], near["deployed"]) == ("ctm", None)
    # NPUs of two islands see the same only where all do.
    (far,) = json.loads(run(binary, "inspect", file, "--islands", "2", "--json").stdout)
    assert (far["objects"][0]["tier"], far["objects"][0]["shared_by"]) == ("imem", "all")
    text = run(binary, "inspect", file, "--concurrency", "pinned").stdout
    assert text.startswith("atomic: runs on one NPU at a time, because ")
    assert "lambda coalescing" not in text


def test_stats_and_check_for_people(lab):
    stats = lab.ask("stats").stdout
    heading = next(line for line in stats.splitlines() if line.startswith("MEMORY "))
    assert "USED MIB" in heading and "PAGES" in heading
    assert any(line.startswith("ctm      island0 ") for line in stats.splitlines()), stats
    check = lab.cli("check", str(lab.appliance.config)).stdout
    words = [line.split() for line in check.splitlines()]
    tiers = [line[1] for line in words if line[:1] == ["tier"]]
    assert tiers == ["local", "ctm", "imem", "emem"]
    for line in (
        "atomic windows in local, ctm any NPU because its variables are accessed by atomics only",
        "local dense in local any NPU because nothing outlives a run that NPUs would share",
    ):
        assert line.split() in words, check
    (counter,) = [line for line in words if line[:2] == ["counter", "dense"]]
    assert "one NPU at a time because" in " ".join(counter)


@pytest.fixture
def refused(make_lab, binary):
    """Starts what cannot start; the error, of which `lnic check` knows the reason too."""

    def refuse(lambdas, settings=None, checked=None):
        lab = make_lab("tap", lambdas, settings=settings)
        with pytest.raises(AssertionError) as raised:
            lab.start()
        assert "exit code 1\n" in str(raised.value)
        check = run(binary, "check", str(lab.appliance.config), check=False)
        missing = check.stdout.partition("\nMissing\n")[2]
        assert check.returncode == 1 and (checked or "") in missing, check.stdout
        return str(raised.value)

    return refuse


def test_a_quota_that_is_exceeded_is_named(refused, hostile_lambdas):
    file = str(hostile_lambdas["constants"])
    one = {"file": file, "entry": "constants", "tenant": "acme"}
    error = refused(
        {"one": one, "two": one},
        {"[tenants]": {"name": "acme", "imem_mib": 1}},
        checked='tenant "acme": ',
    )
    assert 'lambda "two.acme": ' in error and "bytes of imem wanted" in error
    assert 'tenant "acme" uses ' in error and "of its quota of 1048576" in error


def test_a_dense_memory_is_not_shared(refused, hostile_lambdas):
    wish = {"file": str(hostile_lambdas["atomic"]), "layout": "dense", "concurrency": "shared"}
    error = refused({"atomic": wish}, checked='"hits" is written')
    assert 'lambda "atomic": ' in error and '"hits" is written' in error and 'layout = "windows"' in error


def without_custom_sections(wasm):
    """The module without names, symbols and relocations."""
    kept, at = bytearray(wasm[:8]), 8
    while at < len(wasm):
        start, kind, size, shift = at, wasm[at], 0, 0
        at += 1
        while True:
            size |= (wasm[at] & 0x7F) << shift
            shift, at = shift + 7, at + 1
            if not wasm[at - 1] & 0x80:
                break
        at += size
        if kind != 0:
            kept += wasm[start:at]
    return bytes(kept)


def test_a_module_that_tells_nothing_is_not_shared(refused, hostile_lambdas, tmp_path):
    stripped = Path(tmp_path, "stripped.wasm")
    stripped.write_bytes(without_custom_sections(hostile_lambdas["atomic"].read_bytes()))
    wish = {"file": str(stripped), "entry": "atomic", "concurrency": "shared"}
    error = refused({"atomic": wish}, checked="cannot be shared")
    assert 'lambda "atomic": ' in error and "its variables cannot be shared" in error and "lnic build" in error
