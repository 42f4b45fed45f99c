#!/usr/bin/env python3
"""What the control plane takes: deployments through the API, deployments while packets flow, a restart with a thousand lambdas.

Lambdas are those of scripts/thousands.py: each has code of its own. "wasm" is from a module that the appliance has never seen, its
upload included; "compiled" is one that it compiled before and that is deployed again under another name. Requests go over the control
socket, one connection for all, as an operator's program would.

While packets flow, `lnic bench` loads the echo lambda, and other lambdas are deployed and removed beside it: no reply may be
missing. Lambdas over HTTP against nginx: scripts/bench/gateway.py, which is called last.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import importlib.util
import json
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from figures import Figure, report
from lab import BACKLOG, DUT_IP, LNIC, ROOT, Lab, run, wait

NAMESPACE = "/v1/namespaces/default/lambdas"
#: Requests a second of the load beside which is deployed.
RATE = 100_000
#: Bars: ms from a compiled module and from an unknown one, seconds until a restarted appliance is ready.
COMPILED_MS, WASM_MS, RESTART_S = 5.0, 50.0, 2.0
#: A restart may take so long before it is given up.
READY_TIMEOUT_S = 60


def load_thousands():
    """scripts/thousands.py, which makes the modules."""
    spec = importlib.util.spec_from_file_location("thousands", ROOT / "scripts/thousands.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Refused(RuntimeError):
    """An answer other than the one that was expected."""


class Api(http.client.HTTPConnection):
    """The native API on the control socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("lnic", timeout=30)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self.path))

    def ask(self, method: str, route: str, body: bytes | None = None, kind: str = "application/json") -> object:
        self.request(method, route, body, {"Content-Type": kind} if body is not None else {})
        answer = self.getresponse()
        content = answer.read()
        if answer.status >= 300:
            raise Refused(f"{method} {route}: {answer.status} {content[:300]!r}")
        return json.loads(content) if content else None

    def upload(self, wasm: bytes) -> str:
        return self.ask("POST", "/v1/modules", wasm, "application/wasm")["digest"]

    def deploy(self, name: str, digest: str) -> None:
        manifest = {"name": name, "entry": "sum"}
        body = {"manifest": manifest, "module": digest, "image": "bench"}
        self.ask("PUT", f"{NAMESPACE}/{name}", json.dumps(body).encode())

    def remove(self, name: str) -> None:
        self.ask("DELETE", f"{NAMESPACE}/{name}")

    def lambdas(self) -> int:
        return len(self.ask("GET", "/v1/lambdas"))


def is_ready(path: Path) -> bool:
    with contextlib.closing(Api(path)) as api, contextlib.suppress(OSError, http.client.HTTPException):
        api.request("GET", "/readyz")
        return api.getresponse().status == 200
    return False


def configuration(lab: Lab, folder: Path) -> Path:
    """An appliance that keeps what is deployed. The echo lambda is the configuration's, with the ID 1."""
    (folder / "state").mkdir(exist_ok=True)
    echo = f'[[lambdas]]\nname = "echo"\nid = 1\nfile = "{ROOT}/lambdas/echo/echo.wasm"\n'
    control = f'[control]\nstate = "{folder / "state"}"'
    return lab.configuration(folder / "control.toml", "auto", echo, control)


def quantile(samples: list[float], share: float) -> float:
    ordered = sorted(samples)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def timed(action) -> float:
    """Milliseconds that an action takes."""
    start = time.perf_counter()
    action()
    return (time.perf_counter() - start) * 1e3


def deployments(api: Api, modules: list[bytes], compiled: int, unseen: int) -> dict[str, list[float]]:
    """Milliseconds of each deployment: of modules that were never seen, then of one that was."""

    def fresh(number: int) -> None:
        api.deploy(f"fresh-{number}", api.upload(modules[number]))

    wasm = [timed(lambda: fresh(number)) for number in range(unseen)]
    digest = api.upload(modules[0])
    known = [timed(lambda: api.deploy(f"known-{number}", digest)) for number in range(compiled)]
    removal = [timed(lambda: api.remove(f"known-{number}")) for number in range(compiled)]
    for number in range(unseen):
        api.remove(f"fresh-{number}")
    return {"wasm": wasm, "compiled": known, "removal": removal}


@contextlib.contextmanager
def loading(lab: Lab, seconds: float) -> Iterator[subprocess.Popen[str]]:
    """`lnic bench` on the echo lambda, from the generator's namespace."""
    command = [LNIC, "bench", "--to", DUT_IP, "--lambda", "1", "--rate", str(RATE), "--bytes", "64"]
    command += ["--duration", str(seconds), "--warmup", "0.5", "--json"]
    command = ["ip", "netns", "exec", lab.gen, "taskset", "-c", "0", *command]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        yield child
    finally:
        if child.poll() is None:
            child.terminate()
            child.wait(10)


