"""The real program: started with a configuration, watched over its control socket, stopped with a signal."""

import contextlib
import http.client
import itertools
import json
import signal
import socket
import subprocess
import time
from collections import Counter

START_TIMEOUT_S = 30
STOP_TIMEOUT_S = 10
# Traffic rests if nothing was received for so many looks, so far apart.
REST_LOOKS = 4
REST_INTERVAL_S = 0.015
REST_TIMEOUT_S = 10

_numbers = itertools.count()


class _Connection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path):
        super().__init__("lnic", timeout=5)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self.path))


class Counted:
    """What changed between two looks at the statistics."""

    def __init__(self):
        self.frames = Counter()
        self.drops = Counter()
        self.lambdas = {}

    def fill(self, before, after):
        """Sets the differences; what did not change is left out."""
        self.frames = _difference(before["frames"], after["frames"])
        self.drops = _difference(before["drops"], after["drops"])
        for old, new in zip(before["lambdas"], after["lambdas"], strict=True):
            counts = {key: value for key, value in new.items() if key != "id" and isinstance(value, int)}
            self.lambdas[new["name"]] = _difference(old, counts)


def _difference(before, after):
    return Counter({key: value - before.get(key, 0) for key, value in after.items() if value != before.get(key, 0)})


def configuration(socket_path, ports, lambdas, hugepages="off", settings=None):
    """The text of a configuration: `ports` are dictionaries of their keys; `lambdas` such dictionaries, or just files, by name,
    numbered from 1; `settings` further tables."""
    lines = ['name = "e2e"', f'socket = "{socket_path}"']

    def table(header, keys):
        lines.append(header)
        lines.extend(f"{key} = {json.dumps(value)}" for key, value in keys.items())

    table("[memory]", {"hugepages": hugepages, "eal_mib": 64})
    for name, keys in (settings or {}).items():
        table(f"[{name}]", keys)
    for port in ports:
        table("[[ports]]", port)
    for number, (name, made) in enumerate(lambdas.items(), 1):
        keys = made if isinstance(made, dict) else {"file": str(made)}
        table("[[lambdas]]", {"name": name, "id": number, **keys})
    return "\n".join(lines) + "\n"


class Appliance:
    """One run of `lnic run`."""

    def __init__(self, binary, namespace, folder, ports, lambdas, hugepages="off", settings=None):
        number = next(_numbers)
        self.binary = binary
        self.namespace = namespace
        self._made_of = (folder, ports, lambdas, hugepages)
        self.socket = folder / f"{number}.sock"
        self.config = folder / f"{number}.toml"
        self.log = folder / f"{number}.log"
        self.config.write_text(configuration(self.socket, ports, lambdas, hugepages, settings))
        self.process = None

    def start(self):
        """Starts it, and waits until it answers."""
        # Whatever ends the tests ends it too.
        command = self.namespace.command("setpriv", "--pdeathsig", "KILL", self.binary, "run", str(self.config))
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            with contextlib.suppress(OSError, http.client.HTTPException):
                if self.has_started():
                    return self
            if self.process.poll() is not None:
                raise AssertionError(f"lnic run: exit code {self.process.returncode}\n{self.tail()}")
            if time.monotonic() > deadline:
                self.kill()
                raise AssertionError(f"lnic run: not ready after {START_TIMEOUT_S} s\n{self.tail()}")
            time.sleep(0.02)

    def has_started(self):
        """Has it deployed what it was to deploy? Its ports may still be down: their other ends may be a test's."""
        connection = _Connection(self.socket)
        try:
            connection.request("GET", "/readyz")
            said = json.load(connection.getresponse())
            waits = any("being deployed" in problem for problem in said["problems"])
            return said["ready"] or bool(said["problems"] and not waits)
        finally:
            connection.close()

    def reconfigure(self, settings):
        """Other settings for the next start."""
        _, ports, lambdas, hugepages = self._made_of
        self.config.write_text(configuration(self.socket, ports, lambdas, hugepages, settings))

    @property
    def pid(self):
        """Its process."""
        return self.process.pid

    def tail(self):
        """The end of its log."""
        return "".join(self.log.read_text(errors="replace").splitlines(keepends=True)[-40:])

    def stats(self):
        """A snapshot of its statistics."""
        connection = _Connection(self.socket)
        try:
            connection.request("GET", "/v1/stats")
            response = connection.getresponse()
            assert response.status == 200, response.reason
            return json.load(response)
        finally:
            connection.close()

    def lambda_stats(self, name):
        """What is known of one lambda."""
        return next(each for each in self.stats()["lambdas"] if each["name"] == name)

    def rest(self):
        """Waits until traffic rests; a snapshot whose sums balance."""
        deadline = time.monotonic() + REST_TIMEOUT_S
        snapshot, looks = self.stats(), 0
        while looks < REST_LOOKS:
            assert time.monotonic() < deadline, f"traffic does not rest\n{snapshot}"
            time.sleep(REST_INTERVAL_S)
            latest = self.stats()
            looks = looks + 1 if latest["frames"] == snapshot["frames"] else 0
            snapshot = latest
        assert_balanced(snapshot)
        return snapshot

    @contextlib.contextmanager
    def counting(self):
        """Counts what happens in the block, and until traffic rests after it."""
        before = self.rest()
        counted = Counted()
        yield counted
        counted.fill(before, self.rest())

    def stop(self, number=signal.SIGTERM):
        """Stops it by a signal; its exit code."""
        self.process.send_signal(number)
        try:
            return self.process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"still there {STOP_TIMEOUT_S} s after {number.name}\n{self.tail()}") from None

    def kill(self):
        """Ends it at once, if it runs."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def close(self):
        """Stops it if it runs; it has to end as asked, and not to have panicked."""
        try:
            if self.process is not None and self.process.poll() is None:
                code = self.stop()
                assert code == 0, f"exit code {code} after SIGTERM\n{self.tail()}"
            assert self.process is None or "panicked" not in self.log.read_text(errors="replace"), self.tail()
        finally:
            self.kill()


def assert_balanced(snapshot):
    """Every frame ended in exactly one way."""
    frames = snapshot["frames"]
    ended = frames["sent"] + frames["to_host"] + frames["dropped"] + frames["placed"]
    assert frames["received"] + frames["made"] == ended, snapshot
    assert frames["dropped"] == sum(snapshot["drops"].values()), snapshot
