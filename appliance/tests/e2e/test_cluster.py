"""Several appliances that share one registry in etcd."""

import contextlib
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

from conftest import ROOT, require
from control import Control, Refused

sys.path.insert(0, str(ROOT / "scripts"))
import thousands as script  # noqa: E402

SOON_S = 10


def free_port():
    """A port of the loopback interface that nobody has."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Etcd:
    """A member of its own, on the loopback interface of a namespace."""

    def __init__(self, namespace, folder):
        self.namespace, self.folder, self.process = namespace, folder, None
        self.url, self.peer_url = (f"http://127.0.0.1:{free_port()}" for _ in range(2))
        self.start()

    def start(self):
        """Starts it, and waits until it answers."""
        command = ["etcd", "--data-dir", str(self.folder), "--listen-client-urls", self.url]
        command += ["--advertise-client-urls", self.url, "--listen-peer-urls", self.peer_url]
        command += ["--initial-advertise-peer-urls", self.peer_url, "--initial-cluster", f"default={self.peer_url}"]
        with open(f"{self.folder}.log", "ab") as log:
            self.process = subprocess.Popen(
                self.namespace.command("setpriv", "--pdeathsig", "KILL", *command), stdout=log, stderr=log
            )
        deadline = time.monotonic() + SOON_S

        def healthy():
            connection = socket.create_connection(("127.0.0.1", int(self.url.rpartition(":")[2])), timeout=1)
            connection.close()
            return True

        while time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                if self.namespace.inside(healthy):
                    return
            time.sleep(0.05)
        raise AssertionError(f"etcd does not answer: {open(f'{self.folder}.log', encoding='utf-8').read()[-2000:]}")

    def kill(self):
        """Ends it without a word."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
        self.process.wait(SOON_S)


@pytest.fixture
def cluster(make_lab, tmp_path, binary):
    """Two appliances and their registry, all in one namespace: taps need no more."""
    require(shutil.which("etcd"), "needs etcd: scripts/setup.sh --test")
    first = make_lab("tap", {})
    etcd = Etcd(first.nic, tmp_path / "etcd")

    def settings(name):
        # Leases short enough to watch one end.
        control = {"etcd": [etcd.url], "etcd_lease_s": 2, "state": str(tmp_path / name)}
        return {"control": control}

    try:
        first.appliance.reconfigure(settings("first"))
        first.start()
        second = first.sibling(settings("second"))
        yield etcd, (first.appliance, second), [Control(first.appliance), Control(second)]
    finally:
        etcd.kill()


def soon(condition, what):
    """Waits for something that takes a moment."""
    deadline = time.monotonic() + SOON_S
    while time.monotonic() < deadline:
        with contextlib.suppress(Refused, OSError):
            if condition():
                return
        time.sleep(0.02)
    raise AssertionError(f"not within {SOON_S} s: {what}")


def test_what_is_deployed_on_one_runs_on_all(cluster, binary, tmp_path):
    _, _, (one, other) = cluster
    script.modules(binary, tmp_path, 5)
    wasm = [(tmp_path / f"{number}.wasm").read_bytes() for number in range(1, 6)]
    one.deploy_sum("shared", wasm[0])
    soon(lambda: other.call("shared", b"x") == (200, script.answer(1, b"x")), "the other deploys it too")
    other.deploy_sum("shared", wasm[1])
    soon(lambda: one.call("shared", b"x") == (200, script.answer(2, b"x")), "an upgrade the other way")
    one.act("shared", "rollback")
    soon(lambda: other.call("shared", b"x") == (200, script.answer(1, b"x")), "a rollback")
    assert one.get("shared")["id"] == other.get("shared")["id"]
    other.remove("shared")
    soon(lambda: one.call("shared", b"x")[0] == 404, "a removal")


def test_without_etcd_everything_runs_on_and_nothing_changes(cluster, binary, tmp_path):
    etcd, (first, _), (one, other) = cluster
    script.modules(binary, tmp_path, 3)
    wasm = [(tmp_path / f"{number}.wasm").read_bytes() for number in range(1, 4)]
    one.deploy_sum("shared", wasm[0])
    soon(lambda: other.call("shared", b"x")[0] == 200, "the other deploys it too")
    etcd.kill()
    assert one.call("shared", b"x") == (200, script.answer(1, b"x"))
    with pytest.raises(Refused) as refused:
        one.deploy_sum("shared", wasm[1])
    assert refused.value.status == 503 and "etcd" in refused.value.error, refused.value
    assert one.call("shared", b"x") == (200, script.answer(1, b"x"))
    # One that starts while it is away goes on with what it last saw.
    assert first.stop() == 0
    first.start()
    soon(lambda: one.call("shared", b"x") == (200, script.answer(1, b"x")), "what was seen last runs")
    etcd.start()

    def deployed():
        return one.deploy_sum("shared", wasm[2])["phase"] == "active"

    soon(deployed, "changes work again")
    soon(lambda: other.call("shared", b"x") == (200, script.answer(3, b"x")), "the other hears of it")


def test_two_that_change_at_once_do_not_both_win(cluster, binary, tmp_path):
    _, _, controls = cluster
    script.modules(binary, tmp_path, 21)
    controls[0].deploy_sum("shared", (tmp_path / "1.wasm").read_bytes())
    soon(lambda: controls[1].call("shared", b"x")[0] == 200, "both have it")
    numbers, won = list(range(2, 22)), []

    def deploy(control, own):
        for number in own:
            with contextlib.suppress(Refused):
                generation = control.deploy_sum("shared", (tmp_path / f"{number}.wasm").read_bytes())["generation"]
                won.append((generation, number))

    threads = [threading.Thread(target=deploy, args=(controls[at], numbers[at::2])) for at in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    generations = [generation for generation, _ in won]
    assert len(set(generations)) == len(generations), "two deployments with one number"
    last = dict(won)[max(generations)]
    for control in controls:
        soon(lambda control=control: control.call("shared", b"x") == (200, script.answer(last, b"x")), "both agree")
