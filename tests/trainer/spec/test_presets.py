"""The presets of the lineage and their nano siblings, on paper."""

import pytest
import torch

from trainer.nn.gpt import GPT, num_parameters
from trainer.spec.errors import RecipeError
from trainer.spec.field_index import FIELDS, flat
from trainer.spec.load import load_preset, preset_names
from trainer.spec.stage_table import stages_of

LINEAGE = [name for name in preset_names() if name != "tiny"]
PUBLISHED_PARAMETERS = {
    "baseline": 17_059_912,
    "pr150_10l": 22_764_113,
    "pr150_v12": 26_829_913,
    "pr150_v20": 26_829_913,
    "pr150_v21": 26_829_913,
    "pr338_v24": 26_829_913,
    "pr549": 26_928_220,
    "pr1413": 35_943_512,
    "pr1493": 35_944_536,
}


@pytest.mark.parametrize("name", PUBLISHED_PARAMETERS)
def test_a_preset_has_the_published_number_of_parameters(name):
    preset = load_preset(name)
    with torch.device("meta"):
        gpt = GPT(preset.recipe.model, preset.recipe.data.vocab_size)
    assert num_parameters(gpt) == preset.parameters == PUBLISHED_PARAMETERS[name]


@pytest.mark.parametrize("name", LINEAGE)
def test_a_preset_names_its_source_and_its_published_results(name):
    preset = load_preset(name)
    assert "openai/parameter-golf" in preset.source
    assert set(preset.published["val_bpb"]) == set(preset.published["steps"])
    assert isinstance(preset.published["legal"], bool)


@pytest.mark.parametrize("name", LINEAGE)
def test_no_preset_evaluates_illegally(name):
    assert load_preset(name).recipe.ttt.mode in ("off", "score_first")


@pytest.mark.parametrize("name", preset_names())
def test_a_nano_sibling_keeps_every_switch_and_needs_no_file(name):
    full, nano = load_preset(name).recipe, load_preset(f"{name}_nano").recipe
    assert stages_of(nano) == stages_of(full)
    switches = [key for key, info in FIELDS.items() if "|" in info.type_name and "null" not in info.type_name]
    kept = {key: value for key, value in flat(full).items() if key in switches}
    changed = {key for key, value in kept.items() if flat(nano)[key] != value}
    assert changed <= {"data.source", "model.compute_dtype"}
    zeros = {key for key, value in flat(full).items() if value in (0, ()) and value is not False}
    assert {key for key in zeros if flat(nano)[key] not in (0, ())} <= {"data.val_bytes", "averaging.swa_min_step"}


def test_a_nano_sibling_takes_overrides_and_tells_their_mistakes():
    assert load_preset("pr549_nano", {"ttt.mode": "off"}).recipe.ttt.mode == "off"
    with pytest.raises(RecipeError, match="ttt.lr = -1 must be greater than 0"):
        load_preset("pr549_nano", {"ttt.lr": -1})


def test_a_nano_sibling_of_nobody_is_unknown():
    with pytest.raises(RecipeError, match="preset 'pr550_nano' is unknown"):
        load_preset("pr550_nano")


@pytest.mark.parametrize("name", preset_names())
def test_a_preset_says_what_each_of_its_stages_takes_and_on_what(name):
    preset = load_preset(name)
    assert preset.expected.hardware
    assert all(preset.expected.stage_s(preset.recipe, stage) for stage in stages_of(preset.recipe))


def test_an_expectation_scales_with_lengths_and_holds_for_no_other_sizes():
    expected = load_preset("tiny").expected
    whole, half = (
        load_preset("tiny", {"budget.train_steps": 120, "data.val_bytes": size}) for size in (120_000, 60_000)
    )
    assert expected.stage_s(half.recipe, "evaluate") == expected.stage_s(whole.recipe, "evaluate") / 2
    assert expected.stage_s(load_preset("tiny", {"model.model_dim": 128}).recipe, "train") is None
    moved = load_preset("pr549", {"data.folder": "elsewhere"})
    assert moved.expected.stage_s(moved.recipe, "adapt") == moved.expected.seconds["adapt"]


def test_a_preset_of_ones_own_takes_its_parents_figures_while_the_sizes_hold(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("extends: tiny\nmodel: {num_layers: 2}\n")
    mine = load_preset(str(path))
    assert mine.expected.stage_s(mine.recipe, "train") is None
    assert mine.expected.stage_s(mine.recipe, "train_text") == mine.expected.seconds["train_text"]
    path.write_text("extends: tiny\nexpected: {hardware: a, gpus: 0, step_ms: -1.0, seconds: {trian: 1.0}}\n")
    with pytest.raises(RecipeError, match=r"expected.step_ms = -1.0"):
        load_preset(str(path))
