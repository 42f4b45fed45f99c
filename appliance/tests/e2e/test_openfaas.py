"""Conformance of the running appliance to OpenFaaS's provider API: each exchange as `faas-cli` and the SDKs do it, over the control socket;
what is deployed runs, and is told by `/metrics`.
"""

import base64
import contextlib
import http.client
import json
import shutil
import socket
import time
import urllib.parse
from datetime import datetime, timedelta, timezone

import pytest

from conftest import require
from labs import MODES, ONE_WORKER

try:
    from prometheus_client import parser
except ImportError:
    parser = None

TIMEOUT_S = 30
# Go's types write nil maps as null, and leave empty strings out.
NIL = {"labels": None, "annotations": None}


class _Connection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path):
        super().__init__("lnic", timeout=TIMEOUT_S)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self.path))


class Answer:
    """Status, headers and text of an answer."""

    def __init__(self, response):
        self.status = response.status
        self.headers = response.headers
        self.text = response.read().decode()

    def json(self):
        """The body of what went well."""
        assert self.status == 200, self
        assert self.headers.get_content_type() == "application/json"
        return json.loads(self.text)

    def refused(self, status, why):
        """It has this status, and says why in plain text."""
        assert self.status == status, self
        assert self.headers.get_content_type() == "text/plain", self
        assert why in self.text, self

    def __repr__(self):
        return f"{self.status} {self.text!r}"


class FaasCli:
    """Sends what `faas-cli` sends."""

    def __init__(self, path):
        self.path = path

    def send(self, method, path, body=None, **query):
        """One request, and its answer."""
        with contextlib.closing(self.begin(method, path, body, **query)) as connection:
            return Answer(connection.getresponse())

    def begin(self, method, path, body=None, **query):
        """One request; its answer is still to be read."""
        connection = _Connection(self.path)
        headers = {"User-Agent": "faas-cli/0.17.6", "Accept-Encoding": "gzip"}
        if body is not None:
            headers["Content-Type"] = "application/json"
            body = json.dumps(body)
        query = f"?{urllib.parse.urlencode(query)}" if query else ""
        connection.request(method, path + query, body, headers)
        return connection

    def deploy(self, name, image, **more):
        """`faas-cli deploy`: PUT, and POST if there is nothing to update. The last status."""
        body = {"service": name, "image": image, **NIL, **more}
        answer = self.send("PUT", "/system/functions", body)
        return self.send("POST", "/system/functions", body) if answer.status == 404 else answer

    def function(self, name, **query):
        """`faas-cli describe`."""
        return self.send("GET", f"/system/function/{name}", usage=1, **query)

    def functions(self, **query):
        """`faas-cli list`: by name."""
        return {each["name"]: each for each in self.send("GET", "/system/functions", **query).json()}

    def samples(self):
        """A scrape: values by name and labels, as a strict parser reads them."""
        require(parser is not None, "needs prometheus_client: scripts/setup.sh --test")
        answer = self.send("GET", "/metrics")
        assert answer.status == 200, answer
        assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
        families = list(parser.text_string_to_metric_families(answer.text))
        names = [family.name for family in families]
        assert len(names) == len(set(names)), "a family twice"
        found = {}
        for family in families:
            assert family.documentation and family.type != "unknown", family
            for sample in family.samples:
                key = (sample.name, *sorted(sample.labels.items()))
                assert key not in found, f"{key} twice"
                found[key] = sample.value
        return found


@pytest.fixture(params=MODES)
def lab(request, make_lab, lambdas, tmp_path):
    """A lab whose appliance keeps a state folder, with an image in it, and has one lambda of its configuration."""
    state = tmp_path / "state"
    (state / "images").mkdir(parents=True, mode=0o700)
    shutil.copy(lambdas["echo"], state / "images" / "echo.wasm")
    shutil.copy(lambdas["web-server"], state / "images" / "web.wasm")
    settings = {"scheduling": {"mode": request.param}, "control": {"state": str(state)}, **ONE_WORKER}
    deployed = {"configured": {"file": str(lambdas["echo"]), "entry": "echo"}}
    return make_lab("af_packet", deployed, settings=settings).start()


@pytest.fixture
def cli(lab):
    """`faas-cli` on the control socket."""
    return FaasCli(lab.appliance.socket)


