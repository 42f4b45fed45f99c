#!/usr/bin/env python3
"""Messages of many packets: against dpdk-testpmd on the same PMD, against HTTP servers on the same veth, and with loss.

Two network namespaces: `dut` holds the device under test, on CPU 1, `gen` its client, on CPU 0.

- `drain`: the device alone. It is stopped while 256 messages of 64 KiB, or as many frames for testpmd, fill its queue, and
  the client is stopped while it goes on: `sink` takes them in, `source` sends replies out, `echo` does both. testpmd turns
  addresses and ports round (5tswap) and sends each frame back. Bytes a second one way: the messages', and as much of
  testpmd's frames as a fragment carries. What comes back is for nobody, or the client's kernel would be the device's work.
- `live`: client and device at work, many requests in flight, and one at a time for the round trip.
- `http`: curl posts the same bodies to nginx and to Python's http.server, over the same veth; `_gso` with its offloads, so
  that TCP's segments pass in pieces of 64 KiB that no wire carries, else in frames of the MTU as λ-RPC's.
- `loss`: 5 % of the packets lost each way; counted is what passes the client's interface.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import web
from drain import drain, sampled
from figures import Figure, report
from lab import DUT_IP, FIRST, ROOT, Lab, generator, process, run, testpmd, wait

CLIENT = os.environ.get("MESSAGES", "messages")
LAMBDAS = {"echo": ("lambdas", 1), "sink": ("scripts/bench/lambdas", 2), "source": ("scripts/bench/lambdas", 3)}
KIB, MIB = 1 << 10, 1 << 20
#: Messages of a backlog, and their bytes: fewer fragments than a sender may send without a GRANT.
BACKLOG, BACKLOG_BYTES = 256, 64 * KIB
#: Of a datagram: λ-RPC's header with a cookie.
MESSAGE_HEADERS = 48
PORTS = (("af_packet", 1500), ("af_packet", 9000), ("tap", 1500))
LOSS = 0.05

Values = defaultdict[str, list[float]]


def configuration(lab: Lab, path: Path, slots: int, kib: int, sleep: str = "never", port: str = "") -> Path:
    lambdas = "".join(
        f"""[[lambdas]]
name = "{name}"
id = {number}
file = "{ROOT}/{folder}/{name}/{name}.wasm"
budget_us = 10000
message_slots = {slots}
message_kib = {kib}
"""
        for name, (folder, number) in LAMBDAS.items()
    )
    memory = f"eal_mib = 512\npool_frames = 16383\nframe_bytes = {2048 if lab.mtu <= 1500 else 16384}"
    return lab.configuration(path, sleep, lambdas, "[rpc]\nexchanges = 1024", memory, port)


def client(lab: Lab, name: str, message_bytes: int, **options: object) -> list[str]:
    """The client's command: of the source, replies have that length."""
    size = {"data" if name == "source" else "bytes": message_bytes, "lambda": LAMBDAS[name][1]}
    options = {"to": DUT_IP, "datagram_bytes": lab.mtu - 28, **size, **options}
    return [*FIRST, "taskset", "-c", "0", CLIENT, *(f"{key}={value}" for key, value in options.items())]


def load(lab: Lab, name: str, message_bytes: int, **options: object) -> dict[str, float]:
    result = json.loads(run("ip", "netns", "exec", lab.gen, *client(lab, name, message_bytes, **options)))
    # With loss, how many are answered is a figure.
    if not result["answered"] or result["failed"] and "drop" not in options:
        raise RuntimeError(f"{name}: {result}")
    return result


