"""What a running appliance has given up: capabilities, new privileges, system calls; in every thread."""

import os
from pathlib import Path

import pytest

from frames import ECHO, exchange, request, rpc
from lambda_rpc import LambdaRpc
from labs import DRIVERS

SETS = ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"]
#: The kernel's words for a filter of system calls.
FILTERED = "2"


def threads(pid):
    """The status of each thread, by its name and number."""
    found = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        lines = (task / "status").read_text().splitlines()
        status = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
        found[f"{status['Name']} {task.name}"] = {key: value.strip() for key, value in status.items()}
    return found


@pytest.mark.parametrize("driver", DRIVERS)
def test_every_thread_has_given_up_its_rights(make_lab, driver):
    lab = make_lab(driver, addressed=False).start()
    found = threads(lab.appliance.pid)
    # Control, the lcore, and what DPDK has of its own.
    assert len(found) >= 3, found.keys()
    for name, status in found.items():
        assert status["NoNewPrivs"] == "1", name
        assert status["Seccomp"] == FILTERED, name
        for capabilities in SETS:
            assert int(status[capabilities], 16) == 0, f"{capabilities} of {name}"
    log = lab.appliance.log.read_text()
    assert "confined: " in log and "kept: CAP_" not in log, log
    assert "kept: ioctl on interfaces" in log, log
    with lab.wire() as wire:
        assert exchange(wire, request(lab, rpc(ECHO, b"confined")))[LambdaRpc].body == b"confined"
    # It closes without the rights that it opened with.
    assert lab.appliance.stop() == 0, lab.appliance.tail()
    assert not lab.appliance.socket.exists()


def test_nothing_is_given_up_if_told_so(make_lab):
    lab = make_lab("tap", addressed=False, settings={"control": {"confine": False}}).start()
    own = threads(os.getpid())
    expected = int(next(iter(own.values()))["CapEff"], 16)
    for name, status in threads(lab.appliance.pid).items():
        assert status["Seccomp"] == "0", name
        assert int(status["CapEff"], 16) == expected, name
    assert "confined: " not in lab.appliance.log.read_text()


def test_a_folder_of_somebody_else_keeps_the_way_into_it(make_lab, tmp_path):
    state = tmp_path / "state"
    state.mkdir()
    os.chown(state, 10001, 10001)
    lab = make_lab("tap", addressed=False, settings={"control": {"state": str(state)}}).start()
    kept = {int(status["CapEff"], 16) for status in threads(lab.appliance.pid).values()}
    assert kept == {1 << 1}, "CAP_DAC_OVERRIDE alone"
    log = lab.appliance.log.read_text()
    assert f"kept: CAP_DAC_OVERRIDE ({state} belongs to user 10001)" in log, log
