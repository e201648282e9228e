"""`python docs/generate.py`: writes docs/reference/ from the code, so that no page of it says what the code does not.

Every sentence there is a docstring or a line of help; mend it where it stands and run this again.
"""

from __future__ import annotations

import inspect
import json
import types
import typing
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from typer.models import ArgumentInfo, OptionInfo

from orchestrator.commands.app import app as orchestrator_app
from orchestrator.space.load_space import SpaceFile
from orchestrator.space.program_keys import ProgramKeys
from orchestrator.space.wandb_words import REFUSED, REFUSED_OF_METRIC
from trainer.cli import app as trainer_app
from trainer.spec.field_docs import descriptions, sentence_of
from trainer.spec.field_index import FIELDS, FieldInfo
from trainer.spec.section import Section
from trainer.spec.stage_table import STAGES

FOLDER = Path(__file__).parent / "reference"
COMMAND = "python docs/generate.py"
NOTE = f"<!-- Written by `{COMMAND}`; changes made here are lost. -->"
TYPES = {int: "integer", float: "number", str: "text", bool: "true / false", type(None): "null", Any: "anything"}


def pages() -> dict[str, str]:
    """Text of every page by its file's name."""
    return {"recipe_fields.md": recipe_fields(), "search_space.md": search_space(), "commands.md": commands()}


def recipe_fields() -> str:
    """Every field of the recipe, by section."""
    by_section: dict[str, list[FieldInfo]] = {}
    for key, info in FIELDS.items():
        by_section.setdefault(key.rpartition(".")[0] or "the recipe itself", []).append(info)
    stages = [(code(stage.name), listed(stage.stands_on), stage.leaves) for stage in STAGES.values()]
    parts = [
        "# Recipe fields",
        NOTE,
        "A field's dotted key names it in presets, in search spaces, in `--set KEY=VALUE` and in messages. Changing a "
        "field runs the stages that read it again, and all that stand on them. A field that no stage reads is a limit "
        "that is checked afterwards, a choice of stages, or a place whose content is hashed instead. "
        "`python -m trainer explain KEY` prints the same.",
        "## Stages",
        table(("stage", "stands on", "leaves"), stages),
    ]
    for section, infos in by_section.items():
        parts += [f"## {section}", table(("key", "type", "default", "unit", "stage", "meaning"), map(field_row, infos))]
    return joined(parts)


def field_row(info: FieldInfo) -> tuple[str, ...]:
    switches = [f"{code(key)} is {choices(value)}" for key, value in info.unless.items()]
    together = [f"{code(key)} is {choices(value)}" for key, value in info.unless_all.items()]
    idle = f" Without effect while {' or '.join(switches)}." if switches else ""
    idle += f" Without effect while {' and '.join(together)}." if together else ""
    kind = info.type_name.replace(" | ", " / ")
    return (
        code(info.key),
        kind,
        code(value_text(info.default)),
        info.unit,
        listed(info.stages),
        sentence_of(info) + idle,
    )


def search_space() -> str:
    """Every key of a search space file."""
    parts = [
        "# Search space keys",
        NOTE,
        "A search space is a YAML file for one sweep. `orchestrator schema space` prints the same as a JSON "
        "Schema for editors. What may stand under `parameters` and `compare.baseline` are the keys of "
        "[recipe_fields.md](recipe_fields.md).",
        "## The file",
        section_table(SpaceFile),
    ]
    parts += section_parts(SpaceFile, "")
    words = REFUSED | {f"metric.{word}": reason for word, reason in REFUSED_OF_METRIC.items()}
    refused = [(code(word), reason) for word, reason in words.items()]
    return joined([*parts, "## Words of W&B that are refused", table(("word", "why"), refused)])


def section_parts(above: type[Section], path: str) -> list[str]:
    """A heading and a table for each section below a section; those of a program stand below it in turn."""
    parts: list[str] = []
    for name, info in above.model_fields.items():
        for section in sections_in(info.annotation):
            rule = section.model_fields.get("rule")
            of_rule = f", rule {type_text(rule.annotation).replace(' / ', ' or ')}" if rule else ""
            here = f"{path}{name}{'.KEY' if is_mapping(info.annotation) else ''}"
            parts += [f"## {here}{of_rule}", inspect.getdoc(section) or "", section_table(section)]
            if section is ProgramKeys or path:
                parts += section_parts(section, f"{here}.")
    return parts


def section_table(section: type[Section]) -> str:
    rows = [
        (
            code(info.alias or name),
            type_text(info.annotation),
            default_text(info),
            descriptions(section).get(name, "").replace("\n", " "),
        )
        for name, info in section.model_fields.items()
    ]
    return table(("key", "type", "default", "meaning"), rows)


