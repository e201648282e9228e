"""The price before the run: counts that hold, what is cached, and no torch for it."""

import json
import re
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from orchestrator.plan.detectable_effect import evidence_lines, evidence_of, spread_of
from orchestrator.plan.estimate import make_plan, plan_here
from orchestrator.plan.makespan import INLINE_START_S, START_S, makespan_s
from orchestrator.plan.plan import Resources
from orchestrator.plan.table import plan_rows, plan_text, run_rows, runs_text
from orchestrator.space.configuration import baseline_of
from orchestrator.sweep.open_queue import queue_of
from orchestrator.sweep.sweep import open_sweep
from results.stats.power import Design, design_of, seeds_needed, upper_sd
from results.stats.t_tests import Block
from results.verdicts.preset_spreads import spread_of_preset
from results.verdicts.published_records import seed_sd_bpb
from tests.orchestrator.spaces import TEXTS, TTT, leave_runs, record_of, space_of
from tests.outcomes import stage_outcome
from trainer.spec.fingerprint import fingerprints, workload
from trainer.spec.load import load_preset
from trainer.store.local import StageStore

ROOT = Path(__file__).parents[3]
RANGE = "distribution: log_uniform_values, min: 5e-4, max: 2e-2"
GRID = TTT.replace("method: tpe", "method: grid").replace(RANGE, "value: 0.01")
MUON = """
preset: tiny
run_cap: 4
seeds: [1, 2]
parameters: {optimizer.muon.lr: {min: 0.01, max: 0.1}}
"""


ROPE = """
preset: tiny
seeds: [1, 2, 3, 4, 5]
parameters: {model.rope_base: {values: [1000.0, 50000.0]}}
"""
UNPAIRED = "compare: {blocks: none}"


def stages(plan) -> dict[str, tuple[int, bool, int]]:
    return {stage.stage: (stage.needed, stage.exact, stage.missing) for stage in plan.stages}


def finish(store: StageStore, stage: str, fingerprint: str, seconds: float) -> None:
    """Leaves a finished stage of 1000 bytes, and its result, in the store."""
    with store.writing(stage, fingerprint) as aside:
        (aside / "weights").write_bytes(bytes(1000))
        work = workload(load_preset("tiny").recipe, stage)
        store.publish(aside, stage_outcome(stage, fingerprint, seconds, workload=work))


@pytest.fixture
def store(tmp_path) -> StageStore:
    return StageStore(tmp_path / "runs")


def test_a_grid_is_counted_exactly(tmp_path, store):
    plan = make_plan(space_of(tmp_path, GRID), store, TEXTS, "")
    assert plan.exact
    assert (plan.total_runs, len(plan.configurations)) == (8, 4)
    # 2 seeds are trained once each; three TTT settings of each artifact, and the plain score beside them
    assert stages(plan) == {
        "train_text": (1, True, 1),
        "val_text": (1, True, 1),
        "train": (2, True, 2),
        "export": (2, True, 2),
        "evaluate": (2, True, 2),
        "adapt": (6, True, 6),
        "diagnose": (2, True, 2),
    }


def test_a_race_is_counted_from_above(tmp_path, store):
    plan = make_plan(space_of(tmp_path, ROPE + "stopping: {rule: race}\n"), store, TEXTS, "")
    assert plan.fewest_runs < plan.total_runs
    assert stages(plan)["train"] == (15, False, 15)
    assert stages(plan)["val_text"] == (1, True, 1)


def test_a_sampled_search_is_exact_where_no_swept_key_reaches(tmp_path, store):
    plan = make_plan(space_of(tmp_path, TTT), store, TEXTS, "")
    assert not plan.exact
    assert stages(plan)["train"] == (2, True, 2)
    assert stages(plan)["adapt"] == (10, False, 10)
    assert plan.total_runs == 12


def test_a_training_knob_trains_at_most_every_configuration(tmp_path, store):
    plan = make_plan(space_of(tmp_path, MUON), store, TEXTS, "")
    assert stages(plan)["train"] == (2 + 4 * 2, False, 10)
    assert stages(plan)["val_text"] == (1, True, 1)


