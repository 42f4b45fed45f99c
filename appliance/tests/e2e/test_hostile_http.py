"""A thousand hostile requests to the control plane, while lambdas are called: callers of lambdas do not notice."""

import random
import socket
import threading
import time

from control import Control
from test_live import figures, load

REQUESTS = 1000
CONNECTIONS = 16


def attack(path, requests, seed):
    """Sends requests that nobody should send; how they ended."""
    random_, ends = random.Random(seed), {"answered": 0, "closed": 0}
    long = "x" * 100_000
    kinds = [
        lambda: b"GET / HTTP/1.1\r\nHost: a\r\nX: " + long.encode() + b"\r\n\r\n",
        lambda: b"POST /v1/modules HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999\r\n\r\n" + b"x" * 1000,
        lambda: b"PUT /v1/namespaces/../../lambdas/x HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}",
        lambda: b"PUT /v1/namespaces/default/lambdas/x HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
        b"Content-Length: 12\r\n\r\n{\"manifest\":",
        lambda: b"POST /function/nobody HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nffffffffff\r\n",
        lambda: b"\x16\x03\x01" + random_.randbytes(200),
        lambda: random_.randbytes(random_.randrange(1, 2000)),
        lambda: b"GET /v1/lambdas HTTP/9.9\r\n\r\n",
        lambda: b"GET /function/" + long.encode()[:9000] + b" HTTP/1.1\r\nHost: a\r\n\r\n",
        lambda: b"DELETE /v1/namespaces/default/lambdas/" + b"%2e%2e%2f" * 20 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
        lambda: b"GET /v1/logs?tail=999999999999999999999&follow=maybe HTTP/1.1\r\nHost: a\r\n\r\n",
        lambda: b"POST /system/functions HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n[[[[[[[[[",
    ]
    for _ in range(requests):
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(3)
        try:
            connection.connect(path)
            connection.sendall(random_.choice(kinds)())
            if random_.random() < 0.3:
                connection.shutdown(socket.SHUT_WR)
            ends["answered" if connection.recv(4096) else "closed"] += 1
        except TimeoutError:
            # Slow ones wait for more of the request; that they are cut later is tested in-process.
            ends["closed"] += 1
        except OSError:
            ends["closed"] += 1
        finally:
            connection.close()
    return ends


def test_callers_of_lambdas_do_not_notice(make_lab, lambdas):
    lab = make_lab("tap", lambdas, addressed=True).start()
    control = Control(lab.appliance)

    def p99(seconds_of_attack):
        bench = load(lab, 1, "--rate", 2000, "--bytes", 32)
        threads = []
        if seconds_of_attack:
            time.sleep(0.5)
            threads = [
                threading.Thread(target=attack, args=(str(lab.appliance.socket), REQUESTS // CONNECTIONS, seed))
                for seed in range(CONNECTIONS)
            ]
            for thread in threads:
                thread.start()
        measured = figures(bench)
        for thread in threads:
            thread.join()
        assert measured["lost"] == 0, measured
        return measured["latency"]["p99_us"]

    quiet = p99(False)
    attacked = p99(True)
    # The attackers, the generator and the appliance share the machine's CPUs: an order of magnitude is what can be told apart.
    assert attacked < max(10 * quiet, 20_000), (quiet, attacked)
    assert control.ready()[0] == 200
    assert control.call("echo", b"still there") == (200, b"still there")
