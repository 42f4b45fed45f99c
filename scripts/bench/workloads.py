#!/usr/bin/env python3
"""The lambdas of lambdas/, each alone under load: what a request takes, of time, of fuel and cycles, and of memory.

The appliance has one NPU, which does everything, on CPU 1, on net_af_packet; the client is in a namespace on the other end of the veths, on
CPU 0, and with it the memcached that kv-client and legacy ask. So a rate is the least of what the appliance, the veths and the client do;
cycles are the NPU's alone: its time from the time stamp counter, sampled, as `lnic stats` has it. Rate is with {OUTSTANDING} requests
outstanding, latency with one. λ-RPC is loaded by `lnic bench`; kv-server and legacy in their own protocols by udp_load.c.

kv-server is measured as a store of its own (BACKEND=none), where a miss is answered too: what memcached behind it adds is memcached's.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import statistics
import struct
import subprocess
import sys
import tempfile
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from figures import Figure, report
from gateway import alone
from lab import DUT_IP, FIRST, GEN_IP, LNIC, ROOT, Lab, process, run, wait

OUTSTANDING = 64
#: A message of the image transformer takes a slot from its first fragment on.
OUTSTANDING_MESSAGES = 8
MEMCACHED_PORT, LEGACY_PORT = 11211, 4369
SIDE = 256
BLANKS = b" " * 16


@dataclass(frozen=True)
class Workload:
    """What a lambda is asked."""

    name: str
    folder: str
    request: bytes
    #: UDP port of the lambda's own protocol, and where in a datagram its number lies: offset, bytes. None: λ-RPC.
    port: int | None = None
    number: tuple[int, int] = (0, 0)
    #: The reply takes several frames, or the request does.
    messages: bool = False
    #: Requests in the lambda's own protocol that have to be answered before.
    prepare: tuple[bytes, ...] = ()

    def outstanding(self) -> int:
        return OUTSTANDING_MESSAGES if self.messages else OUTSTANDING


def compact(operation: int, key: bytes, rest: bytes = b"") -> bytes:
    """A request of kv-client's; a set's value follows the seconds until it expires."""
    return struct.pack(">BB", operation, len(key)) + (bytes(4) if operation == 2 else b"") + key + rest


def cached(command: bytes) -> bytes:
    """A datagram of memcached's protocol."""
    return struct.pack(">HHHH", 0, 0, 1, 0) + command


VALUE = b"v" * 32
WORKLOADS = [
    Workload("echo", "echo", b"x" * 64),
    Workload("web-server static", "web-server", b"GET /robots.txt"),
    Workload("web-server dynamic", "web-server", b"GET /status.json"),
    Workload("kv-client get", "kv-client", compact(1, b"hey"), prepare=(compact(2, b"hey", VALUE),)),
    Workload("kv-client set", "kv-client", compact(2, b"hey", VALUE)),
    Workload(
        "kv-server hit",
        "kv-server",
        cached(b"get hey\r\n"),
        MEMCACHED_PORT,
        (0, 2),
        prepare=(cached(b"set hey 0 0 32\r\n" + VALUE + b"\r\n"),),
    ),
    Workload("kv-server miss", "kv-server", cached(b"get nobody-set-this\r\n"), MEMCACHED_PORT, (0, 2)),
    Workload(
        f"image-transformer {SIDE}×{SIDE}",
        "image-transformer",
        struct.pack("<II", SIDE, SIDE) + os.urandom(4 * SIDE * SIDE),
        messages=True,
    ),
    # The number is in the last bytes of the parameter, which job 0 leaves as they are.
    Workload("legacy job 0", "legacy", bytes(4) + BLANKS, LEGACY_PORT, (16, 4)),
]
#: What is set over the manifests.
SETTINGS = {
    "kv-client": [f"services.memcached.address={GEN_IP}:{MEMCACHED_PORT}", "environment.TIMEOUT_US=1000000"],
    "kv-server": ["environment.BACKEND=none"],
    "image-transformer": ["message_slots=16", "message_kib=512", "budget_us=10000"],
    "legacy": [f"services.memcached.address={GEN_IP}:{MEMCACHED_PORT}"],
}

