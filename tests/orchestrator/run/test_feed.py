"""Which runs are handed out: the shared stage first, and nobody is sent to wait while other work is left."""

import itertools
import threading
from unittest.mock import MagicMock, patch

import pytest

from orchestrator.run.feed import Feed
from orchestrator.run.on_ray import submit_first
from orchestrator.search.run_queue import FINISHED, WAIT
from orchestrator.sweep.open_queue import queue_of
from orchestrator.sweep.sweep import open_sweep
from tests.orchestrator.spaces import space_of
from tests.outcomes import stage_outcome
from trainer.stages.run_record import RunRequest, adopt, fingerprints_of, keep_record
from trainer.store.local import StageStore

MIXED = """
name: mixed
preset: tiny
seeds: [1]
parameters:
  optimizer.muon.lr: {values: [0.01, 0.02]}
  ttt.mode: {value: score_first}
  ttt.lr: {values: [0.001, 0.002, 0.004]}
compare: {baseline: {optimizer.muon.lr: 0.01, ttt.mode: off}}
"""
METRICS = {"val_bpb": 2.0, "val_loss": 3.0, "eval_s": 1.0, "legal": True, "model_bytes": 1}


class Bench:
    """A sweep over a store whose stages 'compute' by being published."""

    def __init__(self, folder, text=MIXED, **overrides):
        self.store = StageStore(folder / "runs")
        self.sweep = open_sweep(folder / "runs", space_of(folder, text, overrides=overrides))
        self.queue = queue_of(self.sweep)
        self.feed = Feed(self.sweep, self.queue, self.store, 1)

    def stages(self, request: RunRequest) -> dict[str, str]:
        return fingerprints_of(request.load_recipe(), 1)

    def compute(self, request: RunRequest, *stages: str) -> None:
        for stage, fingerprint in self.stages(request).items():
            if (not stages or stage in stages) and self.store.find(stage, fingerprint) is None:
                with self.store.writing(stage, fingerprint) as aside:
                    self.store.publish(aside, stage_outcome(stage, fingerprint, metrics=METRICS))

    def finish(self, request: RunRequest) -> None:
        self.compute(request)
        keep_record(request, adopt(request, self.store, 1))
        self.feed.ended(request.run_id)


@pytest.fixture
def bench(tmp_path) -> Bench:
    made = Bench(tmp_path)
    first = made.feed.next()
    made.compute(first, "train_text", "val_text")
    made.feed.ended(first.run_id)  # interrupted after the text was prepared
    made.queue = queue_of(made.sweep)
    made.feed = Feed(made.sweep, made.queue, made.store, 1)
    return made


def raised() -> threading.Event:
    event = threading.Event()
    event.set()
    return event


def test_two_slots_train_two_models_before_anybody_waits(bench):
    first, second = bench.feed.next(), bench.feed.next()
    assert bench.stages(first)["train"] != bench.stages(second)["train"]
    assert bench.feed.next() is WAIT


def test_runs_whose_stages_are_warm_fill_the_slots_while_others_train(bench):
    first, training = bench.feed.next(), bench.feed.next()
    bench.finish(first)
    warm = [bench.feed.next() for _ in range(3)]
    assert {bench.stages(run)["train"] for run in warm if isinstance(run, RunRequest)} == {bench.stages(first)["train"]}
    assert bench.stages(first)["train"] != bench.stages(training)["train"]


def test_the_stage_that_most_runs_share_comes_first(tmp_path):
    lonely = MIXED.replace(
        "compare: {baseline: {optimizer.muon.lr: 0.01", "compare: {baseline: {optimizer.muon.lr: 0.5"
    )
    made = Bench(tmp_path, lonely)
    first = made.feed.next()
    made.compute(first, "train_text", "val_text")
    made.feed.ended(first.run_id)
    feed = Feed(made.sweep, queue_of(made.sweep), made.store, 1)
    assert feed.next().load_recipe().optimizer.muon.lr == 0.01


def test_every_run_is_handed_out_once_and_the_sweep_ends(bench):
    handed, out = [], []
    while (request := bench.feed.next()) is not FINISHED:
        if request is WAIT:
            bench.finish(out.pop(0))
            continue
        handed.append(request.run_id)
        out.append(request)
    assert len(handed) == len(set(handed)) == 7 == bench.queue.total_runs
    assert bench.feed.is_finished()


def test_a_run_whose_stages_are_all_stored_is_finished_by_reading(bench):
    request = bench.feed.next()
    bench.compute(request)
    again = Feed(bench.sweep, queue_of(bench.sweep), bench.store, 1)
    assert again.next().run_id != request.run_id
    assert bench.sweep.record(request.run_id).stages_run == ()


