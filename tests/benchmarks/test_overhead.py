"""What the machinery costs beside the work, through Tune, board and warm slots, against stock Ray Tune and Ray Train.

Both sides of every ratio are measured in the same process on the same Ray.
"""

import itertools
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest

from orchestrator.search.run_queue import FINISHED, Pause
from tests.trainer.stages.conftest import run, small
from trainer.stages.run_record import RunRequest
from trainer.store.local import StageStore

pytestmark = pytest.mark.bench
HALF_SECOND = 0.5


class Runs:
    """A feed of runs that are all to be executed, and when each was asked for and ended."""

    def __init__(self, folder: Path, count: int):
        recipe = small()
        names = [f"run{number}" for number in range(count)]
        self._left = iter([RunRequest.of(name, "tiny", recipe, folder / f"{name}.json") for name in names])
        self.ends_s: list[float] = []

    def next(self) -> RunRequest | Pause:
        return next(self._left, FINISHED)

    def ended(self, run_id: str, lost: str = "", finished_on: str = "", stop: threading.Event | None = None) -> None:
        assert not lost
        self.ends_s.append(time.monotonic())

    def take_repeated(self) -> list[str]:
        return []  # no machine is quarantined here


def sleep_half_a_second(request: RunRequest, **hooks: Any) -> None:
    """Stands for half a second of work on an accelerator: it takes no processor here."""
    time.sleep(HALF_SECOND)


@contextmanager
def slots(count: int, work: Any) -> Iterator[Any]:
    """A function that sends a feed through Tune to `count` warm slots."""
    import ray

    from orchestrator.run.board import Board
    from orchestrator.run.on_ray import BOARD
    from orchestrator.run.tuner import run_trials
    from trainer.worker_group import serve

    scratch = Path(tempfile.mkdtemp())
    board = ray.remote(Board).options(**BOARD, name=str(scratch)).remote(count)
    threads = [threading.Thread(target=serve, args=(board, n, work, scratch, 1, False)) for n in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield lambda feed: run_trials(feed, (), board, str(scratch), count + 1, scratch, threading.Event())
    finally:
        ray.get(board.close.remote())
        for thread in threads:
            thread.join()


@pytest.fixture(scope="module", autouse=True)
def ray_() -> Iterator[None]:
    from orchestrator.run.ray_session import ray_session

    with ray_session(None):
        import ray  # after its settings are made

        ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import a file of tests
        yield


def stock_s_per_trial(folder: Path, trials: int = 3) -> float:
    """Seconds per trial of Ray Tune starting a Ray Train worker group that does nothing, as the manual has it."""
    from ray import train, tune
    from ray.train.torch import TorchTrainer

    def nothing() -> None: ...

    def trial(config: dict[str, int]) -> None:
        TorchTrainer(
            nothing,
            scaling_config=train.ScalingConfig(num_workers=1),
            run_config=train.RunConfig(name=f"trial{config['number']}", storage_path=str(folder)),
        ).fit()
        tune.report({"number": config["number"]})

    started_s = time.monotonic()
    tune.Tuner(
        tune.with_resources(trial, {"memory": 1_000_000}),
        param_space={"number": tune.grid_search(list(range(trials)))},
        tune_config=tune.TuneConfig(max_concurrent_trials=1),
        run_config=tune.RunConfig(name="stock", storage_path=str(folder), verbose=0),
    ).fit()
    return (time.monotonic() - started_s) / trials


def test_fixed_cost_of_one_more_run_in_a_warm_slot(tmp_path):
    assert run(tmp_path / "store", small(), "first").status == "done"
    from trainer.stages.pipeline import run_pipeline

    feed = Runs(tmp_path / "records", 201)
    with slots(1, partial(run_pipeline, store=StageStore(tmp_path / "store"))) as send:
        send(feed)
    assert len(list((tmp_path / "records").glob("*.json"))) == 201
    gaps_s = sorted(after - before for before, after in itertools.pairwise(feed.ends_s))
    ours_s = (feed.ends_s[-1] - feed.ends_s[0]) / 200
    stock_s = stock_s_per_trial(tmp_path / "stock")
    print(
        f"\n| one more run, all stages stored | mean {ours_s:.3f} s, median {gaps_s[100]:.3f}, p99 {gaps_s[197]:.3f} |"
        f"\n| stock Tune + TorchTrainer, no-op trial | {stock_s:.1f} s |"
        f"\n| ratio | {stock_s / ours_s:.0f} |"
    )
    assert ours_s <= 0.15
    assert stock_s / ours_s >= 100


def test_500_half_second_runs_on_two_slots(tmp_path):
    feed = Runs(tmp_path, 500)
    before_bytes = psutil.Process().memory_info().rss
    started_s = time.monotonic()
    with slots(2, sleep_half_a_second) as send:
        send(feed)
    whole_s = time.monotonic() - started_s
    warm_s = feed.ends_s[-1] - feed.ends_s[0] + HALF_SECOND
    grown = psutil.Process().memory_info().rss - before_bytes
    ideal_s = 500 * HALF_SECOND / 2
    print(
        f"\n| 500 half-second runs, 2 slots | {whole_s:.1f} s, {whole_s / ideal_s:.3f} of the work per slot |"
        f"\n| of which from the first end to the last | {warm_s:.1f} s, {warm_s / ideal_s:.3f} |"
        f"\n| growth of the driver | {grown / 2**20:.0f} MiB |"
    )
    assert whole_s <= 1.25 * ideal_s
    assert grown < 300 * 2**20
