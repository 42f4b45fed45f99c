"""Lambdas over HTTP against nginx, on this machine's loopback: POST of a body that is answered with as many bytes.

nginx (one worker, like the appliance's one HTTP thread) answers a constant text of that length; that is the least that a server can do.
The appliance runs the echo lambda on an lcore on CPU 1; its HTTP thread, nginx and wrk go where the kernel puts them. Both servers run at
the same time, and one waits while the other is measured; wrk takes turns between them.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from figures import Figure, report
from lab import ECHO, FIRST, wait

#: An appliance in front of whose gateway there is neither TLS nor a password: `cargo build --release -p lnic --example gateway`.
SERVER = os.environ.get("GATEWAY", "gateway")
CONNECTIONS = (1, 64)
#: Of what nginx does, with a body of one frame.
BAR = 0.5
UNITS = {"us": 1.0, "ms": 1e3, "s": 1e6}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 0.5):
        return True
    return False


@contextlib.contextmanager
def serving(command: list[str], port: int, log: Path) -> Iterator[None]:
    """A server, until its standard input closes or it is told to end."""
    with log.open("wb") as out:
        child = subprocess.Popen([*FIRST, *command], stdin=subprocess.PIPE, stdout=out, stderr=out)
        try:
            wait(lambda: answers(port) or child.poll() is not None, command[0])
            if child.poll() is not None:
                raise RuntimeError(f"{command[0]} ended: {log.read_text()}")
            yield
        finally:
            child.terminate()
            child.wait(10)


def nginx(folder: Path, port: int, sizes: list[int]) -> list[str]:
    config = folder / "nginx.conf"
    temporary = "".join(f"{kind}_temp_path {folder}/{kind};\n" for kind in ("proxy", "fastcgi", "uwsgi", "scgi"))
    # A text in the configuration is at most 4 KiB long.
    locations = ""
    for size in sizes:
        (folder / f"{size}").write_text("x" * size)
        what = f'return 200 "{"x" * size}";' if size < 4000 else f"error_page 405 =200 /{size}; root {folder};"
        locations += f"location = /{size} {{ {what} }}\n"
    config.write_text(
        f"""daemon off;
master_process off;
user root;
pid {folder}/nginx.pid;
error_log {folder}/nginx-error.log;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    {temporary}
    client_max_body_size 64m;
    client_body_buffer_size 2m;
    keepalive_requests 100000000;
    open_file_cache max=100;
    server {{
        listen 127.0.0.1:{port};
        {locations}
    }}
}}
"""
    )
    return ["nginx", "-p", str(folder), "-c", str(config), "-e", str(folder / "nginx-error.log")]


def appliance(folder: Path, port: int) -> list[str]:
    config = folder / "gateway.toml"
    config.write_text(
        f"""socket = "{folder}/gateway.sock"
[memory]
hugepages = "off"
eal_mib = 64
pool_frames = 4095
[lcores]
main = 0
workers = [1]
[idle]
# The CPU is its own: what else runs on the machine gets it when there is nothing to do.
yield_polls = 0
[[ports]]
name = "silent"
devargs = "net_null0,no-rx=1"
ipv4 = "10.77.1.1"
{ECHO}message_slots = 64
message_kib = 64
"""
    )
    return [SERVER, str(config), f"127.0.0.1:{port}"]


def wrk(folder: Path, url: str, size: int, connections: int, seconds: int) -> dict[str, float]:
    script = folder / f"{size}.lua"
    script.write_text(f'wrk.method = "POST"\nwrk.body = string.rep("x", {size})\n')
    command = [*FIRST, "wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "-s", str(script), url]
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    if "Non-2xx" in out or "Socket errors" in out:
        raise RuntimeError(f"{url}: {out}")

    def latency(percentile: int) -> float:
        number, unit = re.search(rf"^\s+{percentile}%\s+([\d.]+)(us|ms|s)$", out, re.MULTILINE).groups()
        return float(number) * UNITS[unit]

    rate = float(re.search(r"Requests/sec:\s+([\d.]+)", out).group(1))
    return {"rate": rate, "p50": latency(50), "p99": latency(99)}


def measure(sizes: list[int], rounds: int, seconds: int) -> list[Figure]:
    values: dict[tuple[int, int, str, str], list[float]] = {}
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        web, own = free_port(), free_port()
        stack.enter_context(serving(nginx(folder, web, sizes), web, folder / "nginx.log"))
        stack.enter_context(serving(appliance(folder, own), own, folder / "gateway.log"))
        for number in range(rounds):
            for size in sizes:
                for connections in CONNECTIONS:
                    urls = {"nginx": f"http://127.0.0.1:{web}/{size}", "gateway": f"http://127.0.0.1:{own}/function/echo"}
                    # Who was second is first the next time.
                    for server in sorted(urls, reverse=number % 2 == 0):
                        result = wrk(folder, urls[server], size, connections, seconds)
                        for key, value in result.items():
                            values.setdefault((size, connections, server, key), []).append(value)
                        shown = "  ".join(f"{key} {value:,.0f}" for key, value in result.items())
                        print(f"round {number + 1}  {size:>6} B  {connections:>3} connections  {server:<8} {shown}", flush=True)
    figures = []
    for size in sizes:
        for connections in CONNECTIONS:
            place = f"gateway/{size}B/c{connections}"
            for server in ("nginx", "gateway"):
                of = lambda key: values[size, connections, server, key]  # noqa: B023, E731
                figures.append(Figure(f"{place}/{server}/rate", "requests/s", "higher", of("rate")))
                figures.append(Figure(f"{place}/{server}/p50", "µs", "lower", of("p50")))
                figures.append(Figure(f"{place}/{server}/p99", "µs", "lower", of("p99")))
            pairs = zip(values[size, connections, "gateway", "rate"], values[size, connections, "nginx", "rate"])
            ratios = [own / web for own, web in pairs]
            figures.append(Figure(f"{place}/ratio", "of nginx", "higher", ratios, BAR if size <= 1024 else None))
    return figures


def alone() -> None:
    """Niceness counts within a session: in one of its own, this one's can be given to all that is measured."""
    with contextlib.suppress(OSError):
        os.setsid()
    with contextlib.suppress(OSError):
        Path("/proc/self/autogroup").write_text("-20")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="finish within 40 s")
    parser.add_argument("--json", metavar="FILE", help="write the figures")
    options = parser.parse_args()
    missing = [tool for tool in ("wrk", "nginx", SERVER) if shutil.which(tool) is None]
    if missing:
        sys.exit(f"not found: {', '.join(missing)}")
    alone()
    sizes, rounds, seconds = ([64], 2, 2) if options.quick else ([64, 1024, 32768], 5, 4)
    report("gateway", measure(sizes, rounds, seconds), options.json)


if __name__ == "__main__":
    main()
