"""Changing one field re-runs exactly the stages below it: every field of the recipe is walked."""

import json
import typing
from pathlib import Path

import pytest

from trainer.spec.errors import RecipeError
from trainer.spec.field_index import FIELDS, value_at
from trainer.spec.fingerprint import TextDigests, configuration_id, fingerprints, workload
from trainer.spec.load import load_preset, preset_names, with_values
from trainer.spec.recipe import Recipe
from trainer.spec.stage_table import STAGES, fields_read, stages_below

TEXTS = TextDigests("train text", "validation text")
GOLDEN = Path(__file__).parents[2] / "golden" / "fingerprints.json"
EVERYTHING_ON = {  # so that no switch silences a field
    "ttt.mode": "score_first",
    "model.bigram_buckets": 256,
    "averaging.swa_every": 5,
    "averaging.ema_decay": 0.9,
    "evaluation.diagnose": True,
    "budget.train_s": 60.0,
    "optimizer.muon.momentum_warmup_steps": 10,
    "model.value_embed_dim": 8,
    "model.value_embed_layers": [1],
    "model.parallel_residual": "one_lane",
    "model.parallel_from": 2,
    "model.recur_loops": 1,
    "model.recur_first": 1,
    "model.recur_last": 2,
}
SWITCHES = {  # fields that need another switch to matter
    "schedule.warmdown_fraction": {"schedule.form": "fraction"},
    "optimizer.adam.head_lr": {"model.tie_embeddings": False},
    "quantization.qat_late_below": {"quantization.qat": "late"},
    "quantization.clip_search_in": {"quantization.method": "clip_search"},
    "quantization.clip_stds": {"quantization.method": "gptq"},
    "quantization.mlp_clip_stds": {"quantization.scale": "sdclip"},
    "quantization.attention_clip_stds": {"quantization.scale": "sdclip"},
    "quantization.qat_sees": {"quantization.qat": "always"},
    "quantization.embedding_clip_stds": {"quantization.method": "gptq", "quantization.embedding": "int8"},
    "quantization.hessian_clip": {"quantization.method": "gptq"},
    "quantization.calibration_batches": {"quantization.method": "gptq"},
    "data.folder": {"data.source": "shards", "data.folder": "a", "data.tokenizer": "b"},
    "data.tokenizer": {"data.source": "shards", "data.folder": "a", "data.tokenizer": "b"},
}


