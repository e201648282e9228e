"""What a program is given is part of its fingerprint by VERSION alone: a change of it without another VERSION would
take stages that were computed under the old one for those of the new one."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from orchestrator.space.load_space import load_space
from trainer.program.code_store import read_name
from trainer.program.run_program import run_program
from trainer.spec import program as program_module
from trainer.spec.program import VERSION, Program
from trainer.stages.run_record import RunRequest
from trainer.store.local import StageStore

GOLDEN = Path(__file__).parents[2] / "golden/given_to_programs.json"
ACCEPT = "python -m tests.trainer.program.test_what_a_program_is_given"
PROBE = """
import json, os, signal, sys
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
files = {}
for place, folders, names in os.walk("."):
    for name in sorted({*folders, *names} - {"probe.py"}):
        path = os.path.join(place, name)
        kind = "link" if os.path.islink(path) else "folder" if os.path.isdir(path) else open(path).read(200)
        files[os.path.relpath(path)] = kind
print(json.dumps({
    "arguments": sys.argv, "variables": dict(os.environ), "files": files,
    **{f"{kind} signals": f"{int(status[name], 16) & ~(0b11 << 31):016x}" for kind, name in  # but the C library's own
       (("ignored", "SigIgn"), ("blocked", "SigBlk"))},
    "open files": sorted(map(int, os.listdir("/proc/self/fd")))[:-1],
    "input": sys.stdin.read(), "terminals": [os.isatty(end) for end in range(3)],
    "leads its session": os.getsid(0) == os.getpid(), "folder": os.getcwd(),
    "temporary": os.listdir(os.environ["TMPDIR"]),
}), file=open("given.json", "w"))
print("loss: 1")
"""
KEYS = {
    "program": "probe.py", "metric": {"name": "loss"}, "seeds": [1, 2], "files": ["data"], "env": {"OWN": 1},
    "metrics": {"loss": "loss: (NUMBER)", "given": {"file": "given.json", "key": "none"}},
    "names": {"deep": "deep.key"},
    "set": {"number": 0.1, "on": True, "off": False, "none": None, "list": [1, "a"], "deep": 3, "text": "a b"},
}  # fmt: skip


def given(folder: Path, knobs_by: str) -> dict:
    """What a program is given that gets its knobs in this way; what differs from run to run has a name instead."""
    (folder / "data").mkdir(parents=True)
    (folder / "probe.py").write_text(PROBE)
    (folder / "data/small.txt").write_text("small")
    (folder / "data/large.bin").write_bytes(bytes(1_100_000))
    names = {} if knobs_by == "env" else KEYS["names"]
    (folder / "space.yaml").write_text(json.dumps({**KEYS, "pass": knobs_by, "names": names}))
    program = load_space(folder / "space.yaml").program
    assert program is not None
    asked, store = program.with_knobs({"seed": 1}), StageStore(folder / "runs")
    record = run_program(RunRequest.of("x-s1", "program", asked, folder / "run.json"), store)
    assert record.error == ""
    found = json.loads(store.read_file("run", record.stages["run"].fingerprint, read_name("given.json")) or b"")
    variables = found["variables"]
    named = {found["folder"]: "FOLDER", variables["TMPDIR"]: "TEMPORARY", variables["MASTER_PORT"]: "PORT"}
    text = json.dumps(found).replace(str(Path(sys.executable).parent), "INTERPRETER")
    for value, name in named.items():
        text = text.replace(f'"{value}', f'"{name}')
    return json.loads(text)


@contextmanager
def plain_environment() -> Iterator[None]:
    """The variables that are handed on have one value everywhere."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("CUDA_VISIBLE_DEVICES", "LD_LIBRARY_PATH", "CUDA_HOME"):
            patch.delenv(name, raising=False)
        patch.setenv("PATH", "/usr/bin:/bin")
        yield


def current(folder: Path) -> dict:
    with plain_environment():
        return {knobs_by: given(folder / knobs_by, knobs_by) for knobs_by in ("env", "args", "file")}


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc to look through")
def test_what_a_program_is_given_changes_with_another_version_alone(tmp_path):
    golden = json.loads(GOLDEN.read_text())
    assert golden["version"] == VERSION, f"{ACCEPT} accepts another VERSION"
    assert current(tmp_path) == golden["given"], f"raise VERSION of trainer/spec/program.py; then {ACCEPT} accepts this"


def test_another_version_is_another_fingerprint(monkeypatch):
    stage = {"name": "run"}
    plain = {"name": "x", "root": "/", "command": ["x"], "stages": [stage], "metrics": {"loss": []}, "headline": "loss"}
    program = Program.model_validate_json(json.dumps(plain))
    before = program.fingerprints("here")
    monkeypatch.setattr(program_module, "VERSION", VERSION + 1)
    assert program.fingerprints("here") != before


def accept() -> None:
    """Keeps what is given now, if VERSION is another one than it was."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        now = current(Path(folder))
    known = json.loads(GOLDEN.read_text()) if GOLDEN.exists() else {}
    if known and known["given"] != now and known["version"] == VERSION:
        sys.exit(f"what a program is given has changed: raise VERSION = {VERSION} in trainer/spec/program.py first")
    GOLDEN.write_text(json.dumps({"version": VERSION, "given": now}, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    accept()
