#!/usr/bin/env python3
"""The echo lambda against dpdk-testpmd on the same PMD, the same frames, in turn, in one run.

Two network namespaces: `dut` holds the device under test, `gen` a dpdk-testpmd that sends 64-byte UDP frames. The device
under test forwards from one lcore on CPU 1 and never sleeps: testpmd in 5tswap mode (addresses and ports turned round), then
lnic with a rule that gives UDP port 9 to the echo lambda, which does the same in its sandbox.

Two loads, because they stress different things:

- `backlog`: neither the generator's speed nor its share of the machine counts. The device is stopped (SIGSTOP) while the
  generator fills its queue, the generator is stopped, and the device goes on alone, from 10 % to 90 % of what waits.
- `live`: the generator sends all the while, and so wakes the device's process: net_tap asks the kernel for a signal per
  arriving frame, which costs more than the frame. lnic ignores those signals; testpmd takes them.

Counted is what comes back to the generator's interface, over CPU time of the device's process, its kernel time included.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from figures import Figure, report
from lab import BACKLOG, DUT_IP, DUT_MAC, GEN_IP, LNIC, ROOT, Lab, process, run, wait

EAL = ["--no-huge", "--no-shconf", "--no-pci", "-m", "256", "--no-telemetry", "--log-level=3"]


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


def sample(pid: int, iface: str, seconds: float) -> None:
    """Runs in the generator's namespace: prints frames per CPU second, of a backlog or of so many seconds."""
    cpu_clock = (~pid << 3) | 2  # the process's CPU time, as clock_getcpuclockid(3) makes it
    with open(f"/sys/class/net/{iface}/statistics/rx_packets") as counter:

        def now(clock: int) -> tuple[int, float]:
            counter.seek(0)
            return int(counter.read()), time.clock_gettime(clock)

        if seconds:
            first = now(cpu_clock)
            time.sleep(seconds)
            middle = [first, now(cpu_clock)]
        else:
            # Alone on its CPU, the device uses all of it; the process's clock ticks too coarsely for 25 ms.
            middle = drained_middle(pid, lambda: now(time.CLOCK_MONOTONIC))
    print((middle[-1][0] - middle[0][0]) / (middle[-1][1] - middle[0][1]))


def drained_middle(pid: int, now) -> list[tuple[int, float]]:
    """Lets the device go on, and samples until it has drained its backlog."""
    samples = [now()]
    os.kill(pid, signal.SIGCONT)
    last_growth = time.monotonic()
    while time.monotonic() - last_growth < 0.05:
        samples.append(now())
        if samples[-1][0] > samples[-2][0]:
            last_growth = time.monotonic()
        time.sleep(0.0002)
    first, drained = samples[0][0], samples[-1][0] - samples[0][0]
    middle = [(count, cpu) for count, cpu in samples if 0.1 * drained <= count - first <= 0.9 * drained]
    if drained < BACKLOG // 2 or len(middle) < 2:
        sys.exit(f"only {drained} frames came back")
    return middle


def sampler(lab: Lab, dut: subprocess.Popen[bytes], seconds: float) -> float:
    """Mega-frames per CPU second."""
    command = [sys.executable, __file__, "--sample", str(dut.pid), "--iface", lab.iface, "--seconds", str(seconds)]
    return float(run("ip", "netns", "exec", lab.gen, "taskset", "-c", "0", *command)) / 1e6


def drain(lab: Lab, dut: subprocess.Popen[bytes], gen: subprocess.Popen[bytes]) -> float:
    dut.send_signal(signal.SIGSTOP)
    offered = lab.offered()
    gen.send_signal(signal.SIGCONT)
    wait(lambda: lab.offered() > offered + BACKLOG * 1.1, "a backlog")
    gen.send_signal(signal.SIGSTOP)
    time.sleep(0.02)
    return sampler(lab, dut, 0)


def measure(lab: Lab, command: list[str], folder: Path, drains: int, seconds: float) -> dict[str, float]:
    """Starts a device; its rate under each load."""
    with process(lab.dut, command, folder / "dut.log") as dut:
        lab.adopt()
        with process(lab.gen, generator(lab), folder / "generator.log") as gen:
            before = lab.returned()
            wait(lambda: dut.poll() is not None or lab.returned() > before + 1000, "frames coming back")
            if dut.poll() is not None:
                raise RuntimeError(f"{command[0]} ended: {(folder / 'dut.log').read_text()}")
            try:
                live = sampler(lab, dut, seconds)
                return {"live": live, "backlog": statistics.median(drain(lab, dut, gen) for _ in range(drains))}
            finally:
                dut.send_signal(signal.SIGCONT)
                gen.send_signal(signal.SIGCONT)


def compare(pmd: str, rounds: int, drains: int, seconds: float, bars: dict[str, float]) -> list[Figure]:
    values: dict[tuple[str, str], list[float]] = {}
    with Lab(pmd) as lab, tempfile.TemporaryDirectory() as folder_name:
        folder = Path(folder_name)
        peers = {
            "testpmd": testpmd("0@0,1@1", lab.devargs(), "--forward-mode=5tswap"),
            "lnic": [LNIC, "run", str(lnic_config(lab, folder))],
        }
        for number in range(rounds):
            for peer, command in peers.items():
                rates = measure(lab, command, folder, drains, seconds)
                for load, rate in rates.items():
                    values.setdefault((load, peer), []).append(rate)
                shown = "  ".join(f"{load} {rate:.3f}" for load, rate in rates.items())
                print(f"net_{pmd:<10} round {number + 1}  {peer:<8} {shown} Mpps per CPU second", flush=True)
    figures = []
    for load in ("backlog", "live"):
        ours, theirs = values[load, "lnic"], values[load, "testpmd"]
        name = f"pmd/{pmd}_{load}"
        ratios = [one / other for one, other in zip(ours, theirs)]
        figures += [
            Figure(f"{name}/testpmd", "Mpps/CPU-s", "higher", theirs),
            Figure(f"{name}/lnic_echo", "Mpps/CPU-s", "higher", ours),
            Figure(f"{name}/lnic_to_testpmd", "ratio", "higher", ratios, bars.get(load)),
        ]
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="finish within 40 s")
    parser.add_argument("--json", metavar="FILE", help="write the figures")
    parser.add_argument("--sample", type=int, metavar="PID", help=argparse.SUPPRESS)
    parser.add_argument("--iface", help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.sample:
        return sample(options.sample, options.iface, options.seconds)
    if not shutil.which("dpdk-testpmd"):
        sys.exit("pmd: dpdk-testpmd not found: apt-get install dpdk-dev")
    load = (3, 3, 0.6) if options.quick else (7, 9, 2.0)
    figures = compare("af_packet", *load, {"live": 0.9}) + compare("tap", *load, {"live": 2.0})
    report("pmd", figures, options.json)


if __name__ == "__main__":
    main()
