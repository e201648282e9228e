"""`ray job submit` of a single run against a real head: small upload, the run's own exit status, its record, a stop."""

import contextlib
import json
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from trainer.spec.environment import code_digest

pytestmark = pytest.mark.ray
ROOT = Path(__file__).parents[2]
SMALL = ("budget.train_steps=6", "schedule.warmdown_steps=3", "averaging.use=none", "data.val_bytes=1")
LONG = ("budget.train_steps=100000", "averaging.use=none", "data.val_bytes=1")
PATIENCE_S = 180


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Head:
    """A Ray head on loopback that demands a token, and a clone from which jobs are submitted."""

    def __init__(self, folder: Path):
        self.folder, self.port = folder, free_port()
        shown = Path(sys.executable).parent
        self.ray = str(shown / "ray")
        self.environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | {
            "PATH": f"{shown}:{os.environ['PATH']}",
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(32),
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
            "RAY_USAGE_STATS_ENABLED": "0",
        }
        ports = {
            "--port": free_port(),
            "--ray-client-server-port": free_port(),
            "--dashboard-port": self.port,
            "--dashboard-agent-listen-port": free_port(),
        }
        words = [word for name, port in ports.items() for word in (name, str(port))]
        command = [self.ray, "start", "--head", "--block", "--num-cpus", "2", "--node-ip-address", "127.0.0.1"]
        self.process = subprocess.Popen(
            [*command, "--dashboard-host", "127.0.0.1", *words],
            env=self.environment,
            stdout=(folder / "head.log").open("w"),
            stderr=subprocess.STDOUT,
        )

    def job(self, verb: str, *words: str) -> subprocess.CompletedProcess[str]:
        command = [self.ray, "job", verb, "--address", f"http://127.0.0.1:{self.port}", *words]
        return subprocess.run(
            command, cwd=self.folder / "clone", env=self.environment, capture_output=True, text=True, timeout=PATIENCE_S
        )

    def submit(self, *words: str, wait: bool = True, name: str = "") -> tuple[int, str]:
        options = [*([] if wait else ["--no-wait"]), *(["--submission-id", name] if name else [])]
        store = () if "--store" in words else ("--store", str(self.folder / "runs"))
        command = ("python", "-m", "trainer", *words, *store)
        done = self.job("submit", *options, "--working-dir", ".", "--", *command)
        return done.returncode, done.stdout + done.stderr

    def jobs(self, path: str = "") -> str:
        """What the head answers about jobs over HTTP: faster than a `ray` of its own for every look."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/api/jobs/{path}",
            headers={"Authorization": f"Bearer {self.environment['RAY_AUTH_TOKEN']}"},
        )
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
            return answer.read().decode()

    def ready(self) -> bool:
        with contextlib.suppress(OSError):
            return isinstance(json.loads(self.jobs()), list)
        return False

    def end(self) -> None:
        family = [self.process, *psutil.Process(self.process.pid).children(recursive=True)]
        self.process.terminate()
        psutil.wait_procs([psutil.Process(p.pid) for p in family if psutil.pid_exists(p.pid)], timeout=20)


def uploaded_bytes(out: str) -> int:
    """What the upload became on the head, unpacked."""
    (package,) = set(re.findall(r"_ray_pkg_\w+", out))
    uploads = Path(tempfile.gettempdir(), "ray").glob(f"session_2*/runtime_resources/working_dir_files/{package}")
    folder = max(uploads, key=lambda path: path.stat().st_mtime)  # earlier sessions leave theirs behind
    files = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]
    made_there = {"runs", "__pycache__"}
    return sum((folder / path).stat().st_size for path in files if not made_there & set(path.parts))


def sets(values: tuple[str, ...]) -> list[str]:
    return [word for value in values for word in ("--set", value)]


@pytest.fixture(scope="module")
def head(tmp_path_factory) -> Iterator[Head]:
    folder = tmp_path_factory.mktemp("job")
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in tracked.splitlines():
        if (ROOT / name).is_file():
            (folder / "clone" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, folder / "clone" / name)
    (folder / "clone" / "data").mkdir()
    with (folder / "clone" / "data" / "fineweb_train_000000.bin").open("wb") as sparse:
        sparse.truncate(2 * 2**30)
    made = Head(folder)
    end = time.monotonic() + PATIENCE_S
    while not made.ready():
        said = (folder / "head.log").read_text()
        assert made.process.poll() is None, said
        assert time.monotonic() < end, said
        time.sleep(0.5)
    yield made
    made.end()


def test_a_run_is_uploaded_small_follows_its_log_and_brings_its_record_home(head):
    code, out = head.submit("run", "tiny", "--seed", "1", "--run-id", "mine", "--format", "json", *sets(SMALL))
    assert code == 0, out
    assert 0 < uploaded_bytes(out) < 5 * 2**20
    record = json.loads(next(line for line in out.splitlines() if line.startswith('{"run_id"')))
    assert (record["run_id"], record["seed"], record["status"]) == ("mine", 1, "done")
    assert record["commit"] == f"code-{code_digest(head.folder / 'clone' / 'trainer')}"  # the upload holds no .git


def test_the_exit_status_follows_the_run(head):
    code, out = head.submit("run", "tinny")
    assert code != 0
    assert "did you mean 'tiny'" in out


def test_a_store_in_the_copy_that_ray_removes_is_refused(head):
    code, out = head.submit("run", "tiny", "--store", "runs")
    assert code != 0
    assert "store runs lies in this Ray job's copy of the folder" in out


def test_a_stopped_job_leaves_no_process_behind(head):
    head.submit("run", "tiny", *sets(LONG), wait=False, name="long")
    end = time.monotonic() + PATIENCE_S
    while "train " not in head.jobs("long/logs"):
        assert time.monotonic() < end
        time.sleep(0.5)
    assert "stopped" in head.job("stop", "long").stdout.lower()
    assert "was stopped" in head.job("status", "long").stdout
    running = [" ".join(p.cmdline()) for p in psutil.Process(head.process.pid).children(recursive=True)]
    assert not [line for line in running if "-m trainer run" in line]
