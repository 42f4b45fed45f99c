"""Deploying, upgrading, scaling and removing while packets flow: nothing is lost, and nobody is answered by what is gone."""

import json
import subprocess
import sys
import time

import pytest

from conftest import ROOT
from control import Control, Refused
from labs import DRIVERS, IPV4, MODES

sys.path.insert(0, str(ROOT / "scripts"))
import thousands as script  # noqa: E402

SECONDS = 6
VICTIM = 77


@pytest.fixture(scope="session")
def sums(binary, tmp_path_factory):
    """Modules of different code: number N answers with `script.answer(N, payload)`."""
    folder = tmp_path_factory.mktemp("sums")
    script.modules(binary, folder, 40)
    return [(folder / f"{number}.wasm").read_bytes() for number in range(1, 41)]


@pytest.fixture(params=[("tap", MODES[0]), ("af_packet", MODES[0]), ("tap", MODES[1])], ids="-".join)
def live(request, make_lab, tmp_path):
    """A lab with nothing deployed, and its control plane."""
    driver, mode = request.param
    settings = {"scheduling": {"mode": mode}, "control": {"state": str(tmp_path / "state")}}
    lab = make_lab(driver, {}, addressed=True, settings=settings).start()
    return lab, Control(lab.appliance)


def load(lab, lambda_id, *arguments):
    """The load generator, at work where the peer is."""
    command = [lab.appliance.binary, "bench", "--to", IPV4, "--lambda", str(lambda_id), "--json"]
    command += ["--duration", str(SECONDS), "--warmup", "0", *map(str, arguments)]
    return subprocess.Popen(lab.peer.command(*command), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def figures(bench):
    """What it measured."""
    out, err = bench.communicate(timeout=SECONDS + 30)
    assert bench.returncode in (0, 1), err
    return json.loads(out)


def test_upgrades_and_strangers_under_load_lose_nothing(live, sums):
    lab, control = live
    control.deploy_sum("victim", sums[0], id=VICTIM)
    bench = load(lab, VICTIM, "--closed-loop", 16, "--bytes", 32)
    rounds, end = 0, time.monotonic() + SECONDS - 1
    try:
        while time.monotonic() < end:
            rounds += 1
            control.deploy_sum("victim", sums[rounds % len(sums)])
            control.deploy_sum(f"other-{rounds % 5}", sums[(7 * rounds) % len(sums)], weight=1 + rounds % 7)
            if rounds % 3 == 0:
                control.remove(f"other-{rounds % 5}")
            if rounds % 4 == 0:
                control.act("victim", "rollback")
    finally:
        measured = figures(bench)
    assert rounds > 20
    assert measured["lost"] == 0, measured
    assert all(each["code"] == 0 for each in measured["statuses"]), measured["statuses"]
    stats = lab.appliance.rest()
    victim = next(each for each in stats["lambdas"] if each["name"] == "victim")
    # Statistics are the lambda's, over all its generations.
    assert victim["invocations"] >= measured["sent"]


def test_a_generation_answers_until_the_next_one_does(live, sums):
    lab, control = live
    payload = b"which one"
    expected = {script.answer(number, payload): number for number in range(1, 41)}
    control.deploy_sum("victim", sums[0], id=VICTIM)
    latest = 1
    for number in range(2, 12):
        control.deploy_sum("victim", sums[number - 1])
        # Once the deployment is acknowledged, nobody meets what was there before.
        status, answer = control.call("victim", payload)
        assert (status, expected[answer]) == (200, number)
        latest = number
    control.act("victim", "rollback", {"generation": latest - 3})
    assert expected[control.call("victim", payload)[1]] == latest - 3
    described = control.get("victim")
    assert described["generation"] == latest - 3
    control.deploy_sum("victim", sums[20])
    assert control.get("victim")["generation"] == latest + 1, "a number is never used again"


def test_memory_comes_back(live, sums):
    lab, control = live
    control.deploy_sum("first", sums[0])
    for at in range(10):
        control.deploy_sum("second", sums[at])
    control.remove("second")
    control.act("first", "scale", {"replicas": 0})

    def used():
        return sum(region["used_bytes"] for region in lab.appliance.stats()["regions"])

    deadline = time.monotonic() + 5
    while used() > 0 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert used() == 0, lab.appliance.stats()["regions"]


def test_one_that_sleeps_is_woken_by_a_request(live, sums):
    lab, control = live
    control.deploy_sum("sleeper", sums[4], id=VICTIM, replicas=0)
    assert control.get("sleeper")["phase"] == "asleep"
    for _ in range(3):
        status, answer = control.call("sleeper", b"hello")
        assert (status, answer) == (200, script.answer(5, b"hello"))
        assert control.get("sleeper")["phase"] == "active"
        control.act("sleeper", "scale", {"replicas": 0})
        assert control.get("sleeper")["phase"] == "asleep"
    # Requests from the wire wake it as well, and none is lost.
    bench = load(lab, VICTIM, "--closed-loop", 4, "--bytes", 16)
    measured = figures(bench)
    assert measured["lost"] == 0, measured


def test_what_cannot_be_deployed_changes_nothing(live, sums, lambdas):
    lab, control = live
    control.deploy_sum("good", sums[0], id=VICTIM)
    before = control.get("good")
    cases = [
        (422, "not a WebAssembly module", lambda: control.deploy_sum("good", b"no module")),
        (422, "weight", lambda: control.deploy_sum("good", sums[1], weight=5000)),
        (422, "no_such_entry", lambda: control.deploy_sum("good", sums[1], entry="no_such_entry")),
        (409, str(VICTIM), lambda: control.deploy_sum("other", sums[1], id=VICTIM)),
        (404, "nowhere", lambda: control.deploy_sum("good", sums[1], namespace="nowhere")),
        (404, "sha256:", lambda: control.deploy_sum("good", "sha256:" + "0" * 64)),
        (400, "Good_", lambda: control.deploy_sum("Good_", sums[1])),
        (422, "missing", lambda: control.deploy_sum("good", sums[1], secrets=["missing"])),
        (404, "generation", lambda: control.act("good", "rollback", {"generation": 99})),
        (404, "absent", lambda: control.remove("absent")),
    ]
    for status, text, do in cases:
        with pytest.raises(Refused) as refused:
            do()
        assert refused.value.status == status and text in refused.value.error, (text, refused.value)
    after = control.get("good")
    assert (after["generation"], after["generations"]) == (before["generation"], before["generations"])
    assert control.call("good", b"x") == (200, script.answer(1, b"x"))


@pytest.mark.parametrize("driver", DRIVERS)
def test_everything_is_there_after_a_restart(make_lab, tmp_path, sums, driver):
    settings = {"control": {"state": str(tmp_path / "state")}}
    lab = make_lab(driver, {}, addressed=True, settings=settings).start()
    control = Control(lab.appliance)
    control.json("POST", "/v1/namespaces", {"name": "team-a"})
    for number in range(1, 21):
        control.deploy_sum(f"sum-{number}", sums[number - 1], namespace="team-a" if number % 2 else "default", id=1000 + number)
    control.deploy_sum("sum-2", sums[30])
    control.act("sum-4", "scale", {"replicas": 0})
    before = [{key: each[key] for key in ("name", "namespace", "id", "generation", "phase")} for each in control.all()]
    lab.appliance.kill()
    lab.appliance.start()
    after = [{key: each[key] for key in ("name", "namespace", "id", "generation", "phase")} for each in control.all()]
    assert after == before
    assert control.call("sum-3.team-a", b"abc") == (200, script.answer(3, b"abc"))
    assert control.call("sum-2", b"abc") == (200, script.answer(31, b"abc"))
    assert control.call("sum-4", b"abc") == (200, script.answer(4, b"abc"))
    # Nothing was compiled again: all came out of the cache.
    assert lab.appliance.stats()["compiler"]["misses"] == 0