def test_what_the_store_holds_is_not_paid_again(tmp_path, store):
    space = space_of(tmp_path, GRID)
    stages = fingerprints(space.recipe(baseline_of(space).values, 1), TEXTS)
    finish(store, "train", stages["train"], 9.0)
    train = next(stage for stage in make_plan(space, store, TEXTS, "").stages if stage.stage == "train")
    assert (train.cached, train.missing, train.seconds_each, train.seconds) == (1, 1, 9.0, 9.0)
    assert train.disk_bytes == pytest.approx(1500, abs=400)  # the weights, a small result and its checksums


def test_the_price_is_seconds_times_gpus_times_dollars(tmp_path, store):
    space = space_of(tmp_path, GRID + "budget: {gpu_hours: 0.1, usd_per_gpu_hour: 3.0}")
    for stage in ("train_text", "val_text", "train", "export", "evaluate", "adapt", "diagnose"):
        finish(store, stage, "another", 30.0)
    plan = make_plan(space, store, TEXTS, "", Resources(gpus_per_run=8))
    assert plan.seconds == 16 * 30.0
    assert plan.gpu_hours == pytest.approx(480 * 8 / 3600)
    assert plan.usd == pytest.approx(3.2)
    assert plan.over_budget
    assert make_plan(space, store, TEXTS, "").usd == 0.0


def test_without_experience_the_preset_says_what_its_stages_take(tmp_path, store):
    declared = load_preset("tiny").expected
    plan = make_plan(space_of(tmp_path, GRID, overrides={"budget.train_steps": 30}), store, TEXTS, "")
    train = next(stage for stage in plan.stages if stage.stage == "train")
    assert (train.seconds_each, train.seconds_from) == (30 * declared.step_ms / 1000, "preset")
    assert f"for {declared.hardware}" in text_of(plan)
    finish(store, "train", "another", 5.0)
    train = next(
        stage for stage in make_plan(space_of(tmp_path, GRID), store, TEXTS, "").stages if stage.stage == "train"
    )
    assert (train.seconds_each, train.seconds_from) == (5.0, "history")


def test_the_price_of_a_published_preset_is_known_before_its_text_is_here(tmp_path, store):
    space = space_of(tmp_path, MUON, preset="pr549").at_price(2.0)
    plan = make_plan(space, store, None, "", Resources(slots=5, gpus_per_run=8))
    assert plan.usd == pytest.approx(2.0 * 8 * plan.seconds / 3600)
    assert plan.mode == "clock"
    assert "the text is not here" in text_of(plan)


def test_seconds_nobody_has_measured_are_unknown(tmp_path, store):
    space = space_of(tmp_path, GRID, overrides={"model.num_layers": 12})
    plan = make_plan(space, store, TEXTS, "", Resources(gpus_per_run=1))
    assert (plan.seconds, plan.wall_s, plan.gpu_hours, plan.usd, plan.disk_bytes) == (None, None, None, None, None)
    assert not plan.over_budget


def test_experience_with_a_small_preset_says_nothing_of_a_large_one(tmp_path, store):
    finish(store, "train", "a tiny one", 5.0)
    space = space_of(tmp_path, GRID, overrides={"model.num_layers": 12})
    train = next(stage for stage in make_plan(space, store, TEXTS, "").stages if stage.stage == "train")
    assert train.seconds is None


CHAINS = [[("train", "1"), ("adapt", "a")], [("train", "1"), ("adapt", "b")], [("train", "2"), ("adapt", "c")]]


@pytest.mark.parametrize(("slots", "expected_s"), [(1, 23.0), (2, 12.0), (9, 11.0)])
def test_runs_wait_for_the_stages_they_share(slots, expected_s):
    """Two trainings of 10 s side by side, then one scoring of 1 s beside two."""
    assert makespan_s(CHAINS, {"train": 10.0, "adapt": 1.0}, slots) == expected_s


def test_more_slots_end_sooner_and_nothing_left_takes_no_time(tmp_path, store):
    space = space_of(tmp_path, GRID)
    one, two = (make_plan(space, store, TEXTS, "", Resources(slots=slots)) for slots in (1, 2))
    assert one.wall_s == pytest.approx(START_S + one.seconds)
    assert START_S + one.seconds / 2 <= two.wall_s < one.wall_s
    for item in one.configurations:
        for seed in space.seeds:
            for stage, fingerprint in fingerprints(space.recipe(item.values, seed), TEXTS).items():
                finish(store, stage, fingerprint, 1.0)
    assert make_plan(space, store, TEXTS, "").wall_s == 0.0


