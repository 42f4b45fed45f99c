#!/usr/bin/env python3
"""The echo lambda against dpdk-testpmd on the same PMD, the same frames, in turn, in one run.

Two network namespaces: `dut` holds the device under test, `gen` a dpdk-testpmd that sends 64-byte UDP frames as fast as it
can from CPU 0. The device under test forwards from one lcore on CPU 1 and never sleeps: testpmd in 5tswap mode (addresses
and ports turned round), then lnic with a rule that gives UDP port 9 to the echo lambda, which does the same in its sandbox.
Counted is what comes back to the generator's interface, over CPU seconds of the device's process, its kernel time included.
A round is only good if more was offered than came back: then the device, not the generator, was the limit.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from figures import Figure, report

ROOT = Path(__file__).resolve().parents[2]
LNIC = os.environ.get("LNIC", "lnic")
TICKS = os.sysconf("SC_CLK_TCK")
DUT_MAC, GEN_MAC = "02:00:00:00:0b:01", "02:00:00:00:0b:02"
DUT_IP, GEN_IP = "10.78.0.1", "10.78.0.2"
EAL = ["--no-huge", "--no-shconf", "--no-pci", "-m", "256", "--no-telemetry", "--log-level=3"]


def run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


class Lab:
    """Two namespaces, and what connects them."""

    def __init__(self, pmd: str) -> None:
        self.pmd = pmd
        self.dut, self.gen = f"lnic-bench-{os.getpid()}-dut", f"lnic-bench-{os.getpid()}-gen"
        self.iface = "g0"

    def __enter__(self) -> Lab:
        for name in (self.dut, self.gen):
            run("ip", "netns", "add", name)
            # Nothing but the benchmark's frames: no router solicitations.
            for family in ("all", "default"):
                run("ip", "netns", "exec", name, "sysctl", "-qw", f"net.ipv6.conf.{family}.disable_ipv6=1")
        if self.pmd == "af_packet":
            run("ip", "link", "add", "d0", "netns", self.dut, "type", "veth", "peer", "g0", "netns", self.gen)
            run("ip", "-n", self.dut, "link", "set", "d0", "address", DUT_MAC, "up")
            run("ip", "-n", self.gen, "link", "set", "g0", "address", GEN_MAC, "up")
        return self

    def __exit__(self, *_: object) -> None:
        for name in (self.dut, self.gen):
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)

    def devargs(self) -> str:
        if self.pmd == "af_packet":
            return "net_af_packet0,iface=d0"
        return "net_tap0,iface=g0,mac=02:00:00:00:0b:01"

    def adopt(self) -> None:
        """A tap interface is born with its device: move it to the generator."""
        if self.pmd != "tap":
            return
        wait(lambda: "g0" in run("ip", "-n", self.dut, "-br", "link"), "tap interface")
        run("ip", "-n", self.dut, "link", "set", "g0", "netns", self.gen)
        run("ip", "-n", self.gen, "link", "set", "g0", "up")

    def returned(self) -> int:
        path = f"/sys/class/net/{self.iface}/statistics/rx_packets"
        return int(run("ip", "netns", "exec", self.gen, "cat", path))

    def offered(self) -> int:
        base = f"/sys/class/net/{self.iface}/statistics/"
        sent = run("ip", "netns", "exec", self.gen, "cat", base + "tx_packets", base + "tx_dropped")
        return sum(int(value) for value in sent.split())


def wait(ready, what: str, seconds: float = 15) -> None:
    end = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not there after {seconds} s")
        time.sleep(0.05)


@contextlib.contextmanager
def process(netns: str, command: list[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as out:
        child = subprocess.Popen(
            ["ip", "netns", "exec", netns, *command], stdin=subprocess.PIPE, stdout=out, stderr=subprocess.STDOUT
        )
        try:
            yield child
        finally:
            child.terminate()
            try:
                child.wait(10)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def testpmd(lcores: str, devargs: str, *options: str) -> list[str]:
    eal = ["dpdk-testpmd", "--lcores", lcores, *EAL, "--vdev", devargs]
    return [*eal, "--", "--nb-cores=1", "--total-num-mbufs=16384", "--stats-period=3600", *options]


def generator(lab: Lab) -> list[str]:
    return testpmd(
        "0@0,1@0",
        f"net_af_packet0,iface={lab.iface}",
        "--forward-mode=txonly",
        f"--eth-peer=0,{DUT_MAC}",
        f"--tx-ip={GEN_IP},{DUT_IP}",
        "--tx-udp=9,9",
        "--txpkts=64",
    )


def lnic_config(lab: Lab, folder: Path) -> Path:
    config = folder / "pmd.toml"
    config.write_text(
        f"""socket = "{folder}/lnic.sock"
