"""One rank and two, over gloo: the same recipe trains alike, the same artifact scores alike."""

import csv
import os
import shutil
import socket
from pathlib import Path

import pytest
import torch
import torch.multiprocessing as mp

from trainer.ranks import Ranks
from trainer.spec.checked_json import without_checksum
from trainer.spec.load import load_preset
from trainer.spec.recipe import Recipe
from trainer.spec.record import Record
from trainer.stages.pipeline import run_pipeline
from trainer.stages.run_record import RunRequest
from trainer.store.local import StageStore

pytestmark = pytest.mark.distributed
SMALL = {
    "budget.train_steps": 10,
    "schedule.warmdown_steps": 5,
    "averaging.use": "none",
    "data.val_bytes": 20_000,
    "data.train_seq_len": 64,
    "data.train_batch_tokens": 512,
    "data.micro_batches": 4,
    "evaluation.diagnose": False,
    "ttt.mode": "score_first",
    "ttt.chunk_tokens": 2048,
    "ttt.lr": 0.01,
}


def recipe(**changes: object) -> Recipe:
    return load_preset("tiny", SMALL | {key.replace("__", "."): value for key, value in changes.items()}).recipe


def go(rank: int, size: int, wanted: Recipe, store: str, name: str, port: int = 0) -> None:
    """One rank of a run. They meet over a file as in a slot, or with a port as processes of torchrun."""
    if port:
        here = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        numbers = here | {"RANK": rank, "WORLD_SIZE": size, "LOCAL_RANK": rank}
        os.environ.update({name: str(number) for name, number in numbers.items()})
    ranks = Ranks.launched() if port else Ranks.join(torch.device("cpu"), rank, size, Path(store) / f"meet-{name}")
    request = RunRequest.of(name, "tiny", wanted, Path(store) / f"{name}.json")
    run_pipeline(request, StageStore(Path(store)), ranks)
    ranks.leave()


def record_on(size: int, wanted: Recipe, store: Path, name: str, port: int = 0) -> Record:
    store.mkdir(parents=True, exist_ok=True)
    if size == 1:
        go(0, 1, wanted, str(store), name)
    else:
        mp.spawn(go, args=(size, wanted, str(store), name, port), nprocs=size)
    record = read_record(store / f"{name}.json")
    assert record.status == "done", record.error
    return record


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


def read_record(path: Path) -> Record:
    return Record.model_validate_json(without_checksum(path.read_bytes())[0])


def losses(store: Path, record: Record) -> list[float]:
    curve = StageStore(store).folder("train", record.stages["train"].fingerprint) / "curve.csv"
    with curve.open() as file:
        return [float(row["train_loss"]) for row in csv.DictReader(file)]


@pytest.fixture(scope="module")
def text(text_store, tmp_path_factory) -> Path:
    """A store with the text and one run of one rank."""
    store = store_with(text_store, tmp_path_factory.mktemp("one"), "train_text")
    record_on(1, recipe(), store, "one")
    return store


def store_with(text: Path, target: Path, *stages: str) -> Path:
    for stage in stages:
        shutil.copytree(text / "stages" / stage, target / "stages" / stage)
    return target


def test_the_same_artifact_scores_equal_on_one_and_two_ranks(text, tmp_path):
    one = read_record(text / "one.json")
    store = store_with(text, tmp_path, "train_text", "val_text", "train", "export")
    two = record_on(2, recipe(), store, "two")
    assert two.stages_run == ("evaluate", "adapt")
    assert two.metric("evaluate", "val_bpb") == pytest.approx(one.metric("evaluate", "val_bpb"), abs=1e-6)
    assert two.metric("adapt", "val_bpb") == pytest.approx(one.metric("adapt", "val_bpb"), abs=1e-5)
    assert one.metric("adapt", "val_bpb") != one.metric("evaluate", "val_bpb")


def test_training_on_two_ranks_as_torchrun_starts_them_follows_training_on_one(text, tmp_path):
    one = read_record(text / "one.json")
    wanted = recipe(quantization__method="gptq", quantization__calibration_batches=3)  # training does not read them
    two = record_on(2, wanted, store_with(text, tmp_path, "train_text", "val_text"), "two", port=free_port())
    assert two.metric("export", "calibration_s") > 0
    pairs = list(zip(losses(text, one), losses(tmp_path, two), strict=True))
    assert len(pairs) == 10
    assert max(abs(a - b) for a, b in pairs) < 1e-3


@pytest.mark.slow
def test_with_float32_newton_schulz_a_hundred_steps_agree(text, tmp_path):
    wanted = recipe(budget__train_steps=100, optimizer__muon__ns_dtype="float32", ttt__mode="off")
    stores = [store_with(text, tmp_path / str(size), "train_text", "val_text") for size in (1, 2)]
    curves = [losses(store, record_on(size, wanted, store, "run")) for size, store in zip((1, 2), stores, strict=True)]
    assert max(abs(a - b) for a, b in zip(*curves, strict=True)) < 1e-3