def another_value(recipe: Recipe, key: str) -> Recipe:
    """The same recipe with one field changed to some other valid value."""
    now = value_at(recipe, key)
    choices = FIELDS[key].type_name.split(" | ")
    candidates: list[typing.Any] = [choice for choice in choices if choice != now]
    if isinstance(now, bool):
        candidates = [not now]
    elif isinstance(now, int | float):
        candidates = [now * 2, now + 1, now + 2, now - 1, now / 2 if isinstance(now, float) else now // 2]
    elif now is None:
        candidates = [7, 7.0]
    elif isinstance(now, tuple):
        candidates = [[0], ["blocks.0.attn.c_k.weight"]]
    elif key in ("data.folder", "data.tokenizer"):
        candidates = ["elsewhere"]
    for candidate in (other for other in candidates if other != now):
        try:
            return with_values(recipe, {key: candidate}, "test")
        except RecipeError:
            continue
    raise AssertionError(f"no other value of {key} fits")


@pytest.mark.parametrize("key", [key for key in FIELDS if key not in ("ttt.mode", "evaluation.diagnose")])
def test_changing_a_field_changes_exactly_the_stages_below_it(key):
    recipe = with_values(load_preset("tiny").recipe, EVERYTHING_ON | SWITCHES.get(key, {}), "test")
    before = fingerprints(recipe, TEXTS, "this machine")
    after = fingerprints(another_value(recipe, key), TEXTS, "this machine")
    expected = set().union(*(stages_below(stage) for stage in FIELDS[key].stages))
    if recipe.quantization.qat != "off" and key.startswith("quantization."):
        expected = stages_below("train")
    assert {stage for stage in before if before[stage] != after[stage]} == expected & set(before)


@pytest.mark.parametrize("key", [key for key, info in FIELDS.items() if info.unless or info.unless_all])
def test_a_switched_off_field_enters_no_fingerprint(key):
    switches = dict(list(FIELDS[key].unless.items())[:1]) or FIELDS[key].unless_all
    off = {switch: value[0] if isinstance(value, tuple) else value for switch, value in switches.items()}
    fixes = {"averaging.use": "none", "budget.train_steps": 10, "model.recur_first": 1, "model.recur_last": 2}
    recipe = with_values(load_preset("tiny").recipe, fixes | off, "test")
    assert fingerprints(another_value(recipe, key), TEXTS) == fingerprints(recipe, TEXTS)


def test_a_neutral_field_at_its_default_keeps_the_fingerprints_from_before_it_existed():
    recipe = load_preset("tiny").recipe
    neutral = [key for key, info in FIELDS.items() if info.neutral]
    assert neutral
    assert not {key for stage in STAGES for key in fields_read(recipe, stage)} & set(neutral)
    looped = with_values(recipe, {"model.recur_loops": 1, "model.recur_first": 1, "model.recur_last": 2}, "")
    assert fields_read(looped, "train")["model.recur_loops"] == 1


def test_test_time_training_never_trains_again():
    recipe = load_preset("tiny").recipe
    with_ttt = with_values(recipe, {"ttt.mode": "score_first", "ttt.lr": 0.01}, "test")
    before, after = fingerprints(recipe, TEXTS), fingerprints(with_ttt, TEXTS)
    assert after.pop("adapt")
    assert before == after


def test_all_of_quantization_belongs_to_training_once_qat_is_on():
    recipe = load_preset("tiny").recipe
    plain = [fingerprints(with_values(recipe, {"quantization.matrix_bits": b}, ""), TEXTS)["train"] for b in (5, 6)]
    qat = {"quantization.qat": "always"}
    aware = [
        fingerprints(with_values(recipe, qat | {"quantization.matrix_bits": b}, ""), TEXTS)["train"] for b in (5, 6)
    ]
    assert plain[0] == plain[1]
    assert aware[0] != aware[1]


def test_the_environment_counts_only_under_a_wall_clock():
    steps, clock = load_preset("tiny").recipe, load_preset("pr150_v21").recipe
    assert fingerprints(steps, TEXTS, "laptop") == fingerprints(steps, TEXTS, "cluster")
    assert fingerprints(clock, TEXTS, "laptop")["train"] != fingerprints(clock, TEXTS, "cluster")["train"]


def test_validation_text_touches_no_training_stage():
    recipe = load_preset("tiny").recipe
    before = fingerprints(recipe, TEXTS)
    after = fingerprints(recipe, TextDigests("train text", "other validation text"))
    assert {stage for stage in before if before[stage] != after[stage]} == {"val_text", "evaluate", "diagnose"}


def test_a_configuration_is_a_recipe_without_its_seed():
    recipe = load_preset("tiny").recipe
    assert configuration_id(with_values(recipe, {"seed": 1}, "")) == configuration_id(recipe)
    assert configuration_id(with_values(recipe, {"model.rope_base": 5000.0}, "")) != configuration_id(recipe)


def test_fingerprints_change_only_on_purpose():
    """A field or a stage's version changed? Accept with: python -m tests.trainer.spec.test_fingerprint"""
    assert current() == json.loads(GOLDEN.read_text()), "python -m tests.trainer.spec.test_fingerprint accepts this"


def current() -> dict[str, dict[str, str]]:
    return {name: fingerprints(load_preset(name).recipe, TEXTS, "here") for name in preset_names()}


def test_the_table_is_in_running_order():
    names = list(STAGES)
    for stage in STAGES.values():
        assert all(names.index(below) < names.index(stage.name) for below in stage.stands_on)


if __name__ == "__main__":
    GOLDEN.write_text(json.dumps(current(), indent=1) + "\n")


def test_a_workload_changes_with_sizes_and_not_with_rates_or_seeds():
    tiny = load_preset("tiny").recipe
    same = load_preset("tiny", {"seed": 7, "optimizer.muon.lr": 0.001, "ttt.epochs": 9}).recipe
    for stage in STAGES:
        assert workload(tiny, stage) == workload(same, stage)
    wider = load_preset("tiny", {"model.num_layers": 5}).recipe
    longer = load_preset("tiny", {"budget.train_steps": 121}).recipe
    assert workload(tiny, "evaluate") != workload(wider, "evaluate")
    assert workload(tiny, "train") != workload(longer, "train")
    assert workload(tiny, "evaluate") == workload(longer, "evaluate")
