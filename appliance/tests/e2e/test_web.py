"""A site of one's own, deployed with one flag: with curl through the gateway, and over λ-RPC on the wire."""

import json
import random
import re
import subprocess

import pytest

import lnic
from conftest import ROOT
from labs import DRIVERS, IPV4, IPV6, Lab

LARGE = random.Random(4793).randbytes(200 << 10)
HUGE = random.Random(4794).randbytes((1 << 20) + 1)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A folder of content: pages, a template, a file of many frames, one that fits no reply, and what must not be seen."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "a b").mkdir()
    (folder / ".git").mkdir()
    (folder / "index.html").write_text("<!doctype html><title>Mine</title>\n")
    (folder / "a b" / "index.html").write_text("<!doctype html><title>Deep</title>\n")
    (folder / "count.json.tmpl").write_text('{"all":{{requests}},"here":{{page.requests}}}')
    (folder / "large.bin").write_bytes(LARGE)
    (folder / "huge.bin").write_bytes(HUGE)
    (folder / ".git" / "config").write_text("secret")
    return folder


@pytest.fixture(scope="module", params=DRIVERS)
def lab(request, binary, privileged, site, tmp_path_factory):
    """An appliance that has the site."""
    made = Lab(request.param, binary, tmp_path_factory.mktemp("web"), {}, addressed=True)
    try:
        made.start()
        arguments = ["--name", "site", "--content", str(site), "--set", "id=7"]
        ended = made.ask("deploy", str(ROOT / "lambdas" / "web-server"), *arguments)
        assert ended.returncode == 0, ended.stdout + ended.stderr
        yield made
    finally:
        made.close()


class Answer:
    """What curl got."""

    def __init__(self, out):
        head, _, self.body = out.partition(b"\r\n\r\n")
        lines = head.decode().split("\r\n")
        self.status = int(lines[0].split()[1])
        self.headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])}


def curl(lab, path, *arguments):
    """One request of curl's to the control socket."""
    command = ["curl", "--silent", "--show-error", "--include", "--max-time", "10", "--path-as-is"]
    command += ["--unix-socket", str(lab.appliance.socket), *arguments, f"http://lnic/function/{path}"]
    ended = subprocess.run(command, capture_output=True, check=False, timeout=20)
    assert ended.returncode == 0, ended.stderr
    return Answer(ended.stdout)


def test_pages_have_types_lengths_and_tags(lab, site):
    for path, name, kind in [
        ("site/", "index.html", "text/html; charset=utf-8"),
        ("site/index.html?x=1", "index.html", "text/html; charset=utf-8"),
        ("site/a%20b/", "a b/index.html", "text/html; charset=utf-8"),
        ("site/large.bin", "large.bin", "application/octet-stream"),
    ]:
        got = curl(lab, path)
        assert (got.status, got.body) == (200, (site / name).read_bytes()), path
        assert (got.headers["content-type"], got.headers["content-length"]) == (kind, str(len(got.body)))
        assert re.fullmatch('"[0-9a-f]{32}"', got.headers["etag"])
        assert got.headers["content-security-policy"].startswith("sandbox")
        again = curl(lab, path, "--header", f"If-None-Match: {got.headers['etag']}")
        assert (again.status, again.body) == (304, b"") and "content-length" not in again.headers
        head = curl(lab, path, "--head")
        assert (head.status, head.body, head.headers["content-length"]) == (200, b"", str(len(got.body)))


def test_ranges(lab):
    part = curl(lab, "site/large.bin", "--range", "100000-100099")
    assert (part.status, part.body) == (206, LARGE[100_000:100_100])
    assert part.headers["content-range"] == f"bytes 100000-100099/{len(LARGE)}"
    last = curl(lab, "site/large.bin", "--range", "-5")
    assert (last.status, last.body) == (206, LARGE[-5:])
    beyond = curl(lab, "site/large.bin", "--range", f"{len(LARGE)}-")
    assert (beyond.status, beyond.headers["content-range"]) == (416, f"bytes */{len(LARGE)}")


def test_what_is_not_there_is_said(lab):
    for path, status in [
        ("site/nothing", 404),
        ("site/.git/config", 404),
        ("site/../../etc/passwd", 400),
        ("site/%2e%2e/x", 400),
        ("site/count.json.tmpl", 404),
        ("site/huge.bin", 500),
    ]:
        assert curl(lab, path).status == status, path
    assert "message_kib" in curl(lab, "site/huge.bin").body.decode()
    posted = curl(lab, "site/", "--data", "x")
    assert (posted.status, posted.headers["allow"]) == (405, "GET, HEAD")
    moved = curl(lab, "site/a%20b")
    assert (moved.status, moved.headers["location"]) == (301, "./a%20b/")
    followed = curl(lab, "site", "--location")
    assert followed.status == 301 and followed.body.endswith(b"<!doctype html><title>Mine</title>\n")


@pytest.mark.parametrize("target", [IPV4, IPV6])
def test_the_same_pages_on_the_wire(lab, site, target):
    with lab.peer.inside(lambda: lnic.Client(target)) as client:
        assert client.call(7, b"GET /").payload == (site / "index.html").read_bytes()
        assert client.call(7, bytes(4)).payload == (site / "index.html").read_bytes()
        assert client.call(7, b"GET /large.bin", timeout=10.0).payload == LARGE
        with pytest.raises(lnic.NotFound):
            client.call(7, b"GET /.git/config")
        with pytest.raises(lnic.StatusError, match="does not fit") as raised:
            client.call(7, b"GET /huge.bin", timeout=10.0)
        assert raised.value.status is lnic.Status.RESOURCE_EXHAUSTED


def test_whoever_asks_is_counted_once(lab):
    """Through the gateway and over the wire: the sums are right."""
    count = lambda: json.loads(curl(lab, "site/count.json").body)  # noqa: E731
    before = count()
    with lab.peer.inside(lambda: lnic.Client(IPV4)) as client:
        for _ in range(50):
            client.call(7, b"GET /")
    for _ in range(10):
        assert curl(lab, "site/").status == 200
    after = count()
    # A request over the wire that was lost on its way is sent again, and counted as often as it came.
    assert after["here"] == before["here"] + 1
    assert after["all"] == before["all"] + 61


def test_a_folder_that_is_no_content_is_named(lab, tmp_path):
    (tmp_path / "link").symlink_to("/etc/passwd")
    ended = lab.ask("deploy", str(ROOT / "lambdas" / "web-server"), "--name", "other", "--content", str(tmp_path))
    assert ended.returncode == 1 and "a link has to lead to a file of the same content" in ended.stderr, ended.stderr
