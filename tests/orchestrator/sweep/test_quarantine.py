"""A machine that fails is quarantined by name; its runs are repeated elsewhere and never averaged in."""

import itertools
import json
import shutil
import uuid
from importlib.metadata import version

import pytest

from orchestrator.analysis.summary import machines_say
from orchestrator.analysis.sweep_table import rows_of, table_of
from orchestrator.run.feed import Feed
from orchestrator.search.run_queue import FINISHED
from orchestrator.sweep.machine_check import Complaint
from orchestrator.sweep.open_queue import queue_of
from orchestrator.sweep.quarantine import Quarantine, trust_machine
from orchestrator.sweep.sweep import find_sweep, open_sweep
from results.rows.machines import quarantined, read_machines
from results.rows.tables import handling_lines
from tests.orchestrator.spaces import space_of
from tests.outcomes import stage_outcome
from trainer.spec.errors import UserError
from trainer.spec.record import StageOutcome
from trainer.stages.run_record import RunRequest, fingerprints_of, keep_record, make_record
from trainer.store.bucket import Bucket
from trainer.store.local import StageStore
from trainer.store.mirror import make_mirror

SPACE = """
name: guarded
preset: tiny
seeds: [1, 2]
parameters: {ttt.mode: {value: score_first}, ttt.epochs: {values: [1, 2]}}
compare: {baseline: {ttt.mode: off}}
guard: {min_speed: 0.8}
"""
CLOCK = itertools.count()
FACTS = {"torch": "2.13.0", "attention": "sdpa"}


class Cluster:
    """A sweep whose runs end on machines of our choice, as slots would leave their records."""

    def __init__(self, folder):
        self.store = StageStore(folder / "runs")
        self.sweep = open_sweep(self.store.root, space_of(folder, SPACE))
        self.sweep.record_path("any").parent.mkdir(exist_ok=True)
        self.restart()

    def restart(self) -> None:
        self.queue = queue_of(self.sweep)
        self.feed = Feed(self.sweep, self.queue, self.store, 1)

    def run(self, machine: str, tokens_per_s: float = 1000.0, **facts: str) -> str:
        """The next run computes what is missing on this machine, and ends; returns its name."""
        return self.end(self.feed.next(), machine, tokens_per_s, **facts)

    def end(self, request: RunRequest, machine: str, tokens_per_s: float = 1000.0, **facts: str) -> str:
        self.leave_record(request, machine, tokens_per_s, **facts)
        self.feed.ended(request.run_id)
        return request.run_id

    def finish(self, machine: str) -> None:
        """Whatever is left runs on this machine."""
        while (request := self.feed.next()) is not FINISHED:
            self.end(request, machine)

    def leave_record(self, request: RunRequest, machine: str, tokens_per_s: float = 1000.0, **facts: str) -> None:
        recipe = request.load_recipe()
        stages, mine = {}, []
        for stage, fingerprint in fingerprints_of(recipe, 1).items():
            if (outcome := self.store.find(stage, fingerprint)) is None:
                outcome = self.compute(stage, fingerprint, machine, tokens_per_s)
                mine.append(stage)
            stages[stage] = outcome
        here = FACTS | {"name": machine} | facts
        record = make_record(request, recipe, stages, mine, "", 1, machine=here)
        keep_record(request, record)

    def compute(
        self, stage: str, fingerprint: str, machine: str, tokens_per_s: float, started_at: str = ""
    ) -> StageOutcome:
        started_at = started_at or f"9999-{next(CLOCK):06}"
        metrics = {"tokens_per_s": tokens_per_s, "model_bytes": 1000, "val_bpb": 2.0, "legal": True, "eval_s": 1.0}
        with self.store.writing(stage, fingerprint) as aside:
            (aside / "weights").write_bytes(b"1")
            outcome = stage_outcome(
                stage, fingerprint, started_at=started_at, metrics=metrics, workload="w", host=machine
            )
            return self.store.publish(aside, outcome)

    @property
    def recorded(self) -> set[str]:
        return set(self.sweep.records())


@pytest.fixture
def cluster(tmp_path) -> Cluster:
    return Cluster(tmp_path)


def test_a_machine_with_other_versions_is_quarantined_and_its_run_comes_again(cluster):
    first = cluster.run("alpha")
    bad = cluster.run("beta", torch="2.12.0")
    assert quarantined(cluster.sweep.folder) == {"beta": "torch = 2.12.0, but 2.13.0 on alpha"}
    assert cluster.recorded == {first}
    assert cluster.feed.take_repeated() == [bad]
    cluster.finish("alpha")
    assert bad in cluster.recorded
    assert len(cluster.recorded) == 6


