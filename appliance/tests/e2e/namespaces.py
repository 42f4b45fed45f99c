"""Network namespaces that a run makes and removes; commands and sockets inside them."""

import ctypes
import itertools
import os
import subprocess
import threading

PREFIX = "lnic-e2e"
CLONE_NEWNET = 0x40000000

_libc = ctypes.CDLL(None, use_errno=True)
_numbers = itertools.count()


def run(*arguments, check=True, timeout=30):
    """Runs a command to its end; its output, as text, is part of what a failure shows."""
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=timeout, check=False)
    if check and done.returncode != 0:
        raise AssertionError(f"{' '.join(arguments)}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
    return done


class Namespace:
    """A network namespace with a name that no other run has."""

    def __init__(self, role):
        self.name = f"{PREFIX}-{os.getpid()}-{next(_numbers)}-{role}"
        run("ip", "netns", "add", self.name)

    def command(self, *arguments):
        """The command line that runs `arguments` inside."""
        return ["ip", "netns", "exec", self.name, *arguments]

    def run(self, *arguments, check=True, timeout=30):
        """Runs a command inside to its end."""
        return run(*self.command(*arguments), check=check, timeout=timeout)

    def sysctl(self, **settings):
        """Sets `net.` settings; `__` stands for the dots."""
        pairs = [f"net.{name.replace('__', '.')}={value}" for name, value in settings.items()]
        self.run("sysctl", "-qw", *pairs)

    def inside(self, make):
        """Calls `make` on a thread that is inside. A socket made there stays there."""
        result = []

        def enter():
            try:
                with open(f"/run/netns/{self.name}", "rb") as namespace:
                    if _libc.setns(namespace.fileno(), CLONE_NEWNET) != 0:
                        raise OSError(ctypes.get_errno(), f"setns {self.name}")
                result.append((make(), None))
            except BaseException as error:  # pylint: disable=broad-except; raised again by the caller
                result.append((None, error))

        thread = threading.Thread(target=enter)
        thread.start()
        thread.join()
        made, error = result[0]
        if error is not None:
            raise error
        return made

    def close(self):
        """Removes it, with the interfaces in it."""
        run("ip", "netns", "del", self.name, check=False)


def remove_leftovers():
    """Removes the namespaces of runs that were killed before they could."""
    names = [line.split()[0] for line in run("ip", "netns", "list").stdout.splitlines() if line.strip()]
    for name in names:
        parts = name.removeprefix(PREFIX + "-").split("-")
        if name.startswith(PREFIX + "-") and parts[0].isdigit() and not os.path.exists(f"/proc/{parts[0]}"):
            run("ip", "netns", "del", name, check=False)
