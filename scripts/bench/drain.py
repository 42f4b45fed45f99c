#!/usr/bin/env python3
"""Rates of a device under test that works alone: neither the generator's speed nor its share of the machine counts.

The device is stopped (SIGSTOP) while the generator fills its queue, the generator is stopped, and the device goes on alone.
Run in the generator's namespace, this program lets it, and counts what comes back to the interface.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time

from lab import BACKLOG, Lab, wait

#: A device that returns nothing for so long has drained its backlog: longer than a busy machine keeps a process waiting.
STALL_S = 0.1


def sample(pid: int, iface: str, seconds: float, least: int, most: int, edge: float) -> None:
    """Prints how many frames came back and in how much time: of a backlog without its edges, or of so many CPU seconds."""
    cpu_clock = (~pid << 3) | 2  # as lab.cpu_seconds
    with open(f"/sys/class/net/{iface}/statistics/rx_packets") as counter:

        def now(clock: int) -> tuple[int, float]:
            counter.seek(0)
            return int(counter.read()), time.clock_gettime(clock)

        if seconds:
            first = now(cpu_clock)
            time.sleep(seconds)
            last = now(cpu_clock)
        else:
            # Alone on its CPU, the device uses all of it; the process's clock ticks too coarsely for 25 ms.
            first, last = drained(pid, lambda: now(time.CLOCK_MONOTONIC), least, most, edge)
    print(last[0] - first[0], last[1] - first[1])


def drained(pid: int, now, least: int, most: int, edge: float) -> tuple[tuple[int, float], tuple[int, float]]:
    """Lets the device go on, and samples until it has drained its backlog, or returned `most` frames."""
    samples = [now()]
    first = samples[0][0]
    os.kill(pid, signal.SIGCONT)
    last_growth = time.monotonic()
    while samples[-1][0] < first + most and time.monotonic() - last_growth < STALL_S:
        samples.append(now())
        if samples[-1][0] > samples[-2][0]:
            last_growth = time.monotonic()
        time.sleep(0.0002)
    frames = samples[-1][0] - first
    inner = [it for it in samples if edge * frames <= it[0] - first <= (1 - edge) * frames]
    if frames < least or len(inner) < 2:
        sys.exit(f"only {frames} frames came back")
    # The samples after the last frame are not of the drain.
    return inner[0], next(it for it in inner if it[0] == inner[-1][0])


def sampled(
    lab: Lab, dut: subprocess.Popen[bytes], seconds: float, least: int = 0, most: int = 1 << 40, edge: float = 0.0
) -> tuple[int, float]:
    """Frames that came back, and in how many seconds."""
    command = [sys.executable, __file__, "--pid", str(dut.pid), "--iface", lab.iface, "--seconds", str(seconds)]
    command += ["--least", str(least), "--most", str(most), "--edge", str(edge)]
    command = ["ip", "netns", "exec", lab.gen, "taskset", "-c", "0", *command]
    frames, elapsed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.split()
    return int(frames), float(elapsed)


def drain(
    lab: Lab, dut: subprocess.Popen[bytes], gen: subprocess.Popen[bytes], backlog: int = BACKLOG, edge: float = 0.1
) -> float:
    """Frames a second that the device returns, of those that a generator without end has left in its queue."""
    dut.send_signal(signal.SIGSTOP)
    offered = lab.offered()
    gen.send_signal(signal.SIGCONT)
    wait(lambda: lab.offered() > offered + backlog * 1.1, "a backlog")
    gen.send_signal(signal.SIGSTOP)
    time.sleep(0.02)
    frames, seconds = sampled(lab, dut, 0, backlog // 2, edge=edge)
    return frames / seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pid", type=int, required=True, help="the device's process")
    parser.add_argument("--iface", required=True)
    parser.add_argument("--seconds", type=float, default=0, help="count for so long; 0: until the backlog is drained")
    parser.add_argument("--least", type=int, default=0, help="frames that must come back")
    parser.add_argument("--most", type=int, required=True, help="frames after which the drain is over")
    parser.add_argument("--edge", type=float, default=0, help="part of the backlog that is left out at either end")
    options = parser.parse_args()
    sample(options.pid, options.iface, options.seconds, options.least, options.most, options.edge)


if __name__ == "__main__":
    main()
