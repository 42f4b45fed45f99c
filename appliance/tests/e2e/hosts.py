"""Several hosts on a lab's wire, each in a namespace of its own, and a memcached on one of them.

The wire's other end is a switch: a bridge in the namespace of the lab's peer, which then has no address of its own.
"""

import contextlib
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import namespaces
from conftest import require
from labs import INTERFACE

BRIDGE = "switch0"
#: A host's interface.
HOST_INTERFACE = "eth0"
MEMCACHED_PORT = 11211
START_TIMEOUT_S = 10


class Network:
    """A switch with hosts. Use as a context manager; give it a lab that is started and has no addresses."""

    def __init__(self, lab):
        self.lab = lab
        self._number = 0
        self._stack = contextlib.ExitStack()

    def __enter__(self):
        switch = self.lab.peer
        switch.run("ip", "link", "add", BRIDGE, "type", "bridge")
        self._stack.callback(switch.run, "ip", "link", "del", BRIDGE, check=False)
        switch.run("ip", "link", "set", INTERFACE, "master", BRIDGE)
        switch.run("ip", "link", "set", BRIDGE, "up")
        return self

    def __exit__(self, *_):
        self._stack.close()

    def _namespace(self, role):
        made = namespaces.Namespace(role)
        self._stack.callback(made.close)
        made.sysctl(ipv6__conf__default__accept_dad=0, ipv6__conf__default__router_solicitations=0)
        made.run("ip", "link", "set", "lo", "up")
        return made

    def _plug(self, namespace, interface):
        """An interface of a namespace that leads to the switch."""
        self._number += 1
        outlet = f"port{self._number}"
        self.lab.peer.run(
            "ip", "link", "add", outlet, "type", "veth", "peer", "name", interface, "netns", namespace.name
        )
        self.lab.peer.run("ip", "link", "set", outlet, "master", BRIDGE, "up")
        namespace.run("ip", "link", "set", interface, "up")

    def host(self, role, *addresses):
        """A host on the switch with these addresses, each with its prefix length; without any it is silent."""
        made = self._namespace(role)
        if not addresses:
            # Nothing but a test's own frames.
            made.sysctl(ipv6__conf__default__disable_ipv6=1)
        self._plug(made, HOST_INTERFACE)
        _checksums(made)
        _address(made, HOST_INTERFACE, addresses)
        return made

    def host_behind_router(self, role, address, near, far):
        """A host with `address` in a network that only a router leads to: it has `near` on the switch and `far` beyond it."""
        router, made = self._namespace("router"), self._namespace(role)
        self._plug(router, HOST_INTERFACE)
        router.run("ip", "link", "add", "far0", "type", "veth", "peer", "name", HOST_INTERFACE, "netns", made.name)
        _address(router, HOST_INTERFACE, [near])
        _address(router, "far0", [far])
        router.sysctl(ipv4__ip_forward=1, ipv6__conf__all__forwarding=1)
        _address(made, HOST_INTERFACE, [address])
        made.run("ip", "route", "add", "default", "via", far.split("/")[0])
        return made

    def impaired_host(self, role, address, **impairments):
        """A host behind a cable that harms what comes from it: see impaired_link.py for how."""
        cable, made = self._namespace("cable"), self._namespace(role)
        self._plug(cable, "near0")
        cable.run("ip", "link", "add", "far0", "type", "veth", "peer", "name", HOST_INTERFACE, "netns", made.name)
        cable.run("ip", "link", "set", "far0", "up")
        _address(made, HOST_INTERFACE, [address])
        _checksums(made)
        options = [word for name, value in impairments.items() for word in (f"--{name.replace('_', '-')}", str(value))]
        script = str(Path(__file__).with_name("impaired_link.py"))
        command = cable.command("setpriv", "--pdeathsig", "KILL", sys.executable, script, "near0", "far0", *options)
        link = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        self._stack.callback(_end, link)
        assert link.stdout.readline() == b"ready\n"
        return made


def _address(namespace, interface, addresses):
    for address in addresses:
        namespace.run("ip", "address", "add", address, "dev", interface, *(["nodad"] if ":" in address else []))
    namespace.run("ip", "link", "set", interface, "up")


def _checksums(namespace):
    """Has them made by the host: nobody on the way does for an impaired cable, which carries bytes."""
    namespace.run("ethtool", "-K", HOST_INTERFACE, "tx", "off")


def _end(process):
    process.kill()
    process.wait()
    if process.stdout is not None:
        process.stdout.close()


class Memcached:
    """A memcached on a host, over UDP and TCP. Use as a context manager."""

    def __init__(self, host, address, *options):
        require(shutil.which("memcached"), "needs memcached: scripts/setup.sh --test")
        self.host, self.address, self.options = host, address, options
        self._process = self._connection = None

    def __enter__(self):
        listen = ["-l", self.address, "-p", str(MEMCACHED_PORT), "-U", str(MEMCACHED_PORT)]
        # As nobody from the start, so that it is still killed with this process.
        user = ["setpriv", "--reuid", "nobody", "--regid", "nogroup", "--clear-groups", "--pdeathsig", "KILL"]
        command = self.host.command(*user, "memcached", "-m", "64", *listen, *self.options)
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
        deadline = time.monotonic() + START_TIMEOUT_S
        while self._connection is None:
            try:
                self._connection = self.host.inside(
                    lambda: socket.create_connection((self.address, MEMCACHED_PORT), timeout=5)
                )
            except OSError:
                assert self._process.poll() is None, "memcached ended"
                assert time.monotonic() < deadline, "memcached does not answer"
                time.sleep(0.02)
        self._file = self._connection.makefile("rwb")
        return self

    def __exit__(self, *_):
        self._file.close()
        self._connection.close()
        self._process.send_signal(signal.SIGCONT)
        _end(self._process)

    def stop(self):
        """It says nothing any more, and its host takes what is sent to it."""
        self._process.send_signal(signal.SIGSTOP)
        deadline = time.monotonic() + START_TIMEOUT_S
        while any(state != "T" for state in self._states()):
            assert time.monotonic() < deadline, "memcached does not stop"
            time.sleep(0.01)

    def _states(self):
        """Of its threads."""
        for path in Path(f"/proc/{self._process.pid}/task").glob("*/stat"):
            yield path.read_text().rsplit(")", 1)[1].split()[0]

    def go_on(self):
        """After a stop."""
        self._process.send_signal(signal.SIGCONT)

    def _ask(self, request):
        self._file.write(request)
        self._file.flush()
        return self._file.readline()

    def set(self, key, value):
        """Sets a value, over TCP."""
        assert self._ask(b"set %s 0 0 %d\r\n%s\r\n" % (key, len(value), value)) == b"STORED\r\n"

    def get(self, key):
        """The value of a key, over TCP; None if it has none."""
        line = self._ask(b"get %s\r\n" % key)
        if line == b"END\r\n":
            return None
        value = self._file.read(int(line.split()[3]) + 2)[:-2]
        assert self._file.readline() == b"END\r\n"
        return value

    def delete(self, key):
        """Removes a key, if it is there."""
        assert self._ask(b"delete %s\r\n" % key) in (b"DELETED\r\n", b"NOT_FOUND\r\n")

    def counters(self):
        """Its own statistics, by name."""
        line, found = self._ask(b"stats\r\n"), {}
        while line != b"END\r\n":
            _, name, value = line.decode().split(None, 2)
            found[name] = value.strip()
            line = self._file.readline()
        return found
