"""Foreign evaluators run in a fenced process: limits, no network, nothing of our environment, each case alone."""

import json
import socket
import sys
from pathlib import Path

import pytest

from trainer.audit.evaluators.behaviour import audit_evaluator
from trainer.audit.evaluators.behaviour_process import Fence, ModuleSubject, NoAnswer, ScriptSubject, ask
from trainer.spec.errors import UserError

MODULE = '''
import math
CLAIMS = {"vocab_size": 8, "num_tokens": 64}
SEEN = {}

def evaluate(model, tokens, request):
    """Counts of what stands before, uniform at first."""
    counts, nats, rows = [1] * 8, [], {}
    for position, target in enumerate(tokens[1:]):
        if position in request.positions:
            rows[position] = [math.log(count / sum(counts)) for count in counts]
        nats.append(-math.log(counts[target] / sum(counts)))
        counts[target] += 1
    return {"nats": nats, "distributions": rows}

def remembers(model, tokens, request):
    """Knows by heart whatever this process scored before."""
    result = evaluate(model, tokens, request)
    for position, pair in enumerate(zip(tokens, tokens[1:])):
        result["nats"][position] *= 0.5 if SEEN.get(position) == pair else 1.0
        SEEN[position] = pair
    return result

def ends_the_process(model, tokens, request):
    import os
    os._exit(3)
'''
SCRIPT = """
import json, math, sys
request = json.load(open(sys.argv[1]))
if request.get("ask") == "claims":
    answer = {"vocab_size": 80, "num_tokens": 64}
else:
    tokens = request["tokens"]
    total = [sum(tokens)] * (len(tokens) - 1) if CHEATS else [79] * (len(tokens) - 1)
    answer = {"nats": [math.log(each + 1) for each in total]}
json.dump(answer, open(sys.argv[2], "w"))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("foreign")
    (folder / "mine.py").write_text(MODULE)
    for cheats in (True, False):
        (folder / f"cheats_{cheats}.py").write_text(f"CHEATS = {cheats}\n{SCRIPT}")
    return folder


def script(folder: Path, text: str, *limits: int) -> ScriptSubject:
    path = folder / "script.py"
    path.write_text(text)
    return ScriptSubject("script.py", path, Fence(*limits))


def test_a_function_is_audited_in_another_process_and_no_case_sees_another(folder):
    for function in ("evaluate", "remembers"):  # that it remembers helps nothing: each case begins anew
        assert audit_evaluator(ModuleSubject(f"mine:{function}", folder)).verdict == "no breach found"


def test_a_function_that_ends_its_process_is_not_accused(folder):
    report = audit_evaluator(ModuleSubject("mine:ends_the_process", folder))
    assert report.verdict == "cannot tell"
    assert "the process ended with status 3" in report.findings[0].sentence


def test_a_script_is_audited_through_json_in_files(folder):
    report = audit_evaluator(ScriptSubject("script", folder / "cheats_False.py"))
    assert report.verdict == "no breach found"


def test_a_foreign_process_has_no_network_and_nothing_of_our_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("SECRET_TOKEN", "x")
    with socket.create_server(("127.0.0.1", 0)) as server:
        subject = script(
            tmp_path,
            "import json, os, socket, sys\n"
            "try:\n"
            f"    socket.create_connection(('127.0.0.1', {server.getsockname()[1]}), 2)\n"
            "    reached = True\n"
            "except OSError:\n"
            "    reached = False\n"
            "json.dump({'reached': reached, 'variables': sorted(os.environ)}, open(sys.argv[2], 'w'))\n",
        )
        (tmp_path / "scratch").mkdir()
        found = ask([str(subject.path)], {}, tmp_path / "scratch", tmp_path, subject.fence)
    assert found["reached"] is False
    assert not {"SECRET_TOKEN", "USER", "AWS_PROFILE"} & set(found["variables"])
    assert len(found["variables"]) < 12


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("import time; time.sleep(60)", "ran longer than 2"),
        (
            "import sys; sys.exit('no GPU \\x1b[2J here')",
            r"ended with status 1; the end of its output: no GPU \x1b[2J here",
        ),
        ("pass", "script.py wrote no answer; it is called with REQUEST.json ANSWER.json"),
        ("import sys; open(sys.argv[2], 'w').write('{')", "the answer is no JSON"),
        ("import os, sys; os.mkfifo(sys.argv[2])", "the answer is no plain file"),
        ("import os, sys; os.symlink('/etc/passwd', sys.argv[2])", "the answer is no plain file"),
        ("bytearray(3 * 2**30)", "MemoryError"),
    ],
)
def test_what_a_script_does_wrong_is_said(tmp_path, text, complaint):
    subject = script(tmp_path, text, 2, 2**31)
    with pytest.raises(UserError) as error:
        subject.claims()
    assert complaint in str(error.value)
    assert isinstance(error.value, NoAnswer)


def test_the_command_prints_verdict_condition_and_evidence(folder, monkeypatch, capfd):
    from typer.testing import CliRunner

    from orchestrator.commands.app import app

    monkeypatch.chdir(folder)
    result = CliRunner().invoke(app, ["audit-evaluator", str(folder / "cheats_True.py"), "--format", "json"])
    assert result.exit_code == 1
    rows = json.loads(result.stdout)
    assert {row["verdict"] for row in rows} == {"illegal"}
    (row,) = [row for row in rows if row["outcome"] == "violated"]
    assert row["conditions"][0] == "E1"
    assert row["evidence"]["positions"]
    assert "mine" not in sys.modules


DETACHED = """
import os, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        open(sys.argv[2] + ".detached", "w").write(str(os.getpid()))
        time.sleep(600)
    os._exit(0)
while not os.path.exists(sys.argv[2] + ".detached"):
    time.sleep(0.01)
open(sys.argv[2], "w").write("{}")
"""


def test_a_process_that_detaches_itself_does_not_outlive_the_fence(tmp_path):
    (tmp_path / "detaches.py").write_text(DETACHED)
    ask([str(tmp_path / "detaches.py")], {}, tmp_path, tmp_path, Fence(60))
    detached = int((tmp_path / "answer.json.detached").read_text())
    assert not Path(f"/proc/{detached}").exists()
