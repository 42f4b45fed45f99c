#!/usr/bin/env python3
"""The kv-server against memcached itself, over the same veth pair, with the same client, in turn, in one run.

Two network namespaces: `dut` holds the server, on CPU 1, `gen` the client (client/examples/memcached_load.rs), on CPU 0, which speaks
memcached's UDP protocol from one thread. The servers:

- `memcached`: one thread, on the kernel's sockets.
- `store`: lnic with one worker and the kv-server as the store (BACKEND=none), on AF_PACKET.
- `cache`: lnic with the kv-server before a memcached behind the host port (BACKEND=host): gets are hits, once they are known.

Load: gets alone, and nine gets to one set; values of 32 bytes and of 1 KiB.

- `live`: answers over CPU time of the server's process, its kernel time included, while the client keeps 128 requests on their way. What
  lnic spends on looking whether something has come is in it, and memcached sleeps for nothing: this flatters memcached.
- `drain`: of lnic alone, whose queue the client fills while it is stopped, as in drain.py. What is compared with memcached's `live`.
- `rate`: answers a second by the clock, with a client that has one CPU to itself and may be what limits them; `p50`: one request at a time.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from drain import drain
from figures import Figure, report
from lab import DUT_IP, DUT_MAC, FIRST, LNIC, ROOT, Lab, cpu_seconds, process, run, wait

LOAD = os.environ.get("MEMCACHED_LOAD", "memcached_load")
PORT = 11211
KEYS = 1000
MIXES = {"get": 0.0, "mixed": 0.1}
SIZES = {"32": 32, "1k": 1024}
#: Requests on their way, for throughput.
OUTSTANDING = 128
#: The cache's guard, over which the first gets of what was just stored pass.
GUARD_S = 0.2
HOST_INTERFACE = "lnic-host"
#: Backlogs that are drained for one figure.
DRAINS = 3

Values = dict[str, list[float]]
Server = subprocess.Popen[bytes]


def memcached(address: str) -> list[str]:
    options = ["-u", "nobody", "-l", address, "-p", str(PORT), "-U", str(PORT), "-t", "1", "-m", "64"]
    return [*FIRST, "taskset", "-c", "1", "memcached", *options]


def listens(netns: str) -> bool:
    return f":{PORT}" in run("ip", "netns", "exec", netns, "ss", "-lnu")


@contextlib.contextmanager
def as_memcached(lab: Lab, folder: Path) -> Iterator[Server]:
    run("ip", "-n", lab.dut, "address", "replace", f"{DUT_IP}/24", "dev", "d0")
    try:
        with process(lab.dut, memcached(DUT_IP), folder / "memcached.log") as server:
            wait(lambda: listens(lab.dut), "memcached")
            lab.address()
            yield server
    finally:
        run("ip", "-n", lab.dut, "address", "flush", "dev", "d0")


def deploy(lab: Lab, config: Path, backend: str) -> None:
    guard = ["--set", f"environment.GUARD_MS={int(GUARD_S * 500)}"]
    command = [LNIC, "deploy", str(ROOT / "lambdas" / "kv-server"), "--set", f"environment.BACKEND={backend}", *guard]
    run("ip", "netns", "exec", lab.dut, *command, "--socket", str(config.with_suffix(".sock")))


@contextlib.contextmanager
def as_store(lab: Lab, folder: Path) -> Iterator[Server]:
    config = lab.configuration(folder / "store.toml", "auto", "")
    with lab.appliance(config, FIRST) as dut:
        deploy(lab, config, "none")
        yield dut


@contextlib.contextmanager
def as_cache(lab: Lab, folder: Path) -> Iterator[Server]:
    """memcached in a third namespace, at the other end of the host port."""
    host = f"{lab.dut}-host"
    ports = f'host = "h0"\n[[ports]]\nname = "h0"\ndevargs = "net_tap1,iface={HOST_INTERFACE}"\n'
    config = lab.configuration(folder / "cache.toml", "auto", "", port=ports)
    run("ip", "netns", "add", host)
    try:
        with lab.appliance(config, FIRST) as dut:
            run("ip", "-n", lab.dut, "link", "set", HOST_INTERFACE, "netns", host)
            run("ip", "-n", host, "link", "set", HOST_INTERFACE, "address", DUT_MAC, "up")
            run("ip", "-n", host, "address", "replace", f"{DUT_IP}/24", "dev", HOST_INTERFACE)
            with process(host, memcached(DUT_IP), folder / "behind.log"):
                wait(lambda: listens(host), "memcached")
                deploy(lab, config, "host")
                time.sleep(GUARD_S)
                yield dut
            run("ip", "-n", host, "link", "set", HOST_INTERFACE, "netns", lab.dut)
    finally:
        run("ip", "netns", "del", host)


SERVERS = {"memcached": as_memcached, "store": as_store, "cache": as_cache}


def load(lab: Lab, **options: float) -> dict[str, float]:
    """What the client says."""
    words = [f"{name}={value}" for name, value in {"keys": KEYS, **options}.items()]
    command = ["ip", "netns", "exec", lab.gen, *FIRST, "taskset", "-c", "0", LOAD, f"to={DUT_IP}:{PORT}", *words]
    said = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
    if said["failed"] or said["misses"] > said["answered"] // 100 or said["lost"] > said["answered"] // 50 + OUTSTANDING:
        raise RuntimeError(f"{options}: {said}")
    return said


def drained(lab: Lab, folder: Path, dut: subprocess.Popen[bytes], **options: float) -> float:
    """Answers a second of a server that goes on alone."""
    words = [f"{name}={value}" for name, value in {"keys": KEYS, "open": "true", "outstanding": 1024, **options}.items()]
    command = [*FIRST, "taskset", "-c", "0", LOAD, f"to={DUT_IP}:{PORT}", *words]
    before = lab.returned()
    with process(lab.gen, command, folder / "backlog.log") as gen:
        wait(lambda: gen.poll() is not None or lab.returned() > before + 4 * KEYS, "answers")
        try:
            return statistics.median(drain(lab, dut, gen) for _ in range(DRAINS))
        finally:
            gen.kill()
            dut.send_signal(signal.SIGCONT)


def measure(lab: Lab, folder: Path, server: str, dut: Server, seconds: float, values: Values) -> None:
    pid = dut.pid
    for mix, set_share in MIXES.items():
        # Sets of the cache are memcached's work, on the same CPU.
        if server == "cache" and set_share:
            continue
        for size, value_bytes in SIZES.items():
            options = {"value_bytes": value_bytes, "set_share": set_share}
            if server == "cache":
                # It knows what it was asked for once the guard is over.
                load(lab, **options, seconds=4 * GUARD_S, outstanding=8)
            before = cpu_seconds(pid)
            many = load(lab, **options, seconds=seconds, outstanding=OUTSTANDING)
            used = cpu_seconds(pid) - before
            one = load(lab, **options, seconds=seconds / 2)
            values[f"{server}/{mix}_{size}/live"].append((many["answered"] + KEYS) / used)
            if server != "memcached":
                values[f"{server}/{mix}_{size}/drain"].append(drained(lab, folder, dut, **options))
            values[f"{server}/{mix}_{size}/rate"].append(many["answered"] / many["seconds"])
            values[f"{server}/{mix}_{size}/p50"].append(one["p50_us"])


def figures_of(values: Values) -> list[Figure]:
    figures = []
    for name, rounds in values.items():
        if name.endswith("p50"):
            figures.append(Figure(f"kv/{name}", "µs", "lower", rounds))
        else:
            unit = "k/s" if name.endswith("rate") else "k/CPU-s"
            figures.append(Figure(f"kv/{name}", unit, "higher", [rate / 1e3 for rate in rounds]))
    for server in ("store", "cache"):
        for mix in MIXES:
            for size in SIZES:
                theirs = values.get(f"memcached/{mix}_{size}/live")
                for how in ("drain", "live"):
                    ours = values.get(f"{server}/{mix}_{size}/{how}")
                    if ours and theirs:
                        rounds = [one / other for one, other in zip(ours, theirs)]
                        bar = 2.0 if (mix, how) == ("get", "drain") else None
                        name = f"kv/{server}_to_memcached/{mix}_{size}/{how}"
                        figures.append(Figure(name, "ratio", "higher", rounds, bar))
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one round: within 40 s")
    parser.add_argument("--json", metavar="FILE", help="write the figures")
    parser.add_argument("--server", choices=SERVERS, action="append", help="all of them if not given")
    options = parser.parse_args()
    if not shutil.which("memcached"):
        sys.exit("kv: memcached not found: apt-get install memcached")
    values: Values = defaultdict(list)
    rounds, seconds = (1, 1.0) if options.quick else (5, 3.0)
    with Lab("af_packet") as lab, tempfile.TemporaryDirectory() as folder_name:
        for number in range(rounds):
            for server in options.server or SERVERS:
                begin, load_average = time.monotonic(), os.getloadavg()[0]
                folder = Path(folder_name)
                with SERVERS[server](lab, folder) as dut:
                    measure(lab, folder, server, dut, seconds, values)
                elapsed = time.monotonic() - begin
                print(f"{server}: round {number + 1} in {elapsed:.0f} s, load average {load_average:.1f}", flush=True)
    report("kv", figures_of(values), options.json)


if __name__ == "__main__":
    main()