Values = defaultdict[tuple[str, str], list[float]]


class Bench:
    """The appliance with all lambdas, and its clients."""

    def __init__(self, lab: Lab, folder: Path, socket: Path, loader: Path) -> None:
        self.lab, self.folder, self.socket, self.loader = lab, folder, socket, loader
        self.ids: dict[str, int] = {}

    def deploy(self) -> None:
        for name in dict.fromkeys(workload.folder for workload in WORKLOADS):
            words = [word for setting in SETTINGS.get(name, []) for word in ("--set", setting)]
            command = [LNIC, "deploy", str(ROOT / "lambdas" / name), "--socket", str(self.socket), "--json", *words]
            self.ids[name] = json.loads(run("ip", "netns", "exec", self.lab.dut, *command))["id"]

    def lambda_stats(self, name: str) -> dict[str, object]:
        command = [LNIC, "stats", "--socket", str(self.socket), "--json"]
        snapshot = json.loads(run("ip", "netns", "exec", self.lab.dut, *command))
        (found,) = [each for each in snapshot["lambdas"] if each["name"] == name]
        return {**found, "cycles_per_us": snapshot["cycles_per_us"]}

    def client(self, *command: str) -> str:
        prefix = ["ip", "netns", "exec", self.lab.gen, *FIRST, "taskset", "-c", "0"]
        ended = subprocess.run([*prefix, *command], capture_output=True, text=True, check=False)
        if ended.returncode != 0:
            raise RuntimeError(f"{' '.join(command)[:200]}: {ended.stderr or ended.stdout}")
        return ended.stdout

    def load(self, workload: Workload, request: bytes, outstanding: int, seconds: float) -> dict[str, float]:
        """Requests a second and latencies in µs."""
        warm_up = min(seconds / 4, 0.5)
        if workload.port is not None:
            offset, size = workload.number
            words = [DUT_IP, workload.port, outstanding, warm_up, seconds, offset, size, request.hex()]
            result = json.loads(self.client(str(self.loader), *map(str, words)))
            if result["odd"]:
                raise RuntimeError(f"{workload.name}: {result}")
            return {"rate": result["rate"], "p50": result["p50_us"], "p99": result["p99_us"], "lost": result["lost"]}
        file = self.folder / "request"
        file.write_bytes(request)
        command = [LNIC, "bench", "--to", DUT_IP, "--lambda", str(self.ids[workload.folder]), "--file", str(file)]
        command += ["--closed-loop", str(outstanding), "--warmup", str(warm_up), "--duration", str(seconds), "--json"]
        result = json.loads(self.client(*command, *(["--messages"] if workload.messages else [])))
        others = [each for each in result["statuses"] if each["status"] not in ("OK", "BUSY")]
        if others:
            raise RuntimeError(f"{workload.name}: {others}")
        latency = result["latency"]
        return {
            "rate": result["achieved_rate"],
            "p50": latency["p50_us"],
            "p99": latency["p99_us"],
            "lost": result["lost"],
        }

    def measure(self, workload: Workload, seconds: float) -> dict[str, float]:
        for request in workload.prepare:
            self.load(workload, request, 1, 0.1)
        before = self.lambda_stats(workload.folder)
        full = self.load(workload, workload.request, workload.outstanding(), seconds)
        after = self.lambda_stats(workload.folder)
        one = self.load(workload, workload.request, 1, seconds / 2)
        runs = after["invocations"] - before["invocations"]
        npu_us = (after["npu_ns"] - before["npu_ns"]) / 1e3
        return {
            "rate": full["rate"],
            "p50": one["p50"],
            "p99": one["p99"],
            "fuel": (after["fuel"] - before["fuel"]) / runs,
            "cycles": npu_us * after["cycles_per_us"] / runs,
            "lost": full["lost"] + one["lost"],
        }


