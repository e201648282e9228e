"""The presets of the lineage and their nano siblings, on paper."""

import pytest
import torch

from trainer.nn.gpt import GPT, num_parameters
from trainer.spec.errors import RecipeError
from trainer.spec.fields import FIELDS, flat
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
