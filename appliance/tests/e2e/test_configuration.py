"""Mistakes in a configuration: a line each, which names the place; exit code 2, before anything is started."""

import json
import os

import pytest

from conftest import ROOT
from namespaces import run

PORT = '[[ports]]\nname = "p0"\ndevargs = "net_null0"\n'


@pytest.fixture
def refused(binary, tmp_path):
    """Runs a configuration that is wrong; the lines on standard error, without the file's name."""

    def refuse(text, command="run"):
        path = tmp_path / "wrong.toml"
        path.write_text(text)
        done = run(binary, command, str(path), check=False)
        assert done.returncode == 2, done.stderr
        assert not done.stdout
        lines = done.stderr.splitlines()
        assert all(line.startswith(f"{path}:") for line in lines), done.stderr
        return [line.removeprefix(f"{path}:") for line in lines]

    return refuse


@pytest.mark.parametrize("command", ["run", "check"])
def test_unknown_key(refused, command):
    (line,) = refused('sockt = "/tmp/x"\n' + PORT, command)
    assert line.startswith("1:") and "sockt: unknown key" in line and '"socket"' in line


def test_overlapping_lcores(refused):
    (line,) = refused("[lcores]\nworkers = [0, 0]\n" + PORT)
    assert line.startswith("2:") and "[lcores] workers: CPU 0 is listed twice" in line


@pytest.mark.skipif(len(os.sched_getaffinity(0)) == 1, reason="the only CPU may be shared")
def test_main_and_worker_on_one_cpu(refused):
    (line,) = refused("[lcores]\nmain = 0\nworkers = [0]\n" + PORT)
    assert "[lcores] main" in line and "CPU 0" in line


def test_a_cpu_that_was_not_given(refused):
    (line,) = refused("[lcores]\nworkers = [9999]\n" + PORT)
    assert "CPU 9999 was not given" in line


def test_one_cpu_in_two_islands(refused):
    cpu = min(os.sched_getaffinity(0))
    island = '[[islands]]\nname = "{}"\nnpus = [{}]\n'
    (line,) = refused(island.format("a", cpu) + island.format("b", cpu) + PORT)
    assert line.startswith("6:") and f'island "b": npus: CPU {cpu} is in island "a" already' in line


def test_a_dispatcher_in_run_to_completion(refused):
    (line,) = refused(f"[[dispatchers]]\ncpu = {min(os.sched_getaffinity(0))}\n" + PORT)
    assert line.startswith("1:") and '[scheduling] mode = "dispatcher"' in line


def test_an_island_that_nobody_has(refused, tmp_path):
    (tmp_path / "echo.wasm").touch()
    lambda_ = '[[lambdas]]\nname = "echo"\nid = 1\nfile = "echo.wasm"\nislands = ["iland0"]\n'
    (line,) = refused(PORT + lambda_)
    assert line.startswith("8:") and 'lambda "echo": no island "iland0": did you mean "island0"?' in line


def test_budgets_are_microseconds(refused):
    (line,) = refused("[budget]\ndefault_us = 20\nmax_us = 10\n" + PORT)
    assert line.startswith("2:") and "default_us: 20, over max_us 10" in line


@pytest.fixture
def checked(binary, tmp_path):
    """Checks a configuration on the CPUs given; the report as data and as people see it."""

    def check(text, cpus):
        path = tmp_path / "right.toml"
        path.write_text(text)
        confined = ["taskset", "-c", ",".join(map(str, cpus)), binary, "check", str(path)]
        data = run(*confined, "--json", check=False)
        assert data.returncode in (0, 1), data.stderr
        return json.loads(data.stdout), run(*confined, check=False).stdout

    return check