@contextlib.contextmanager
def running(lab: Lab, folder: Path, loader: Path):
    """The appliance, with everything deployed, and memcached beside the client."""
    sections = f'[services]\nallowed = ["{GEN_IP}/32"]\n[budget]\nmax_us = 10000\n'
    config = lab.configuration(folder / "workloads.toml", "never", "", sections, "pool_frames = 16383")
    user = ["setpriv", "--reuid", "nobody", "--regid", "nogroup", "--clear-groups", "taskset", "-c", "0"]
    listen = ["-l", GEN_IP, "-p", str(MEMCACHED_PORT), "-U", str(MEMCACHED_PORT), "-t", "1"]
    with lab.appliance(config, FIRST):
        with process(lab.gen, [*user, "memcached", *listen], folder / "memcached.log") as memcached:
            probe = ["ip", "netns", "exec", lab.gen, "ss", "-Hlun", "sport", "=", f":{MEMCACHED_PORT}"]
            wait(lambda: run(*probe).strip() or memcached.poll() is not None, "memcached")
            if memcached.poll() is not None:
                raise RuntimeError((folder / "memcached.log").read_text())
            bench = Bench(lab, folder, config.with_suffix(".sock"), loader)
            bench.deploy()
            yield bench


UNITS = {
    "rate": ("requests/s", "higher"),
    "p50": ("µs", "lower"),
    "p99": ("µs", "lower"),
    "fuel": ("units/request", "lower"),
    "cycles": ("cycles/request", "lower"),
    "lost": ("requests", "lower"),
}


def table(bench: Bench, values: Values) -> None:
    print(f"\n{'WORKLOAD':<28} {'REQUESTS/S':>11} {'P50 µs':>8} {'P99 µs':>8} {'FUEL':>10} {'CYCLES':>10}  MEMORY")
    for workload in WORKLOADS:
        rate, p50, p99, fuel, cycles = (
            statistics.median(values[workload.name, key]) for key in ("rate", "p50", "p99", "fuel", "cycles")
        )
        memory = bench.lambda_stats(workload.folder)["memory_bytes"]
        tiers = ", ".join(f"{tier} {size / 1024:,.0f} KiB" for tier, size in memory.items())
        print(f"{workload.name:<28} {rate:>11,.0f} {p50:>8,.1f} {p99:>8,.1f} {fuel:>10,.0f} {cycles:>10,.0f}  {tiers}")


def measured(rounds: int, seconds: float) -> list[Figure]:
    values: Values = defaultdict(list)
    memory: dict[str, dict[str, int]] = {}
    with Lab("af_packet") as lab, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        loader = folder / "udp_load"
        run("clang", "-O2", "-o", str(loader), str(Path(__file__).with_name("udp_load.c")))
        with running(lab, folder, loader) as bench:
            for number in range(rounds):
                for workload in WORKLOADS:
                    result = bench.measure(workload, seconds)
                    for key, value in result.items():
                        values[workload.name, key].append(value)
                    shown = "  ".join(f"{key} {value:,.1f}" for key, value in result.items())
                    print(f"round {number + 1}  {workload.name:<28} {shown}", flush=True)
            table(bench, values)
            for workload in WORKLOADS:
                memory[workload.folder] = bench.lambda_stats(workload.folder)["memory_bytes"]
    figures = [
        Figure(f"workloads/{workload.name.replace(' ', '_')}/{key}", *unit, values[workload.name, key])
        for workload in WORKLOADS
        for key, unit in UNITS.items()
    ]
    for folder_name, tiers in memory.items():
        for tier, size in tiers.items():
            figures.append(Figure(f"workloads/{folder_name}/memory/{tier}", "KiB", "lower", [size / 1024]))
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__.format(OUTSTANDING=OUTSTANDING), formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="finish within 40 s")
    parser.add_argument("--json", metavar="FILE", help="write the figures")
    options = parser.parse_args()
    missing = [tool for tool in ("memcached", "clang") if shutil.which(tool) is None]
    if missing:
        sys.exit(f"workloads: not found: {', '.join(missing)}: scripts/setup.sh --test")
    alone()
    rounds, seconds = (1, 1.0) if options.quick else (5, 3.0)
    report("workloads", measured(rounds, seconds), options.json)


if __name__ == "__main__":
    main()
