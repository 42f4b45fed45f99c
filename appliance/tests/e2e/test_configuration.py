"""Mistakes in a configuration: a line each, which names the place; exit code 2, before anything is started."""

import json

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


def test_main_and_worker_on_one_cpu(refused):
    (line,) = refused("[lcores]\nmain = 0\nworkers = [0]\n" + PORT)
    assert "[lcores] main" in line and "CPU 0" in line


def test_a_cpu_that_was_not_given(refused):
    (line,) = refused("[lcores]\nworkers = [9999]\n" + PORT)
    assert "CPU 9999 was not given" in line


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
