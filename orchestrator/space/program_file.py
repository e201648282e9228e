"""Turns the keys of a program into a `Program`: finds and hashes its files, fills in the format, checks the rest.

A complaint comes with the path of the key that it is about.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from orchestrator.space.parameter import Parameter
from orchestrator.space.program_keys import NUMBER, ProgramKeys, StageKeys
from results.rows.columns import COLUMN_TYPES
from trainer.program.invocation import LISTS, MACRO, known_macro
from trainer.program.sources import code_of, files_of, mentions
from trainer.spec.errors import UserError, did_you_mean
from trainer.spec.program import (
    METRIC_NAME,
    NUM_READ,
    ONLY_STAGE,
    OWN_METRICS,
    READ_BY,
    USUAL_SUMMARY,
    WANDB_CONFIG,
    Program,
    ProgramStage,
    Source,
)
from trainer.spec.yaml_text import YamlText

Complaint = tuple[str, tuple[str, ...]]
BY_ARGS = ("${interpreter}", "${program}", "${args}")
TORCHRUN = (
    "${interpreter}", "-m", "torch.distributed.run", "--nproc-per-node=${nproc}", "--master-addr=127.0.0.1",
    "--master-port=${port}", "${program}", "${args}",
)  # fmt: skip
SHELLS = {".sh": ["sh"], ".bash": ["bash"], ".zsh": ["zsh"]}
MOST_FIRST_LINE = 256
MOST_PATH = 400
VARIABLE = r"[A-Za-z_][A-Za-z0-9_]*"
SETTABLE = r"[^=\s\x00-\x1f\x7f]+"
"""Whatever a process can be given as the name of a variable, also where no shell takes it."""
START = r"^(?:\[[^\]]{0,60}\]:?\s?|\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d[.,\d]*Z?\s)*+"
"""What START in the pattern of a format stands for; it gives nothing back, so that what follows is no such prefix."""
FORMAT_WORDS = {"SCORED": r"START(?!(?:step:)?\d+/\d+ |(?i:diagnostic|pre[-_ ]?quant))", "START": START}


@cache
def formats() -> Mapping[str, Any]:
    """The patterns of contests' scripts, by name."""
    text = (resources.files("trainer.spec") / "program_formats.yaml").read_text(encoding="utf-8")
    for word, meant in FORMAT_WORDS.items():
        text = text.replace(word, meant)
    return YamlText(text, "program_formats.yaml").value


def program_of(
    keys: ProgramKeys,
    folder: Path,
    metric: str,
    fixed: Mapping[str, Any],
    overrides: Mapping[str, Any],
    knobs: Sequence[str],
) -> tuple[Program | None, list[Complaint]]:
    """The program, or complaints.

    folder:  of the search space file, which paths are relative to
    metric:  the column that configurations are compared by: the number that every run must print
    fixed:   parameters with one value; overrides: of `--set`
    knobs:   names of all parameters
    """
    keys, problems = _with_format(keys)
    script, faults = _script(keys, folder)
    if faults:
        return None, [*problems, *faults]
    root = script.parent if script else folder.absolute()
    files, file_faults = files_of(root, keys.files)
    problems += [(line, ("program", "files")) for line in file_faults]
    knobs_by, seed_key = _passing(keys)
    values = {**keys.set, **fixed, **overrides}
    stages = _stages(keys)
    command = keys.command or (TORCHRUN if keys.launch else BY_ARGS if script is None else _started(script))
    name = script.name if script else Path(next(iter(keys.command or stages[0].command), "program")).name
    metrics = {one: tuple(map(_filled_in, sources)) for one, sources in keys.metrics.items()} or {}
    metrics.setdefault(metric, usual_sources(metric))
    code: dict[str, str] = {}
    try:
        own = (keys.config_file,) if knobs_by == "file" else ()
        code = code_of(root, _named(script, [command, *(stage.command for stage in stages), own]))
    except OSError as fault:
        problems.append((f"{fault.filename or script}: cannot be read: {fault.strerror or fault}", ("program",)))
    except UserError as fault:
        problems.append((str(fault), ("program",)))
    program = Program(
        name=name,
        root=str(root),
        script=script.name if script else "",
        command=command,
        stages=stages,
        values=values,
        knobs_by=knobs_by,
        config_file=keys.config_file,
        seed_key=seed_key,
        names=keys.names,
        nproc=keys.nproc,
        code=code,
        files=files,
        env={**(dict([WANDB_CONFIG]) if mentions(root, code, b"wandb") else {}), **keys.env},
        inherit=keys.inherit,
        metrics=metrics,
        headline=metric,
        curve=None if keys.curve is None else keys.curve.replace("NUMBER", NUMBER),
        phases={phase: pattern.replace("NUMBER", NUMBER) for phase, pattern in keys.phases.items()},
        limits=keys.limits,
    )
    problems += _about(program, [*values, *knobs])
    problems += _about_paths(program, folder)
    return (None if problems else program), problems


