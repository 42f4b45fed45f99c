"""Power cuts: the appliance is killed at random moments of a deployment, and finds the state before it or after it."""

import random
import subprocess
import sys
import threading
import time

from conftest import ROOT
from control import Control, Refused

sys.path.insert(0, str(ROOT / "scripts"))
import thousands as script  # noqa: E402

KILLS = 200
#: How long a deployment may take, so that kills fall on all of it.
WINDOW_S = 0.03


def test_a_kill_at_any_moment_leaves_before_or_after(make_lab, binary, tmp_path):
    script.modules(binary, tmp_path, KILLS + 1)
    settings = {"control": {"state": str(tmp_path / "state"), "generations": 3}}
    lab = make_lab("tap", {}, settings=settings).start()
    control, random_ = Control(lab.appliance), random.Random(1)
    control.deploy_sum("victim", (tmp_path / "1.wasm").read_bytes())
    payload, current = b"state", 1
    fell_before = fell_after = 0
    for number in range(2, KILLS + 2):
        wasm = (tmp_path / f"{number}.wasm").read_bytes()
        acknowledged = []

        def deploy(wasm=wasm, acknowledged=acknowledged):
            try:
                control.deploy_sum("victim", wasm)
                acknowledged.append(True)
            except (OSError, Refused, ValueError):
                pass
            except Exception as error:  # pylint: disable=broad-except; of http.client: the server has gone
                assert "Remote" in type(error).__name__ or "Incomplete" in type(error).__name__, error

        worker = threading.Thread(target=deploy)
        worker.start()
        time.sleep(random_.uniform(0, WINDOW_S))
        lab.appliance.kill()
        worker.join()
        lab.appliance.start()
        status, answer = control.call("victim", payload)
        assert status == 200, (status, answer, lab.appliance.tail())
        allowed = {script.answer(number, payload): number}
        if not acknowledged:
            allowed[script.answer(current, payload)] = current
        assert answer in allowed, f"kill {number}: an answer of neither"
        fell_before += allowed[answer] == current
        fell_after += allowed[answer] == number
        current = allowed[answer]
        described = control.get("victim")
        assert described["phase"] == "active" and described.get("problem") is None
        assert len(described["generations"]) <= 3
    # Else the kills missed what they were for.
    assert fell_before > 10 and fell_after > 10, (fell_before, fell_after)


def restart_with(lab, damage):
    """Stops the appliance, does damage, and starts it again; what it says if it does not start."""
    assert lab.appliance.stop() == 0
    damage()
    try:
        lab.appliance.start()
    except AssertionError as error:
        return str(error)
    return None


def test_damage_is_told_and_what_is_whole_goes_on(make_lab, binary, tmp_path):
    script.modules(binary, tmp_path, 2)
    state = tmp_path / "state"
    lab = make_lab("tap", {}, settings={"control": {"state": str(state)}}).start()
    control = Control(lab.appliance)
    for number in (1, 2):
        control.deploy_sum(f"sum-{number}", (tmp_path / f"{number}.wasm").read_bytes())

    def both_work():
        return [control.call(f"sum-{number}", b"x") for number in (1, 2)] == [
            (200, script.answer(number, b"x")) for number in (1, 2)
        ]

    # Compiled code is only a cache: what cannot be authenticated is compiled again.
    artifacts = sorted((state / "artifacts").iterdir())
    assert len(artifacts) >= 2
    for damage in (
        lambda: artifacts[0].write_bytes(artifacts[0].read_bytes()[:-10]),
        lambda: artifacts[0].write_bytes(b"\0" * 100),
        lambda: (state / "artifact.key").unlink(),
        lambda: (state / "artifact.key").write_bytes(b"\1" * 32),
    ):
        assert restart_with(lab, damage) is None
        assert both_work()
        assert lab.appliance.stats()["compiler"]["misses"] >= 1
    # A module is state: without it one lambda cannot be deployed, and says so; the other can.
    for file in (state / "artifacts").iterdir():
        file.unlink()
    module = min((state / "modules").iterdir())
    whole = module.read_bytes()
    assert restart_with(lab, lambda: module.write_bytes(whole[:-1])) is None
    phases = {each["name"]: (each["phase"], each.get("problem") or "") for each in control.all()}
    failed = [problem for phase, problem in phases.values() if phase == "failed"]
    assert len(failed) == 1 and module.name in failed[0], phases
    assert restart_with(lab, lambda: module.write_bytes(whole)) is None
    assert both_work()
    # A store that cannot be read is not replaced by an empty one.
    store = state / "registry.redb"
    content = store.read_bytes()
    said = restart_with(lab, lambda: store.write_bytes(b"\xff" * 4096 + content[4096:]))
    assert said is not None and "registry.redb" in said, said
    assert store.read_bytes()[:4096] == b"\xff" * 4096
    store.write_bytes(content)
    lab.appliance.start()
    assert both_work()


def test_a_full_disk_refuses_and_keeps_what_was(make_lab, binary, tmp_path):
    script.modules(binary, tmp_path, 60)
    state = tmp_path / "state"
    state.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m,mode=0700", "tmpfs", state], check=True)
    try:
        lab = make_lab("tap", {}, settings={"control": {"state": str(state)}}).start()
        control = Control(lab.appliance)
        control.deploy_sum("keeper", (tmp_path / "1.wasm").read_bytes())
        filler = state / "filler"
        with open(filler, "wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(4096))
            except OSError:
                pass
        refusals = []
        for number in range(2, 61):
            try:
                control.deploy_sum("keeper", (tmp_path / f"{number}.wasm").read_bytes())
            except Refused as refused:
                refusals.append(refused)
                break
        assert refusals and refusals[0].status in (500, 507), refusals
        assert "space" in refusals[0].error.lower() or "full" in refusals[0].error.lower(), refusals[0]
        generation = control.get("keeper")["generation"]
        filler.unlink()
        assert lab.appliance.stop() == 0
        lab.appliance.start()
        assert control.get("keeper")["generation"] == generation
        assert control.deploy_sum("keeper", (tmp_path / "60.wasm").read_bytes())["generation"] == generation + 1
        assert lab.appliance.stop() == 0
    finally:
        subprocess.run(["umount", "--lazy", state], check=True)
