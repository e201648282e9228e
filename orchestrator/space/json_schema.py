"""JSON Schema of search space files, so that editors complete and check them."""

from __future__ import annotations

from typing import Any

from orchestrator.space.load_space import SpaceFile
from orchestrator.space.program_keys import OWN_MARKS
from orchestrator.space.wandb_words import LEFT_OUT
from trainer.spec.field_docs import DescribedSchema, sentence_of
from trainer.spec.field_index import FIELDS, FieldInfo


def schema_of_space() -> dict[str, Any]:
    """Every key of the file, and under `parameters` every dotted recipe key with its sentence, unit and stages."""
    schema = SpaceFile.model_json_schema(schema_generator=DescribedSchema)
    schema["title"] = "Search space"
    keys = [info for key, info in FIELDS.items() if key != "seed"]
    nested = {  # a name that is no dotted key opens a nested section
        "type": "object",
        "required": ["parameters"],
        "additionalProperties": False,
        "properties": {"parameters": {"type": "object"}},
    }
    parameters = {"properties": {info.key: _described(info) for info in keys}, "additionalProperties": nested}
    baseline = {
        "properties": {info.key: {"description": _sentence(info)} for info in keys},
        "additionalProperties": False,
    }
    free = schema["properties"]["parameters"].pop("additionalProperties")
    schema["if"] = {"anyOf": [{"required": [mark]} for mark in OWN_MARKS]}
    schema["then"] = {"properties": {"parameters": {"additionalProperties": {"anyOf": [free, nested]}}}}
    schema["else"] = {
        "properties": {"parameters": parameters, "compare": {"properties": {"baseline": baseline}}},
    }
    _say_program(schema)
    seeds = schema["properties"]["seeds"]
    seeds["anyOf"] = [
        {"type": "array", "items": seeds.pop("items"), "minItems": 1, "uniqueItems": True},
        {"type": "object", "required": ["values"], "properties": {"values": {"type": "array"}}},
    ]
    del seeds["type"]
    return schema


def _say_program(schema: dict[str, Any]) -> None:
    """The keys of a program stand at the top of the file, or together below `program`, which may be a path alone."""
    keys = schema["$defs"]["ProgramKeys"]["properties"]
    whole = schema["properties"]["program"]
    whole["anyOf"] = [{"type": "string"}, {"$ref": "#/$defs/ProgramKeys"}]
    whole.pop("default", None)
    texts = {"anyOf": [{"type": "string"}, {"type": "array"}]}
    source = {"anyOf": [{"type": "string"}, {"$ref": "#/$defs/Source"}]}
    for section in (keys, schema["$defs"]["StageKeys"]["properties"]):
        for name in {"command", "files", "inherit", "reads", "leaves"} & set(section):
            section[name] = texts | {"description": section[name].get("description", "")}
        section["env"]["additionalProperties"] = {"type": ["string", "number", "boolean"]}
    keys["metrics"]["additionalProperties"] = {"anyOf": [*source["anyOf"], {"type": "array", "items": source}]}
    schema["properties"] |= {name: key for name, key in keys.items() if name != "script"}
    for key, why in LEFT_OUT.items():
        section, _, name = key.rpartition(".")
        block = schema["properties"][section] if section else schema
        block = schema["$defs"][block["$ref"].rpartition("/")[2]] if "$ref" in block else block
        block["properties"][name] = {"description": why}


def _described(info: FieldInfo) -> dict[str, Any]:
    return {"$ref": "#/$defs/Parameter", "description": _sentence(info)}


def _sentence(info: FieldInfo) -> str:
    facts = [info.type_name, info.unit and f"in {info.unit}", f"default {info.default}"]
    stages = f" Read by: {', '.join(info.stages)}." if info.stages else ""
    return f"{sentence_of(info)} ({', '.join(fact for fact in facts if fact)}).{stages}"
