"""JSON Schema of search space files, so that editors complete and check them."""

from __future__ import annotations

from typing import Any

from orchestrator.space.load_space import SpaceFile
from trainer.spec.field_index import FIELDS, FieldInfo


def schema_of_space() -> dict[str, Any]:
    """Every key of the file, and under `parameters` every dotted recipe key with its sentence, unit and stages."""
    schema = SpaceFile.model_json_schema()
    schema["title"] = "Search space"
    keys = [info for key, info in FIELDS.items() if key != "seed"]
    schema["properties"]["parameters"] |= {
        "properties": {info.key: _described(info) for info in keys},
        "additionalProperties": {  # a name that is no dotted key opens a nested section
            "type": "object",
            "required": ["parameters"],
            "additionalProperties": False,
            "properties": {"parameters": {"type": "object"}},
        },
    }
    schema["$defs"]["Compare"]["properties"]["baseline"] |= {
        "properties": {info.key: {"description": _sentence(info)} for info in keys},
        "additionalProperties": False,
    }
    seeds = schema["properties"]["seeds"]
    seeds["anyOf"] = [
        {"type": "array", "items": seeds.pop("items"), "minItems": 1, "uniqueItems": True},
        {"type": "object", "required": ["values"], "properties": {"values": {"type": "array"}}},
    ]
    del seeds["type"]
    return schema


def _described(info: FieldInfo) -> dict[str, Any]:
    return {"$ref": "#/$defs/Parameter", "description": _sentence(info)}


def _sentence(info: FieldInfo) -> str:
    facts = [info.type_name, info.unit and f"in {info.unit}", f"default {info.default}"]
    stages = f" Read by: {', '.join(info.stages)}." if info.stages else ""
    return f"{info.sentence} ({', '.join(fact for fact in facts if fact)}).{stages}"
