"""A real memcached behind the host port of a lab, in a namespace of its own; and clients of its UDP protocol."""

import contextlib
import re
import socket
import struct
import subprocess
import time

from labs import HOST_INTERFACE, IPV4
from namespaces import Namespace

PORT = 11211
START_TIMEOUT_S = 10


class Memcached:
    """memcached in a namespace; over UDP and TCP."""

    def __init__(self, namespace, address, *, threads=2):
        self.namespace, self.address = namespace, address
        command = ["memcached", "-u", "nobody", "-l", address, "-p", str(PORT), "-U", str(PORT), "-t", str(threads)]
        self.process = subprocess.Popen(namespace.command("setpriv", "--pdeathsig", "KILL", *command))
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            with contextlib.suppress(OSError):
                self.stats()
                return
            assert self.process.poll() is None and time.monotonic() < deadline, "memcached does not start"
            time.sleep(0.05)

    def stats(self):
        """Its own statistics, by a connection that does not pass the appliance."""
        connection = self.namespace.inside(lambda: socket.create_connection((self.address, PORT), 5))
        with connection:
            connection.sendall(b"stats\r\n")
            text = b""
            while not text.endswith(b"END\r\n"):
                text += connection.recv(65536)
        return {name.decode(): value.decode() for name, value in re.findall(rb"STAT (\S+) (\S+)\r\n", text)}

    def gets(self):
        """How many keys it was asked for."""
        return int(self.stats()["cmd_get"])

    def close(self):
        """Ends it."""
        self.process.kill()
        self.process.wait()


class UdpClient:
    """One socket; a request and its reply at a time, unless somebody sends by himself."""

    def __init__(self, namespace, address=IPV4, *, timeout_s=2.0):
        def connected():
            made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            made.connect((address, PORT))
            return made

        self.socket = namespace.inside(connected)
        self.socket.settimeout(timeout_s)
        self.request_id = 0

    def send(self, text):
        """Sends a request; its ID."""
        self.request_id = (self.request_id + 1) % 65536
        self.socket.send(struct.pack(">HHHH", self.request_id, 0, 1, 0) + text)
        return self.request_id

    def ask(self, text):
        """The text of the reply to a request; None if there is none in time."""
        wanted = self.send(text)
        while True:
            try:
                datagram = self.socket.recv(65536)
            except TimeoutError:
                return None
            if struct.unpack(">H", datagram[:2])[0] == wanted:
                assert datagram[2:8] == struct.pack(">HHH", 0, 1, 0), datagram[:8]
                return datagram[8:]

    def ask_before(self, text, probe=b"version\r\n", marks=b"VERSION"):
        """The first reply to a request, known to be all once a second request is answered. An empty one is none."""
        wanted, last, first = self.send(text), self.send(probe), None
        while True:
            datagram = self.socket.recv(65536)
            (got,) = struct.unpack(">H", datagram[:2])
            if got == wanted and first is None:
                first = datagram[8:]
            elif got == last and datagram[8:].startswith(marks):
                return first or None

    def get(self, key):
        """A key's value; None if it has none. Asks until it is answered."""
        for _ in range(10):
            text = self.ask(b"get " + key + b"\r\n")
            if text is not None:
                break
        assert text is not None, "no answer to ten requests"
        if text == b"END\r\n":
            return None
        line, rest = text.split(b"\r\n", 1)
        assert line.startswith(b"VALUE " + key + b" "), text[:100]
        return rest[: int(line.split()[3])]

    def set(self, key, value, flags=0):
        """True once it is stored."""
        for _ in range(10):
            text = self.ask(b"set %s %d 0 %d\r\n%s\r\n" % (key, flags, len(value), value))
            if text is not None:
                assert text == b"STORED\r\n", text
                return
        raise AssertionError("no answer to ten requests")

    def close(self):
        """Closes its socket."""
        self.socket.close()


def binary(opcode, key=b"", extras=b"", value=b"", opaque=0):
    """A request of the binary protocol."""
    body = len(extras) + len(key) + len(value)
    return struct.pack(">BBHBBHIIQ", 0x80, opcode, len(key), len(extras), 0, 0, body, opaque, 0) + extras + key + value


@contextlib.contextmanager
def behind_host_port(lab):
    """A memcached at the appliance's address, on the other end of its host port, which moves to a namespace of its own."""
    with contextlib.ExitStack() as stack:
        host = Namespace("host")
        stack.callback(host.close)
        host.run("ip", "link", "set", "lo", "up")
        lab.nic.run("ip", "link", "set", HOST_INTERFACE, "netns", host.name)
        # It has the MAC address that the wire knows, as a kernel behind a card does.
        host.run("ip", "link", "set", HOST_INTERFACE, "address", lab.mac)
        host.run("ip", "address", "add", f"{IPV4}/24", "dev", HOST_INTERFACE)
        host.run("ip", "link", "set", HOST_INTERFACE, "up")
        memcached = Memcached(host, IPV4)
        stack.callback(memcached.close)
        yield memcached
        # Its end of the host port dies with the namespace otherwise, and the appliance's with it.
        host.run("ip", "link", "set", HOST_INTERFACE, "netns", lab.nic.name)
