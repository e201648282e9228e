"""The road on a real local Ray: interrupted, killed, resumed, and the table is the undisturbed one.

The undisturbed table comes from an inline sweep, so the two ways are held against each other as well.
"""

import contextlib
import json
import os
import re
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from orchestrator.analysis.sweep_table import rows_of
from orchestrator.sweep.sweep import find_sweep
from tests.same_rows import differences

pytestmark = pytest.mark.ray
SPACE = """
name: road
description: Does TTT help, and can anything be lost?
preset: tiny
method: tpe
run_cap: 3
seeds: [1, 2]
parameters:
  ttt.mode: {value: score_first}
  ttt.lr: {distribution: log_uniform_values, min: 5e-4, max: 2e-2}
  ttt.epochs: {values: [1, 2]}
compare: {baseline: {ttt.mode: off}}
"""
SMALL = ("budget.train_steps=30", "schedule.warmdown_steps=10", "averaging.use=none", "data.val_bytes=20000")
PATIENCE_S = 400
PLANTED = {
    name: f"planted-{name.lower()}-value"
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "WANDB_API_KEY", "HF_TOKEN", "MADE_UP_SECRET")
}
"""Keys in the environment of every driver."""


class Sweeps:
    """Command lines over one folder."""

    def __init__(self, folder: Path, ray_folder: Path):
        self.folder, self.ray_folder = folder, ray_folder
        (folder / "road.yaml").write_text(SPACE)

    def start(self, *words: str) -> subprocess.Popen:
        command = [sys.executable, "-c", "from orchestrator.cli import main; main()", *words]
        return subprocess.Popen(
            command,
            cwd=self.folder,
            env=os.environ | PLANTED | {"RAY_TMPDIR": str(self.ray_folder)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, *words: str) -> tuple[int, str]:
        process = self.start(*words)
        out, _ = process.communicate(timeout=PATIENCE_S)
        return process.returncode, out

    def sweep(self, store: str, *options: str) -> tuple[str, ...]:
        return (
            "sweep",
            "road.yaml",
            "--no-check",
            "--store",
            store,
            *options,
            *(w for s in SMALL for w in ("--set", s)),
        )

    def rows(self, store: str):
        return rows_of(find_sweep(self.folder / store, "road"))


def wait_for(condition: Callable[[], object], process: subprocess.Popen) -> None:
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < end
        time.sleep(0.05)


def listeners_beyond_loopback(pid: int) -> list[str]:
    """Addresses that the processes of a driver's session listen on, loopback left out."""
    family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    connections = [
        c for member in family for c in member.net_connections(kind="inet") if c.status == psutil.CONN_LISTEN
    ]
    assert connections
    return [f"{c.laddr.ip}:{c.laddr.port}" for c in connections if not re.match(r"(::ffff:)?127\.|::1$", c.laddr.ip)]


def command_lines(pid: int) -> list[list[str]]:
    """The arguments of a driver's processes; those that just ended are left out."""
    commands = []
    for member in [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]:
        with contextlib.suppress(psutil.Error):
            commands.append(member.cmdline())
    return commands


def without_keys(pid: int) -> list[str]:
    """Workers of slots whose environment lacks one of the keys."""
    lacking = []
    for child in psutil.Process(pid).children(recursive=True):
        with contextlib.suppress(psutil.Error):
            title, known = " ".join(child.cmdline()[:1]), child.environ()
            if "RayTrainWorker" in title and not known.items() >= PLANTED.items():
                lacking.append(title)
    return lacking


def holds_key(path: Path) -> bool:
    return path.is_file() and b"planted-" in path.read_bytes()


def titles(pid: int) -> list[str]:
    """What the processes below this one call themselves; those that just ended are left out."""
    commands = []
    for child in psutil.Process(pid).children(recursive=True):
        with contextlib.suppress(psutil.Error):
            commands.append(" ".join(child.cmdline()[:1]))
    return commands


@pytest.fixture(scope="module")
def sweeps(text_store, tmp_path_factory) -> Iterator[Sweeps]:
    """Its stores hold the text, which would take longest to prepare."""
    folder = tmp_path_factory.mktemp("road")
    for store in ("inline", "ray"):
        (folder / store / "stages").mkdir(parents=True)
        (folder / store / "stages" / "train_text").symlink_to(text_store / "stages" / "train_text")
    with tempfile.TemporaryDirectory(prefix="ray") as ray_folder:  # pytest's own are too long for sockets
        yield Sweeps(folder, Path(ray_folder))


@pytest.fixture(scope="module")
def undisturbed(sweeps):
    code, out = sweeps.run(*sweeps.sweep("inline", "--inline"))
    assert code == 0, out
    assert "details: orchestrator compare" in out
    return sweeps.rows("inline")


@pytest.fixture(scope="module")
def disturbed(sweeps, undisturbed):
    """The same sweep: killed inline, resumed on Ray, stopped there by Ctrl-C, resumed on Ray to its end."""
    records = sweeps.folder / "ray" / "sweeps" / "road" / "runs"
    killed = sweeps.start(*sweeps.sweep("ray", "--inline"))
    wait_for(lambda: list(records.glob("*.json")), killed)
    os.kill(killed.pid, signal.SIGKILL)
    killed.communicate()
    kept_of_killed = len(list(records.glob("*.json")))

    again = "resume", "road", "--no-check", "--store", "ray", "--slots", "1"  # a second slot takes long to start
    stopped = sweeps.start(*again)
    wait_for(lambda: len(list(records.glob("*.json"))) > kept_of_killed, stopped)
    beyond = listeners_beyond_loopback(stopped.pid)
    said = [word for command in command_lines(stopped.pid) for word in command if "planted-" in word]
    modes = [stat.S_IMODE(path.stat().st_mode) for path in sweeps.ray_folder.iterdir()]
    keyless = without_keys(stopped.pid)
    family = psutil.Process(stopped.pid).children(recursive=True)
    stopped.send_signal(signal.SIGINT)
    out, _ = stopped.communicate(timeout=PATIENCE_S)
    _, alive = psutil.wait_procs(family, timeout=20)
    kept = len(list(records.glob("*.json")))

    code, last = sweeps.run(*again)
    assert code == 0, last
    ends = {"code": stopped.returncode, "out": out, "alive": alive, "kept": kept, "beyond": beyond, "last": last}
    return ends | {"said": said, "modes": modes, "keyless": keyless}


def test_ctrl_c_keeps_everything_and_prints_the_line_to_resume(disturbed):
    assert disturbed["code"] == 130, disturbed["out"]
    assert f"{disturbed['kept']} of 8 runs are kept" in disturbed["out"]
    assert "orchestrator resume road --store ray" in disturbed["out"]
    assert disturbed["alive"] == []


@pytest.mark.slow
def test_ctrl_c_while_worker_groups_start_ends_soon_and_says_how_to_go_on(sweeps, undisturbed):
    driver = sweeps.start(*sweeps.sweep("early"))
    wait_for(lambda: any("TrainController" in title for title in titles(driver.pid)), driver)
    family = psutil.Process(driver.pid).children(recursive=True)
    driver.send_signal(signal.SIGINT)
    out, _ = driver.communicate(timeout=25)  # starting the groups takes longer on a busy machine
    assert driver.returncode == 130, out
    assert "orchestrator resume road --store early" in out
    assert psutil.wait_procs(family, timeout=20)[1] == []


@pytest.mark.slow
def test_a_driver_on_ray_killed_at_once_resumes_to_the_undisturbed_table(sweeps, undisturbed):
    records = sweeps.folder / "killed" / "sweeps" / "road" / "runs"
    driver = sweeps.start(*sweeps.sweep("killed"))
    wait_for(lambda: list(records.glob("*.json")), driver)
    os.kill(driver.pid, signal.SIGKILL)
    driver.communicate()
    code, out = sweeps.run("resume", "road", "--no-check", "--store", "killed")
    assert code == 0, out
    assert differences(undisturbed, sweeps.rows("killed")) == []


def test_nothing_listens_beyond_loopback(disturbed):
    assert disturbed["beyond"] == []


def test_keys_reach_workers_and_stand_neither_on_disk_nor_in_process_arguments(sweeps, disturbed):
    assert disturbed["keyless"] == []
    assert disturbed["said"] == []
    places = (sweeps.folder, sweeps.ray_folder, Path.home() / "ray_results")
    assert [path for place in places for path in place.rglob("*") if holds_key(path)] == []


def test_the_folder_of_ray_is_closed_to_others_and_gone_afterwards(sweeps, disturbed):
    assert disturbed["modes"] == [0o700]
    assert list(sweeps.ray_folder.iterdir()) == []


def test_the_table_after_ctrl_c_and_kill_9_is_the_undisturbed_one(sweeps, undisturbed, disturbed):
    assert differences(undisturbed, sweeps.rows("ray")) == []
    assert len(undisturbed) == 8
    assert not undisturbed.duplicated(["config", "seed"]).any()


def test_each_seed_was_trained_once(sweeps, disturbed):
    stages = sweeps.folder / "ray" / "stages"
    assert len(list(stages.glob("train/*/result.json"))) == 2
    assert sweeps.rows("ray")["artifact"].nunique() == 2
    assert not list(stages.glob("*/.*"))  # what the killed driver wrote aside is swept away


def test_the_same_sweep_again_starts_neither_ray_nor_torch(sweeps, disturbed):
    code = (
        "import sys; from orchestrator.cli import main\n"
        f"sys.argv = ['orchestrator', *{list(sweeps.sweep('ray'))!r}]\n"
        "try: main()\nfinally: print(sorted({'ray', 'torch'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=sweeps.folder, capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("[]")
    (table,) = re.findall(r"configuration +gain.*?\n\n", disturbed["last"], re.DOTALL)
    assert table in done.stdout  # the identical one


def test_plan_and_json_say_the_same(sweeps, disturbed):
    options = [word for word in sweeps.sweep("ray")[1:] if word != "--no-check"]  # a plan checks nothing
    _, out = sweeps.run("plan", *options, "--format", "json")
    rows = {row["stage"]: row for row in json.loads(out)}
    assert (rows["train"]["needed"], rows["train"]["cached"]) == (2, 2)
