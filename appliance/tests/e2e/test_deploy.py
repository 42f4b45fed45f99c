"""Lambdas deployed, called, changed and removed by the command line, on an appliance that began with none."""

import json
import subprocess
import time

import pytest

import lambda_rpc
from conftest import ROOT
from labs import IPV4

ECHO = ROOT / "lambdas" / "echo"
SOURCES = ROOT / "appliance" / "tests" / "e2e" / "lambdas"

GREETING = """
#include <lnic.h>

LAMBDA(greeting) {
    uint8_t *payload = lnic_payload(match_data);
    payload[0] = '%s';
    return lnic_reply(headers, match_data, STATUS_OK, 1);
}
"""


@pytest.fixture
def lab(make_lab):
    """An appliance without lambdas."""
    return make_lab("af_packet", {}, addressed=True).start()


def done(lab, *arguments, code=0):
    """What a command printed; it has to exit as expected."""
    ended = lab.ask(*arguments)
    assert ended.returncode == code, f"{arguments}: exit code {ended.returncode}\n{ended.stdout}{ended.stderr}"
    return ended.stdout if code == 0 else ended.stderr


def asked(lab, *arguments):
    """What a command says in JSON."""
    return json.loads(done(lab, *arguments, "--json"))


def deployed(lab, *arguments):
    """What deployments say, one object each."""
    return [json.loads(line) for line in done(lab, "deploy", *map(str, arguments), "--json").splitlines()]


def invoked(lab, name, data="x", code=0):
    """What a lambda answers through the gateway."""
    ended = lab.ask("invoke", name, "--data", data, "--json")
    assert ended.returncode == code, ended.stdout + ended.stderr
    return json.loads(ended.stdout)


def source(folder, letter, manifest=""):
    """A folder with a lambda that answers with a letter."""
    folder.mkdir(exist_ok=True)
    (folder / "greeting.c").write_text(GREETING % letter)
    (folder / "lambda.toml").write_text(manifest)
    return folder


def test_the_first_lambda(lab):
    assert asked(lab, "list") == []
    (echo,) = deployed(lab, ECHO)
    assert (echo["name"], echo["namespace"], echo["generation"], echo["phase"]) == ("echo", "default", 1, "active")
    assert echo["uploaded"] and echo["module"].startswith("sha256:")
    # Over HTTP by its name, and over the network by its ID.
    assert invoked(lab, "echo", "hello, lambda")["payload"] == "hello, lambda"
    ended = lab.cli("invoke", str(echo["id"]), "--to", IPV4, "--data", "hello, lambda", "--json")
    assert (ended.returncode, json.loads(ended.stdout)["payload"]) == (0, "hello, lambda"), ended.stderr
    text = done(lab, "invoke", "echo", "--data", "hello, lambda")
    assert text.startswith("OK, 13 bytes in ") and text.endswith(" µs\nhello, lambda\n")

    (row,) = asked(lab, "list")
    assert (row["name"], row["state"], row["invocations"], row["generation"]) == ("echo", "active", 3, 1)
    assert done(lab, "list").splitlines()[1].startswith("echo ")
    assert asked(lab, "describe", "echo")["id"] == echo["id"]
    assert f"ID           {echo['id']}\n" in done(lab, "describe", "echo")
    assert asked(lab, "inspect", "echo")["deployed"]["name"] == "echo"

    assert done(lab, "remove", "echo") == "echo removed\n"
    assert asked(lab, "list") == []
    assert invoked(lab, "echo", code=1)["code"] == 404
    ended = lab.cli("invoke", str(echo["id"]), "--to", IPV4, "--json")
    assert (ended.returncode, json.loads(ended.stdout)["code"]) == (1, lambda_rpc.UNIMPLEMENTED)
    # The same code again: the appliance has it still.
    (again,) = deployed(lab, ECHO)
    assert (again["generation"], again["uploaded"]) == (1, False)


def test_generations(lab, tmp_path):
    folder = source(tmp_path / "greeting", "a")
    (first,) = deployed(lab, folder, "--new")
    assert invoked(lab, "greeting")["payload"] == "a"
    (second,) = deployed(lab, source(folder, "b", "weight = 4\n"), "--existing")
    assert (second["generation"], second["id"], second["manifest"]["weight"]) == (2, first["id"], 4)
    assert invoked(lab, "greeting")["payload"] == "b"
    assert [each["number"] for each in second["generations"]] == [1, 2]

    assert done(lab, "rollback", "greeting") == "greeting: generation 1 runs\n"
    assert invoked(lab, "greeting")["payload"] == "a"
    assert asked(lab, "rollback", "greeting", "--to", "2")["generation"] == 2
    assert invoked(lab, "greeting")["payload"] == "b"
    assert "no generation 9" in done(lab, "rollback", "greeting", "--to", "9", code=1)
    assert done(lab, "deploy", str(folder), "--new", code=1)
    assert invoked(lab, "greeting")["payload"] == "b"
    text = done(lab, "describe", "greeting").splitlines()
    assert any(line.startswith("*") and line.split()[1] == "2" for line in text), text


