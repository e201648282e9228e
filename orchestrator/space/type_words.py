"""What a key of a search space takes, in the words of the file: a list, a mapping, a whole number."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

WORDS = {
    **dict.fromkeys(("tuple_type", "list_type"), "must be a list"),
    **dict.fromkeys(("dict_type", "mapping_type", "model_type", "model_attributes_type"), "must be a mapping"),
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float"), "must be a whole number"),
    **dict.fromkeys(("float_type", "float_parsing"), "must be a number"),
    "string_type": "must be a text",
    "bool_type": "must be true or false",
}
"""By the kind of pydantic's complaint."""
EXAMPLES = {
    "seeds": "[1337, 42, 2025]",
    "parameters": "{model.rope_base: {values: [1000.0, 50000.0]}}",
    "compare.baseline": "{LR: 0.1}",
    "program.limits": "{seconds: 600}",
    "program.limits.bytes": "{file: final_model.int8.ptz, at_most: 16000000}",
    "program.stages": "[{name: train, leaves: model.pt}, {name: evaluate}]",
    "program.metrics": "{val_loss: 'val loss (NUMBER)'}",
    "program.env": "{OMP_NUM_THREADS: 2}",
    "program.names": "{num_steps: steps}",
    "program.set": "{STEPS: 300}",
}


def expected(key: str, item: Mapping[str, Any]) -> str:
    """'must be a list; for example: [1337, 42, 2025]'.

    key:   dotted
    item:  a complaint of pydantic
    """
    words = WORDS.get(item["type"]) or str(item["msg"]).replace("Input should", "must")
    example = EXAMPLES.get(key, "{max: 3}" if re.fullmatch(r"constraints\.\w+", key) else "")
    if key.startswith("program.metrics.") and words == "must be a mapping":
        words, example = "must be a pattern, or {key: NAME}, or a list of these", "'val loss (NUMBER)'"
    if key.startswith("parameters.") and item["type"] == "model_type":
        given = [1, 2] if item["input"] is None else item["input"]
        example = f"{{{'values' if isinstance(given, list) else 'value'}: {given}}}"
    if key == "metric" and isinstance(item["input"], str):
        example = f"{{name: {item['input']}}}"
    if not example and words == "must be a list" and not isinstance(item["input"], Mapping):
        example = f"[{item['input']}]"
    return f"{words}; for example: {example}" if example else words