def _with_format(keys: ProgramKeys) -> tuple[ProgramKeys, list[Complaint]]:
    """The keys with those of the format that the file does not give itself."""
    if keys.format is None:
        return keys, []
    known = formats()
    if keys.format not in known:
        near = did_you_mean(keys.format, known)
        return keys, [(f"format = {keys.format!r} is unknown{near}; known: {', '.join(known)}", ("program", "format"))]
    preset = ProgramKeys.model_validate({"script": "-", **known[keys.format]})
    given = {name: getattr(preset, name) for name in preset.model_fields_set - {"script"} - keys.model_fields_set}
    given["metrics"] = {**preset.metrics, **keys.metrics}
    return keys.model_copy(update=given), []


def _script(keys: ProgramKeys, folder: Path) -> tuple[Path | None, list[Complaint]]:
    """The script: beside the file, else where the command was typed."""
    if keys.script is None:
        return None, []
    written = Path(keys.script).expanduser()
    places = [written] if written.is_absolute() else [folder / written, written]
    for place in places:
        if place.is_file():
            return place.absolute(), []
    beside = folder / written.parent
    there = {path.name: path.name for path in sorted(beside.glob("*.py"))} if beside.is_dir() else {}
    looked = " and ".join(str(place.absolute()) for place in dict.fromkeys(places))
    return None, [
        (f"program = {keys.script!r}: there is no such file{did_you_mean(written.name, there)}; looked for {looked}",
         ("program", "script"))
    ]  # fmt: skip


def _started(script: Path) -> tuple[str, ...]:
    """The command of a script: Python's by this Python; others by themselves, or as their first line says where they
    may not be executed, as after a download."""
    if script.suffix == ".py":
        return BY_ARGS
    if os.access(script, os.X_OK):
        return "./${program}", "${args}"
    with script.open("rb") as file:
        first = file.readline(MOST_FIRST_LINE).decode("utf-8", "replace").strip()
    by = first[2:].split() if first.startswith("#!") else SHELLS.get(script.suffix, [])
    return (*by, "./${program}", "${args}")


def _passing(keys: ProgramKeys) -> tuple[Any, str | None]:
    """How knobs are passed, and the name of the seed's."""
    knobs_by = keys.knobs_by or "args"
    usual = "SEED" if knobs_by == "env" else "seed"
    return knobs_by, keys.seed_key if "seed_key" in keys.model_fields_set or keys.seed_key else usual


def seed_key_of(keys: ProgramKeys) -> str | None:
    """The name of the seed's knob; None where none is passed."""
    return _passing(_with_format(keys)[0])[1]


def _stages(keys: ProgramKeys) -> tuple[ProgramStage, ...]:
    given = keys.stages or (StageKeys(name=ONLY_STAGE),)
    return tuple(
        ProgramStage(name=one.name, command=one.command, reads=one.reads, leaves=one.leaves, env=one.env)
        for one in given
    )


def _named(script: Path | None, commands: Sequence[Sequence[str]]) -> Iterator[str]:
    """Paths that the script or a command names: words that may be files, and the module of `-m`."""
    if script:
        yield script.name
    for command in commands:
        for before, word in zip(("", *command), command, strict=False):
            plain = word.removeprefix("./")
            if before == "-m":
                yield from (f"{word.replace('.', '/')}.py", f"{word.replace('.', '/')}/__main__.py")
            elif "$" not in word and plain and not plain.startswith(("/", "-")) and ".." not in plain:
                yield plain


def _filled_in(source: Source) -> Source:
    if source.pattern is None:
        return source
    return source.model_copy(update={"pattern": source.pattern.replace("NUMBER", NUMBER)})


def usual_sources(metric: str) -> tuple[Source, ...]:
    """Where a number stands if nobody says so: in a JSON line, as 'NAME: 1.23', 'NAME=1.23' or 'NAME: tensor(1.23)', or
    in W&B's summary."""
    pattern = rf"(?<![\w./-]){re.escape(metric)}['\"]?\s*[:=]\s*(?:(?:tensor|array|np\.\w+)?[\[(]{{1,3}})?({NUMBER})"
    return Source(key=metric), Source(pattern=pattern), Source(file=USUAL_SUMMARY, key=metric)


