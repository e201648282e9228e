"""A recipe as the text of a preset file: every field, and beside those that differ from another recipe its value."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from trainer.spec.field_index import FIELDS, flat, value_at
from trainer.spec.load import override_text
from trainer.spec.recipe import Recipe
from trainer.spec.runnable import is_program


def recipe_text(recipe: Recipe, description: str, source: str, compared: Recipe | None = None) -> str:
    """YAML that `load_preset` reads as this recipe again.

    compared:  its values stand as comments beside those that differ
    """
    header = [_line("", "description", description), _line("", "source", source)]
    differing = {} if compared is None else difference(recipe, compared)
    return "\n".join([*header, *_lines(recipe.model_dump(mode="json"), "", "", differing)]) + "\n"


def difference(recipe: Recipe, compared: Recipe) -> dict[str, tuple[Any, Any]]:
    """Keys in which two recipes differ, seeds apart, with both values."""
    mine, theirs = flat(recipe), flat(compared)
    return {key: (mine[key], theirs[key]) for key in FIELDS if key != "seed" and mine[key] != theirs[key]}


def differing_recipes(recipe: Mapping[str, Any], compared: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """The same of recipes as records hold them; a key that one of them lacks is left out. Of programs their knobs."""
    found = {}
    of_program = is_program(recipe) and is_program(compared)
    for key in dict.fromkeys([*recipe["values"], *compared["values"]]) if of_program else FIELDS:
        try:
            mine, theirs = value_at(recipe, key), value_at(compared, key)
        except (KeyError, TypeError):
            continue
        if key != "seed" and mine != theirs:
            found[key] = (mine, theirs)
    return found


def _lines(
    tree: Mapping[str, Any], prefix: str, indent: str, differing: Mapping[str, tuple[Any, Any]]
) -> Iterator[str]:
    for name, value in tree.items():
        key = f"{prefix}{name}"
        if isinstance(value, Mapping):
            yield f"{indent}{name}:"
            yield from _lines(value, f"{key}.", f"{indent}  ", differing)
            continue
        line = _line(indent, name, value)
        yield line if key not in differing else f"{line}  # compared with: {_value(differing[key][1])}"


def _line(indent: str, name: str, value: Any) -> str:
    return f"{indent}{name}: {_value(value)}"


def _value(value: Any) -> str:
    return override_text("", list(value) if isinstance(value, tuple) else value).removeprefix("=")
