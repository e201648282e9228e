"""Loads presets and applies overrides. Returns a validated recipe, or raises one error that names every problem."""

from __future__ import annotations

import copy
import json
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache
from importlib import resources
from pathlib import Path
from typing import Any, overload

from pydantic import ValidationError

from trainer.spec.errors import ProblemsError, RecipeError, did_you_mean
from trainer.spec.field_index import FIELDS, nearest_key
from trainer.spec.nano import SUFFIX, nano_values
from trainer.spec.program import Program
from trainer.spec.recipe import Recipe
from trainer.spec.runnable import Runnable
from trainer.spec.stage_times import Expected, read_expected
from trainer.spec.yaml_text import NOTHING, YamlText, parse_value, read_text

HEADER_KEYS = ("description", "extends", "source", "parameters", "published", "expected")
SECTIONS = tuple(Recipe.model_fields)


@dataclass(frozen=True)
class Preset:
    """A named recipe file: its recipe, purpose, source and published results."""

    name: str
    description: str
    recipe: Recipe
    source: str = ""
    parameters: int | None = None
    """Weights the model must have; checked when it is built."""
    published: Mapping[str, Any] = field(default_factory=dict)
    expected: Expected | None = None
    """Measured durations of its stages, if there are any."""


def preset_names() -> list[str]:
    """Names of the presets that ship with the package."""
    folder = resources.files("trainer.spec") / "presets"
    return sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml"))


def load_preset(name: str, overrides: Mapping[str, Any] | None = None, source: str = "--set") -> Preset:
    """A shipped preset by name, or a preset file by path; messages attribute `overrides` (dotted keys) to `source`.

    NAME_nano is the nano sibling of preset NAME and needs no file.
    Raises RecipeError with every problem: unknown keys (with the most similar known one), types, ranges,
    contradictions.
    """
    tree, header, text = _read(name, seen=())
    own = copy.deepcopy(tree)
    problems = _apply(tree, overrides or {}, source)
    recipe = _validate(tree, text, problems, dict.fromkeys(overrides or {}, source))
    return Preset(
        name=Path(name).stem if name.endswith(".yaml") else name,
        description=str(header.get("description", "")),
        recipe=recipe,
        source=str(header.get("source", "")),
        parameters=header.get("parameters"),
        published=header.get("published") or {},
        expected=_expected(header, own, text.source),
    )


def _expected(header: Mapping[str, Any], own: Mapping[str, Any], source: str) -> Expected | None:
    """Declared by the preset itself, else by the one it extends, whose sizes they then hold for."""
    if "expected" in header:
        return read_expected(header["expected"], Recipe.model_validate(own), source)
    return load_preset(_beside(source, str(header["extends"]))).expected if "extends" in header else None


def expected_of(preset: str) -> Expected | None:
    """Declared durations of a preset's stages; None if it declares none or its file is missing."""
    try:
        return load_preset(preset).expected
    except RecipeError:
        return None


@overload
def with_values(recipe: Recipe, values: Mapping[str, Any], source: str) -> Recipe: ...


@overload
def with_values(recipe: Program, values: Mapping[str, Any], source: str) -> Program: ...


def with_values(recipe: Runnable, values: Mapping[str, Any], source: str) -> Runnable:
    """The recipe with some dotted keys changed, or the program with some knobs. Raises RecipeError naming every invalid
    value; a program's knobs take any."""
    if isinstance(recipe, Program):
        return recipe.with_knobs(values)
    tree = recipe.model_dump(mode="json")
    problems = _apply(tree, values, source)
    return _validate(tree, _no_file(source), problems, {})


@cache
def _no_file(source: str) -> YamlText:
    """Stands in for a file where values come from the command line."""
    return YamlText(NOTHING, source)


def parse_overrides(assignments: Sequence[str], source: str = "--set") -> dict[str, Any]:
    """`['ttt.lr=1e-3', 'ttt.mode=score_first']` → values by dotted key; raises RecipeError for one without `=`."""
    values: dict[str, Any] = {}
    problems = []
    for text in assignments:
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            problems.append(f"'{text}' is not KEY=VALUE; for example: ttt.lr=1e-3")
            continue
        if key.strip() in values:
            problems.append(f"'{key.strip()}' is set twice")
        values[key.strip()] = parse_value(value, f"{source} {key.strip()}")
    if problems:
        raise RecipeError(source, problems)
    return values


