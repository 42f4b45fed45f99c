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
OTHER_MAC = "02:00:00:00:0b:03"
DUT_IP, GEN_IP = "10.78.0.1", "10.78.0.2"
EAL = ["--no-huge", "--no-shconf", "--no-pci", "--no-telemetry", "--log-level=3"]
#: For who measures: what else runs on the machine waits.
FIRST = ("nice", "-n", "-20")
ECHO = f"""[[lambdas]]
name = "echo"
id = 1
file = "{ROOT}/lambdas/echo/echo.wasm"
"""


def run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


class Lab:
    """Two namespaces, and what connects them."""

    def __init__(self, pmd: str, mtu: int = 1500) -> None:
        self.pmd, self.mtu = pmd, mtu
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
            mtu = ("mtu", str(self.mtu))
            run("ip", "-n", self.dut, "link", "set", "d0", "address", DUT_MAC, *mtu, "up")
            run("ip", "-n", self.gen, "link", "set", "g0", "address", GEN_MAC, *mtu, "up")
        return self

    def __exit__(self, *_: object) -> None:
        for name in (self.dut, self.gen):
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)

    def devargs(self) -> str:
        if self.pmd == "af_packet":
            return self.af_packet("d0")
        return f"net_tap0,iface=g0,mac={DUT_MAC}"

    def af_packet(self, iface: str) -> str:
        """The driver on an interface, with room for frames of the lab's MTU."""
        if self.mtu > 1500:
            return f"net_af_packet0,iface={iface},framesz=16384,blocksz=65536,framecnt=4096"
        return f"net_af_packet0,iface={iface},framecnt={BACKLOG // 1024 * 1024 + 1024}"

    def adopt(self) -> None:
        """A tap interface is born with its device: move it to the generator."""
        if self.pmd != "tap":
            return
        # The driver brings it up as it starts, and must be done with it before it moves.
        wait(lambda: ",UP" in run("ip", "-n", self.dut, "link", "show", "up"), "tap interface")
        time.sleep(0.3)
        run("ip", "-n", self.dut, "link", "set", "g0", "netns", self.gen)
        run("ip", "-n", self.gen, "link", "set", "g0", "txqueuelen", str(BACKLOG), "up")

    def address(self) -> None:
        """Gives a client its address, and its neighbour's MAC: nothing but requests shall reach the device under test."""
        run("ip", "-n", self.gen, "address", "replace", f"{GEN_IP}/24", "dev", self.iface)
        run("ip", "-n", self.gen, "link", "set", self.iface, "address", GEN_MAC)
        run("ip", "-n", self.gen, "neigh", "replace", DUT_IP, "lladdr", DUT_MAC, "dev", self.iface)

    def offload(self, state: str) -> None:
        """Turns on or off that a veth pair carries TCP's segments uncut."""
        for name, iface in ((self.dut, "d0"), (self.gen, "g0")):
            features = [word for feature in ("tso", "gso", "gro") for word in (feature, state)]
            run("ip", "netns", "exec", name, "ethtool", "-K", iface, *features)

    @contextlib.contextmanager
    def deaf(self) -> Iterator[None]:
        """What comes back is counted and is for nobody: what a client's kernel does with it is not the device's work."""
        before = run("ip", "netns", "exec", self.gen, "cat", f"/sys/class/net/{self.iface}/address").strip()
        run("ip", "-n", self.gen, "link", "set", self.iface, "address", OTHER_MAC)
        try:
            yield
        finally:
            run("ip", "-n", self.gen, "link", "set", self.iface, "address", before)

    def configuration(
        self, path: Path, sleep: str, lambdas: str, sections: str = "", memory: str = "", port: str = ""
    ) -> Path:
        """Of an appliance with one worker, on CPU 1, on the lab's port; the other texts are keys in TOML."""
        path.write_text(
            f"""socket = "{path.with_suffix(".sock")}"
[memory]
hugepages = "off"
{memory}
[lcores]
main = 0
workers = [1]
[idle]
sleep = "{sleep}"
{sections}
[[ports]]
name = "p0"
devargs = "{self.devargs()}"
ipv4 = "{DUT_IP}"
mtu = {self.mtu}
{port}
{lambdas}"""
        )
        return path

    @contextlib.contextmanager
    def appliance(self, config: Path, prefix: tuple[str, ...] = ()) -> Iterator[subprocess.Popen[bytes]]:
        """Runs it, with a client's address beside it."""
        log = config.with_suffix(".log")
        # `ip netns exec` replaces itself by the program: the process is the appliance.
        with process(self.dut, [*prefix, LNIC, "run", str(config)], log) as dut:
            wait(lambda: b"ready" in log.read_bytes() or dut.poll() is not None, "lnic")
            if dut.poll() is not None:
                raise RuntimeError(log.read_text())
            self.adopt()
            self.address()
            time.sleep(0.5)
            yield dut

    def returned(self) -> int:
        return self.counted("rx_packets")

    def offered(self) -> int:
        return self.counted("tx_packets", "tx_dropped")

    def counted(self, *names: str) -> int:
        paths = [f"/sys/class/net/{self.iface}/statistics/{name}" for name in names]
        return sum(map(int, run("ip", "netns", "exec", self.gen, "cat", *paths).split()))


def testpmd(lab: Lab, lcores: str, devargs: str, *options: str) -> list[str]:
    mib, sizes = "256", ["--total-num-mbufs=16384"]
    if lab.mtu > 1500:
        mib, sizes = "512", ["--total-num-mbufs=8192", "--mbuf-size=16512"]
    eal = ["dpdk-testpmd", "--lcores", lcores, "-m", mib, *EAL, "--vdev", devargs]
    return [*eal, "--", "--nb-cores=1", *sizes, "--stats-period=3600", *options]


def generator(lab: Lab, frame_bytes: int) -> list[str]:
    """A testpmd that sends UDP frames without end."""
    return testpmd(
        lab,
        "0@0,1@0",
        lab.af_packet(lab.iface) if lab.mtu > 1500 else f"net_af_packet0,iface={lab.iface}",
        "--forward-mode=txonly",
        f"--eth-peer=0,{DUT_MAC}",
        f"--tx-ip={GEN_IP},{DUT_IP}",
        "--tx-udp=9,9",
        f"--txpkts={frame_bytes}",
    )


def cpu_seconds(pid: int) -> float:
    """CPU time of a process, its kernel time included."""
    return time.clock_gettime((~pid << 3) | 2)  # as clock_getcpuclockid(3) makes it


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