def test_an_interrupted_run_blocks_nobody_and_leaves_no_record(bench):
    first = bench.feed.next()
    assert bench.feed.ended(first.run_id) is None
    assert isinstance(bench.feed.next(), RunRequest)
    assert bench.sweep.record(first.run_id) is None


def test_a_lost_run_is_a_failed_row_with_the_reason(bench):
    request = bench.feed.next()
    assert bench.feed.ended(request.run_id, "its group died").error == "its group died"
    assert bench.sweep.record(request.run_id).status == "failed"


def test_a_trial_that_tune_gives_up_leaves_no_failed_run_and_its_run_is_resumed(bench):
    from orchestrator.run.tuner import FeedSearcher  # late: loads Ray

    tune = FeedSearcher(bench.feed, MagicMock(), "board", threading.Event())
    given_up = tune.suggest("trial")["request"]["run_id"]
    tune.on_trial_complete("trial", error=True)
    assert bench.sweep.records() == {}
    again = Feed(bench.sweep, queue_of(bench.sweep), bench.store, 1)
    assert again.next().run_id == given_up


def test_the_first_run_is_on_the_board_before_tune_starts_and_tune_gets_it_once(bench):
    from orchestrator.run.tuner import FeedSearcher  # late: loads Ray

    stop, board = threading.Event(), MagicMock()
    with patch("orchestrator.run.on_ray.answer_before"):
        first = submit_first(bench.feed, board, stop)
    board.submit.remote.assert_called_once_with(first)
    tune = FeedSearcher(bench.feed, MagicMock(), "board", stop, first)
    handed = [tune.suggest(trial)["request"]["run_id"] for trial in ("first", "second")]
    assert handed[0] == first.run_id != handed[1]


def test_no_run_is_begun_where_the_sweep_stops_before_it(bench):
    assert submit_first(bench.feed, MagicMock(), raised()) is None


def test_once_the_sweep_stops_tune_gets_no_more_runs(bench):
    """Else its wait for the next trial outlasts a SIGTERM by ten minutes."""
    from orchestrator.run.tuner import FeedSearcher  # late: loads Ray

    stop = threading.Event()
    tune = FeedSearcher(bench.feed, MagicMock(), "board", stop)
    stop.set()
    assert tune.suggest("trial") == FeedSearcher.FINISHED


def test_a_finished_run_without_a_record_here_stops_the_sweep_and_names_the_machine(bench, monkeypatch):
    monkeypatch.setattr("orchestrator.run.feed.RECORD_WITHIN_S", 0.0)
    request, stop = bench.feed.next(), threading.Event()
    assert bench.feed.ended(request.run_id, "", "beta", stop) is None
    assert stop.is_set()
    assert f"run {request.run_id} is finished on machine beta, but its record is not in the store" in bench.feed.unseen
    assert "or a bucket" in bench.feed.unseen


def test_a_record_that_a_network_file_system_shows_late_is_waited_for(bench):
    request, stop = bench.feed.next(), threading.Event()
    bench.compute(request)
    late = threading.Timer(0.1, keep_record, [request, adopt(request, bench.store, 1)])
    late.start()
    assert bench.feed.ended(request.run_id, "", "beta", stop).run_id == request.run_id
    assert (stop.is_set(), bench.feed.unseen) == (False, "")


def test_under_a_wall_clock_the_stages_of_the_slots_machines_are_recognised_on_a_head_that_is_none(tmp_path):
    place, clock = "8x NVIDIA H100; 8 ranks; python 3.11", {"budget.train_s": 600.0}
    on_head = Bench(tmp_path, **clock)
    request = on_head.feed.next()
    for stage, key in fingerprints_of(request.load_recipe(), 8, place).items():
        with on_head.store.writing(stage, key) as aside:
            on_head.store.publish(aside, stage_outcome(stage, key, metrics=METRICS))
    again = Feed(on_head.sweep, queue_of(on_head.sweep), on_head.store, 1)
    assert not again.is_finished()
    again.compute_on(8, place)
    assert again.next().run_id != request.run_id
    assert on_head.sweep.record(request.run_id).num_ranks == 8


def test_on_many_slots_runs_behind_those_that_share_a_training_are_found(tmp_path):
    """With 32 runs to choose from, at most the trainings of these were under way, however many slots there were."""
    rates = ", ".join(f"{rate / 1000:g}" for rate in range(1, 23))
    bench = Bench(tmp_path, MIXED.replace("values: [0.01, 0.02]", f"values: [{rates}]"))
    bench.compute(bench.feed.next(), "train_text", "val_text")
    handed = [1]
    for slots in (1, 20):
        bench.feed.serve(slots)
        handed.append(len(list(itertools.takewhile(lambda item: item is not WAIT, iter(bench.feed.next, None)))))
    assert handed == [1, 15, 4]
