"""A recipe as plain frozen dataclasses whose defaults are its values: the head of a submission's script.

Without pydantic: the few methods of its models that the trainer calls stand in a base class of some lines.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterator, Set
from typing import Any

from trainer.spec.field_docs import sentence_of
from trainer.spec.field_index import FIELDS, disabled_by
from trainer.spec.recipe import Recipe
from trainer.spec.section import Section
from trainer.spec.stage_table import TOKENIZER_FILE

SECTION_MODULES = frozenset(
    {"trainer.spec.recipe", "trainer.spec.limits", "trainer.spec.quantization", "trainer.spec.section"}
)
"""Modules whose classes the head stands for."""
SHARDS = "data"
"""Where a submission expects its shards; the script is told another place on its command line."""
BASE = '''class Section:
    """A part of the recipe: frozen values, read by name."""

    def model_copy(self, update: dict) -> Any:
        """The same with some values changed."""
        return dataclasses.replace(self, **update)

    def model_dump(self, mode: str = "json", exclude: Any = ()) -> dict:
        """All values by name, as JSON has them."""
        values = {one.name: getattr(self, one.name) for one in dataclasses.fields(self)}
        return {name: list(v) if isinstance(v, tuple) else v for name, v in values.items() if name not in exclude}

    @classmethod
    def model_validate(cls, values: dict) -> Any:
        """The section of such values. Raises ValueError for a name or a type that it does not have."""
        section = cls(**{name: tuple(v) if isinstance(v, list) else v for name, v in values.items()})
        for one in dataclasses.fields(cls):
            found, usual = getattr(section, one.name), getattr(cls, one.name)
            if type(found) is not type(usual) and not (type(usual) is float and type(found) is int):
                raise ValueError(f"{one.name} = {str(found)[:40]} is no {type(usual).__name__}")
        return section
'''


def frozen_recipe(recipe: Recipe, attributes: Set[str]) -> tuple[str, frozenset[str]]:
    """The text of the classes, and the names they bind.

    attributes:  names of the methods and properties that are needed
    """
    sections = [*_sections(recipe)]
    parts = [BASE, *(_class(section, prefix, recipe, attributes) for prefix, section in sections)]
    return "\n\n".join(parts), frozenset({"Section", "Recipe", *(type(section).__name__ for _, section in sections)})


def without_places(recipe: Recipe) -> Recipe:
    """The recipe without the places of shards on this machine."""
    if recipe.data.source != "shards":
        return recipe
    places = {"folder": SHARDS, "tokenizer": f"{SHARDS}/{TOKENIZER_FILE}"}
    return recipe.model_copy(update={"data": recipe.data.model_copy(update=places)})


def _sections(section: Section, prefix: str = "") -> Iterator[tuple[str, Section]]:
    """Every section after those inside it, with the start of its keys."""
    for name in type(section).model_fields:
        if isinstance(inner := getattr(section, name), Section):
            yield from _sections(inner, f"{prefix}{name}.")
    yield prefix, section


def _class(section: Section, prefix: str, recipe: Recipe, attributes: Set[str]) -> str:
    first_sentence = (type(section).__doc__ or "").splitlines()[0]
    lines = ["@dataclass(frozen=True)", f"class {type(section).__name__}(Section):", f'    """{first_sentence}"""', ""]
    for name in type(section).model_fields:
        value = getattr(section, name)
        if isinstance(value, Section):
            lines.append(f"    {name}: {type(value).__name__} = {type(value).__name__}()")
        else:
            lines.append(_field(f"{prefix}{name}", name, value, recipe))
    return "\n".join([*lines, *_properties(type(section), attributes)]) + "\n"


def _field(key: str, name: str, value: Any, recipe: Recipe) -> str:
    info = FIELDS[key]
    switch = disabled_by(recipe, key)
    says = f"no effect: {switch[0]} = {switch[1]}" if switch else sentence_of(info)
    return f"    {name}: {_type_of(value)} = {value!r}  # {says}"


def _type_of(value: Any) -> str:
    return {tuple: "tuple", type(None): "None"}.get(type(value), type(value).__name__)


def _properties(section: type[Section], attributes: Set[str]) -> Iterator[str]:
    """The text of a section's own methods that are needed."""
    own = {name for name, value in vars(section).items() if isinstance(value, property) or inspect.isfunction(value)}
    if not (own - {"complaints"}) & attributes:
        return
    text = textwrap.dedent(inspect.getsource(section))
    owner = ast.parse(text).body[0]
    assert isinstance(owner, ast.ClassDef)
    for part in owner.body:
        if isinstance(part, ast.FunctionDef) and part.name != "complaints" and part.name in attributes:
            first = min([part.lineno, *(one.lineno for one in part.decorator_list)])
            yield ""
            yield "\n".join(text.splitlines()[first - 1 : part.end_lineno])
