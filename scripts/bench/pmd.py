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
import shutil
import signal
import statistics
import sys
import tempfile
from pathlib import Path

from drain import drain, sampled
from figures import Figure, report
from lab import ECHO, LNIC, Lab, generator, process, testpmd, wait

BY_RULE = f"""{ECHO}[[rules]]
lambda = "echo"
protocol = "udp"
destination_port = 9
"""


def lnic_config(lab: Lab, folder: Path) -> Path:
    memory = "eal_mib = 256\npool_frames = 16383"
    return lab.configuration(folder / "pmd.toml", "never", BY_RULE, memory=memory)


def measure(lab: Lab, command: list[str], folder: Path, drains: int, seconds: float) -> dict[str, float]:
    """Starts a device; its rate under each load, in millions of frames a second."""
    with process(lab.dut, command, folder / "dut.log") as dut:
        lab.adopt()
        with process(lab.gen, generator(lab, 64), folder / "generator.log") as gen:
            before = lab.returned()
            wait(lambda: dut.poll() is not None or lab.returned() > before + 1000, "frames coming back")
            if dut.poll() is not None:
                raise RuntimeError(f"{command[0]} ended: {(folder / 'dut.log').read_text()}")
            try:
                frames, cpu = sampled(lab, dut, seconds)
                backlog = statistics.median(drain(lab, dut, gen) for _ in range(drains))
                return {"live": frames / cpu / 1e6, "backlog": backlog / 1e6}
            finally:
                dut.send_signal(signal.SIGCONT)
                gen.send_signal(signal.SIGCONT)


def compare(pmd: str, rounds: int, drains: int, seconds: float, bars: dict[str, float]) -> list[Figure]:
    values: dict[tuple[str, str], list[float]] = {}
    with Lab(pmd) as lab, tempfile.TemporaryDirectory() as folder_name:
        folder = Path(folder_name)
        peers = {
            "testpmd": testpmd(lab, "0@0,1@1", lab.devargs(), "--forward-mode=5tswap"),
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
    options = parser.parse_args()
    if not shutil.which("dpdk-testpmd"):
        sys.exit("pmd: dpdk-testpmd not found: apt-get install dpdk-dev")
    load = (3, 3, 0.6) if options.quick else (7, 9, 2.0)
    figures = compare("af_packet", *load, {"live": 0.9}) + compare("tap", *load, {"live": 2.0})
    report("pmd", figures, options.json)


if __name__ == "__main__":
    main()
