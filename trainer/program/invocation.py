"""The command line and the environment of one stage of a program: macros filled in, nothing inherited but what is said.

Macros are those of W&B (${env}, ${interpreter}, ${program}, ${args}, ${args_no_hyphens}, ${args_no_boolean_flags},
${args_json}, ${args_json_file}, ${envvar:NAME}); beside them ${args_on_off_flags}, ${seed}, ${nproc} and ${NAME} of a
knob. No shell reads them.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainer.spec.errors import UserError
from trainer.spec.json_text import parse_json
from trainer.spec.program import WANDB_CONFIG, Program

ARGS_FILE = ".knobs.json"
"""What ${args_json_file} names, relative to the working folder."""
LISTS = ("args", "args_no_hyphens", "args_no_boolean_flags", "args_on_off_flags")
"""Macros that stand for several arguments."""
MACRO = re.compile(r"\$\{([^}]*)\}")
PASSED = ("PATH", "CUDA_VISIBLE_DEVICES", "LD_LIBRARY_PATH", "CUDA_HOME")
"""Variables of our own environment that every program gets: without them no interpreter and no GPU is found."""


@dataclass(frozen=True)
class Place:
    """Where one command runs."""

    folder: Path
    """Its working folder, which is also its home."""
    temporary: Path
    port: int
    """A free port, for torchrun."""
    num_ranks: int
    """GPUs of the slot, or processes on a CPU."""


def as_text(value: Any) -> str:
    """A knob as an argument: numbers as Python writes them, lists as JSON."""
    return value if isinstance(value, str) else json.dumps(value) if isinstance(value, list | dict) else str(value)


def as_variable(value: Any) -> str:
    """A knob as an environment variable: true and false are 1 and 0, which scripts turn into numbers."""
    return str(int(value)) if isinstance(value, bool) else as_text(value)


def knobs_with_seed(program: Program, stage: str) -> dict[str, Any]:
    """What is passed to a stage, the seed under its own name; knobs that are null are not passed."""
    knobs = {program.names.get(key, key): value for key, value in program.knobs_of(stage).items() if value is not None}
    return knobs | ({program.seed_key: program.seed} if program.seed_key else {})


def command_of(program: Program, stage: str, place: Place) -> list[str]:
    """The command of a stage, ready to run. Raises UserError for a macro that means nothing."""
    passed = knobs_with_seed(program, stage)
    by_args = passed if program.knobs_by == "args" else {}
    words: list[str] = []
    for element in program.stage(stage).command or program.command:
        if (match := MACRO.fullmatch(element)) and match[1] in LISTS:
            words += _arguments(match[1], by_args)
        else:
            words.append(MACRO.sub(lambda found: _filled(found[1], program, passed, place), element))
    return words


def _arguments(macro: str, knobs: Mapping[str, Any]) -> list[str]:
    hyphens = "" if macro == "args_no_hyphens" else "--"
    words = []
    for key, value in knobs.items():
        if macro == "args_no_boolean_flags" and isinstance(value, bool):
            words += [f"--{key}"] if value else []
        elif macro == "args_on_off_flags" and isinstance(value, bool):  # of argparse.BooleanOptionalAction, and click
            words.append(f"--{key}" if value else f"--no-{key}")
        else:
            words.append(f"{hyphens}{key}={as_text(value)}")
    return words


def _filled(macro: str, program: Program, passed: Mapping[str, Any], place: Place) -> str:
    if (name := program.names.get(macro, macro)) in passed:
        return as_text(passed[name])
    if macro.startswith("envvar:"):
        return environment_of(program, "", place).get(macro.removeprefix("envvar:"), "")
    if macro == "env":
        return "/usr/bin/env"
    filled = {
        "interpreter": sys.executable,
        "program": program.script,
        "args_json": json.dumps(dict(passed)),
        "args_json_file": ARGS_FILE,
        "seed": str(program.seed),
        "nproc": str(program.nproc or place.num_ranks),
        "port": str(place.port),
    }
    if macro not in filled:
        raise UserError(f"command: ${{{macro}}} is no macro and no knob that this stage is given")
    return filled[macro]


def known_macro(macro: str, knobs: Sequence[str]) -> bool:
    """Whether a macro can be filled in beside these knobs."""
    ours = {*LISTS, "env", "interpreter", "program", "args_json", "args_json_file", "seed", "nproc", "port"}
    return macro in ours or macro in knobs or macro.startswith("envvar:")


def environment_of(program: Program, stage: str, place: Place) -> dict[str, str]:
    """The whole environment of a stage's command.

    `torchrun` reads PET_..., so a command that says no port or number of processes gets those of this run.
    """
    paths = [str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]
    variables = {name: os.environ[name] for name in (*PASSED, *program.inherit) if name in os.environ}
    variables |= {
        "PATH": os.pathsep.join(paths),
        "HOME": str(place.folder),
        "TMPDIR": str(place.temporary),
        "LANG": "C.UTF-8",
        "PYTHONUNBUFFERED": "1",
        "PYTHONIOENCODING": "utf-8:backslashreplace",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(place.port),
        "PET_MASTER_ADDR": "127.0.0.1",
        "PET_MASTER_PORT": str(place.port),
        "PET_NPROC_PER_NODE": str(program.nproc or place.num_ranks),
        "WANDB_MODE": "offline",
    }
    if stage and program.knobs_by == "env":
        variables |= {key: as_variable(value) for key, value in knobs_with_seed(program, stage).items()}
    return variables | dict(program.env) | (dict(program.stage(stage).env) if stage else {})


def write_knobs(program: Program, stage: str, folder: Path) -> None:
    """Writes the knobs into the files that the program or its command reads."""
    if program.knobs_by == "file":
        path = folder / program.config_file
        content = configuration_of(program, stage, folder)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)  # perhaps a link
        path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    if takes_wandb_config(program):
        (folder / WANDB_CONFIG[1]).write_text(json.dumps(wandb_config(program, stage)) + "\n", encoding="utf-8")
    passed = json.dumps(knobs_with_seed(program, stage), indent=1) + "\n"
    command = program.stage(stage).command or program.command
    if any("${args_json_file}" in element for element in command):
        (folder / ARGS_FILE).write_text(passed, encoding="utf-8")


def takes_wandb_config(program: Program) -> bool:
    """Whether the program uses W&B, and the search space names no file of its own for it."""
    variable, file = WANDB_CONFIG
    return program.env.get(variable) == file


def wandb_config(program: Program, stage: str) -> dict[str, Any]:
    """The knobs as W&B's agent writes them for `wandb.init`; where dots lead into a value, it is a mapping."""
    tree: dict[str, Any] = {}
    for key, value in knobs_with_seed(program, stage).items():
        *sections, last = key.split(".")
        place = tree
        for section in sections:
            place = place.setdefault(section, {})
            if not isinstance(place, dict):
                place, last = tree, key
                break
        place[last] = value
    return {"wandb_version": 1} | {key: {"value": value} for key, value in tree.items()}


def configuration_of(program: Program, stage: str, folder: Path) -> dict[str, Any]:
    """What the JSON file of `pass: file` holds: the knobs, in the program's own configuration if the folder has one.

    A knob stands at its key, or where its dots lead. Raises UserError if the program's own is no JSON object.
    """
    path, knobs = folder / program.config_file, knobs_with_seed(program, stage)
    if not path.exists():
        return knobs
    try:
        tree = parse_json(path.read_bytes())
    except ValueError as fault:
        raise UserError(f"{program.config_file} is no JSON ({fault}), and knobs are passed in it: pass: file") from None
    if not isinstance(tree, dict):
        raise UserError(f"{program.config_file} is no JSON object, and knobs are passed in it: pass: file")
    for key, value in knobs.items():
        place, last = tree, key
        while last not in place and isinstance(place.get(last.partition(".")[0]), dict):
            first, _, last = last.partition(".")
            place = place[first]
        place[last] = value
    return tree
