"""A Ray that cannot start is a message about Ray's folder; and a sweep that never started leaves nothing behind."""

import os
import socket
import stat
import subprocess
import sys

import pytest

from orchestrator.run.ray_session import own_folder, ray_folder, refuse_unusable_folder, start_fault
from trainer.spec.errors import UserError

SPACE = """
name: unstarted
preset: tiny
seeds: [1]
parameters: {ttt.mode: {value: score_first}, ttt.lr: {values: [0.001]}}
compare: {baseline: {ttt.mode: off}}
"""


def test_a_folder_whose_sockets_would_have_too_long_paths_is_refused_with_the_remedy(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path / ("x" * 100)))
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    with pytest.raises(UserError, match="Ray's folder .*x is .* bytes too long.*RAY_TMPDIR=/tmp/ray-"):
        refuse_unusable_folder(ray_folder())


def test_a_folder_of_somebody_else_is_refused_by_its_name_and_variable(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setattr("orchestrator.run.ray_session.SOCKET_BYTES", 1000)  # pytest's folders are long
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path / "file"))
    with pytest.raises(UserError, match="Ray's folder .*file .from RAY_TMPDIR. cannot be written: File exists"):
        refuse_unusable_folder(ray_folder())


def test_each_session_has_a_folder_closed_to_others_that_ends_with_it_and_removes_what_a_killed_one_left(tmp_path):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    here = socket.gethostname()
    for name, pid, host in (
        ("fw-killed", gone.pid, here),
        ("fw-running", os.getpid(), here),
        ("fw-container", gone.pid, "other"),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / "driver.pid").write_text(f"{pid} {host}\n")
    with own_folder(tmp_path) as folder:
        assert stat.S_IMODE(folder.parent.stat().st_mode) == 0o700
        assert len(str(folder.relative_to(tmp_path))) == len("fw-12345678/r")
        assert not (tmp_path / "fw-killed").exists()
    assert {path.name for path in tmp_path.iterdir()} == {"fw-running", "fw-container"}


def test_a_cluster_of_another_version_is_said_to_be_one():
    fault = RuntimeError(
        "Version mismatch: The cluster was started with:\n    Ray: 2.50.0\nThis process uses:\n    Ray: 2.60.0"
    )
    said = start_fault("10.0.0.1:6379", fault)
    assert "--address 10.0.0.1:6379" in said
    assert "Ray: 2.50.0" in said
    assert "ray job submit" in said


def test_a_sweep_whose_ray_cannot_start_leaves_no_sweep_and_no_seeds(tmp_path):
    (tmp_path / "space.yaml").write_text(SPACE)
    code = "from orchestrator.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "sweep", "space.yaml", "--no-check"],
        cwd=tmp_path,
        env=os.environ | {"RAY_TMPDIR": str(tmp_path / ("x" * 100))},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "error: Ray's folder" in done.stderr
    assert not list((tmp_path / "runs" / "sweeps").iterdir())
    assert not (tmp_path / "runs" / "seed_ledger.jsonl").exists()


def test_the_end_of_a_process_that_cannot_speak_is_said_for_it(tmp_path):
    code = """
import os, sys
from orchestrator.run.exit_message import said_at_sudden_end
with said_at_sudden_end("the head is gone", 1):
    os._exit(1) if sys.argv[1] == "suddenly" else None
"""
    said = {
        how: subprocess.run([sys.executable, "-c", code, how], capture_output=True, text=True, check=False).stdout
        for how in ("suddenly", "in order")
    }
    assert said == {"suddenly": "the head is gone", "in order": ""}
