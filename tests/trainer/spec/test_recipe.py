import pytest
import torch
from pydantic import ValidationError

from trainer.nn.gpt import GPT
from trainer.spec.errors import RecipeError
from trainer.spec.field_docs import sentence_of
from trainer.spec.field_index import FIELDS, disabled_by, value_at
from trainer.spec.load import load_preset, preset_names, with_values
from trainer.spec.recipe import Recipe
from trainer.spec.stage_table import STAGES
from trainer.spec.tensors import EMBEDDING, is_control


@pytest.mark.parametrize("key", FIELDS)
def test_every_field_has_a_sentence_and_known_stages(key):
    info = FIELDS[key]
    assert sentence_of(info).endswith((".", "."))
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


@pytest.mark.parametrize("name", ["tiny", "pr549_nano", "pr1413_nano"])
def test_the_recipe_knows_the_matrices_of_its_model(name):
    recipe = load_preset(name).recipe
    with torch.device("meta"):
        weights = dict(GPT(recipe.model, recipe.data.vocab_size).named_parameters())
    matrices = {key for key, weight in weights.items() if weight.ndim == 2 and not is_control(key)}
    assert set(recipe.model.matrix_names()) == matrices - {EMBEDDING}


def test_a_matrix_to_keep_that_the_model_lacks_is_refused():
    with pytest.raises(RecipeError, match=r"names 'blocks.4.attn.c_k.weight', which is no matrix .* did you mean"):
        load_preset("tiny", {"quantization.keep_float16": ["blocks.4.attn.c_k.weight"]})
    with pytest.raises(RecipeError, match=r"keep_float16 names bigram.embed.weight twice"):
        load_preset("tiny", {"quantization.keep_float16": ["bigram.embed.weight"] * 2})