def fragments(lab: Lab, message_bytes: int) -> int:
    return -(-message_bytes // (lab.mtu - 28 - MESSAGE_HEADERS))


def drain_messages(lab: Lab, dut: subprocess.Popen[bytes], folder: Path, name: str) -> float:
    """Bytes a second that a device alone takes, or sends, or both."""
    log = folder / "client.log"
    command = client(lab, name, BACKLOG_BYTES, outstanding=BACKLOG, requests=BACKLOG, wait="true")
    with process(lab.gen, command, log) as gen:
        wait(lambda: b"ready" in log.read_bytes() or gen.poll() is not None, "the client")
        dut.send_signal(signal.SIGSTOP)
        try:
            gen.stdin.write(b"\n")
            gen.stdin.flush()
            wait(lambda: b"sent" in log.read_bytes(), "a backlog")
            gen.send_signal(signal.SIGSTOP)
            time.sleep(0.02)
            back = BACKLOG * (1 if name == "sink" else fragments(lab, BACKLOG_BYTES))
            # Not until nothing comes any more: nobody acknowledges replies, which are repeated then.
            with lab.deaf():
                _, seconds = sampled(lab, dut, 0, back, back)
        finally:
            dut.send_signal(signal.SIGCONT)
            gen.send_signal(signal.SIGCONT)
        gen.wait(30)
    result = json.loads(log.read_text().splitlines()[-1])
    if result["answered"] != BACKLOG:
        raise RuntimeError(f"{name}: {result}")
    return BACKLOG * BACKLOG_BYTES / seconds


def drain_testpmd(lab: Lab, folder: Path, drains: int, seconds: float) -> dict[str, list[float]]:
    """Bytes a second that testpmd sends back, of those that a fragment would carry: alone, and live."""
    carried, backlog = lab.mtu - 28 - MESSAGE_HEADERS, BACKLOG * fragments(lab, BACKLOG_BYTES)
    command = testpmd(lab, "0@0,1@1", lab.devargs(), "--forward-mode=5tswap")
    with process(lab.dut, [*FIRST, *command], folder / "testpmd.log") as dut:
        lab.adopt()
        source = generator(lab, lab.mtu + 14)
        with process(lab.gen, [*FIRST, *source], folder / "generator.log") as gen:
            before = lab.returned()
            wait(lambda: dut.poll() is not None or lab.returned() > before + 1000, "frames coming back")
            if dut.poll() is not None:
                raise RuntimeError(f"testpmd ended: {(folder / 'testpmd.log').read_text()}")
            try:
                frames, begin = lab.returned(), time.monotonic()
                time.sleep(seconds)
                live = (lab.returned() - frames) / (time.monotonic() - begin)
                with lab.deaf():
                    alone = [drain(lab, dut, gen, backlog, edge=0.0) for _ in range(drains)]
            finally:
                dut.send_signal(signal.SIGCONT)
                gen.send_signal(signal.SIGCONT)
    return {"drain": [rate * carried for rate in alone], "live": [live * carried]}


def against_testpmd(lab: Lab, folder: Path, drains: int, seconds: float, values: Values) -> None:
    for load_name, rates in drain_testpmd(lab, folder, drains, seconds).items():
        values[f"{load_name}/testpmd"] += rates
    with lab.appliance(configuration(lab, folder / "drain.toml", BACKLOG, BACKLOG_BYTES // KIB), FIRST) as dut:
        for name in LAMBDAS:
            values[f"drain/{name}"] += [drain_messages(lab, dut, folder, name) for _ in range(drains)]
    with lab.appliance(configuration(lab, folder / "live.toml", 32, 1024), FIRST):
        for name, size, shown, outstanding in (
            ("sink", 64 * KIB, "64k", 32),
            ("source", 64 * KIB, "64k", 16),
            ("echo", 64 * KIB, "64k", 16),
            ("sink", MIB, "1m", 8),
            ("source", MIB, "1m", 4),
            ("echo", MIB, "1m", 4),
        ):
            result = load(lab, name, size, outstanding=outstanding, seconds=seconds, warm_up_s=0.2)
            way = "reply" if name == "source" else "request"
            values[f"live/{name}_{shown}"].append(result[f"{way}_bytes_per_s"])
            values[f"live/{name}_{shown}/p99"].append(result["p99_us"])


def round_trips(lab: Lab, folder: Path, count: int, values: Values) -> None:
    """One request at a time, by an appliance that sleeps as it does by default; then the same over HTTP."""
    sizes = (("64k", 64 * KIB), ("1m", MIB))

    def note(server: str, shown: str, one: dict[str, float], many: dict[str, float]) -> None:
        for quantile in ("p50", "p99"):
            values[f"{server}/{shown}/{quantile}"].append(one[f"{quantile}_us"])
        values[f"{server}/{shown}"].append(many["bytes_per_s"])

    with lab.appliance(configuration(lab, folder / "trips.toml", 32, 1024, "auto"), FIRST):
        for name in ("sink", "echo"):
            for shown, size in sizes:
                requests = count if size < MIB else max(count // 4, 20)
                one = load(lab, name, size, requests=requests)
                many = load(lab, name, size, requests=4 * requests, outstanding=8)
                note("lnic", f"{name}_{shown}", one, {"bytes_per_s": many["request_bytes_per_s"]})
    run("ip", "-n", lab.dut, "address", "replace", f"{DUT_IP}/24", "dev", "d0")
    lab.address()
    for offloads, suffix in (("off", ""), ("on", "_gso")):
        lab.offload(offloads)
        for server, command in web.servers(folder).items():
            with web.serving(lab, command, folder / f"{server}.log"):
                for name in ("sink", "echo"):
                    for shown, size in sizes:
                        requests = count if size < MIB else max(count // 4, 20)
                        one = web.post(lab, folder, name, size, requests)
                        many = web.post(lab, folder, name, size, 4 * requests, parallel=8)
                        note(f"{server}{suffix}", f"{name}_{shown}", one, many)
    run("ip", "-n", lab.dut, "address", "flush", "dev", "d0")


def with_loss(lab: Lab, folder: Path, requests: int, seed: int, values: Values) -> None:
    """The port drops what comes, the client what goes back; the interface between them counts both."""
    port = f"fault.drop = {LOSS}\nfault.seed = {seed}"
    with lab.appliance(configuration(lab, folder / "loss.toml", 32, 1024, "auto", port), FIRST):
        before = lab.counted("tx_packets", "rx_packets")
        result = load(lab, "echo", 64 * KIB, requests=requests, outstanding=8, drop=LOSS, seed=seed)
        packets = lab.counted("tx_packets", "rx_packets") - before
    values["loss/answered"].append(100 * result["answered"] / requests)
    values["loss/packets_to_ideal"].append(packets / (requests * 2 * fragments(lab, 64 * KIB)))
    values["loss/p99"].append(result["p99_us"])


def figures_of(port: str, values: Values) -> list[Figure]:
    """Every value with its unit; and ratios, round by round."""
    figures = []
    for name, rounds in values.items():
        full = f"message/{port}/{name}"
        if name.endswith(("p50", "p99")):
            figures.append(Figure(full, "µs", "lower", rounds))
        elif name == "loss/answered":
            figures.append(Figure(full, "%", "higher", rounds, 100.0))
        elif name == "loss/packets_to_ideal":
            figures.append(Figure(full, "ratio", "lower", rounds, 1.2))
        else:
            figures.append(Figure(full, "MB/s", "higher", [rate / 1e6 for rate in rounds]))

    def ratio(name: str, one: str, other: str, bar: float | None = None) -> None:
        if values.get(one) and values.get(other):
            rounds = [a / b for a, b in zip(values[one], values[other])]
            figures.append(Figure(f"message/{port}/{name}", "ratio", "higher", rounds, bar))

    for name in LAMBDAS:
        ratio(f"drain/{name}_to_testpmd", f"drain/{name}", "drain/testpmd", 0.6)
        for size in ("64k", "1m"):
            ratio(f"live/{name}_{size}_to_testpmd", f"live/{name}_{size}", "live/testpmd")
            for server in ("nginx", "nginx_gso", "python", "python_gso"):
                ratio(f"lnic_to_{server}/{name}_{size}", f"lnic/{name}_{size}", f"{server}/{name}_{size}")
    return figures


def measure(pmd: str, mtu: int, options: argparse.Namespace) -> list[Figure]:
    values: Values = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder_name:
        folder = Path(folder_name)
        for number in range(1 if options.quick else 5):
            begin, load_average = time.monotonic(), os.getloadavg()[0]
            # A tap interface dies with its device, a lab's veth does not.
            with Lab(pmd, mtu) as lab:
                against_testpmd(lab, folder, 3, 0.5 if options.quick else 2.0, values)
                if pmd == "af_packet" and mtu == 1500:
                    round_trips(lab, folder, 60 if options.quick else 1000, values)
                    if number == 0 or not options.quick:
                        with_loss(lab, folder, 1000, 4793 + number, values)
            elapsed = time.monotonic() - begin
            shown = f"round {number + 1} in {elapsed:.0f} s, load average {load_average:.1f}"
            print(f"net_{pmd} mtu {mtu}: {shown}", flush=True)
    return figures_of(f"{pmd}_{mtu}", values)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one round, on AF_PACKET with MTU 1500 unless --port says otherwise: within 40 s")
    parser.add_argument("--json", metavar="FILE", help="write the figures")
    names = [f"{pmd}_{mtu}" for pmd, mtu in PORTS]
    parser.add_argument("--port", choices=names, action="append", help="driver and MTU; all of them if not given")
    options = parser.parse_args()
    if not shutil.which("dpdk-testpmd"):
        sys.exit("message: dpdk-testpmd not found: apt-get install dpdk-dev")
    if lacks := web.missing():
        sys.exit(f"message: {lacks}")
    if options.quick and not options.port:
        options.port = names[:1]
    chosen = [port for port, name in zip(PORTS, names) if not options.port or name in options.port]
    figures = [figure for pmd, mtu in chosen for figure in measure(pmd, mtu, options)]
    report("message", figures, options.json)


if __name__ == "__main__":
    main()