def test_what_is_set_aside_here_is_no_record_on_other_machines_either(tmp_path):
    bucket = Bucket(f"memory://{uuid.uuid4().hex}/runs")
    for name in ("runs", "elsewhere"):
        make_mirror(tmp_path / name, bucket)
    cluster = Cluster(tmp_path)
    first = cluster.run("alpha")
    request = cluster.feed.next()
    cluster.leave_record(request, "beta", torch="2.12.0")
    assert find_sweep(tmp_path / "elsewhere", "guarded").records().keys() == {first, request.run_id}
    cluster.feed.ended(request.run_id)
    assert find_sweep(tmp_path / "elsewhere", "guarded").records().keys() == {first}


def test_what_a_quarantined_machine_computed_leaves_the_store_and_counts_in_no_mean(cluster):
    cluster.run("alpha")
    bad = cluster.run("beta", torch="2.12.0")
    aside = json.loads(next((cluster.sweep.folder / "drifted").glob(f"{bad}-*.json")).read_text())
    for stage in aside["stages_run"]:
        assert cluster.store.find(stage, aside["stages"][stage]["fingerprint"]) is None
    frame = rows_of(cluster.sweep)
    assert sorted(frame["status"]) == ["done", "drifted"]
    assert frame.loc[frame["status"] == "drifted", "val_bpb"].isna().all()
    assert any(line.startswith("drifted rows (never averaged in") for line in handling_lines(frame))
    assert table_of(cluster.sweep, frame)["n"].max() == 1
    assert machines_say(cluster.sweep) == [
        "machine beta is quarantined, its runs are repeated elsewhere: torch = 2.12.0, but 2.13.0 on alpha"
    ]


def test_a_finished_sweep_with_a_drifted_run_has_the_undisturbed_table(cluster, tmp_path):
    (tmp_path / "calm").mkdir()
    calm = Cluster(tmp_path / "calm")
    calm.finish("alpha")
    cluster.run("alpha")
    cluster.run("beta", attention="flash_attention_3")
    cluster.finish("alpha")
    tables = [table_of(made.sweep, rows_of(made.sweep))[["config", "n", "mean", "failed"]] for made in (calm, cluster)]
    assert tables[0].equals(tables[1])


def test_when_the_odd_machine_came_first_the_driver_tells_which_one_it_is(cluster):
    odd = cluster.run("beta", torch="0.0.1")
    standing = cluster.run("alpha", torch=version("torch"))  # on the text that the other one prepared
    assert quarantined(cluster.sweep.folder) == {"beta": f"torch = 0.0.1, but {version('torch')} on alpha"}
    assert cluster.feed.take_repeated() == [odd, standing]
    assert cluster.recorded == set()


def test_a_machine_that_changed_in_place_is_quarantined_and_the_earlier_runs_stay(cluster):
    kept = cluster.run("alpha", torch="0.0.1")
    cluster.run("alpha", torch=version("torch"))
    assert list(quarantined(cluster.sweep.folder)) == ["alpha"]
    assert cluster.recorded == {kept}


def test_a_slow_machine_is_quarantined_even_when_it_came_first(cluster):
    slow = cluster.run("slow", 100.0)
    resting = cluster.run("fast", 1000.0)  # another seed, trained here: now the first is known to be slow
    assert list(quarantined(cluster.sweep.folder)) == ["slow"]
    assert cluster.recorded == {resting}
    assert "0.10 of machine fast" in quarantined(cluster.sweep.folder)["slow"]
    text = cluster.sweep.record(resting).stages["train_text"].fingerprint
    assert cluster.store.find("train_text", text) is not None  # being slow says nothing against its text
    assert cluster.feed.take_repeated() == [slow]


def test_a_run_that_stood_on_a_stage_of_a_machine_quarantined_later_is_repeated(cluster):
    first = cluster.run("slow", 100.0)
    training = cluster.feed.next()  # the other seed, still at work
    standing = cluster.run("fast")  # scores what the slow machine trained
    assert cluster.recorded == {first, standing}
    kept = cluster.end(training, "fast", 1000.0)
    assert cluster.recorded == {kept}
    assert sorted(cluster.feed.take_repeated()) == sorted([first, standing])
    cluster.finish("fast")
    assert {record.stages["train"].host for record in cluster.sweep.records().values()} == {"fast"}


def test_a_crash_before_the_judgement_is_repaired_by_the_next_driver(cluster):
    cluster.run("alpha")
    request = cluster.feed.next()
    cluster.leave_record(request, "beta", torch="2.12.0")
    bad = request.run_id
    assert bad in cluster.recorded
    cluster.restart()
    assert bad not in cluster.recorded
    assert list(cluster.feed.quarantined) == ["beta"]
    assert cluster.feed.take_repeated() == []  # no board knows of it: it may be handed out before the next run ends


