"""Start, rest and stop: readiness, an idle processor, signals under load, hugepages."""

import json
import os
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

from conftest import require
from frames import ECHO, exchange, request, rpc
from lambda_rpc import LambdaRpc
from labs import DRIVERS, IPV4

HUGEPAGES = Path("/proc/sys/vm/nr_hugepages")
HUGEPAGES_NEEDED = 40


def cpu_s(pid):
    """CPU seconds that all threads have used."""
    ticks = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        fields = (task / "stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def test_an_idle_appliance_sleeps_and_wakes(silent):
    pid, seconds = silent.appliance.pid, 2
    before = cpu_s(pid)
    time.sleep(seconds)
    share = (cpu_s(pid) - before) / seconds
    assert share < 0.15, f"{share:.0%} of a CPU"
    sleeps = silent.appliance.stats()["lcores"][0]["sleeps"]
    assert sleeps > 0
    latencies = []
    with silent.wire() as wire:
        for _ in range(7):
            time.sleep(0.15)
            packet = request(silent, rpc(ECHO, b"wake up"))
            bytes(packet)
            start = time.perf_counter()
            assert exchange(wire, packet) is not None
            latencies.append(time.perf_counter() - start)
    # Longer than scapy takes; shorter than the longest sleep, which would mean that nothing had woken it.
    assert sorted(latencies)[3] < 0.05, latencies


@pytest.mark.parametrize("driver_name", DRIVERS)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_under_load_ends_it_in_order(make_lab, driver_name, number):
    lab = make_lab(driver_name, addressed=True).start()
    command = [lab.appliance.binary, "bench", "--to", IPV4, "--lambda", "1", "--closed-loop", "8"]
    command += ["--duration", "5", "--warmup", "0", "--json"]
    bench = subprocess.Popen(lab.peer.command(*command), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        time.sleep(0.7)
        assert lab.appliance.stats()["lambdas"][0]["invocations"] > 100
        start = time.monotonic()
        assert lab.appliance.stop(number) == 0, lab.appliance.tail()
        assert time.monotonic() - start < 5
        assert not lab.appliance.socket.exists(), "the control socket is left behind"
    finally:
        bench.terminate()
        bench.communicate(timeout=10)


def test_it_starts_again_after_a_kill(make_lab):
    lab = make_lab("af_packet", addressed=False).start()
    lab.appliance.kill()
    assert lab.appliance.socket.exists()
    lab.appliance.start()
    with lab.wire() as wire:
        assert exchange(wire, request(lab, rpc(ECHO, b"again")))[LambdaRpc].body == b"again"


def test_a_second_one_does_not_take_the_socket(make_lab):
    lab = make_lab("af_packet", addressed=False).start()
    command = lab.appliance.namespace.command(lab.appliance.binary, "run", str(lab.appliance.config))
    done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    assert done.returncode == 1, done.stderr
    assert str(lab.appliance.socket) in done.stderr, done.stderr
    with lab.wire() as wire:
        assert exchange(wire, request(lab, rpc(ECHO, b"the first"))) is not None


def test_a_second_one_does_not_take_the_tap(make_lab, tmp_path):
    lab = make_lab("tap", addressed=False).start()
    other = tmp_path / "other.toml"
    other.write_text(lab.appliance.config.read_text().replace(str(lab.appliance.socket), str(tmp_path / "other.sock")))
    done = lab.cli("run", str(other), timeout=10)
    assert done.returncode == 2, done.stderr
    assert len(done.stderr.splitlines()) == 1 and "exists already" in done.stderr, done.stderr
    with lab.wire() as wire:
        assert exchange(wire, request(lab, rpc(ECHO, b"the first"))) is not None


@pytest.mark.parametrize("delay_s", [0.03, 0.1, 0.2, 0.4])
def test_a_signal_during_the_start_ends_it_in_order(make_lab, delay_s):
    lab = make_lab("tap", addressed=False)
    command = lab.appliance.namespace.command(lab.appliance.binary, "run", str(lab.appliance.config))
    started = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        time.sleep(delay_s)
        started.send_signal(signal.SIGTERM)
        _, log = started.communicate(timeout=10)
    finally:
        started.kill()
    # Before the program's own first step the signal is the system's to handle.
    assert started.returncode == 0 or (delay_s < 0.1 and not log), (started.returncode, log)
    assert not lab.appliance.socket.exists()


def test_hostile_clients_of_the_control_socket_change_nothing(make_lab):
    lab = make_lab("af_packet", addressed=False).start()
    held = []
    try:
        for _ in range(60):
            client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            client.settimeout(1)
            client.connect(str(lab.appliance.socket))
            client.sendall(b"GET /v1/st")
            held.append(client)
        with lab.wire() as wire:
            assert exchange(wire, request(lab, rpc(ECHO, b"unmoved"))) is not None
        # Those that are silent are sent away, and then it answers others.
        deadline = time.monotonic() + 20
        while True:
            try:
                lab.appliance.stats()
                break
            except OSError:
                assert time.monotonic() < deadline, "no answer to an honest client"
        client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        client.connect(str(lab.appliance.socket))
        client.sendall(b"GET /v1/st")
        held.append(client)
        start = time.monotonic()
        assert lab.appliance.stop() == 0, lab.appliance.tail()
        assert time.monotonic() - start < 3
        assert "did not come home" not in lab.appliance.tail(), lab.appliance.tail()
    finally:
        for client in held:
            client.close()


def test_a_log_in_a_file_has_no_colours(silent):
    assert "\x1b" not in silent.appliance.log.read_text(errors="replace")


def test_it_tells_systemd_that_it_is_ready(make_lab, tmp_path, monkeypatch):
    lab = make_lab("tap", addressed=False)
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.bind(str(path))
        notify.settimeout(20)
        monkeypatch.setenv("NOTIFY_SOCKET", str(path))
        lab.start()
        messages = notify.recv(4096).decode().splitlines()
        assert "READY=1" in messages
        assert lab.appliance.stop() == 0


def reserve_hugepages():
    """Sees that enough hugepages are free; how many are reserved, or None if there cannot be enough."""
    if not os.access(HUGEPAGES, os.W_OK):
        return None
    before = int(HUGEPAGES.read_text())
    HUGEPAGES.write_text(str(before + HUGEPAGES_NEEDED))
    return before


def free_hugepages():
    """Hugepages of the default size that nobody uses."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("HugePages_Free:")))


def test_on_hugepages(make_lab):
    before = reserve_hugepages()
    require(before is not None, "needs hugepages, and this system has none to reserve")
    try:
        free = free_hugepages()
        require(free >= HUGEPAGES_NEEDED, f"needs {HUGEPAGES_NEEDED} hugepages, {free} are free")
        lab = make_lab("tap", addressed=False, hugepages="required").start()
        assert free_hugepages() <= free - 32, "64 MiB are 32 pages"
        with lab.wire() as wire:
            assert exchange(wire, request(lab, rpc(ECHO, b"huge")))[LambdaRpc].body == b"huge"
        assert lab.appliance.stop() == 0
        assert free_hugepages() == free, "hugepages are left behind"
    finally:
        HUGEPAGES.write_text(str(before))


def test_required_hugepages_that_are_not_there(make_lab):
    lab = make_lab("tap", addressed=False, hugepages="required")
    if free_hugepages() >= 32:
        pytest.skip("this system has hugepages to spare")
    done = lab.cli("run", str(lab.appliance.config))
    assert done.returncode != 0
    assert "hugepages" in done.stderr, done.stderr
    checked = lab.cli("check", str(lab.appliance.config), "--json")
    assert checked.returncode == 1, checked.stderr
    assert "hugepages" in json.dumps(json.loads(checked.stdout))
