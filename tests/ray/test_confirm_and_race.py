"""`confirm` and a race on a real local Ray, held against an inline sweep; a race survives its driver's end."""

import signal
import time
from dataclasses import replace

import pytest

from orchestrator.analysis.comparison import verdicts_of
from orchestrator.analysis.sweep_table import rows_of
from orchestrator.sweep.sweep import find_sweep
from tests.ray.test_road import Sweeps
from tests.same_rows import differences

RACE = """
name: race
description: Which rotary base, with seeds where they decide something?
preset: tiny
method: grid
seeds: [1, 2, 3]
parameters: {evaluation.stride_tokens: {values: [64, 128]}}
compare: {margin: 0.0, unit: bpb, alpha: 0.05}
stopping: {rule: race, first_look: 2}
"""
SMALL = ("budget.train_steps=10", "schedule.warmdown_steps=5", "averaging.use=none", "data.val_bytes=2000")


@pytest.fixture(scope="module")
def sweeps(tmp_path_factory) -> Sweeps:
    made = Sweeps(tmp_path_factory.mktemp("race"))
    (made.folder / "race.yaml").write_text(RACE)
    return made


def race(store: str, *options: str) -> tuple[str, ...]:
    return ("sweep", "race.yaml", "--store", store, *options, *(word for pair in SMALL for word in ("--set", pair)))


@pytest.fixture(scope="module")
def undisturbed(sweeps):
    code, out = sweeps.run(*race("inline", "--inline"))
    assert code == 0, out
    return find_sweep(sweeps.folder / "inline", "race")


def same_race(one, other) -> bool:
    verdicts = [
        [replace(verdict, settle="") for verdict in verdicts_of(sweep, rows_of(sweep))]  # it names the store
        for sweep in (one, other)
    ]
    return differences(*(rows_of(sweep) for sweep in (one, other))) == [] and verdicts[0] == verdicts[1]


@pytest.mark.slow
def test_a_race_that_was_interrupted_ends_in_the_same_verdict(sweeps, undisturbed):
    records = sweeps.folder / "stopped" / "sweeps" / "race" / "runs"
    driver = sweeps.start(*race("stopped", "--inline"))
    while driver.poll() is None and len(list(records.glob("*.json"))) < 3:
        time.sleep(0.05)
    driver.send_signal(signal.SIGINT)
    driver.communicate(timeout=60)
    assert driver.returncode == 130
    code, out = sweeps.run("resume", "race", "--store", "stopped", "--inline")
    assert code == 0, out
    assert same_race(find_sweep(sweeps.folder / "stopped", "race"), undisturbed)


@pytest.mark.ray
@pytest.mark.slow
def test_a_race_on_ray_is_the_inline_one_and_its_winner_is_confirmed_on_fresh_seeds(sweeps, undisturbed):
    code, out = sweeps.run(*race("ray"))
    assert code == 0, out
    raced = find_sweep(sweeps.folder / "ray", "race")
    assert same_race(raced, undisturbed)
    code, out = sweeps.run("confirm", "race", "--num-seeds", "2", "--store", "ray")
    assert code == 0, out
    confirmed = find_sweep(sweeps.folder / "ray", "race-confirm")
    assert not set(confirmed.space.seeds) & set(raced.space.seeds)
    assert len(confirmed.records()) == 4
    assert (
        "which only suggests: the attempts before it have spent alpha" in out
    )  # the race was the first attempt, and the only one that was declared
    assert "the choice was made on these very seeds" not in out
    (verdict,) = verdicts_of(confirmed, rows_of(confirmed))
    assert (verdict.test, verdict.n_candidate) == ("paired t-test", 2)
