"""Two network namespaces, and the device under test between them: what suites with a real port have in common."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LNIC = os.environ.get("LNIC", "lnic")
BACKLOG = 30000
DUT_MAC, GEN_MAC = "02:00:00:00:0b:01", "02:00:00:00:0b:02"
DUT_IP, GEN_IP = "10.78.0.1", "10.78.0.2"


def run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


class Lab:
    """Two namespaces, and what connects them."""

    def __init__(self, pmd: str) -> None:
        self.pmd = pmd
        self.dut, self.gen = f"lnic-bench-{os.getpid()}-dut", f"lnic-bench-{os.getpid()}-gen"
        self.iface = "g0"

    def __enter__(self) -> Lab:
        for name in (self.dut, self.gen):
            run("ip", "netns", "add", name)
            # Nothing but the benchmark's frames: no router solicitations.
            for family in ("all", "default"):
                run("ip", "netns", "exec", name, "sysctl", "-qw", f"net.ipv6.conf.{family}.disable_ipv6=1")
        if self.pmd == "af_packet":
            run("ip", "link", "add", "d0", "netns", self.dut, "type", "veth", "peer", "g0", "netns", self.gen)
            run("ip", "-n", self.dut, "link", "set", "d0", "address", DUT_MAC, "up")
            run("ip", "-n", self.gen, "link", "set", "g0", "address", GEN_MAC, "up")
        return self

    def __exit__(self, *_: object) -> None:
        for name in (self.dut, self.gen):
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)

    def devargs(self) -> str:
        if self.pmd == "af_packet":
            return f"net_af_packet0,iface=d0,framecnt={BACKLOG // 1024 * 1024 + 1024}"
        return "net_tap0,iface=g0,mac=02:00:00:00:0b:01"

    def adopt(self) -> None:
        """A tap interface is born with its device: move it to the generator."""
        if self.pmd != "tap":
            return
        # The driver brings it up as it starts, and must be done with it before it moves.
        wait(lambda: ",UP" in run("ip", "-n", self.dut, "link", "show", "up"), "tap interface")
        time.sleep(0.3)
        run("ip", "-n", self.dut, "link", "set", "g0", "netns", self.gen)
        run("ip", "-n", self.gen, "link", "set", "g0", "txqueuelen", str(BACKLOG), "up")

    def returned(self) -> int:
        return self.counted("rx_packets")

    def offered(self) -> int:
        return self.counted("tx_packets", "tx_dropped")

    def counted(self, *names: str) -> int:
        paths = [f"/sys/class/net/{self.iface}/statistics/{name}" for name in names]
        return sum(map(int, run("ip", "netns", "exec", self.gen, "cat", *paths).split()))


def wait(ready, what: str, seconds: float = 15) -> None:
    end = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not there after {seconds} s")
        time.sleep(0.05)


@contextlib.contextmanager
def process(netns: str, command: list[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as out:
        child = subprocess.Popen(
            ["ip", "netns", "exec", netns, *command], stdin=subprocess.PIPE, stdout=out, stderr=subprocess.STDOUT
        )
        try:
            yield child
        finally:
            child.terminate()
            try:
                child.wait(10)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
