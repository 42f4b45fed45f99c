#!/usr/bin/env python3
"""What an idle appliance costs, and what waking it costs: adaptive polling against polling for ever, in turn, in one run.

A client in a namespace of its own sends a request every 10 ms, on average, open loop: each finds the appliance asleep. CPU time is
that of the whole process, its kernel time included, while nobody sends anything.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

from figures import Figure, report
from lab import DUT_IP, ECHO, LNIC, Lab, cpu_seconds, run

RATE = 100
PMDS = ("af_packet", "tap")
MODES = {"adaptive": "auto", "polling": "never"}


def measure(lab: Lab, folder: Path, sleep: str, seconds: float) -> dict[str, float]:
    config = lab.configuration(folder / f"{sleep}.toml", sleep, ECHO)
    with lab.appliance(config) as dut:
        before, start = cpu_seconds(dut.pid), time.monotonic()
        time.sleep(seconds)
        idle = 100 * (cpu_seconds(dut.pid) - before) / (time.monotonic() - start)
        bench = [LNIC, "bench", "--to", DUT_IP, "--lambda", "1", "--rate", str(RATE), "--bytes", "64"]
        bench += ["--duration", str(2 * seconds), "--warmup", "0.5", "--json"]
        result = json.loads(run("ip", "netns", "exec", lab.gen, "taskset", "-c", "0", *bench))
        latency = result["latency"]
        return {"idle_cpu": idle, "p50": latency["p50_us"], "p99": latency["p99_us"], "lost": result["lost"]}


def compare(pmd: str, rounds: int, seconds: float) -> list[Figure]:
    values: dict[tuple[str, str], list[float]] = {}
    with Lab(pmd) as lab, tempfile.TemporaryDirectory() as folder_name:
        for number in range(rounds):
            for mode, sleep in MODES.items():
                result = measure(lab, Path(folder_name), sleep, seconds)
                for name, value in result.items():
                    values.setdefault((mode, name), []).append(value)
                shown = "  ".join(f"{name} {value:.1f}" for name, value in result.items())
                print(f"net_{pmd:<10} round {number + 1}  {mode:<8} {shown}", flush=True)
    name = f"idle/{pmd}"
    figures = []
    for mode in MODES:
        figures += [
            Figure(f"{name}/{mode}/cpu", "% of a core", "lower", values[mode, "idle_cpu"], 3.0 if mode == "adaptive" else None),
            Figure(f"{name}/{mode}/p50", "µs", "lower", values[mode, "p50"]),
            Figure(f"{name}/{mode}/p99", "µs", "lower", values[mode, "p99"]),
            Figure(f"{name}/{mode}/lost", "requests", "lower", values[mode, "lost"]),
        ]
    above = [one - other for one, other in zip(values["adaptive", "p99"], values["polling", "p99"])]
    return [*figures, Figure(f"{name}/p99_above_polling", "µs", "lower", above, 100.0)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="finish within 40 s")
    parser.add_argument("--json", metavar="FILE", help="write the figures")
    options = parser.parse_args()
    rounds, seconds = (1, 2.0) if options.quick else (5, 4.0)
    figures = [figure for pmd in PMDS for figure in compare(pmd, rounds, seconds)]
    report("idle", figures, options.json)


if __name__ == "__main__":
    main()
