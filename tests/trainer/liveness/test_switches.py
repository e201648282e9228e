"""Every field of the recipe that can turn something off is covered by the liveness check, or exempt with a reason."""

from typing import Annotated, get_args

import pytest
from pydantic import TypeAdapter, ValidationError

from trainer.liveness import switches
from trainer.spec.field_index import FIELDS, value_at
from trainer.spec.load import load_preset
from trainer.spec.recipe import Recipe

OFF = {
    **switches.TRAIN_SWITCHES,
    **switches.INIT_SWITCHES,
    **switches.DTYPE_SWITCHES,
    **switches.EXPORT_SWITCHES,
    **switches.TTT_SWITCHES,
}


def accepts_zero(key: str) -> bool:
    """Whether the field is a number that may be 0."""
    *sections, leaf = key.split(".")
    section = Recipe
    for name in sections:
        section = section.model_fields[name].annotation
    info = section.model_fields[leaf]
    try:
        TypeAdapter(Annotated[(info.annotation, *info.metadata)]).validate_python(0)
    except ValidationError:
        return False
    return bool(get_args(info.annotation)) or info.annotation in (int, float)


def can_be_off(key: str) -> bool:
    """Whether the field is a boolean, a choice, a list, nullable, or a number that may be 0."""
    type_name = FIELDS[key].type_name
    return "|" in type_name or type_name.startswith("list") or accepts_zero(key)


def test_every_field_that_can_turn_something_off_is_checked_or_exempt():
    assert [key for key in FIELDS if can_be_off(key) and key not in switches.CHECKED | switches.EXEMPT.keys()] == []


def test_no_field_is_both_checked_and_exempt_and_all_are_fields_of_the_recipe():
    assert switches.CHECKED & switches.EXEMPT.keys() == set()
    assert switches.CHECKED | switches.EXEMPT.keys() <= FIELDS.keys()
    assert all(switches.EXEMPT.values())


@pytest.mark.parametrize("key", ["model.ln_scale", "model.activation", "model.xsa_layers", "ttt.grad_clip", "seed"])
def test_booleans_choices_lists_and_numbers_that_may_be_zero_can_be_off(key):
    assert can_be_off(key)


@pytest.mark.parametrize("key", ["model.num_layers", "model.rope_base", "data.folder", "quantization.matrix_bits"])
def test_sizes_rates_and_paths_cannot(key):
    assert not can_be_off(key)


@pytest.mark.parametrize("key", OFF)
def test_every_switch_has_an_off_value_that_the_recipe_accepts(key):
    assert switches.plain_value(load_preset("pr549", {key: OFF[key]}).recipe, key) == OFF[key]


@pytest.mark.parametrize("key", switches.COMPARED_WITH)
def test_the_recipe_accepts_values_to_compare_with(key):
    assert value_at(load_preset("pr549", {key: switches.COMPARED_WITH[key]}).recipe, key) == switches.COMPARED_WITH[key]


def test_a_value_equal_to_the_one_to_compare_with_is_compared_with_off():
    recipe = load_preset("tiny", {"schedule.form": "fraction", "schedule.warmdown_fraction": 1.0}).recipe
    assert switches.switched_on(recipe, {"schedule.warmdown_fraction": 0.0}) == {"schedule.warmdown_fraction": 0.0}
