#!/usr/bin/env python3
"""What takes the same bodies over HTTP: nginx, and Python's http.server, with curl as the client.

POST /sink is answered without a body once the request's is read; POST /echo with the request's body.
"""

from __future__ import annotations

import contextlib
import shutil
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from lab import DUT_IP, FIRST, Lab, process, wait

PORT = 8080
ECHO_MODULE = Path("/usr/lib/nginx/modules/ngx_http_echo_module.so")


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if not self.path.startswith("/echo"):
            body = b""
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def nginx(folder: Path) -> list[str]:
    config = folder / "nginx.conf"
    temporary = "".join(f"{kind}_temp_path {folder}/{kind};\n" for kind in ("proxy", "fastcgi", "uwsgi", "scgi"))
    config.write_text(
        f"""load_module {ECHO_MODULE};
daemon off;
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
    # Bodies stay in memory.
    client_body_buffer_size 2m;
    keepalive_requests 1000000;
    server {{
        listen {DUT_IP}:{PORT};
        location /sink {{ echo_read_request_body; echo -n ""; }}
        location /echo {{ echo_read_request_body; echo_request_body; }}
    }}
}}
"""
    )
    return ["nginx", "-p", str(folder), "-c", str(config), "-e", str(folder / "nginx-error.log")]


def servers(folder: Path) -> dict[str, list[str]]:
    return {"nginx": nginx(folder), "python": [sys.executable, __file__]}


def missing() -> str | None:
    if not shutil.which("nginx") or not ECHO_MODULE.exists():
        return "nginx with its echo module not found: scripts/setup.sh --bench"
    return None if shutil.which("curl") else "curl not found: scripts/setup.sh --test"


@contextlib.contextmanager
def serving(lab: Lab, command: list[str], log: Path) -> Iterator[None]:
    """A server on the device's CPU, until it answers."""
    with process(lab.dut, [*FIRST, "taskset", "-c", "1", *command], log) as server:

        def answers() -> bool:
            if server.poll() is not None:
                raise RuntimeError(f"{command[0]} ended: {log.read_text()}")
            probe = ["curl", "--silent", "--data", "x", "--output", str(log.with_suffix(".probe"))]
            probe += [f"http://{DUT_IP}:{PORT}/sink"]
            return subprocess.run(["ip", "netns", "exec", lab.gen, *probe], check=False).returncode == 0

        wait(answers, command[0])
        yield


def post(lab: Lab, folder: Path, path: str, size_bytes: int, count: int, parallel: int = 1) -> dict[str, float]:
    """Posts a body so often, over connections that are kept; latencies in µs, and bytes of bodies a second."""
    body = folder / f"body-{size_bytes}"
    body.write_bytes(b"x" * size_bytes)
    command = ["curl", "--silent", "--show-error", "--fail", "--data-binary", f"@{body}", "--header", "Expect:"]
    command += ["--header", "Content-Type: application/octet-stream", "--output", str(folder / "reply")]
    command += ["--write-out", "%{time_total} %{size_upload}\n", f"http://{DUT_IP}:{PORT}/{path}?[1-{count}]"]
    if parallel > 1:
        command += ["--parallel", "--parallel-max", str(parallel)]
    begin = time.monotonic()
    out = subprocess.run(
        ["ip", "netns", "exec", lab.gen, *FIRST, "taskset", "-c", "0", *command], check=True, capture_output=True, text=True
    ).stdout
    elapsed = time.monotonic() - begin
    lines = [line.split() for line in out.splitlines()]
    if len(lines) != count or any(int(sent) != size_bytes for _, sent in lines):
        raise RuntimeError(f"curl: {len(lines)} of {count} posts of {size_bytes} bytes")
    latencies = sorted(1e6 * float(seconds) for seconds, _ in lines)
    return {
        "p50_us": statistics.median(latencies),
        "p99_us": latencies[min(count - 1, count * 99 // 100)],
        "bytes_per_s": count * size_bytes / elapsed,
    }


def main() -> None:
    with contextlib.suppress(KeyboardInterrupt):
        server = ThreadingHTTPServer((DUT_IP, PORT), Handler)
        server.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.serve_forever()


if __name__ == "__main__":
    main()