[memory]
hugepages = "off"
eal_mib = 256
pool_frames = 16383
[lcores]
main = 0
workers = [1]
[idle]
sleep = "never"
[[ports]]
name = "p0"
devargs = "{lab.devargs()}"
ipv4 = "{DUT_IP}"
[[lambdas]]
name = "echo"
id = 1
file = "{ROOT}/lambdas/echo/echo.wasm"
[[rules]]
lambda = "echo"
protocol = "udp"
destination_port = 9
"""
    )
    return config


def measure(lab: Lab, command: list[str], folder: Path, seconds: float) -> tuple[float, float, float]:
    """Frames that came back per CPU second and per second, and frames offered per second."""
    with process(lab.dut, command, folder / "dut.log") as dut:
        lab.adopt()
        with contextlib.ExitStack() as stack:
            if lab.pmd == "tap":
                # The interface is new with every device, and so is its generator.
                stack.enter_context(process(lab.gen, generator(lab), folder / "generator.log"))
            before = lab.returned()
            wait(lambda: dut.poll() is not None or lab.returned() > before + 1000, "frames coming back")
            if dut.poll() is not None:
                raise RuntimeError(f"{command[0]} ended: {(folder / 'dut.log').read_text()}")
            time.sleep(0.3)
            start, cpu, returned, offered = time.monotonic(), cpu_seconds(dut.pid), lab.returned(), lab.offered()
            time.sleep(seconds)
            elapsed, cpu = time.monotonic() - start, cpu_seconds(dut.pid) - cpu
            returned, offered = lab.returned() - returned, lab.offered() - offered
    return returned / cpu, returned / elapsed, offered / elapsed


def compare(pmd: str, rounds: int, seconds: float, bar: float) -> list[Figure]:
    values: dict[str, list[float]] = {"testpmd": [], "lnic": []}
    offered_share: list[float] = []
    with Lab(pmd) as lab, tempfile.TemporaryDirectory() as folder_name, contextlib.ExitStack() as stack:
        folder = Path(folder_name)
        if pmd == "af_packet":
            stack.enter_context(process(lab.gen, generator(lab), folder / "generator.log"))
        peers = {
            "testpmd": testpmd("0@0,1@1", lab.devargs(), "--forward-mode=5tswap"),
            "lnic": [LNIC, "run", str(lnic_config(lab, folder))],
        }
        for number in range(rounds):
            for peer, command in peers.items():
                per_cpu, per_second, offered = measure(lab, command, folder, seconds)
                values[peer].append(per_cpu)
                offered_share.append(offered / per_second)
                print(
                    f"net_{pmd:<10} round {number + 1}  {peer:<8} {per_second / 1e6:6.3f} Mpps of "
                    f"{offered / 1e6:6.3f} offered, {per_cpu / 1e6:6.3f} Mpps per CPU second",
                    flush=True,
                )
    ratios = [ours / theirs for ours, theirs in zip(values["lnic"], values["testpmd"])]
    name = f"pmd/{pmd}"
    return [
        Figure(f"{name}/testpmd", "Mpps/CPU-s", "higher", [value / 1e6 for value in values["testpmd"]]),
        Figure(f"{name}/lnic_echo", "Mpps/CPU-s", "higher", [value / 1e6 for value in values["lnic"]]),
        Figure(f"{name}/lnic_to_testpmd", "ratio", "higher", ratios, bar),
        Figure(f"{name}/offered_to_forwarded", "ratio (over 1)", "higher", offered_share),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="finish within 40 s")
    parser.add_argument("--json", metavar="FILE", help="write the figures")
    options = parser.parse_args()
    if not shutil.which("dpdk-testpmd"):
        sys.exit("pmd: dpdk-testpmd not found: apt-get install dpdk-dev")
    rounds, seconds = (3, 1.0) if options.quick else (7, 3.0)
    figures = compare("af_packet", rounds, seconds, 0.9) + compare("tap", rounds, seconds, 2.0)
    report("pmd", figures, options.json)


if __name__ == "__main__":
    main()