def test_each_run_is_listed_with_what_it_computes_and_what_it_shares(tmp_path, store):
    rows = run_rows(make_plan(space_of(tmp_path, GRID), store, TEXTS, ""))
    assert len(rows) == 8
    assert rows[0]["computes"] == ["train_text", "val_text", "train", "export", "evaluate", "diagnose"]
    assert rows[1]["shares"] == ["train_text", "val_text"]
    assert rows[2]["computes"] == ["adapt"]
    computed = [stage for row in rows for stage in row["computes"]]
    plan = make_plan(space_of(tmp_path, GRID), store, TEXTS, "")
    assert {stage.stage: stage.missing for stage in plan.stages} == {
        name: computed.count(name) for name in set(computed)
    }


def test_a_grid_of_hundreds_is_planned_at_once(tmp_path, store):
    values = ", ".join(str(1 + index) for index in range(300))
    space = space_of(
        tmp_path,
        TTT.replace("tpe", "grid")
        .replace("run_cap: 5", "run_cap: 300")
        .replace("{values: [1, 2, 3]}", f"{{values: [{values}]}}")
        .replace(RANGE, "value: 0.01"),
    )
    started_s = time.process_time()
    plan = make_plan(space, store, TEXTS, "here")
    assert (plan.total_runs, plan.fewest_runs) == (602, 602)
    assert time.process_time() - started_s < 3


def test_on_a_narrow_terminal_every_value_is_still_printed(tmp_path, store):
    space = space_of(tmp_path, MUON.replace("{min: 0.01, max: 0.1}", "{values: [0.01234, 0.05678]}"))
    console = Console(width=60)
    with console.capture() as said:
        console.print(runs_text(make_plan(space, store, TEXTS, "here")))
    assert "\u2026" not in said.get()


def test_without_ray_nobody_waits_for_it(tmp_path, store):
    space = space_of(tmp_path, GRID)
    inline, ray = (plan_here(space, 1, None, store.root, inline=inline) for inline in (True, False))
    assert ray.wall_s - inline.wall_s == START_S - INLINE_START_S


def test_a_wall_clock_budget_is_its_own_estimate(tmp_path, store):
    finish(store, "train", "a tiny one", 5.0)
    space = space_of(tmp_path, GRID, overrides={"budget.train_s": 600.0, "budget.train_steps": None})
    train = next(stage for stage in make_plan(space, store, TEXTS, "").stages if stage.stage == "train")
    assert train.seconds == 1200.0


@pytest.mark.parametrize(
    ("preset", "said"),
    [
        ("pr1413", "of the export, GPTQ's calibration counts as training: 12 of the 600 s are kept for it"),
        ("pr549", "the export counts against no limit of seconds"),
        ("tiny", None),
    ],
)
def test_it_says_which_part_of_the_export_the_clock_counts(tmp_path, store, preset, said):
    space = "preset: PRESET\nseeds: [1]\nparameters: {optimizer.muon.lr: {values: [0.01]}}\n".replace("PRESET", preset)
    printed = text_of(make_plan(space_of(tmp_path, space), store, TEXTS, ""))
    assert said in printed if said else "of the export" not in printed and "the export counts" not in printed


def test_under_a_wall_clock_other_hardware_trains_again(tmp_path, store):
    space = space_of(tmp_path, GRID, overrides={"budget.train_s": 600.0})
    finish(store, "train", fingerprints(space.recipe({}, 1), TEXTS, "8x H100")["train"], 600.0)
    missing = [stages(make_plan(space, store, TEXTS, here))["train"][2] for here in ("8x H100", "1x A100")]
    assert missing == [1, 2]