def under_load(lab: Lab, api: Api, digest: str, count: int, seconds: float) -> dict[str, float]:
    """Deploys and removes so many times, spread over the run. What the load lost, and what it loses without deployments."""

    def result(child: subprocess.Popen[str]) -> dict[str, object]:
        out, error = child.communicate(timeout=seconds + 30)
        if child.returncode != 0:
            raise RuntimeError(f"lnic bench: exit code {child.returncode}: {error}")
        return json.loads(out)

    with loading(lab, seconds) as child:
        before = result(child)
    failed: list[BaseException] = []

    def deploy() -> None:
        pause = (seconds - 0.5) / count
        try:
            for number in range(count):
                due = time.monotonic() + pause
                api.deploy("beside", digest)
                if number % 10 == 9:
                    api.remove("beside")
                time.sleep(max(0.0, due - time.monotonic()))
        except (OSError, http.client.HTTPException, Refused) as error:
            failed.append(error)

    with loading(lab, seconds) as child:
        time.sleep(0.7)
        deployer = threading.Thread(target=deploy)
        start = time.monotonic()
        deployer.start()
        beside = result(child)
        deployer.join()
    if failed:
        raise failed[0]
    return {
        "lost_without": before["lost"],
        "lost": beside["lost"],
        "rate": beside["achieved_rate"],
        "p99_without": before["latency"]["p99_us"],
        "p99": beside["latency"]["p99_us"],
        "seconds": time.monotonic() - start,
    }


def restart(lab: Lab, config: Path, count: int) -> float:
    """Seconds from the start of a process until it is ready, with what the state folder has."""
    path = config.with_suffix(".sock")
    log = config.with_suffix(".restart.log")
    with log.open("wb") as out:
        start = time.perf_counter()
        child = subprocess.Popen(["ip", "netns", "exec", lab.dut, LNIC, "run", str(config)], stdout=out, stderr=out)
        try:
            while not is_ready(path):
                if child.poll() is not None or time.perf_counter() - start > READY_TIMEOUT_S:
                    raise RuntimeError(f"not ready after a restart: {log.read_text()[-2000:]}")
                time.sleep(0.005)
            took = time.perf_counter() - start
            with contextlib.closing(Api(path)) as api:
                # The configuration's echo lambda is one more.
                if (there := api.lambdas()) != count + 1:
                    raise RuntimeError(f"{there} lambdas after a restart, {count + 1} before")
        finally:
            child.send_signal(signal.SIGTERM)
            child.wait(30)
    return took


def measure(folder: Path, options: argparse.Namespace) -> list[Figure]:
    quick = options.quick
    unseen, compiled, beside = (10, 40, 50) if quick else (50, 200, 500)
    lambdas, seconds, rounds = (100, 3.0, 2) if quick else (1000, 12.0, 5)
    thousands = load_thousands()
    made = folder / "modules"
    made.mkdir()
    thousands.modules(LNIC, made, max(lambdas, unseen))
    modules = [(made / f"{number}.wasm").read_bytes() for number in range(1, max(lambdas, unseen) + 1)]
    figures = []

    def figure(name: str, unit: str, values: list[float], bar: float | None = None, better: str = "lower") -> None:
        figures.append(Figure(f"control/{name}", unit, better, values, bar))

    with Lab("af_packet") as lab:
        # A queue as long as the lab's receives what comes while the appliance's CPU is taken away.
        run("ip", "-n", lab.gen, "link", "set", lab.iface, "txqueuelen", str(BACKLOG))
        config = configuration(lab, folder)
        path = config.with_suffix(".sock")
        with lab.appliance(config):
            wait(lambda: is_ready(path), "ready")
            with contextlib.closing(Api(path)) as api:
                taken = deployments(api, modules, compiled, unseen)
                digest = api.upload(modules[0])
                load = under_load(lab, api, digest, beside, seconds)
                with contextlib.suppress(Refused):
                    api.remove("beside")
                print(f"deployments: {beside} beside {load['rate']:,.0f} requests/s", flush=True)
                for number in range(lambdas):
                    api.deploy(f"kept-{number}", api.upload(modules[number]))
        restarts = [restart(lab, config, lambdas) for _ in range(rounds)]
    for name, samples, bar in (("wasm", taken["wasm"], WASM_MS), ("compiled", taken["compiled"], COMPILED_MS)):
        figure(f"deploy_{name}/p50", "ms", [statistics.median(samples)])
        figure(f"deploy_{name}/p99", "ms", [quantile(samples, 0.99)], bar)
    figure("remove/p50", "ms", [statistics.median(taken["removal"])])
    figure("beside_load/rate", "requests/s", [load["rate"]], better="higher")
    figure("beside_load/lost", "requests", [float(load["lost"])], 0.0)
    figure("beside_load/lost_without", "requests", [float(load["lost_without"])])
    figure("beside_load/p99", "µs", [load["p99"]])
    figure("beside_load/p99_without", "µs", [load["p99_without"]])
    figure(f"restart_{lambdas}/ready", "s", restarts, RESTART_S)
    return figures


def gateway(folder: Path) -> list[Figure]:
    """The figures of scripts/bench/gateway.py, which prints its own table."""
    written = folder / "gateway.json"
    command = [sys.executable, str(Path(__file__).with_name("gateway.py")), "--json", str(written)]
    subprocess.run(command, check=True)
    found = json.loads(written.read_text())["figures"]
    return [
        Figure(each["name"], each["unit"], each["better"], [each["value"], each["min"], each["max"]], each["bar"])
        for each in found
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer of everything and no gateway: within 40 s")
    parser.add_argument("--json", metavar="FILE", help="write the figures")
    options = parser.parse_args()
    if not shutil.which(LNIC):
        sys.exit(f"control: no program {LNIC}: run scripts/bench.sh control")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        figures = measure(folder, options)
        if not options.quick:
            figures += gateway(folder)
    report("control", figures, options.json)


if __name__ == "__main__":
    main()
