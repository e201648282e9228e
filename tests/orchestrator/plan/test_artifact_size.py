"""Bytes of artifacts before any run: certain, measured, or estimated; and a warning where they may not fit."""

import json

import pytest
from rich.console import Console

from orchestrator.plan.artifact_size import estimate_by_trainer
from orchestrator.plan.estimate import make_plan
from orchestrator.plan.table import plan_rows, plan_text, run_rows
from orchestrator.sweep.sweep import open_sweep
from tests.orchestrator.spaces import TEXTS, leave_runs, space_of
from trainer.spec.load import load_preset
from trainer.spec.parameter_count import num_parameters
from trainer.store.local import StageStore

RULES = """
preset: pr150_v21
method: grid
seeds: [1, 2]
parameters: {quantization.scale: {values: [row_max, floor]}, ttt.lr: {value: 0.01}, ttt.mode: {value: score_first}}
compare: {baseline: {ttt.mode: off}}
"""
WIDTHS = """
preset: pr150_v21
method: grid
seeds: [1, 2]
parameters: {model.mlp_hidden: {values: [1024, 1536]}}
"""


@pytest.fixture
def store(tmp_path) -> StageStore:
    return StageStore(tmp_path / "runs")


def planned(folder, text, store, ranges=None, **said):
    """The plan and the recipes that had to be estimated."""
    asked = []

    def estimate(recipes):
        asked.extend(recipes)
        return ranges

    return make_plan(space_of(folder, text, **said), store, TEXTS, "", estimate=estimate), asked


def shown(plan) -> str:
    console = Console(width=400, record=True)
    console.print(plan_text(plan))
    return console.export_text()


def test_what_fits_at_four_bytes_a_weight_is_not_estimated(tmp_path, store):
    plan, asked = planned(tmp_path, WIDTHS, store, preset="tiny")
    assert {(size.source, size.may_exceed) for size in plan.sizes} == {("width", False)}
    assert not asked
    assert "at most" in shown(plan)


def test_artifacts_of_one_size_are_one_line(tmp_path, store):
    text = WIDTHS.replace("model.mlp_hidden: {values: [1024, 1536]}", "model.rope_base: {values: [1000.0, 50000.0]}")
    plan, _ = planned(tmp_path, text, store, preset="tiny")
    assert len(plan.sizes) > 1
    (line,) = [line for line in shown(plan).splitlines() if line.startswith("artifact")]
    assert line.startswith("artifact: at most")


def test_a_range_that_crosses_the_limit_is_a_warning_about_its_configurations(tmp_path, store):
    plan, asked = planned(tmp_path, RULES, store, [(9_000_000, 15_900_000), (13_000_000, 18_000_000)])
    assert [recipe.quantization.scale for recipe in asked] == ["floor", "row_max"]
    crossing = [line for line in shown(plan).splitlines() if "may not fit" in line]
    assert len(crossing) == 1
    assert "13.00 MB to 18.00 MB estimated from random weights, of 15.93 MB beside the code" in crossing[0]
    assert "set quantization.fit_bytes" in crossing[0]
    *_, total = json.loads(json.dumps(plan_rows(plan)))
    assert (total["artifact_low_bytes"], total["artifact_high_bytes"]) == (9_000_000, 18_000_000)
    assert total["artifact_may_exceed"]
    assert {row["artifact_high_bytes"] for row in run_rows(plan)} == {15_900_000, 18_000_000}


def test_a_range_beyond_the_limit_is_said_as_such(tmp_path, store):
    plan, _ = planned(tmp_path, RULES, store, [(16_000_000, 17_000_000), (16_000_000, 18_000_000)])
    assert shown(plan).count("will not fit") == 2


def test_bits_per_weight_of_earlier_runs_go_before_any_estimate(tmp_path, store):
    leave_runs(open_sweep(store.root, space_of(tmp_path, WIDTHS)), lambda run: 2.0)  # 250,000 bytes each
    plan, asked = planned(tmp_path, WIDTHS.replace("[1024, 1536]", "[2048]"), store)
    narrow, preset, wide = (
        load_preset("pr150_v21", {"model.mlp_hidden": width}).recipe for width in (1024, 1536, 2048)
    )
    counts = [num_parameters(recipe.model, recipe.data.vocab_size) for recipe in (narrow, preset, wide)]
    size = next(size for size in plan.sizes if size.high_bytes == max(size.high_bytes for size in plan.sizes))
    assert not asked
    assert (size.source, size.num_runs) == ("history", 4)
    assert (size.low_bytes, size.high_bytes) == tuple(
        round(250_000 * counts[2] / count) for count in (counts[1], counts[0])
    )
    _, asked = planned(tmp_path, RULES, store)
    assert [recipe.quantization.scale for recipe in asked] == ["row_max"]


def test_a_configuration_that_is_made_to_fit_needs_no_estimate(tmp_path, store):
    plan, asked = planned(tmp_path, RULES, store, overrides={"quantization.fit_bytes": True})
    assert not asked
    assert "made to fit 15.93 MB beside the code" in shown(plan)


def test_what_cannot_be_estimated_is_said(tmp_path, store):
    plan, _ = planned(tmp_path, RULES, store, None)
    assert "python -m trainer check encodes random weights" in shown(plan)


def test_the_trainer_estimates_a_range_that_holds_the_published_size():
    recipes = [load_preset("pr150_v21", {"quantization.scale": scale}).recipe for scale in ("floor", "row_max")]
    floor, row_max = estimate_by_trainer(recipes)
    assert floor[0] < 10_722_033 < 15_774_514 < floor[1]
    assert row_max[0] < 16_954_646 < 18_592_153 < row_max[1]
