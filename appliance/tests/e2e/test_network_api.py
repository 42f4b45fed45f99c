"""The API over the network: TLS, users, rights, and whether it does what its OpenAPI document says."""

import base64
import hashlib
import http.client
import json
import os
import ssl
import subprocess

import pytest

from conftest import ROOT, require, target

PORT = 8443
PASSWORD = "correct horse battery staple"


@pytest.fixture
def network(make_lab, tmp_path, lambdas):
    """A lab that listens on the loopback interface of its namespace, with an administrator and a guest."""
    key, certificate = tmp_path / "tls.key", tmp_path / "tls.crt"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        + ["-days", "2", "-keyout", key, "-out", certificate, "-subj", "/CN=localhost"]
        + ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-addext", "basicConstraints=critical,CA:FALSE"],
        check=True,
        capture_output=True,
    )
    token, users, password = os.urandom(32).hex(), tmp_path / "users.toml", tmp_path / "password"
    for file in (users, password, tmp_path / "token"):
        file.touch(mode=0o600)
    (tmp_path / "token").write_text(token)
    password.write_text(PASSWORD)
    users.write_text(
        f'[[users]]\nname = "root"\ntoken_sha256 = "{hashlib.sha256(token.encode()).hexdigest()}"\nrights = {{ "*" = "admin" }}\n'
        f'[[users]]\nname = "guest"\npassword_file = "{password}"\nrights = {{ "default" = "invoke" }}\n'
    )
    control = {"listen": f"127.0.0.1:{PORT}", "tls_certificate": str(certificate), "tls_key": str(key)}
    control |= {"users": str(users), "state": str(tmp_path / "state")}
    lab = make_lab("tap", lambdas, settings={"control": control}).start()
    return lab, certificate, token


def ask(network, method, path, body=None, headers=None, context=None):
    """One request over TLS, from where the appliance is; status, headers and body."""
    lab, certificate, _ = network
    context = context or ssl.create_default_context(cafile=certificate)

    def connect():
        connection = http.client.HTTPSConnection("localhost", PORT, timeout=5, context=context)
        connection.connect()
        return connection

    connection = lab.nic.inside(connect)
    try:
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        return response.status, response.headers, response.read()
    finally:
        connection.close()


def basic(user, password):
    """The header of a user with a password."""
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


def test_users_may_do_what_the_file_says(network):
    lab, _, token = network
    bearer = {"Authorization": f"Bearer {token}"}
    guest = basic("guest", PASSWORD)
    assert ask(network, "GET", "/healthz")[0] == 200
    status, headers, _ = ask(network, "GET", "/v1/lambdas")
    assert (status, headers["WWW-Authenticate"]) == (401, 'Basic realm="Restricted"')
    assert ask(network, "GET", "/v1/lambdas", headers=basic("guest", "wrong"))[0] == 401
    status, _, body = ask(network, "GET", "/v1/lambdas", headers=bearer)
    assert status == 200 and {each["name"] for each in json.loads(body)} == {"echo", "web-server"}
    assert ask(network, "POST", "/function/echo", b"hello", guest)[::2] == (200, b"hello")
    assert ask(network, "GET", "/v1/lambdas", headers=guest)[0] == 403
    assert ask(network, "POST", "/v1/modules", b"x", guest)[0] == 403
    assert ask(network, "GET", "/metrics", headers=guest)[0] == 403
    assert ask(network, "GET", "/metrics", headers=bearer)[0] == 200
    log = lab.appliance.log.read_text()
    assert token not in log and PASSWORD not in log


def test_guessing_is_slowed_down(network):
    statuses = [ask(network, "GET", "/v1/lambdas", headers=basic("guest", f"guess {n}"))[0] for n in range(30)]
    assert statuses[0] == 401 and statuses[-1] == 429


def test_nobody_is_answered_without_tls(network):
    lab, _, _ = network

    def plain():
        connection = http.client.HTTPConnection("localhost", PORT, timeout=5)
        connection.request("GET", "/healthz")
        return connection.getresponse().status

    with pytest.raises((http.client.HTTPException, OSError)):
        lab.nic.inside(plain)


def test_the_document_says_what_the_server_does(network, tmp_path):
    lab, certificate, _ = network
    python = target() / "python" / "bin" / "python"
    require(python.with_name("schemathesis").is_file(), "needs schemathesis: scripts/setup.sh --test")
    script = ROOT / "appliance" / "tests" / "openapi_schemathesis.py"
    command = [str(python), str(script), "--url", f"https://localhost:{PORT}", "--ca", str(certificate)]
    command += ["--token-file", str(tmp_path / "token"), "--examples", "10"]
    done = lab.nic.run(*command, check=False, timeout=400)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    # Whatever it made of the server, lambdas still run.
    assert ask(network, "POST", "/function/echo", b"x", basic("guest", PASSWORD))[0] == 200
