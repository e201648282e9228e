"""`python -m trainer run` among processes that were started together, as torchrun starts them."""

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.trainer.cli import trainer
from trainer.spec.checked_json import without_checksum
from trainer.spec.record import Record

pytestmark = pytest.mark.distributed
CHANGES = {
    "budget.train_steps": 3,
    "schedule.warmdown_steps": 2,
    "averaging.use": "none",
    "data.val_bytes": 2_000,
    "data.train_seq_len": 64,
    "data.train_batch_tokens": 512,
    "data.micro_batches": 4,
    "evaluation.diagnose": False,
}
RUN = ["-m", "trainer", "run", "tiny", *(f"--set={key}={value}" for key, value in CHANGES.items())]


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


def launch(places: list[Path], *arguments: str) -> list[subprocess.Popen[str]]:
    """A process for each working folder, with the variables that torchrun sets."""
    size, port = len(places), free_port()
    common = os.environ | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(size)}
    return [
        subprocess.Popen(
            [sys.executable, *RUN, *arguments],
            cwd=place,
            env=common | {"RANK": str(rank), "LOCAL_RANK": str(rank), "PYTHONPATH": str(Path.cwd())},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank, place in enumerate(places)
    ]


def read_record(store: Path, name: str) -> Record:
    return Record.model_validate_json(without_checksum((store / "single" / name / "run.json").read_bytes())[0])


@pytest.fixture
def store(text_store, tmp_path) -> Path:
    shutil.copytree(text_store / "stages" / "train_text", tmp_path / "runs" / "stages" / "train_text")
    return tmp_path / "runs"


@pytest.mark.slow  # in the default tier test_ranks_agree trains on launched ranks
def test_two_processes_train_one_run_which_the_first_one_records_and_prints(store):
    first, second = launch([store.parent] * 2, "--run-id", "both", "--format", "json")
    said, other = first.communicate(timeout=300), second.communicate(timeout=300)
    assert (first.returncode, second.returncode) == (0, 0), said[1] + other[1]
    record = read_record(store, "both")
    assert (record.status, record.num_ranks) == ("done", 2)
    assert json.loads(said[0])["run_id"] == "both"
    assert "train " in said[1]
    assert other == ("", "")


@pytest.mark.slow
def test_torchrun_starts_one_run_on_all_processes(store):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", *RUN]
    variables = os.environ | {"PYTHONPATH": str(Path.cwd())}
    done = subprocess.run(
        [*command, "--run-id", "both"], cwd=store.parent, env=variables, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert read_record(store, "both").num_ranks == 2
    assert done.stdout.count("val_bpb") == 1
    again = subprocess.run(
        [*command, "--run-id", "both", "--set", "seed=9"], cwd=store.parent, env=variables, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert again.stderr.count("belongs to another recipe; choose another --run-id") == 1


@pytest.mark.slow
def test_a_rank_that_does_not_see_the_store_ends_every_rank_with_the_reason(store, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    ends = launch([store.parent, elsewhere], "--run-id", "both")
    said = [end.communicate(timeout=300) for end in ends]
    assert [end.returncode for end in ends] == [2, 2], said
    assert "rank 1 of this launch does not see the store of the first rank" in said[0][1]
    assert said[1][1] == ""


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"WORLD_SIZE": "2", "RANK": "1"}, "LOCAL_RANK, MASTER_ADDR, MASTER_PORT is not set; start with torchrun"),
        ({"WORLD_SIZE": "two"}, "must be whole numbers: invalid literal for int() with base 10: 'two'"),
        (
            {"WORLD_SIZE": "2", "RANK": "2", "LOCAL_RANK": "0", "MASTER_ADDR": "::1", "MASTER_PORT": "1"},
            "RANK = 2 in the environment is not among 0 to 1",
        ),
    ],
)
def test_variables_of_a_launch_that_do_not_fit_are_named(variables, said, tmp_path, monkeypatch):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert said in str(trainer("run", "tiny", "--store", tmp_path).exception)


def test_one_process_of_a_launcher_trains_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "1")
    monkeypatch.setenv("RANK", "0")
    from trainer.ranks import Ranks

    assert Ranks.launched().size == 1
