import pytest
from pydantic import ValidationError

from trainer.spec.field_index import FIELDS, disabled_by, value_at
from trainer.spec.load import load_preset, preset_names, with_values
from trainer.spec.recipe import Recipe
from trainer.spec.stage_table import STAGES


@pytest.mark.parametrize("key", FIELDS)
def test_every_field_has_a_sentence_and_known_stages(key):
    info = FIELDS[key]
    assert info.sentence.endswith((".", "."))
    assert set(info.stages) <= set(STAGES)
    assert set(info.unless) <= set(FIELDS)


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_loads_and_survives_a_round_trip(name):
    recipe = load_preset(name).recipe
    assert Recipe.model_validate(recipe.model_dump(mode="json")) == recipe


def test_a_recipe_cannot_be_changed_after_the_fact():
    recipe = load_preset("tiny").recipe
    with pytest.raises(ValidationError):
        recipe.ttt.lr = 1.0


def test_a_switched_off_field_names_its_switch():
    recipe = load_preset("tiny").recipe
    assert disabled_by(recipe, "ttt.lr") == ("ttt.mode", "off")
    assert disabled_by(with_values(recipe, {"ttt.mode": "score_first"}, "test"), "ttt.lr") is None


def test_dotted_keys_reach_nested_sections():
    assert value_at(load_preset("pr150_v21").recipe, "optimizer.muon.weight_decay") == 0.04
