"""What a sweep says before it starts: runs, stages, the first score, what its seeds detect."""

from dataclasses import replace

from orchestrator.plan.detectable_effect import evidence_lines
from orchestrator.plan.estimate import plan_here
from orchestrator.plan.forecast import forecast_lines
from orchestrator.space.configuration import baseline_of
from results.verdicts.seed_ledger import Ledger
from tests.orchestrator.spaces import space_of

SPACE = """
name: small
preset: tiny
seeds: [1, 2, 3]
parameters: {ttt.lr: {values: [1e-3, 2e-3]}, ttt.mode: {value: score_first}}
compare: {baseline: {ttt.mode: off}}
"""


def test_whoever_starts_a_sweep_is_told_what_will_happen_and_when(tmp_path):
    planned = plan_here(space_of(tmp_path, SPACE), 2, None, tmp_path / "runs")
    runs, times, detected = forecast_lines(planned, "orchestrator status small --store elsewhere")
    assert runs.startswith("9 runs, 2 at a time; stages that runs share are computed once: 1x train_text (")
    assert ", 3x train (16 s), " in runs
    assert "6x adapt (" in runs
    assert times.startswith("first score expected in about 4")
    assert times.endswith("from another terminal: orchestrator status small --store elsewhere")
    assert detected.startswith("3 seeds detect a gain of 0.0")


def test_what_nobody_knows_is_said_and_nothing_is_said_of_nothing(tmp_path):
    planned = plan_here(space_of(tmp_path, SPACE), 1, None, tmp_path / "runs")
    unknown = replace(planned, stages=tuple(replace(stage, seconds_each=None) for stage in planned.stages))
    assert forecast_lines(unknown, "small")[1] == "how long it takes is not known yet: the first run measures it"
    assert "9 runs, one after another" in forecast_lines(unknown, "small")[0]
    assert forecast_lines(replace(planned, runs=()), "small") == []


def test_seeds_that_can_give_no_verdict_are_named_before_anything_runs(tmp_path):
    space, ledger = space_of(tmp_path, SPACE), Ledger(tmp_path / "runs")
    baseline = baseline_of(space).id
    ledger.declare("earlier", baseline, [1, 2, 3, 4])
    for seed in (1, 2, 3, 4):
        ledger.start("earlier", baseline, seed)
        ledger.end("earlier", baseline, seed, "done")
    planned = plan_here(space, 2, None, tmp_path / "runs")
    wanted = "no verdict can be given on the baseline: it has run on seeds 1, 2, 3, 4, of which this sweep would count"
    assert any(wanted in line for line in forecast_lines(planned, "status"))
    assert planned.evidence is not None
    assert any(wanted in line for line in evidence_lines(planned.evidence))
    others = plan_here(space_of(tmp_path, SPACE, seeds=[5, 6]), 2, None, tmp_path / "runs")
    assert not any("no verdict" in line for line in forecast_lines(others, "status"))