def sections_in(annotation: Any) -> Iterator[type[Section]]:
    """The sections that a field of this type holds."""
    if inspect.isclass(annotation) and issubclass(annotation, Section):
        yield annotation
    for argument in typing.get_args(annotation):
        yield from sections_in(argument)


def commands() -> str:
    """Every command with its arguments and options."""
    parts = [
        "# Commands",
        NOTE,
        "Exit status of every command: 0 done, 1 ran but something failed, 2 the request was wrong, 130 interrupted. "
        "`--help` of a command prints the same.",
    ]
    for name, app in (("orchestrator", orchestrator_app), ("python -m trainer", trainer_app)):
        for words, command in sorted(commands_of(name, app)):
            parts += [f"## {words}", *command]
    return joined(parts)


def commands_of(name: str, app: typer.Typer) -> Iterator[tuple[str, list[str]]]:
    for info in app.registered_commands:
        assert info.callback is not None
        words = f"{name} {info.name or info.callback.__name__}"
        example = info.epilog.removeprefix("Example: ") if info.epilog else ""
        parts = [inspect.getdoc(info.callback) or "", table(("option", "value", "default", "meaning"), options(info))]
        yield words, [*parts, *([f"```\n{example}\n```"] if example else [])]
    for group in app.registered_groups:
        assert group.typer_instance is not None
        yield from commands_of(f"{name} {group.name}", group.typer_instance)


def options(command: Any) -> Iterator[tuple[str, ...]]:
    hints = typing.get_type_hints(command.callback, include_extras=True)
    for name, parameter in inspect.signature(command.callback).parameters.items():
        kind, *extras = typing.get_args(hints[name]) if typing.get_origin(hints[name]) is Annotated else (hints[name],)
        info = next(extra for extra in extras if isinstance(extra, ArgumentInfo | OptionInfo))
        required = parameter.default is inspect.Parameter.empty
        if isinstance(info, ArgumentInfo):
            label = info.metavar or name.upper()
            shown = code(label if required else f"[{label}]")
        else:
            said = [text for text in (info.default, *(info.param_decls or ())) if isinstance(text, str)]
            shown = ", ".join(map(code, said or [f"--{name.replace('_', '-')}"]))  # typer keeps the first as default
        repeated = typing.get_origin(kind) is list
        value = info.metavar if isinstance(info, OptionInfo) and info.metavar else value_kind(kind)
        default = "required" if required else default_value(parameter.default)
        yield shown, f"{value}, may be repeated" if repeated else value, default, info.help or ""


def value_kind(kind: Any) -> str:
    """How a command line shows the type: nothing for a flag, the choices, or a word."""
    if kind is bool:
        return ""
    inner = [part for part in typing.get_args(kind) if part is not type(None)]
    if typing.get_origin(kind) in (list, types.UnionType, typing.Union):
        return value_kind(inner[0])
    return "file or folder" if kind is Path else type_text(kind)


def default_value(value: Any) -> str:
    if value is None or value is False or value == []:
        return ""
    return code(str(value) if isinstance(value, Path) else value_text(value))


def default_text(info: Any) -> str:
    if info.is_required():
        return "required"
    value = info.get_default(call_default_factory=True)
    if isinstance(value, Section):
        return "as below"
    return "" if value is None or value == "" else code(value_text(value))


def type_text(annotation: Any) -> str:
    """A type in words: 'integer / null', 'list of integer', 'a / b'."""
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Literal:
        return " / ".join(str(arg) for arg in args)
    if origin is Annotated:
        return type_text(args[0])
    if origin in (tuple, list):
        return f"list of {type_text(args[0])}"
    if is_mapping(annotation):
        return f"{type_text(args[1])}, by key"
    if args:
        words = dict.fromkeys(type_text(arg) for arg in args if arg is not type(None))
        return " / ".join(words)
    if inspect.isclass(annotation) and issubclass(annotation, Section):
        return "below"
    return TYPES[annotation]


def is_mapping(annotation: Any) -> bool:
    origin = typing.get_origin(annotation)
    return inspect.isclass(origin) and issubclass(origin, Mapping)


def value_text(value: Any) -> str:
    """A default as YAML would have it."""
    if isinstance(value, str):
        return value or "''"
    return json.dumps(list(value) if isinstance(value, tuple) else value)


def choices(value: Any) -> str:
    return " or ".join(code(value_text(one)) for one in (value if isinstance(value, tuple) else (value,)))


def listed(names: Iterable[str]) -> str:
    return ", ".join(names)


def code(text: str) -> str:
    return f"`{text}`"


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def joined(parts: Iterable[str]) -> str:
    return "\n\n".join(part for part in parts if part) + "\n"


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, text in pages().items():
        (FOLDER / name).write_text(text, encoding="utf-8")
        print(FOLDER / name)
