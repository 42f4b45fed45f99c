#!/usr/bin/env python3
"""Checks a server against its OpenAPI document with schemathesis (PyPI): does it do what the document says, and no less?

    openapi_schemathesis.py --double target/release/examples/api_double     starts the plane double, and asks it
    openapi_schemathesis.py --url https://HOST:PORT --ca tls.crt --token-file ci.token     asks a server that runs

A running server is changed: lambdas, namespaces and secrets are made, replaced and removed. Exit code 0 if all is well.
"""

import argparse
import hashlib
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

# What no schema can say is refused with 422, what is there already with 409, what there is no room for with 507. And 400: to JSON Schema
# 1.0 is an integer, which is refused here.
CONFIGURATION = """
[checks]
positive_data_acceptance.expected-statuses = ["2xx", 400, 401, 403, 404, 409, 413, 422, 503, 507]
negative_data_rejection.expected-statuses = [400, 401, 403, 404, 405, 406, 408, 409, 413, 415, 422, 429, 431]
"""


# Bodies that are bytes: schemathesis makes them, and has to be told how they are sent.
HOOKS = """
import schemathesis

@schemathesis.serializer("application/wasm")
def serialize_wasm(ctx, value):
    return value if isinstance(value, bytes) else str(value).encode()
"""


def make_files(folder):
    """A certificate for localhost and one user, with a token."""
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
         "-days", "2", "-keyout", folder / "tls.key", "-out", folder / "tls.crt", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"],
        check=True, capture_output=True)
    token = os.urandom(32).hex()
    users = folder / "users.toml"
    users.touch(mode=0o600)
    users.write_text(f'[[users]]\nname = "root"\ntoken_sha256 = "{hashlib.sha256(token.encode()).hexdigest()}"\n'
                     'rights = { "*" = "admin" }\n')
    return token


def run(url, ca, token, examples, seed):
    """Runs schemathesis; its exit code."""
    program = shutil.which("schemathesis") or pathlib.Path(sys.executable).parent / "schemathesis"
    with tempfile.TemporaryDirectory() as folder:
        configuration = pathlib.Path(folder) / "schemathesis.toml"
        configuration.write_text('hooks = "hooks.py"\n' + CONFIGURATION)
        (pathlib.Path(folder) / "hooks.py").write_text(HOOKS)
        return subprocess.run(
            [program, "--config-file", configuration, "run", f"{url}/v1/openapi.json",
             "--header", f"Authorization: Bearer {token}", "--tls-verify", ca,
             "--max-examples", str(examples), "--seed", str(seed), "--max-failures", "50",
             "--phases", "examples,coverage,fuzzing,stateful", "--suppress-health-check", "all",
             # It follows from "add credentials that are wrong", which are limited for each address: tests/http/rights.rs does that.
             "--exclude-checks", "ignored_auth",
             # A followed log does not end.
             "--exclude-path", "/v1/logs", "--no-color"],
            cwd=folder).returncode


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--double", type=pathlib.Path, help="the example api_double")
    arguments.add_argument("--url", help="a server that runs")
    arguments.add_argument("--ca", type=pathlib.Path, help="certificate that vouches for it")
    arguments.add_argument("--token-file", type=pathlib.Path, help="token of a user who may do everything")
    arguments.add_argument("--examples", type=int, default=50, help="requests for each route and phase")
    arguments.add_argument("--seed", type=int, default=1)
    given = arguments.parse_args()
    if given.url:
        token = given.token_file.read_text().strip()
        return run(given.url, given.ca, token, given.examples, given.seed)
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        token = make_files(folder)
        double = subprocess.Popen([given.double.resolve(), "--listen", "127.0.0.1:0", "--files", folder],
                                  stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        try:
            address = double.stdout.readline().split()[1]
            return run(f"https://{address}", folder / "tls.crt", token, given.examples, given.seed)
        finally:
            double.stdin.close()
            double.wait(timeout=20)


if __name__ == "__main__":
    sys.exit(main())
