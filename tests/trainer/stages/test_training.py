"""A training that is stopped, killed or handed a damaged snapshot ends in the weights of an undisturbed one."""

import multiprocessing
import time
from pathlib import Path

import pytest
import torch

from tests.fakes import HandClock
from tests.trainer.stages.conftest import fitted, run, small
from trainer.spec.recipe import Recipe
from trainer.stages.context import Interrupted, StageContext
from trainer.stages.run_record import fingerprints_of
from trainer.stages.train import begin, initial_model, train
from trainer.stages.training import SnapshotTimer, read_snapshot
from trainer.store.local import StageStore

RECIPES = {
    "swa": small(budget__train_steps=8),
    "ema": small(budget__train_steps=8, averaging__use="ema", averaging__ema_decay=0.5),
    "late quantisation": small(budget__train_steps=8, quantization__qat="late", quantization__qat_late_below=0.9),
    "late quantisation that fits": fitted(
        budget__train_steps=8, quantization__qat="late", quantization__qat_late_below=0.9
    ),
    "sequential": small(budget__train_steps=8, data__loader="sequential"),
}


class StopAfter:
    """Asks a run to stop once, at its n-th look in training."""

    def __init__(self, looks: int):
        self.left = looks

    def __call__(self) -> bool:
        self.left -= 1
        return self.left == 0


def context_of(store: Path, recipe: Recipe, **hooks: object) -> StageContext:
    return StageContext(recipe, "run", StageStore(store), fingerprints_of(recipe, 1), **hooks)  # type: ignore[arg-type]


def trained(store: Path, recipe: Recipe, name: str, **hooks: object) -> tuple[dict[str, bytes], dict]:
    """The files of a training, the clock's column left out, and its metrics."""
    folder = store / name
    folder.mkdir()
    (store / "stages" / "train").mkdir(exist_ok=True)
    metrics = train(context_of(store, recipe, **hooks), folder)
    left = {path.name: path.read_bytes() for path in folder.glob("*.safetensors")}
    left["curve"] = b"\n".join(line.rpartition(b",")[0] for line in (folder / "curve.csv").read_bytes().splitlines())
    return left, metrics


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_stopped_twice_and_continued_equals_undisturbed_bit_for_bit(fresh_store, recipe):
    store = fresh_store("stopped")
    undisturbed, _ = trained(fresh_store("undisturbed"), recipe, "out")
    for life, looks in enumerate((4, 3)):
        with pytest.raises(Interrupted):
            trained(store, recipe, f"life{life}", stopping=StopAfter(looks))
    left, metrics = trained(store, recipe, "last")
    assert metrics["continued_at_step"] == 5
    assert left == undisturbed


def run_slowly(store: Path) -> None:
    """Snapshots after every step, and dawdles from the first one on."""

    def dawdle() -> bool:
        if list(store.glob("stages/train/*.snapshot")):
            time.sleep(0.2)
        return False

    run(store, RECIPES["swa"], snapshot_every_s=0.0, stopping=dawdle)


def test_a_killed_training_goes_on_from_its_last_snapshot(fresh_store):
    undisturbed, _ = trained(fresh_store("undisturbed"), RECIPES["swa"], "out")
    store = fresh_store("killed")
    child = multiprocessing.get_context("spawn").Process(target=run_slowly, args=(store,))
    child.start()
    while not list(store.glob("stages/train/*.snapshot")):
        time.sleep(0.02)
        assert child.is_alive()
    child.kill()
    child.join()
    left, metrics = trained(store, RECIPES["swa"], "last")
    assert 0 < metrics["continued_at_step"] < 8
    assert left == undisturbed


class Ticking(HandClock):
    """A second passes at every look."""

    def __call__(self) -> float:
        self.advance(1.0)
        return self.now_s


def test_seconds_used_before_a_stop_count_against_the_budget(fresh_store):
    recipe = small(budget__train_steps=None, budget__train_s=10.0, schedule__warmdown_steps=1)
    undisturbed = trained(fresh_store("undisturbed"), recipe, "out", clock=Ticking())[1]
    store = fresh_store("stopped")
    with pytest.raises(Interrupted):
        trained(store, recipe, "first", clock=Ticking(), stopping=StopAfter(5))
    continued = trained(store, recipe, "last", clock=Ticking())[1]
    assert continued["continued_at_step"] == 4
    assert (continued["steps"], continued["train_s"]) == (undisturbed["steps"], undisturbed["train_s"])


@pytest.mark.parametrize("damage", ["truncated", "flipped"])
def test_a_damaged_snapshot_counts_as_none(fresh_store, damage):
    store = fresh_store(damage)
    with pytest.raises(Interrupted):
        trained(store, RECIPES["swa"], "first", stopping=StopAfter(4))
    (path,) = store.glob("stages/train/*.snapshot")
    content = bytearray(path.read_bytes())
    if damage == "truncated":
        del content[len(content) // 2 :]
    else:
        content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert read_snapshot(path) is None
    assert trained(store, RECIPES["swa"], "last")[1]["continued_at_step"] == 0


def test_a_snapshot_of_another_version_counts_as_none(fresh_store):
    store = fresh_store("older")
    with pytest.raises(Interrupted):
        trained(store, RECIPES["swa"], "first", stopping=StopAfter(4))
    (path,) = store.glob("stages/train/*.snapshot")
    torch.save(read_snapshot(path) | {"version": 1}, path)
    assert trained(store, RECIPES["swa"], "last")[1]["continued_at_step"] == 0


@pytest.mark.parametrize(
    ("left_s", "longest_s", "taken"), [(9.0, 0.0, 0), (11.0, 0.0, 1), (11.0, 6.0, 0), (13.0, 6.0, 1)]
)
def test_no_snapshot_is_begun_that_could_pass_the_budget(fresh_store, left_s, longest_s, taken):
    store = fresh_store("nearly-done")
    context = context_of(store, RECIPES["swa"])
    training = begin(context, initial_model(RECIPES["swa"], torch.device("cpu")))
    training.clock.elapsed_s = 61.0
    SnapshotTimer(60.0, taken_at_s=0.0, longest_s=longest_s)(store / "x.snapshot", training, left_s, HandClock())
    assert (store / "x.snapshot").exists() == taken


def test_a_published_stage_keeps_no_snapshot(fresh_store):
    store = fresh_store("published")
    record = run(store, small(), snapshot_every_s=0.0)
    assert record.status == "done"
    assert not list(store.glob("stages/train/*.snapshot"))
    assert not list(store.glob("stages/train/.*"))