def test_functions_from_deployment_to_removal(cli):
    assert cli.deploy("echo", "echo.wasm:latest").status == 202, "new: anything but 200"
    assert cli.deploy("echo", "echo.wasm:latest").status == 200, "an upgrade: 200, for faas-cli says so then"
    cli.send("POST", "/system/functions", {"service": "echo", "image": "echo.wasm"}).refused(409, "echo")
    shown = cli.function("echo").json()
    assert (shown["name"], shown["namespace"], shown["image"]) == ("echo", "default", "echo.wasm:latest")
    assert shown["availableReplicas"] >= 1 and shown["replicas"] >= 1
    assert shown["usage"]["totalMemoryBytes"] > 0
    created = datetime.fromisoformat(shown["createdAt"].replace("Z", "+00:00"))
    assert abs(datetime.now(timezone.utc) - created) < timedelta(minutes=5)
    assert set(cli.functions()) == {"configured", "echo"}
    assert cli.send("DELETE", "/system/functions", {"functionName": "echo"}).status == 202
    cli.send("DELETE", "/system/functions", {"functionName": "echo"}).refused(404, "echo")
    cli.function("echo").refused(404, "echo")
    assert set(cli.functions()) == {"configured"}
    cli.send("DELETE", "/system/functions", {"functionName": "configured"}).refused(409, "configured")


def test_what_is_said_at_deployment_is_shown(cli):
    said = {
        "envProcess": "python index.py",
        "envVars": {"MODE": "fast"},
        "constraints": ["node.role == worker"],
        "labels": {"team": "a", "lnic.weight": "3"},
        "annotations": {"topic": "x", "lnic.budget_us": "400", "lnic.entry": "echo"},
        "limits": {"memory": "64Mi", "cpu": "100m"},
        "requests": {"memory": "20Mi"},
        "readOnlyRootFilesystem": True,
    }
    assert cli.deploy("echo-2", "echo.wasm", **said, network="func_functions").status == 202
    shown = cli.function("echo-2").json()
    assert {key: shown.get(key) for key in said} == said


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"image": "ghcr.io/openfaas/figlet:latest"}, "never pulled"),
        ({"image": "../echo.wasm"}, "never pulled"),
        ({"image": "missing.wasm"}, "no such file"),
        ({"image": "sha256:" + "0" * 64}, "upload"),
        ({"namespace": "nowhere"}, "nowhere"),
        ({"labels": {"lnic.wieght": "1"}}, "lnic.wieght"),
        ({"labels": {"lnic.weight": "0"}}, "weight"),
        ({"secrets": ["missing"]}, "missing"),
        ({"limits": {"memory": "lots"}}, "limits.memory"),
        ({"service": "No Name"}, "No Name"),
    ],
)
def test_what_cannot_be_deployed_is_named(cli, more, why):
    body = {"service": "echo", "image": "echo.wasm", **NIL, **more}
    cli.send("POST", "/system/functions", body).refused(400, why)
    assert set(cli.functions()) == {"configured"}


def test_scaling_to_nothing_and_back(cli):
    assert cli.deploy("echo", "echo.wasm").status == 202
    path = "/system/scale-function/echo"
    assert cli.send("POST", path, {"serviceName": "echo", "replicas": 0}).status == 202
    assert cli.function("echo").json()["availableReplicas"] == 0
    assert cli.send("POST", path, {"serviceName": "echo", "replicas": 1}).status == 202
    assert cli.function("echo").json()["availableReplicas"] == 1
    cli.send("POST", "/system/scale-function/missing", {"replicas": 1}).refused(404, "missing")


def test_secrets(cli):
    path, secret = "/system/secrets", {"name": "key", "value": "one"}
    cli.send("PUT", path, secret).refused(404, "key")
    assert cli.send("POST", path, secret).status in (200, 201, 202)
    cli.send("POST", path, secret).refused(409, "key")
    assert cli.send("PUT", path, secret).status in (200, 202)
    raw = {"name": "raw", "rawValue": base64.b64encode(b"\0\xff").decode()}
    assert cli.send("POST", path, raw).status in (200, 201, 202)
    names = [{"name": "key", "namespace": "default"}, {"name": "raw", "namespace": "default"}]
    assert cli.send("GET", path).json() == names
    assert cli.send("GET", path, namespace="default").json() == names
    assert cli.deploy("echo", "echo.wasm", secrets=["key"]).status == 202
    assert cli.function("echo").json()["secrets"] == ["key"]
    cli.send("DELETE", path, {"name": "key"}).refused(409, "echo")
    assert cli.send("DELETE", path, {"name": "raw"}).status in (200, 202)
    cli.send("DELETE", path, {"name": "raw"}).refused(404, "raw")