def override_text(key: str, value: Any) -> str:
    """`ttt.lr=0.001`, what `--set` takes: the inverse of `parse_overrides`. For a shell it may still need quotes.

    A text is written as it is where it reads back as that text, else in quotes, as everything is that only looks like
    a number, a list, true, false or null.
    """
    if not isinstance(value, str):
        return f"{key}={json.dumps(value)}"
    return f"{key}={value if _reads_as_itself(value) else _quoted(value)}"


def spelled(value: Any) -> str:
    """A value as a file writes it: `null`, `true`, `[0, 1]`, and a text as it is; `''` for an empty one."""
    return (value or "''") if isinstance(value, str) else json.dumps(value)


def assigned(values: Mapping[str, Any]) -> str:
    """`ttt.lr = 0.001, data.order_seed = null`."""
    return ", ".join(f"{key} = {spelled(value)}" for key, value in values.items())


def _quoted(text: str) -> str:
    """In YAML's double quotes: JSON's leave characters beyond 16 bits in two halves, which YAML does not join."""
    return '"' + re.sub(r'[^ -~]|["\\]', lambda found: f"\\U{ord(found[0]):08x}", text) + '"'


def _reads_as_itself(text: str) -> bool:
    try:
        return bool(parse_value(text, "") == text)
    except ValueError:  # no YAML, or no value
        return False


def unknown_key(key: str) -> str:
    """Message about a key that no recipe has."""
    return f"{key} is no recipe key{nearest_key(key)}"


def _read(name: str, seen: tuple[str, ...]) -> tuple[dict[str, Any], dict[str, Any], YamlText]:
    if name.endswith(SUFFIX) and name.removesuffix(SUFFIX) in preset_names():
        return _read_nano(name.removesuffix(SUFFIX))
    text = _parsed(*_text_of(name, seen))
    if not isinstance(text.value, dict):
        raise RecipeError(text.source, ["the file holds no mapping of recipe sections"])
    if "seeds" in text.value or "preset" in text.value:
        run = f"orchestrator sweep {shlex.quote(name)}"
        raise RecipeError(text.source, [f"the file is a search space, and a recipe is expected; to run it: {run}"])
    header = {key: text.value[key] for key in HEADER_KEYS if key in text.value}
    changes = {key: value for key, value in text.value.items() if key not in HEADER_KEYS}
    if parent := header.get("extends"):
        if parent in seen or parent == name:
            raise RecipeError(text.source, [f"extends = '{parent}' leads back to itself"])
        tree, _, _ = _read(_beside(name, str(parent)), (*seen, name))
        return _merge(tree, changes), header, text
    return copy.deepcopy(changes), header, text


def _beside(child: str, parent: str) -> str:
    """The parent as a preset names it; a file is looked for beside the child first, then in this folder."""
    if not parent.endswith((".yaml", ".yml")) or not child.endswith((".yaml", ".yml")):
        return parent
    beside = Path(child).parent / parent
    return str(beside) if beside.is_file() else parent


@lru_cache(maxsize=64)
def _parsed(text: str, source: str) -> YamlText:
    """Cached, since parsing YAML is slow and presets are read often; callers must not change the value."""
    return YamlText(text, source)


def _read_nano(name: str) -> tuple[dict[str, Any], dict[str, Any], YamlText]:
    full = load_preset(name)
    tree = full.recipe.model_dump(mode="json")
    problems = _apply(tree, nano_values(full.recipe), "nano")
    assert not problems, problems
    header = {"description": f"The nano sibling of {name}: its switches at tiny widths.", "source": full.source}
    return tree, header, YamlText(NOTHING, f"preset {name}{SUFFIX}")


def _files_beside(path: Path) -> list[str]:
    """Names of the preset files where one was looked for."""
    return sorted(one.name for one in path.parent.glob("*.y*ml")) if path.parent.is_dir() else []


def _text_of(name: str, seen: tuple[str, ...]) -> tuple[str, str]:
    if name.endswith((".yaml", ".yml")):
        path = Path(name)
        if not path.is_file():
            raise RecipeError(
                name, [f"there is no such preset file: {name}{did_you_mean(path.name, _files_beside(path))}"]
            )
        return read_text(path), name
    known = preset_names()
    if name not in known:
        where = f"preset '{seen[-1]}'" if seen else "the request"
        near = did_you_mean(name, [*known, *(f"{one}{SUFFIX}" for one in known)])
        listing = ", ".join(known)
        raise RecipeError(where, [f"preset '{name}' is unknown{near}; known: {listing}"])
    return _shipped(name), f"preset {name}"


