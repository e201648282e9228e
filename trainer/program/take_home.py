"""A program with the knobs of one run as a shell script, which runs it without us."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from trainer.program.invocation import (
    ARGS_FILE,
    Place,
    as_variable,
    command_of,
    configuration_of,
    knobs_with_seed,
    takes_wandb_config,
    wandb_config,
)
from trainer.program.sources import digest_of
from trainer.spec.printable import printable
from trainer.spec.program import WANDB_CONFIG, Program

PORT = 29500
"""Of torchrun, by its own default."""
MOST_WIDTH = 120


def shell_script(program: Program, num_ranks: int, words: Sequence[str]) -> str:
    """The script: each stage's command where the program lies, with its knobs and variables.

    num_ranks:  processes that torchrun starts where the program does not say
    words:      comment lines at its head
    """
    lines = ["#!/bin/sh", *("# " + " ".join(printable(line).splitlines()) for line in words)]
    if program.inherit:
        lines.append(f"# it needs in its environment: {', '.join(program.inherit)}")
    lines += ["set -e", f"cd {shlex.quote(program.root)}"]
    for stage in program.stage_names:
        lines += ["", *([f"# stage {stage}"] if len(program.stages) > 1 else []), *_files(program, stage)]
        lines.append(_wrapped([*_variables(program, stage, num_ranks), *_command(program, stage, num_ranks)]))
    return "\n".join(lines) + "\n"


def changed_code(program: Program) -> list[str]:
    """Files of its code that are no longer as the sweep ran them."""
    paths = {path: Path(program.root, path) for path in program.code}
    return [path for path, file in paths.items() if not file.is_file() or digest_of(file) != program.code[path]]


def _command(program: Program, stage: str, num_ranks: int) -> Iterator[str]:
    place = Place(Path(program.root), Path(), PORT, num_ranks)
    for word in command_of(program, stage, place):
        yield shlex.quote("python" if word == sys.executable else word)


def _variables(program: Program, stage: str, num_ranks: int) -> Iterator[str]:
    given = {**program.env, **program.stage(stage).env}
    if program.knobs_by == "env":
        given = {**{key: as_variable(value) for key, value in knobs_with_seed(program, stage).items()}, **given}
    command = program.stage(stage).command or program.command
    if any(word == "torchrun" or word.endswith("/torchrun") for word in command):
        given = {"PET_NPROC_PER_NODE": str(program.nproc or num_ranks), **given}  # where its arguments do not say
    yield from (f"{shlex.quote(key)}={shlex.quote(value)}" for key, value in given.items())


def _files(program: Program, stage: str) -> Iterator[str]:
    """Files of knobs that the program or its command reads."""
    command = program.stage(stage).command or program.command
    wanted: dict[str, Any] = {}
    if program.knobs_by == "file":
        wanted[program.config_file] = configuration_of(program, stage, Path(program.root))
        own = shlex.quote(program.config_file)
        yield f"[ ! -e {own} ] || cp -n {own} {own}.before  # the configuration that lay here"
    if any("${args_json_file}" in word for word in command):
        wanted[ARGS_FILE] = knobs_with_seed(program, stage)
    if takes_wandb_config(program):
        wanted[WANDB_CONFIG[1]] = wandb_config(program, stage)
    for path, content in wanted.items():
        yield f"printf '%s\\n' {shlex.quote(json.dumps(content))} > {shlex.quote(path)}"


def _wrapped(words: Sequence[str]) -> str:
    """A command over several lines where it is long."""
    lines = [""]
    for word in words:
        if lines[-1] and len(lines[-1]) + len(word) > MOST_WIDTH - 3:
            lines.append("   ")
        lines[-1] += f" {word}" if lines[-1] else word
    return " \\\n".join(lines)