def test_it_sleeps_and_wakes(lab):
    deployed(lab, ECHO)
    assert done(lab, "scale", "echo", "0") == "echo sleeps until a request comes\n"
    (row,) = asked(lab, "list", "--state", "asleep")
    assert (row["name"], row["available_replicas"], row["memory_bytes"]) == ("echo", 0, {})
    assert asked(lab, "list", "--state", "active") == []
    assert invoked(lab, "echo", "wake up")["payload"] == "wake up"
    (row,) = asked(lab, "list")
    assert (row["state"], row["available_replicas"] > 0) == ("active", True)
    assert asked(lab, "scale", "echo", "1")["available_replicas"] == 1


def test_namespaces(lab, tmp_path):
    assert done(lab, "namespaces", "create", "acme", "--label", "team=a") == "acme created\n"
    assert done(lab, "namespaces", "create", "acme", code=1)
    folder = source(tmp_path / "greeting", "a")
    deployed(lab, folder)
    rule = '[[rules]]\nprotocol = "udp"\ndestination_port = 9999\npriority = 7\n'
    deployed(lab, source(folder, "b", rule), "--namespace", "acme")
    # The same name, each of its own.
    assert invoked(lab, "greeting")["payload"] == "a"
    assert invoked(lab, "greeting.acme")["payload"] == "b"
    rows = asked(lab, "list")
    assert sorted((row["namespace"], row["name"]) for row in rows) == [("acme", "greeting"), ("default", "greeting")]
    assert len({row["id"] for row in rows}) == 2
    assert [row["namespace"] for row in asked(lab, "list", "-n", "acme")] == ["acme"]
    (rule,) = [rule for rule in asked(lab, "rules") if rule["priority"] == 7]
    assert (rule["name"], rule["namespace"], rule["egress"]) == ("greeting", "acme", "reply")
    assert "9999" in rule["conditions"] and "greeting.acme" in done(lab, "rules")
    namespaces = {each["name"]: each for each in asked(lab, "namespaces", "list")}
    assert namespaces.keys() == {"acme", "default"} and namespaces["acme"]["labels"] == {"team": "a"}

    assert done(lab, "namespaces", "remove", "acme", code=1), "it has a lambda"
    assert done(lab, "remove", "greeting.acme") == "greeting.acme removed\n"
    assert done(lab, "namespaces", "remove", "acme") == "acme removed\n"
    assert invoked(lab, "greeting")["payload"] == "a"
    error = done(lab, "deploy", str(folder), "--namespace", "nowhere", code=1)
    assert 'no namespace "nowhere"' in error


def test_secrets(lab, tmp_path):
    value = tmp_path / "value"
    value.write_bytes(b"s3cret\n")
    assert done(lab, "secrets", "set", "key", "--file", str(value)) == "key created\n"
    value.write_bytes(b"other")
    assert done(lab, "secrets", "set", "key", "--file", str(value)) == "key changed\n"
    assert done(lab, "secrets", "set", "key", "--new", "--file", str(value), code=1)
    assert done(lab, "secrets", "set", "other", "--existing", "--file", str(value), code=1)
    assert asked(lab, "secrets", "list") == ["key"]
    folder = source(tmp_path / "greeting", "a", 'secrets = ["key", "none"]\n')
    assert '"none"' in done(lab, "deploy", str(folder), code=1)
    deployed(lab, source(folder, "a", 'secrets = ["key"]\n'))
    assert done(lab, "secrets", "remove", "key", code=1), "a lambda names it"
    done(lab, "remove", "greeting")
    assert done(lab, "secrets", "remove", "key") == "key removed\n"
    assert asked(lab, "secrets", "list") == []
    assert "s3cret" not in lab.appliance.log.read_text(errors="replace")


