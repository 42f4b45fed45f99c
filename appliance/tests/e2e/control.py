"""The control plane as a program sees it: HTTP over the appliance's unix socket, or over TLS."""

import contextlib
import json

from appliance import _Connection

NAMESPACE = "default"


class Refused(Exception):
    """The control plane said no."""

    def __init__(self, status, error):
        super().__init__(f"{status}: {error}")
        self.status, self.error = status, error


class Control:
    """What one appliance's control plane is asked."""

    def __init__(self, appliance, timeout=30):
        self.socket, self.timeout = appliance.socket, timeout

    def ask(self, method, path, body=None, headers=None):
        """One request; status, headers and body of the answer."""
        connection = _Connection(self.socket)
        connection.timeout = self.timeout
        try:
            # Who is refused before the body was read may be cut off while sending it: the answer is there all the same.
            with contextlib.suppress(BrokenPipeError):
                connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            return response.status, response.headers, response.read()
        finally:
            connection.close()

    def json(self, method, path, value=None, raw=None):
        """One request with JSON, or `raw` bytes; what the answer says."""
        body = raw if raw is not None else None if value is None else json.dumps(value)
        headers = {"Content-Type": "application/json"} if raw is None and value is not None else {}
        status, _, answer = self.ask(method, path, body, headers)
        if status >= 400:
            raise Refused(status, json.loads(answer)["error"])
        return json.loads(answer) if answer else None

    def upload(self, wasm):
        """Digest of a module, given as bytes or as a file."""
        data = wasm if isinstance(wasm, bytes) else wasm.read_bytes()
        return self.json("POST", "/v1/modules", raw=data)["digest"]

    def deploy_sum(self, name, module, namespace=NAMESPACE, **manifest):
        """Deploys one of the modules that scripts/thousands.py makes."""
        return self.deploy(name, module, namespace, **{"entry": "sum", **manifest})

    def deploy(self, name, module, namespace=NAMESPACE, existing=None, **manifest):
        """Deploys a lambda; `module` is a digest, bytes or a file."""
        digest = module if isinstance(module, str) else self.upload(module)
        query = "" if existing is None else f"?existing={str(existing).lower()}"
        body = {"manifest": {"name": name, **manifest}, "module": digest}
        return self.json("PUT", f"/v1/namespaces/{namespace}/lambdas/{name}{query}", body)

    def get(self, name, namespace=NAMESPACE):
        """One lambda."""
        return self.json("GET", f"/v1/namespaces/{namespace}/lambdas/{name}")

    def all(self):
        """All lambdas."""
        return self.json("GET", "/v1/lambdas")

    def remove(self, name, namespace=NAMESPACE):
        """Removes a lambda."""
        return self.json("DELETE", f"/v1/namespaces/{namespace}/lambdas/{name}")

    def act(self, name, action, value=None, namespace=NAMESPACE):
        """Rollback, scale or release."""
        return self.json("POST", f"/v1/namespaces/{namespace}/lambdas/{name}/{action}", value or {})

    def call(self, name, body=b"", method="POST"):
        """Through the gateway; status and body."""
        status, _, answer = self.ask(method, f"/function/{name}", body)
        return status, answer

    def ready(self):
        """Readiness: the status, and what it says."""
        status, _, answer = self.ask("GET", "/readyz")
        return status, json.loads(answer)