def test_namespaces(cli):
    body = {"name": "team-a", "annotations": {"openfaas": "1"}, "labels": {"openfaas": "1"}}
    assert cli.send("POST", "/system/namespace/", body).status in (200, 201, 202)
    cli.send("POST", "/system/namespace/", body).refused(409, "team-a")
    assert "team-a" in cli.send("GET", "/system/namespaces").json()
    assert cli.send("GET", "/system/namespace/team-a").json() == body
    body["labels"]["owner"] = "a"
    assert cli.send("PUT", "/system/namespace/team-a", body).status in (200, 201, 202)
    assert cli.send("GET", "/system/namespace/team-a").json() == body
    assert cli.deploy("echo", "echo.wasm", namespace="team-a").status == 202
    assert cli.function("echo", namespace="team-a").json()["namespace"] == "team-a"
    assert set(cli.functions(namespace="team-a")) == {"echo"}
    cli.send("DELETE", "/system/namespace/team-a", {"name": "team-a"}).refused(409, "team-a")
    assert cli.send("DELETE", "/system/functions", {"functionName": "echo", "namespace": "team-a"}).status == 202
    assert cli.send("DELETE", "/system/namespace/team-a", {"name": "team-a"}).status in (200, 201, 202)
    cli.send("GET", "/system/namespace/team-a").refused(404, "team-a")


def test_logs(cli):
    assert cli.deploy("echo", "echo.wasm").status == 202
    answer = cli.send("GET", "/system/logs", name="echo", follow="false", tail=5)
    assert answer.status == 200 and answer.headers.get_content_type() == "application/x-ndjson"
    for line in answer.text.splitlines():
        assert set(json.loads(line)) == {"name", "namespace", "instance", "timestamp", "text"}
    cli.send("GET", "/system/logs", name="missing").refused(404, "missing")
    cli.send("GET", "/system/logs", name="echo", since="yesterday").refused(422, "since")
    # Who follows keeps the answer open.
    with contextlib.closing(cli.begin("GET", "/system/logs", name="echo", follow="true")) as connection:
        response = connection.getresponse()
        assert response.status == 200
        connection.sock.settimeout(0.5)
        with pytest.raises(TimeoutError):
            while response.readline():
                pass


def test_the_program_is_told(cli):
    info = cli.send("GET", "/system/info").json()
    assert info["provider"]["provider"] == "lnic" and info["provider"]["orchestration"]
    assert info["version"]["release"] == info["provider"]["version"]["release"] != ""


def test_functions_run_and_are_counted(cli):
    assert cli.deploy("echo", "echo.wasm").status == 202
    assert cli.deploy("leaver", "echo.wasm", annotations={"lnic.entry": "echo"}).status == 202
    for name in ("echo", "leaver"):
        connection = _Connection(cli.path)
        with contextlib.closing(connection):
            connection.request("POST", f"/function/{name}", b"hello")
            response = connection.getresponse()
            assert (response.status, response.read()) == (200, b"hello")
    assert cli.send("GET", "/function/never-deployed").status == 404
    samples = cli.samples()
    function = ("function_name", "echo.default")
    assert samples["gateway_function_invocation_total", ("code", "200"), function] == 1
    assert samples["gateway_functions_seconds_count", function] == 1
    assert samples["gateway_service_count", function] >= 1
    key = (("lambda", "echo"), ("namespace", "default"))
    assert samples["lnic_lambda_invocations_total", *key] == 1
    assert samples["lnic_lambda_outcomes_total", *key, ("outcome", "forwarded")] == 1
    assert samples["lnic_ready",] == 1 and samples["lnic_registry_up",] == 1
    assert not [each for each in samples if "never-deployed" in str(each)], "a name that is not deployed is no label"
    assert cli.send("DELETE", "/system/functions", {"functionName": "leaver"}).status == 202
    deadline = time.monotonic() + TIMEOUT_S
    while [each for each in cli.samples() if "leaver" in str(each)]:
        left = [each for each in cli.samples() if "leaver" in str(each)]
        assert time.monotonic() < deadline, f"a lambda that was removed is still told: {left}"
        time.sleep(0.1)


def test_the_books_balance_in_metrics(cli, lab):
    assert cli.deploy("echo", "echo.wasm").status == 202
    lab.appliance.rest()
    samples = cli.samples()
    ended = sum(value for key, value in samples.items() if key[0] == "lnic_frames_ended_total")
    assert samples["lnic_frames_received_total",] + samples["lnic_frames_made_total",] == ended
    dropped = sum(value for key, value in samples.items() if key[0] == "lnic_frames_dropped_total")
    assert samples["lnic_frames_ended_total", ("end", "dropped")] == dropped