def test_logs(lab):
    deployed(lab, SOURCES / "chatter", "--set", "budget_us=5000")
    command = [lab.appliance.binary, "logs", "chatter", "--follow", "--json", "--socket", str(lab.appliance.socket)]
    follower = subprocess.Popen(lab.peer.command(*command), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        invoked(lab, "chatter")
        followed = json.loads(follower.stdout.readline())
        assert (followed["name"], followed["namespace"], followed["generation"]) == ("chatter", "default", 1)
    finally:
        follower.terminate()
        follower.communicate(timeout=10)
    deadline = time.monotonic() + 5
    while not (text := done(lab, "logs", "chatter", "--tail", "3")):
        assert time.monotonic() < deadline, "nothing was logged"
        time.sleep(0.05)
    lines = text.splitlines()
    assert len(lines) <= 3 and all(" chatter: " in line for line in lines), lines
    assert "\x1b" not in text and "\x07" not in text
    assert done(lab, "logs", "--since", "1h") != ""
    assert done(lab, "logs", "--since", "2999-01-01T00:00:00Z") == ""
    # Whoever looks away harms nobody.
    assert invoked(lab, "chatter", "still there")["payload"] == "still there"


def test_several_at_once(lab, tmp_path):
    folder = source(tmp_path / "greeting", "a")
    both = deployed(lab, ECHO, folder)
    assert [each["name"] for each in both] == ["echo", "greeting"]
    # One mistake, and nothing is deployed.
    source(folder, "b", "weight = 0\n")
    error = done(lab, "deploy", str(ECHO), str(folder), code=2)
    assert error == f'{folder}/lambda.toml:1: the lambda: weight: 0 is not in 1–1000\n'
    assert {row["generation"] for row in asked(lab, "list")} == {1}
    assert done(lab, "remove", "echo", "greeting") == "echo removed\ngreeting removed\n"


def test_a_dry_run_changes_nothing(lab, binary, tmp_path):
    folder = source(tmp_path / "greeting", "a", "weight = 2\n")
    arguments = ["deploy", str(folder), "--dry-run", "--set", "environment.A=1"]
    text = lab.cli(*arguments).stdout
    assert text.startswith("# greeting: sha256:") and "\nweight = 2\n" in text, text
    planned = json.loads(lab.cli(*arguments, "--json").stdout)
    assert planned["manifest"] == {"name": "greeting", "weight": 2, "environment": {"A": "1"}}
    assert asked(lab, "list") == []
    assert deployed(lab, folder)[0]["module"] == planned["module"]


def test_what_is_refused(lab, tmp_path):
    folder = source(tmp_path / "greeting", "a", 'wieght = 1\nconcurrency = "all"\n')
    lines = done(lab, "deploy", str(folder), code=2).splitlines()
    assert [line.split(": ", 1)[0] for line in lines] == [f"{folder}/lambda.toml:{number}" for number in (1, 2)]
    assert 'did you mean "weight"?' in lines[0] and '"replicated"' in lines[1]
    (folder / "lambda.toml").unlink()
    assert "--set weight=0: " in done(lab, "deploy", str(folder), "--set", "weight=0", code=2)
    # Only the appliance knows its islands and its bounds.
    error = done(lab, "deploy", str(folder), "--set", 'islands=["nowhere"]', "--set", "budget_us=10000000", code=1)
    assert 'no island "nowhere"' in error and "budget_us: 10000000 is not in 1–10000" in error
    assert "greeting" in done(lab, "deploy", str(folder), "--existing", code=1)
    (folder / "greeting.c").write_text("#include <lnic.h>\nLAMBDA(greeting) { return oops; }\n")
    assert "oops" in done(lab, "deploy", str(folder), code=1)
    assert "neither C files" in done(lab, "deploy", str(tmp_path), code=1)
    for command in (["describe"], ["remove"], ["rollback"], ["scale"], ["release"], ["inspect"]):
        words = [*command, "nobody", *(["1"] if command == ["scale"] else [])]
        assert 'no lambda "nobody"' in done(lab, *words, code=1), words
    assert asked(lab, "list") == []


def test_lambdas_of_the_configuration_stay_its_own(make_lab, lambdas):
    lab = make_lab("af_packet", lambdas, addressed=True).start()
    rows = {row["name"]: row for row in asked(lab, "list")}
    assert {row["origin"] for row in rows.values()} == {"configuration"}
    assert invoked(lab, "echo", "hello")["payload"] == "hello"
    for words in (["remove", "echo"], ["deploy", str(ECHO)]):
        assert "echo" in done(lab, *words, code=1), words
    assert invoked(lab, "echo", "hello")["payload"] == "hello"


def test_status(lab):
    status = asked(lab, "status")
    assert status["readiness"]["ready"] is True
    assert "\nready        yes\n" in "\n" + done(lab, "status")
    assert lab.appliance.stop() == 0
    assert str(lab.appliance.socket) in done(lab, "status", code=1)