@pytest.mark.parametrize(
    ("text", "test"),
    [
        (TTT, "paired"),
        (GRID, "paired"),
        (MUON, "unpaired"),
        (TTT.replace("baseline: {ttt.mode: off}", "baseline: {model.rope_base: 1e3}"), "unpaired"),
        ("preset: tiny\nparameters: {quantization.matrix_bits: {values: [5, 6]}}", "unpaired"),
        ("preset: tiny\nparameters: {evaluation.stride_tokens: {values: [32, 64]}}", "paired"),
        ("preset: tiny", "none"),
    ],
)
def test_runs_pair_when_no_swept_key_reaches_the_artifact(tmp_path, store, text, test):
    assert make_plan(space_of(tmp_path, text), store, TEXTS, "").test == test


def test_runs_of_an_earlier_life_are_counted(tmp_path, store):
    space = space_of(tmp_path, TTT)
    sweep = open_sweep(store.root, space)
    run = queue_of(sweep).next_run()
    sweep.record_path(run.run_id).parent.mkdir()
    sweep.record_path(run.run_id).write_text(record_of(run).model_dump_json())
    plan = make_plan(space, store, TEXTS, "")
    assert (plan.total_runs, plan.recorded_runs) == (12, 1)


def test_planning_writes_nothing(tmp_path, store):
    make_plan(space_of(tmp_path, TTT), store, TEXTS, "")
    assert not store.root.exists()


def test_rows_add_up_to_the_total_and_are_plain_json(tmp_path, store):
    for stage in ("train_text", "val_text", "train", "export", "evaluate", "adapt", "diagnose"):
        finish(store, stage, "another", 30.0)
    *rows, total = json.loads(json.dumps(plan_rows(make_plan(space_of(tmp_path, GRID), store, TEXTS, ""))))
    for name in ("needed", "missing", "seconds", "disk_bytes"):
        assert total[name] == pytest.approx(sum(row[name] for row in rows))


def test_every_shipped_search_space_is_planned_in_seconds_without_torch_ray_or_optuna(tmp_path):
    code = f"""
import sys
from pathlib import Path
from orchestrator.plan.estimate import make_plan
from orchestrator.plan.table import plan_rows
from orchestrator.space.load_space import load_space
from tests.outcomes import stage_outcome
from trainer.spec.fingerprint import TextDigests
from trainer.store.local import StageStore
for path in sorted(Path("search_spaces").glob("*.yaml")):
    plan_rows(make_plan(load_space(path), StageStore(Path({str(tmp_path)!r})), TextDigests("a", "b"), ""))
print(sorted({{"torch", "ray", "optuna"}} & set(sys.modules)))
"""
    before_s = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "[]"
    used_s = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before_s
    assert used_s < 6  # 3 s of it importing scipy and pandas


def text_of(plan, gain=None) -> str:
    console = Console(width=160, record=True)
    console.print(plan_text(plan, gain))
    return console.export_text()


def planned_sd(between: Block | None = None) -> float:
    known = spread_of_preset("tiny", between)
    return upper_sd(known.sd_bpb, known.df)


def test_before_any_run_the_spread_is_what_is_known_of_the_preset_as_an_estimate(tmp_path, store):
    plan = make_plan(space_of(tmp_path, MUON), store, TEXTS, "")
    assert plan.evidence.design == design_of(None, 4, 2, planned_sd(), 0.01, adaptive=True)
    assert planned_sd() > 1.1 * spread_of_preset("tiny", None).sd_bpb
    assert "an estimate with 21 degrees of freedom, so the plan takes its upper bound" in text_of(plan)


def test_of_a_preset_that_nobody_measured_the_published_records_say_the_spread(tmp_path, store):
    spread = spread_of(space_of(tmp_path, MUON).model_copy(update={"preset": "baseline"}), None, store.root)
    assert (spread.sd, spread.df, spread.planned) == (seed_sd_bpb(), None, seed_sd_bpb())
    assert "the median of the published records" in spread.source


def test_of_a_program_without_runs_no_spread_is_assumed_in_bits_per_byte_either(tmp_path, store):
    (tmp_path / "train.py").write_text("print('val_bpb: 1')")
    space = space_of(tmp_path, "program: train.py\nseeds: [1, 2, 3]\nparameters: {LR: {values: [1, 2]}}\n")
    assert spread_of(space, None, store.root) is None
    said = text_of(make_plan(space, store, {}, ""))
    assert re.search(r"3 seeds detect a gain of [\d.]+ standard deviations beyond the margin", said)
    assert f"the contest's records have {seed_sd_bpb():.5f}" in " ".join(said.split())


