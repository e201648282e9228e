"""Descriptions of fields: the docstring below each field of a section.

They are read from the source when the first of them is asked for, each file once. Most commands show none; pydantic's
own way (`use_attribute_docstrings`) parses the file again for every section, whenever it is imported.
"""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Iterator, Mapping
from functools import cache

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from trainer.spec.field_index import FIELDS, FieldInfo


class DescribedSchema(GenerateJsonSchema):
    """JSON Schema with the description of each field."""

    def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
        """The schema of one section."""
        made = super().model_schema(schema)
        section: type[BaseModel] = schema["cls"]
        for name, text in descriptions(section).items():
            made["properties"][section.model_fields[name].alias or name]["description"] = text
        return made


def sentence_of(info: FieldInfo) -> str:
    """What a field of the recipe means."""
    return descriptions(info.section).get(info.key.rpartition(".")[2], "")


def fields_described(words: str) -> list[str]:
    """Keys whose description has these words: 'learning_rate' and 'learning rate' find every learning rate."""
    wanted = words.lower().replace("_", " ")
    return [key for key, info in FIELDS.items() if wanted in sentence_of(info).lower()]


@cache
def descriptions(section: type[BaseModel]) -> Mapping[str, str]:
    """The description of each field, of those that have one; inherited fields are described by their own section."""
    described: dict[str, str] = {}
    for base in reversed(section.__mro__):
        if base is not BaseModel and issubclass(base, BaseModel):
            described |= _described_in(base.__module__).get(base.__name__, {})
    given = {name: info.description for name, info in section.model_fields.items() if info.description}
    return {name: text for name, text in (described | given).items() if name in section.model_fields}


@cache
def _described_in(module: str) -> Mapping[str, Mapping[str, str]]:
    """Docstrings below fields, for each class of a module."""
    tree = ast.parse(inspect.getsource(sys.modules[module]))
    return {node.name: dict(_docstrings(node)) for node in tree.body if isinstance(node, ast.ClassDef)}


def _docstrings(node: ast.ClassDef) -> Iterator[tuple[str, str]]:
    for field, below in zip(node.body, node.body[1:], strict=False):
        if not isinstance(field, ast.AnnAssign) or not isinstance(field.target, ast.Name):
            continue
        if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant) and isinstance(below.value.value, str):
            yield field.target.id, inspect.cleandoc(below.value.value)
