"""Hundreds of lambdas with distinct code on one appliance, as scripts/thousands.py makes them."""

import importlib.util
import subprocess
import sys

import pytest

import lambda_rpc
from conftest import ROOT
from frames import burst, request, rpc
from labs import MODES, ONE_WORKER

COUNT = 300
BURST = 50


@pytest.fixture(scope="module")
def thousands():
    """The script, as a module."""
    spec = importlib.util.spec_from_file_location("thousands", ROOT / "scripts" / "thousands.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["thousands"] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("mode", MODES)
def test_each_answers_with_its_own_code(mode, thousands, make_lab, binary, tmp_path):
    thousands.modules(binary, tmp_path, COUNT)
    modules = {path.read_bytes() for path in tmp_path.glob("[0-9]*.wasm")}
    assert len(modules) == COUNT
    deployed = {f"sum-{n}": {"file": str(tmp_path / f"{n}.wasm"), "entry": "sum"} for n in range(1, COUNT + 1)}
    lab = make_lab("tap", deployed, settings={"scheduling": {"mode": mode}, **ONE_WORKER}).start()
    payload = b"some bytes to be summed"
    with lab.wire() as wire:
        for first in range(1, COUNT + 1, BURST):
            packets = [request(lab, rpc(n, payload)) for n in range(first, first + BURST)]
            replies = burst(wire, packets, BURST)
            assert {(reply.lambda_id, reply.status, reply.body) for reply in replies} == {
                (n, lambda_rpc.OK, thousands.answer(n, payload)) for n in range(first, first + BURST)
            }
    assert all(each["invocations"] == 1 for each in lab.appliance.stats()["lambdas"])


def test_the_script_writes_a_configuration_that_holds(binary, tmp_path, thousands):
    command = [sys.executable, ROOT / "scripts" / "thousands.py", "--count", "40", "--folder", tmp_path, "--lnic", binary]
    subprocess.run(command, check=True, capture_output=True)
    check = subprocess.run([binary, "check", tmp_path / "thousands.toml", "--json"], capture_output=True, text=True, check=False)
    assert check.returncode in (0, 1), check.stderr
    assert check.stdout.count('"sum-') >= 40