def test_the_minimum_detectable_effect_is_shown_for_the_planned_seeds_and_for_more(tmp_path, store):
    plan = make_plan(space_of(tmp_path, ROPE), store, TEXTS, "")
    design = Design("paired", 5, planned_sd("seed"), 0.01, num_comparisons=2, num_arms=3)
    assert plan.evidence.design == design
    text = text_of(plan, gain=0.05)
    assert f"5 seeds detect a gain of {design.minimum_detectable_effect():.4f} bits per byte beyond the margin" in text
    needed = seeds_needed(0.05, "seed", 2, design.sd, 0.01)
    assert f"takes {needed} seeds of each configuration" in text
    assert plan_rows(plan)[-1]["minimum_detectable_effect_bpb"] == pytest.approx(design.minimum_detectable_effect())


def test_a_gain_that_no_number_of_seeds_shows_is_said_to_be_one(tmp_path, store):
    terms = "method: random\ncompare: {variance: shared, blocks: artifact}"
    space = space_of(tmp_path, MUON.replace("run_cap: 4", "run_cap: 1800") + terms)
    evidence = evidence_of(space, "artifact", store.root)
    assert evidence.num_configurations == 1800
    text = "\n".join(evidence_lines(evidence, gain=1e-9))
    assert "a gain of 1e-09 beyond the margin cannot be shown with any number of seeds up to 1,000" in text


def test_the_baseline_met_again_in_a_grid_is_no_rival(tmp_path, store):
    plan = make_plan(space_of(tmp_path, ROPE.replace("50000.0", "10000.0") + UNPAIRED), store, TEXTS, "")
    assert plan.evidence.design == design_of(None, 1, 5, planned_sd(), 0.01, adaptive=False)
    assert plan.total_runs == 2 * 5


def test_runs_of_the_same_preset_tell_the_spread_better_than_the_records(tmp_path, store):
    space = space_of(tmp_path, ROPE + UNPAIRED)
    leave_runs(open_sweep(store.root, space), lambda run: 2.0 + 0.1 * run.seed)
    spread = make_plan(space, store, TEXTS, "").evidence.spread
    assert spread.sd == pytest.approx(0.1 * 2.5**0.5)  # seeds 1 to 5
    assert (spread.source, spread.df) == ("measured in sweep space", 12)
    assert spread.planned == pytest.approx(upper_sd(spread.sd, 12))
    other = space_of(tmp_path, ROPE + UNPAIRED, overrides={"budget.train_steps": 150})
    assert make_plan(other, store, TEXTS, "").evidence.spread.sd == 0.0238


def test_the_spread_of_pairs_by_seed_is_measured_in_earlier_sweeps(tmp_path, store):
    space = space_of(tmp_path, ROPE)
    leave_runs(open_sweep(store.root, space), lambda run: 2.0 + run.seed + 0.1 * run.seed * run.configuration.index)
    spread = make_plan(space, store, TEXTS, "").evidence.spread
    differences = [0.1 * index * np.arange(1, 6) for index in (1, 2)]
    assert spread.sd == pytest.approx(np.mean([one.var(ddof=1) for one in differences]) ** 0.5)
    assert spread.df == 4  # both share the baseline's five runs


def test_a_shared_variance_says_in_the_plan_what_it_costs(tmp_path, store):
    text = ROPE.replace("50000.0", "2e3, 3e3, 4e3, 5e4") + "compare: {variance: shared, blocks: none}"
    plan = make_plan(space_of(tmp_path, text), store, TEXTS, "")
    assert "with a baseline 3 times noisier, 5 to 10 % of sweeps" in text_of(plan).replace("\n", " ")


def test_one_seed_is_said_to_prove_nothing(tmp_path, store):
    plan = make_plan(space_of(tmp_path, ROPE, seeds=[1]), store, TEXTS, "")
    assert plan.evidence.minimum_detectable_effect is None
    assert "1 seed is not enough for a test" in text_of(plan)
