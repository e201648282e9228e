"""JSON Schema of preset files for editors, with the unit and the stages of every field."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from trainer.spec.field_docs import DescribedSchema
from trainer.spec.field_index import FIELDS
from trainer.spec.load import HEADER_KEYS
from trainer.spec.recipe import Recipe
from trainer.spec.section import Section


def schema_of_recipe() -> dict[str, Any]:
    """Schema of a preset file: its header and all sections; none is required, since presets may extend others."""
    schema = Recipe.model_json_schema(schema_generator=DescribedSchema)
    for prefix, section in _sections(Recipe):
        properties = schema["properties"] if section is Recipe else schema["$defs"][section.__name__]["properties"]
        for name in properties:
            if info := FIELDS.get(f"{prefix}{name}"):
                properties[name] |= {"x-unit": info.unit, "x-stages": list(info.stages)}
    header = {
        "description": {"type": "string", "description": "What the preset is for."},
        "extends": {"type": "string", "description": "The preset this one builds on."},
        "source": {"type": "string", "description": "Where the recipe comes from."},
        "parameters": {"type": ["integer", "null"], "description": "Weights the model must have."},
        "published": {"type": ["object", "null"], "description": "What its author reported."},
        "expected": {"type": ["object", "null"], "description": "Durations of its stages, and the hardware."},
    }
    assert set(header) == set(HEADER_KEYS)
    schema["properties"] |= header
    schema.pop("required", None)
    return schema


def _sections(section: type[Section], prefix: str = "") -> Iterator[tuple[str, type[Section]]]:
    yield prefix, section
    for name, info in section.model_fields.items():
        if isinstance(info.annotation, type) and issubclass(info.annotation, Section):
            yield from _sections(info.annotation, f"{prefix}{name}.")
