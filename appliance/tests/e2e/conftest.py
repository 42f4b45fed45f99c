"""Fixtures: the program, its lambdas, and labs on every driver.

The program is $LNIC, or what `cargo build --release` made. What is missing skips the tests; with CI=true it fails them.
"""

import os
import shutil
import signal
from pathlib import Path

import pytest

# Their assertions say what they compared, as those of tests do.
pytest.register_assert_rewrite("appliance", "frames")

import labs  # noqa: E402
import namespaces  # noqa: E402

ROOT = Path(__file__).resolve().parents[3]
TOOLS = ["ip", "sysctl", "ethtool", "setpriv", "ping", "arping", "tshark", "clang"]


def _terminated(*_):
    raise KeyboardInterrupt


def pytest_configure():
    """SIGTERM ends a run as Ctrl-C does: with everything cleaned up."""
    signal.signal(signal.SIGTERM, _terminated)


def require(condition, reason):
    """Skips what needs what is not there; in CI that is a failure."""
    if not condition:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(reason)


def target():
    """Cargo's folder."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    folder = os.environ.get("CARGO_TARGET_DIR") or os.environ.get("LNIC_TARGET_DIR") or cache / "lnic" / "target"
    return Path(folder)


@pytest.fixture(scope="session")
def binary():
    """The program."""
    path = Path(os.environ.get("LNIC", target() / "release" / "lnic"))
    require(path.is_file(), f"no program {path}: cargo build --release, or set LNIC")
    return str(path.resolve())


@pytest.fixture(scope="session")
def privileged():
    """Rights and tools for namespaces and devices."""
    require(os.geteuid() == 0, "needs root: network namespaces and taps")
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    require(not missing, f"needs {', '.join(missing)}: scripts/setup.sh --test")
    namespaces.remove_leftovers()


@pytest.fixture(scope="session")
def lambdas(binary, tmp_path_factory):
    """The modules of the repository's lambdas, by name, in the order of their IDs."""
    folder = tmp_path_factory.mktemp("lambdas")
    made = {name: folder / f"{name}.wasm" for name in ("echo", "web-server")}
    for name, file in made.items():
        namespaces.run(binary, "build", str(ROOT / "lambdas" / name), "--output", str(file), timeout=120)
    return made


@pytest.fixture(scope="session")
def hostile_lambdas(binary, tmp_path_factory):
    """The modules of the tests' own lambdas, by name: attackers, and what measures them."""
    folder, sources = tmp_path_factory.mktemp("hostile"), Path(__file__).with_name("lambdas")
    made = {source.name: folder / f"{source.name}.wasm" for source in sorted(sources.iterdir())}
    for name, file in made.items():
        namespaces.run(binary, "build", str(sources / name), "--output", str(file), timeout=120)
    return made


@pytest.fixture(scope="session", params=labs.RIGS, ids="-".join)
def rig(request):
    """Which of DPDK's drivers the wire is on, and how requests get to lambdas."""
    return request.param


def _started(lab):
    try:
        yield lab.start()
    finally:
        lab.close()


@pytest.fixture(scope="session")
def addressed(rig, binary, lambdas, privileged, tmp_path_factory):
    """A lab whose peer is a kernel with addresses."""
    driver, mode = rig
    folder = tmp_path_factory.mktemp("addressed")
    settings = {"scheduling": {"mode": mode}}
    yield from _started(labs.Lab(driver, binary, folder, lambdas, addressed=True, settings=settings))


@pytest.fixture(scope="session")
def silent(rig, binary, lambdas, privileged, tmp_path_factory):
    """A lab in which every frame is a test's own."""
    driver, mode = rig
    folder = tmp_path_factory.mktemp("silent")
    options = {"mac": "02:00:00:00:00:01", "settings": {"scheduling": {"mode": mode}}}
    yield from _started(labs.Lab(driver, binary, folder, lambdas, **options))


@pytest.fixture
def make_lab(binary, lambdas, privileged, tmp_path):
    """Makes labs of a test's own, which are not started yet. With the repository's lambdas, unless it names others."""
    made = []

    def make(driver, deployed=lambdas, **options):
        made.append(labs.Lab(driver, binary, tmp_path, deployed, **options))
        return made[-1]

    yield make
    errors = []
    for lab in reversed(made):
        try:
            lab.close()
        except AssertionError as error:
            errors.append(str(error))
    assert not errors, "\n".join(errors)