@pytest.mark.parametrize("mode", ["run-to-completion", "dispatcher"])
def test_roles_follow_the_cpus_given(checked, mode):
    cpus = sorted(os.sched_getaffinity(0))
    scheduling = f'[scheduling]\nmode = "{mode}"\n'
    for given in (cpus[:1], cpus[:2]):
        report, text = checked(scheduling + PORT, given)
        npu = {"npu": 0, "island": "island0", "lcore": 1, "cpu": given[-1]}
        assert report["npus"] == [npu]
        assert report["scheduling"]["mode"] == mode
        dispatches = mode == "dispatcher"
        assert report["dispatchers"] == ([{"lcore": 1, "cpu": given[-1], "npus": [0]}] if dispatches else [])
        roles = "dispatcher, NPU 0 (island0)" if dispatches else "NPU 0 (island0)"
        assert f"  lcore 1  CPU {given[-1]}  {roles}  polls p0 queue 0" in text
        assert f"\nScheduling: {mode}\n" in text


def test_islands_and_dispatchers_as_written(checked):
    cpu = min(os.sched_getaffinity(0))
    written = f"""
        [scheduling]
        mode = "dispatcher"
        waiting_frames = 100
        [quarantine]
        failures = 3
        [budget]
        fuel_per_us = 1000
        [[islands]]
        name = "all"
        npus = [{cpu}]
        [[dispatchers]]
        cpu = {cpu}
        islands = ["all"]
    """
    report, text = checked(written + PORT, [cpu])
    assert [island["name"] for island in report["islands"]] == ["all"]
    assert report["islands"][0]["npus"] == [0]
    assert report["dispatchers"] == [{"lcore": 1, "cpu": cpu, "npus": [0]}]
    assert report["quarantine"] == {"failures": 3, "window_ms": 1000}
    assert report["budget"] == {"default_us": 200, "max_us": 10000, "fuel_per_us": 1000}
    assert "of which 100 (" in text and "dispatcher, NPU 0 (all)" in text


def test_missing_interface(refused):
    text = PORT.replace("net_null0", "net_af_packet0,iface=no-such-if")
    (line,) = refused(text)
    assert line.startswith("3:") and 'port "p0": no such interface "no-such-if"' in line


def test_missing_lambda(refused):
    (line,) = refused(PORT + '[[lambdas]]\nname = "echo"\nid = 1\nfile = "missing/missing.wasm"\n')
    assert line.startswith("7:") and 'lambda "echo"' in line and "lnic build" in line


def test_all_mistakes_at_once(refused):
    lines = refused("[rpc]\nport = 0\n[idle]\nspin_polls = -1\n" + PORT + "mtu = 1\n")
    assert [line.split(":")[0] for line in lines] == ["2", "4", "8"]


def test_no_such_file(binary, tmp_path):
    done = run(binary, "run", str(tmp_path / "none.toml"), check=False)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1 and "none.toml" in done.stderr


def test_no_such_command(binary):
    assert run(binary, "juggle", check=False).returncode == 2


def test_stats_of_nobody(binary, tmp_path):
    done = run(binary, "stats", "--socket", str(tmp_path / "none.sock"), check=False)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1 and "none.sock" in done.stderr


@pytest.mark.parametrize("name", ["default", "tap", "af_packet"])
def test_the_configurations_that_come_along(binary, name):
    """They are right; what this machine may lack, such as interfaces, is another matter."""
    done = run(binary, "check", str(ROOT / "configs" / f"{name}.toml"), "--json", check=False)
    report = json.loads(done.stdout)
    assert done.returncode in (0, 1), report
    assert report["ready"] == (done.returncode == 0)


def test_the_configuration_for_bare_metal(binary):
    """Only its cards, its CPUs and the modules that `lnic build` makes may be missing here."""
    done = run(binary, "check", str(ROOT / "configs" / "bare-metal.toml"), "--json", check=False)
    lacks = ("was not given", "no PCI device", ": no file ")
    for problem in json.loads(done.stdout).get("problems", []):
        assert any(lack in problem["message"] for lack in lacks), problem
