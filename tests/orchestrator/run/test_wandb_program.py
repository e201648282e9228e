"""A script as W&B's users write it: its values from wandb.config, its numbers by wandb.log, nothing printed."""

import subprocess

import pytest

from orchestrator.analysis.sweep_table import rows_of
from orchestrator.space.load_space import load_space
from orchestrator.sweep.sweep import find_sweep
from tests.orchestrator.run.test_own_program_inline import command
from tests.trainer.program.test_wandb_log import log, record

DOUBLE = f"""
# In place of W&B without network: the file of values that `init` reads, and the log that is written.
import json, os, pathlib
config = {{}}
def init(config):
    globals()["config"].update(config)
    tree = json.load(open(os.environ["WANDB_SWEEP_PARAM_PATH"]))
    assert tree.pop("wandb_version") == 1
    globals()["config"].update({{key: block["value"] for key, block in tree.items()}})
def log(loss):
    pathlib.Path("wandb/offline-run-1").mkdir(parents=True)
    content = bytes.fromhex({log(record(2, loss=0.0)).hex()!r}).replace(b"0.0", b"%.1f" % loss)
    pathlib.Path("wandb/offline-run-1/run-1.wandb").write_bytes(content)
    pathlib.Path("wandb/latest-run").symlink_to("offline-run-1")
"""
SCRIPT = """
import wandb
wandb.init(config={"lr": 0.5, "model": {"depth": 1}, "seed": 0})
wandb.log(loss=wandb.config["lr"] + wandb.config["model"]["depth"] + wandb.config["seed"])
"""
SPACE = """
program: train.py
method: grid
metric: {name: loss, goal: minimize}
seeds: [1, 2]
parameters:
  lr: {values: [0.1, 0.2]}
  model: {parameters: {depth: {value: 3}}}
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wandb")
    for name, text in (("train.py", SCRIPT), ("wandb.py", DOUBLE), ("mine.yaml", SPACE)):
        (folder / name).write_text(text)
    status, said = command("sweep", str(folder / "mine.yaml"), "--inline", "--store", str(folder / "runs"))
    assert status == 0, said
    return folder


def test_a_run_has_the_values_of_its_configuration_and_is_judged_by_what_it_logged(place):
    rows = rows_of(find_sweep(place / "runs", "mine"))
    assert sorted(rows["loss"]) == pytest.approx([4.1, 4.2, 4.5, 5.1, 5.2, 5.5])


def test_the_winner_taken_home_gives_them_too(place):
    assert command("best", "mine", "--store", str(place / "runs"), "--out", str(place / "best.sh"))[0] == 0
    subprocess.run(["sh", "best.sh"], cwd=place, check=True)
    assert b"4.1" in (place / "wandb" / "offline-run-1" / "run-1.wandb").read_bytes()


def test_a_script_without_wandb_is_given_nothing_more(place):
    (place / "plain.py").write_text("print('loss: 1')\n")
    (place / "plain.yaml").write_text(SPACE.replace("train.py", "plain.py"))
    assert not load_space(place / "plain.yaml").program.env
    assert load_space(place / "mine.yaml").program.env