def _about(program: Program, knobs: Sequence[str]) -> Iterator[Complaint]:
    for name in program.metrics:
        kind = COLUMN_TYPES.get(name, "number")
        if not re.fullmatch(METRIC_NAME, name) or kind not in ("number", "integer") or name == "seed":
            yield (
                f"metrics.{name} cannot name a number: it must be a word, and no column of text",
                ("program", "metrics"),
            )
        if name in (*OWN_METRICS, READ_BY, NUM_READ):
            yield (
                f"metrics.{name} is measured of every stage, printed or not; call it otherwise: program_{name}",
                ("program", "metrics", name),
            )
        if name in knobs:
            yield f"metrics.{name} has the name of a knob; call it otherwise", ("program", "metrics", name)
    if program.curve is not None and not {"step", "loss"} <= set(re.compile(program.curve).groupindex):
        yield "curve needs the groups step and loss: (?P<step>\\d+) and (?P<loss>NUMBER)", ("program", "curve")
    if program.command[0] == "./${program}" and not os.access(Path(program.root, program.script), os.X_OK):
        yield (
            f"program = {program.script!r} may not be executed, and its first line names no interpreter; write "
            f"chmod +x {shlex.quote(program.script)}, or a command: [INTERPRETER, {program.script}, '${{args}}']",
            ("program", "script"),
        )
    if (
        program.limits.eval_s
        and len(program.stages) == 1
        and not {"eval_s", "eval"} & {*program.metrics, *program.phases}
    ):
        yield (
            "limits.eval_s: nothing tells how long it evaluates; add metrics: {eval_s: 'eval took (NUMBER)s'}, or the "
            "line at which evaluation begins, phases: {eval: '^evaluating'}",
            ("program", "limits"),
        )
    yield from _about_variables(program)
    yield from _about_knobs(program, knobs)
    yield from _about_commands(program, knobs)


def _about_paths(program: Program, folder: Path) -> Iterator[Complaint]:
    """Words of commands that name a file relative to the search space file, where the script's folder is another."""
    if not program.script or Path(program.root) == folder.absolute():
        return
    for stage in program.stages:
        for word in stage.command or program.command:
            plain = "$" not in word and "/" in word and not Path(word).is_absolute() and len(word) <= MOST_PATH
            if plain and (folder / word).is_file() and not Path(program.root, word).exists():
                yield (
                    f"command: {word!r} is relative to {folder.absolute()}, but the command runs in the script's "
                    f"folder, {program.root}; write ${{program}} for the script, or leave out program: and it runs in "
                    "the folder of this file",
                    ("program", "stages" if stage.command else "command"),
                )


def _about_variables(program: Program) -> Iterator[Complaint]:
    for key, names in (("env", [*program.env, *(name for one in program.stages for name in one.env)]),
                       ("inherit", program.inherit)):  # fmt: skip
        for name in names:
            if not re.fullmatch(SETTABLE, name):
                yield f"{key}: {name!a} cannot name an environment variable", ("program", key)


def _about_knobs(program: Program, knobs: Sequence[str]) -> Iterator[Complaint]:
    for key in dict.fromkeys(knobs):
        place = ("parameters", key)
        if key in COLUMN_TYPES and key != program.seed_key:  # whose place the caller names
            yield (
                f"{key} is a column of every table; give the knob another name here, and its own to the program: "
                f"names: {{my_{key}: {key}}}",
                place,
            )
        elif program.knobs_by == "env" and not re.fullmatch(VARIABLE, program.names.get(key, key)):
            yield f"{key} cannot name an environment variable; pass it otherwise: pass: args", place
    for stage in program.stages:
        for key in stage.reads or ():
            if key not in knobs:
                yield (
                    f"stages.{stage.name}.reads names {key}, which is no knob of this file{did_you_mean(key, knobs)}",
                    ("program", "stages"),
                )
    read = {key for stage in program.stages for key in (knobs if stage.reads is None else stage.reads)}
    for key in dict.fromkeys(knobs):
        if key not in read:
            yield f"{key} is read by no stage, so it would change nothing; add it to the reads of one", (
                "program", "stages",
            )  # fmt: skip


def _about_commands(program: Program, knobs: Sequence[str]) -> Iterator[Complaint]:
    for stage in program.stages:
        command = stage.command or program.command
        at = ("program", "stages" if stage.command else "command")
        macros = [macro for word in command for macro in MACRO.findall(word)]
        for macro in macros:
            if not known_macro(macro, knobs):
                yield f"command: ${{{macro}}} is no macro and no knob{did_you_mean(macro, knobs)}", at
        if "program" in macros and not program.script:
            yield "command: ${program} needs the script; write program: train.py", at
        for word in command:
            if any(f"${{{macro}}}" in word and f"${{{macro}}}" != word for macro in LISTS):
                yield f"command: {word!r}: ${{args}} stands for several words; make it a word of its own", at
        passes = any(macro.startswith("args") or macro in knobs for macro in macros)
        given = list(knobs) if stage.reads is None else list(stage.reads)
        if program.knobs_by == "args" and given and not passes:
            yield "command: holds no ${args}, so no knob would reach the program; add it, or write pass: env", at


def fixed_values(parameters: Mapping[str, Parameter]) -> dict[str, Any]:
    """Parameters that have one value in every configuration: the baseline has it too."""
    return {key: item.choices[0] for key, item in parameters.items()
            if not item.when and item.choices is not None and len(item.choices) == 1}  # fmt: skip