@cache
def _shipped(name: str) -> str:
    return (resources.files("trainer.spec") / "presets" / f"{name}.yaml").read_text(encoding="utf-8")


def _merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = copy.deepcopy(dict(below))
    for key, value in above.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = _merge(merged[key], value) if both else copy.deepcopy(value)
    return merged


def _apply(tree: dict[str, Any], values: Mapping[str, Any], source: str) -> list[str]:
    problems = []
    for key, value in values.items():
        if key not in FIELDS:
            section = key in SECTIONS or any(known.startswith(f"{key}.") for known in FIELDS)
            problems.append(f"{key} is a section, not a key; set one of its keys" if section else unknown_key(key))
            continue
        *sections, leaf = key.split(".")
        node = tree
        for section_name in sections:
            child = node.get(section_name)
            node = node.setdefault(section_name, {}) if isinstance(child, dict | None) else {}
        node[leaf] = value
    return [f"{problem} ({source})" for problem in problems]


def _validate(tree: dict[str, Any], text: YamlText, problems: list[str], overridden: Mapping[str, str]) -> Recipe:
    try:
        recipe = Recipe.model_validate(tree)
    except ValidationError as error:
        for item in error.errors(include_url=False):
            lines = _complaints(item, text, overridden)
            problems += [
                line for line in lines if line.split(" = ")[0] not in {old.split(" = ")[0] for old in problems}
            ]
        raise RecipeError(text.source, problems) from None
    if problems:
        raise RecipeError(text.source, problems)
    return recipe


def _complaints(item: Mapping[str, Any], text: YamlText, overridden: Mapping[str, str]) -> list[str]:
    path = tuple(part for part in item["loc"] if isinstance(part, int) or not _is_union_branch(part))
    while path and isinstance(path[-1], int):
        path = path[:-1]  # the message names the list, not its item
    key = ".".join(str(part) for part in path)
    place = overridden.get(key) or text.where(path)
    at = f" ({place})" if place != text.source else ""
    if item["type"] == "extra_forbidden":
        return [unknown_key(key) + at]
    if item["type"] == "missing":
        return [f"{key} is missing{at}"]
    if item["type"] == "value_error":
        lines = str(item["ctx"]["error"]).split("\n")
        return [f"{key}.{line}{at}" if key else f"{line}{at}" for line in lines]
    written = "null" if item["input"] is None else repr(item["input"])
    return [f"{key} = {written} {_expectation(key, item)}{at}"]


def _is_union_branch(part: Any) -> bool:
    return isinstance(part, str) and (
        part.startswith(("literal[", "constrained-", "tuple[", "function-")) or part in {"int", "float", "none", "str"}
    )


def _expectation(key: str, item: Mapping[str, Any]) -> str:
    limits = item.get("ctx") or {}
    words = {
        "greater_than": "must be greater than {gt}",
        "greater_than_equal": "must be at least {ge}",
        "less_than": "must be less than {lt}",
        "less_than_equal": "must be at most {le}",
        "finite_number": "must be a finite number",
    }
    if item["type"] in words:
        return words[item["type"]].format(**limits)
    field_info = FIELDS.get(key)
    if item["type"] == "literal_error" and field_info:
        known = field_info.type_name.split(" | ")
        return f"is unknown{did_you_mean(str(item['input']), known)}; known: {', '.join(known)}"
    if field_info is None:
        return f"must be a section of keys, not {type(item['input']).__name__}"
    hint = ""
    if field_info.type_name in ("number", "integer") and _reads_as_number(item["input"]):
        hint = "; it is text, so remove the quotes"
    return f"must be {_article(field_info.type_name)}{hint}"


def _reads_as_number(value: Any) -> bool:
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return isinstance(value, str)


def _article(type_name: str) -> str:
    if "|" in type_name:
        return f"one of: {type_name}"
    return f"{'an' if type_name[0] in 'aeiou' else 'a'} {type_name}" if type_name != "text" else "text"


__all__ = [
    "Preset",
    "ProblemsError",
    "assigned",
    "load_preset",
    "override_text",
    "parse_overrides",
    "preset_names",
    "spelled",
    "unknown_key",
    "with_values",
]
