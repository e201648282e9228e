"""One warm slot on a real local Ray: it does not grow, it stops on request, and what is killed is computed again."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
from safetensors.torch import load_file

from orchestrator.run.board_messages import RunStatus
from tests.trainer.stages.conftest import run, small
from trainer.spec.errors import StoreFull
from trainer.spec.recipe import Recipe
from trainer.stages.run_record import RunRequest, fingerprints_of
from trainer.store.local import StageStore

pytestmark = [pytest.mark.ray, pytest.mark.slow]
PATIENCE_S = 120
LONG = {"schedule__warmdown_steps": 10, "averaging__use": "none"}


class Slot:
    """A board, and a slot of one worker that serves it."""

    def __init__(self, folder: Path):
        import ray

        from orchestrator.run.board import Board
        from orchestrator.run.on_ray import BOARD
        from trainer.stages.pipeline import run_pipeline
        from trainer.worker_group import serve

        self.ray, self.folder = ray, folder
        self.store = folder / "store"
        self.board: Any = ray.remote(Board).options(**BOARD, name="board").remote(1)
        work = partial(run_pipeline, store=StageStore(self.store), snapshot_every_s=0.2)
        self.thread = threading.Thread(target=serve, args=(self.board, 0, work, folder / "scratch", 1, False))
        self.thread.start()

    def request(self, name: str, recipe: Recipe) -> RunRequest:
        return RunRequest.of(name, "tiny", recipe, self.folder / "records" / f"{name}.json")

    def ask(self, method: str, *arguments: Any) -> Any:
        return self.ray.get(getattr(self.board, method).remote(*arguments))

    def wait(self, request: RunRequest) -> RunStatus:
        end = time.monotonic() + PATIENCE_S
        while not (status := self.ask("wait", request, 1.0)).ended:
            assert time.monotonic() < end
        return status

    def wait_until_training(self, request: RunRequest) -> None:
        self.ask("submit", request)
        end = time.monotonic() + PATIENCE_S
        while not list(self.store.glob("stages/train/*.snapshot")):
            assert time.monotonic() < end
            time.sleep(0.02)

    def weights(self, recipe: Recipe) -> dict[str, Any]:
        fingerprint = fingerprints_of(recipe, 1)["train"]
        return load_file(self.store / "stages" / "train" / fingerprint / "last.safetensors")


def process_of(name: str) -> psutil.Process:
    """The one process of this session whose title says this, once others that were killed have ended."""
    end = time.monotonic() + PATIENCE_S
    while len(processes := [child for child in psutil.Process().children(recursive=True) if name in title(child)]) != 1:
        assert time.monotonic() < end, processes
        time.sleep(0.1)
    return processes[0]


def title(process: psutil.Process) -> str:
    """What a process calls itself; nothing for one that has just ended."""
    try:
        return " ".join(process.cmdline()[:1])
    except psutil.Error:
        return ""


@pytest.fixture(scope="module")
def slot(tmp_path_factory) -> Iterator[Slot]:
    from orchestrator.run.ray_session import ray_session

    folder = tmp_path_factory.mktemp("slot")
    assert run(folder / "store", small(), "first").status == "done"
    with ray_session(None):
        made = Slot(folder)
        yield made
        made.ask("close")
        made.thread.join(timeout=30)
        assert not made.thread.is_alive()


def test_a_worker_does_not_grow_over_200_runs(slot):
    def serve_runs(prefix: str, count: int) -> float:
        started_s = time.monotonic()
        requests = [slot.request(f"{prefix}{number}", small()) for number in range(count)]
        for request in requests:
            slot.ask("submit", request)
        for request in requests:
            slot.wait(request)
        return time.monotonic() - started_s

    serve_runs("warm", 10)
    worker = process_of("RayTrainWorker")
    before = worker.memory_info().rss
    took_s = serve_runs("run", 200)
    assert worker.memory_info().rss < 1.03 * before
    assert len(list((slot.folder / "records").glob("run*.json"))) == 200
    assert took_s / 200 < 0.15


def test_a_cancelled_run_frees_its_slot_within_a_second_and_leaves_no_record(slot):
    long = slot.request("cancelled", small(budget__train_steps=100_000, **LONG))
    slot.wait_until_training(long)
    started_s = time.monotonic()
    slot.ask("cancel", "cancelled")
    slot.wait(long)
    assert time.monotonic() - started_s < 1.0
    assert not Path(long.record_path).exists()
    for snapshot in slot.store.glob("stages/train/*.snapshot"):
        snapshot.unlink()


def test_a_killed_worker_is_replaced_and_the_run_ends_in_the_undisturbed_weights(slot):
    recipe = small(budget__train_steps=150, seed=7, **LONG)
    request = slot.request("killed", recipe)
    slot.wait_until_training(request)
    os.kill(process_of("RayTrainWorker").pid, signal.SIGKILL)
    assert slot.wait(request).lost == ""
    alone = slot.folder / "alone"
    (alone / "stages").mkdir(parents=True)
    (alone / "stages" / "train_text").symlink_to(slot.store / "stages" / "train_text")
    (alone / "stages" / "val_text").symlink_to(slot.store / "stages" / "val_text")
    run(alone, recipe, "alone")
    fingerprint = fingerprints_of(recipe, 1)["train"]
    undisturbed = load_file(alone / "stages" / "train" / fingerprint / "last.safetensors")
    assert all((value == undisturbed[name]).all() for name, value in slot.weights(recipe).items())
    assert StageStore(slot.store).find("train", fingerprint).metrics["continued_at_step"] > 0


def test_a_slot_whose_store_is_full_ends_the_sweep_and_blames_no_run(slot, tmp_path):
    def fill(request, **hooks):
        raise StoreFull("no room")

    from orchestrator.run.board import Board
    from trainer.worker_group import serve

    board = slot.ray.remote(Board).remote(1)
    request = slot.request("full", small())
    slot.ray.get(board.submit.remote(request))
    serve(board, 0, fill, tmp_path, 1, False)
    assert slot.ray.get(board.status.remote()).halted == "no room"
    assert slot.ray.get(board.wait.remote(request, 0.0)).lost == ""
    slot.ray.kill(board)


def test_a_killed_board_is_restarted_and_the_warm_slot_goes_on(slot):
    worker = process_of("RayTrainWorker")
    recipe = small(budget__train_steps=60, seed=8, **LONG)
    request = slot.request("forgotten", recipe)
    slot.wait_until_training(request)
    os.kill(process_of("Board").pid, signal.SIGKILL)
    slot.wait(request)
    later = slot.request("later", small())
    slot.wait(later)
    assert Path(request.record_path).exists()
    assert Path(later.record_path).exists()
    assert process_of("RayTrainWorker").pid == worker.pid