@pytest.mark.parametrize("kept", ["record", "record and stages"])
def test_a_kill_while_a_record_is_set_aside_loses_nothing_and_doubles_nothing(cluster, tmp_path, kept):
    """Killed before the record was taken away; or already after the note, so that the stages are there too."""
    cluster.run("alpha")
    request = cluster.feed.next()
    cluster.leave_record(request, "beta", torch="2.12.0")
    shutil.copytree(cluster.store.root, tmp_path / "before")
    cluster.feed.ended(request.run_id)
    path = cluster.sweep.record_path(request.run_id)
    shutil.copy(tmp_path / "before" / path.relative_to(cluster.store.root), path)
    if kept == "record and stages":
        shutil.copytree(tmp_path / "before" / "stages", cluster.store.root / "stages", dirs_exist_ok=True)
        shutil.rmtree(cluster.sweep.folder / "drifted")
    cluster.restart()
    assert request.run_id not in cluster.recorded
    assert len(list((cluster.sweep.folder / "drifted").glob("*.json"))) == 1
    cluster.finish("alpha")
    assert {stage.host for record in cluster.sweep.records().values() for stage in record.stages.values()} == {"alpha"}
    assert len(cluster.recorded) == 6


def test_a_run_that_was_finished_by_reading_is_repeated_when_its_stages_turn_out_to_be_drifted(cluster):
    first = cluster.run("slow", 100.0)
    training = cluster.feed.next()
    for stage, fingerprint in fingerprints_of((scoring := cluster.feed.next()).load_recipe(), 1).items():
        if cluster.store.find(stage, fingerprint) is None:  # all of it, but killed before the record
            cluster.compute(stage, fingerprint, "slow", 100.0)
    cluster.restart()
    again = cluster.feed.next()
    assert (again, cluster.recorded) == (training, {first, scoring.run_id})
    cluster.end(again, "fast")
    assert cluster.recorded == {training.run_id}


def test_a_stage_that_a_quarantined_machine_finished_in_a_run_without_a_record_is_computed_again(cluster):
    cluster.run("alpha")
    cluster.run("beta", torch="2.12.0")
    training = cluster.feed.next()  # beta was already at it when it was quarantined, and was stopped after the text
    text, train = list(fingerprints_of(training.load_recipe(), 1).items())[:3:2]
    cluster.compute(*train, "beta", 1000.0)
    standing = cluster.end(training, "alpha")
    assert cluster.feed.take_repeated()[-1] == standing
    assert standing not in cluster.recorded
    assert (cluster.store.find(*train), cluster.store.find(*text).host) == (None, "alpha")
    cluster.finish("alpha")
    assert {stage.host for record in cluster.sweep.records().values() for stage in record.stages.values()} == {"alpha"}


def test_what_a_quarantined_machine_computed_before_the_sweep_was_created_stays(cluster):
    cluster.run("alpha")
    cluster.run("beta", torch="2.12.0")
    training = cluster.feed.next()
    train = list(fingerprints_of(training.load_recipe(), 1).items())[2]
    cluster.compute(*train, "beta", 1000.0, started_at="2020-01-01T00:00:00+00:00")
    assert cluster.end(training, "alpha") in cluster.recorded


def test_an_inspection_decides_and_writes_nothing(cluster):
    cluster.run("alpha")
    request = cluster.feed.next()
    cluster.leave_record(request, "beta", torch="2.12.0")
    record, before = cluster.sweep.record(request.run_id), sorted(cluster.store.root.rglob("*"))
    quarantine = Quarantine(cluster.sweep, cluster.store, None)
    for run_id, other in cluster.sweep.records().items():
        decision = quarantine.inspect(run_id, other)
    assert decision.quarantined == {"beta": Complaint("torch = 2.12.0, but 2.13.0 on alpha")}
    assert decision.repeated == [request.run_id]
    assert {stage for stage, *_ in decision.set_aside[0].tainted} == set(record.stages_run)
    assert sorted(cluster.store.root.rglob("*")) == before


def test_a_trusted_machine_counts_again(cluster):
    cluster.run("alpha")
    cluster.run("beta", torch="2.12.0")
    with pytest.raises(UserError, match="did you mean 'beta'"):
        trust_machine(cluster.sweep, "bata")
    trust_machine(cluster.sweep, "beta")
    cluster.restart()
    kept = cluster.run("beta", torch="2.12.0")
    assert kept in cluster.recorded
    assert dict(cluster.feed.quarantined) == {}
    assert "machine beta differs: torch = 2.12.0, elsewhere 2.13.0" in machines_say(cluster.sweep)


def test_every_machine_is_reported_with_its_runs_and_speed(cluster):
    cluster.run("alpha", 1000.0)
    cluster.run("beta", 900.0)
    facts = read_machines(cluster.sweep.folder).set_index("machine")
    assert facts["runs"].to_dict() == {"alpha": 1, "beta": 1}
    assert facts["tokens_per_s"].to_dict() == {"alpha": 1000.0, "beta": 900.0}
