"""The keys of a search space file that say which program is run, as they are written.

They stand at the top of the file, as W&B has `program` and `command`, or together below `program:`.
"""

from __future__ import annotations

import difflib
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, PositiveInt
from pydantic import Field as PydanticField

from orchestrator.space.sections import listed
from trainer.spec.program import (
    STAGE_NAME,
    FileLimit,
    ProgramLimits,
    ProgramMetrics,
    Source,
    leads_outside,
    pattern_complaints,
)
from trainer.spec.section import Section

PASSES = ("env", "args", "file")
OWN_MARKS = ("program", "command", "format")
"""Any of these at the top of a file makes it one that runs a program."""
OWN_KEYS = frozenset({"pass", "launch", "nproc", "seed_key", "files", "inherit", "curve", "phases", "stages",
                      "limits"})  # fmt: skip
"""Keys that no file without a program has, nor one of W&B's."""
NEAR = 0.8
"""How alike a key must be to one that makes the file another kind of file: 'programm', and not 'project'."""


def _words(command: Any) -> Any:
    """A command as a list; a text is split as a shell would, which is not started."""
    if isinstance(command, str):
        try:
            return tuple(shlex.split(command))
        except ValueError as error:
            raise ValueError(f"= {command!r} cannot be split into words: {error}") from None
    if not isinstance(command, list | tuple):
        return command
    return tuple(str(word) if isinstance(word, int | float) else word for word in command)


def _texts(values: Any) -> Any:
    """Numbers in an environment are text."""
    if not isinstance(values, Mapping):
        return values
    return {key: str(int(one)) if isinstance(one, bool) else str(one) if isinstance(one, int | float) else one
            for key, one in values.items()}  # fmt: skip


Command = Annotated[tuple[str, ...], BeforeValidator(_words)]
Listed = Annotated[tuple[str, ...], BeforeValidator(listed)]


class StageKeys(Section):
    """One stage of a program: what it runs, which knobs it reads, and what it leaves to the next."""

    name: str
    """Name of the stage, in tables and in the store."""
    command: Command = ()
    """Its command; left out, the program's."""
    reads: Listed | None = None
    """Knobs that it is given. A change of another knob does not run it again. Left out: all of them."""
    leaves: Listed = ()
    """Files or folders that the next stages find in their working folder."""
    env: Annotated[Mapping[str, str], BeforeValidator(_texts)] = {}
    """Variables of its environment alone."""

    def complaints(self) -> Iterator[str]:
        if not re.fullmatch(STAGE_NAME, self.name) or self.name in ("program", "total"):
            yield f"name = {self.name!r} must be a word of small letters, digits, - and _; not program, not total"
        for path in self.leaves:
            if leads_outside(path):
                yield f"leaves = {path!r} must lie in the working folder: a relative path without .."


class ProgramKeys(Section):
    """A program of your own in place of our trainer: how it is started, what it prints, and what ends it."""

    script: str | None = None
    """The script, relative to this file; what `program: train.py` at the top of the file says."""
    command: Command = ()
    """Its command: a text, or a list of words with W&B's macros (`${env}`, `${interpreter}`, `${program}`, `${args}`,
    `${args_no_hyphens}`, `${args_no_boolean_flags}`, `${args_json}`, `${args_json_file}`, `${envvar:NAME}`), and
    `${args_on_off_flags}`, `${seed}`, `${nproc}`, `${port}` and `${KNOB}`. Left out: the script, with its arguments."""
    launch: Literal["torchrun"] | None = None
    """`torchrun` starts the script once for each GPU of a slot, or `nproc` times, on a port of its own."""
    nproc: PositiveInt | None = None
    """Processes that torchrun starts; left out, the GPUs of a slot, or one for each of `--workers` on a CPU."""
    knobs_by: Annotated[Literal["env", "args", "file"] | None, PydanticField(alias="pass")] = None
    """How knobs reach the program: `env`, variables of its environment; `args`, arguments (`--lr=0.1`); `file`, the
    JSON file `config_file`. Left out: as the format says, else args."""
    config_file: str = "config.json"
    """The JSON file of `pass: file`, in the working folder. One of this name beside the script is kept, and the knobs
    are changed in it: dots lead into it."""
    seed_key: str | None = None
    """The knob that the seed is passed as; null passes none, and seeds are then mere repetitions. Left out: `SEED` in
    an environment, else `seed`."""
    names: Mapping[str, str] = {}
    """Names under which knobs reach the program, where they differ: `{num_steps: steps}`."""
    set: Mapping[str, Any] = {}
    """Knobs that have one value in all runs, the baseline's too. Other knobs have the program's own defaults."""
    files: Listed = ()
    """What the program reads beside its code: files, folders, patterns. Relative to the script, and there in the
    working folder; or absolute. Their content is part of a run's fingerprint."""
    env: Annotated[Mapping[str, str], BeforeValidator(_texts)] = {}
    """Variables of its environment, which is otherwise almost empty."""
    inherit: Listed = ()
    """Variables that it gets as they are where it runs, such as keys; in no fingerprint."""
    format: str | None = None
    """Patterns of a contest's scripts: `parameter-golf` or `modded-nanogpt`. What the file says itself wins."""
    metrics: ProgramMetrics
    """Numbers that are read: a regular expression whose group is the number (NUMBER stands for one; the last match
    counts), `{pattern, scale}`, `{key: loss}` of a JSON line, `{file: out.json, key: eval.loss}` (JSON, JSON
    Lines or CSV), or a list of these, of which the first that has a number counts."""
    curve: str | None = None
    """Pattern of a line of the learning curve, with groups `step` and `loss`, and perhaps `total`, `seconds`, `ms`."""
    phases: Mapping[Literal["train", "eval"], str] = {}
    """Patterns of the lines at which training and evaluation begin, for `limits` where the output tells no seconds."""
    stages: Annotated[
        tuple[StageKeys, ...], BeforeValidator(lambda given: tuple(given) if isinstance(given, list) else given)
    ] = ()
    """Stages of its own, in their order; each finds what the earlier ones left. Left out: one, named `run`."""
    limits: ProgramLimits = ProgramLimits()
    """What ends a run, as a failed row that says so."""

    def complaints(self) -> Iterator[str]:
        if self.script is None and not self.command and not all(stage.command for stage in self.stages or (self,)):
            yield "names neither script nor command; for example: program: train.py"
        if self.launch and self.command:
            yield "launch belongs to a script without a command of its own; write torchrun into the command, or drop it"
        if self.launch and self.script is None:
            yield "launch needs the script; write program: train_gpt.py"
        if self.curve is not None:
            yield from pattern_complaints("curve", _plain(self.curve), groups=0)
        for name, pattern in self.phases.items():
            yield from pattern_complaints(f"phases.{name}", _plain(pattern), groups=0)
        names = [stage.name for stage in self.stages]
        if len(set(names)) < len(names):
            yield f"stages: two have one name: {', '.join(names)}"
        if leads_outside(self.config_file):
            yield f"config_file = {self.config_file!r} must lie in the working folder: a relative path without .."


THOUSANDS = "[,_'\u00a0\u2009\u202f]"
"""What stands between groups of three digits: 1,234.5 is one number, and so are 1_234.5 and 1'234.5."""
NUMBER = (
    rf"(?:[-+\u2212]?(?:\d{{1,3}}(?:{THOUSANDS}\d{{3}})+(?!{THOUSANDS}?\d)(?:\.\d+)?|\d+\.?\d*|\.\d+)"
    r"(?:[eE][-+\u2212]?\d+| ?[x\u00d7] ?10\^[-+\u2212]?\d+)?"
    r"|[-+]?(?:[nN][aA][nN]|[iI]nf(?:inity)?))"
)
"""What NUMBER in a pattern stands for; `trainer.program.reader` turns it into a number."""


def _plain(pattern: str) -> str:
    return pattern.replace("NUMBER", NUMBER)


def key_names() -> dict[str, str]:
    """The keys as they are written, by the name of their field."""
    return {name: info.alias or name for name, info in ProgramKeys.model_fields.items()}


def keys_below(loc: Sequence[str | int]) -> list[str]:
    """The keys that may stand at a place below `program`, whose own keys stand at a place of one part."""
    nested: Mapping[str, type[Section]] = {"limits": ProgramLimits, "stages": StageKeys, "metrics": Source}
    section = nested.get(str(loc[0])) if len(loc) > 1 else None
    if tuple(loc[:-1]) == ("limits", "bytes"):
        section = FileLimit
    return list(key_names().values()) if section is None else list(section.model_fields)


def keys_of_file(known: Sequence[str]) -> list[str]:
    """The keys that may stand at the top of a file that runs a program. `known`: those of any search space file."""
    own = [key for key in key_names().values() if key not in ("script", *known)]
    return [*(key for key in known if key != "preset"), *own]


def runs_program(tree: Mapping[str, Any]) -> bool:
    """Whether a file runs a program, by its keys: also one that misspells the key of its script."""
    if any(mark in tree for mark in OWN_MARKS):
        return True
    told = isinstance(tree.get("metrics"), Mapping)  # W&B's is a list
    return "preset" not in tree and (told or not OWN_KEYS.isdisjoint(tree) or bool(_misspelled_marks(tree)))


def _misspelled_marks(tree: Mapping[str, Any]) -> dict[str, str]:
    """Keys that stand in the place of one that makes the file run a program, and which; `script` stands below it."""
    if any(mark in tree for mark in OWN_MARKS):
        return {}
    named = {key: difflib.get_close_matches(key, OWN_MARKS, n=1, cutoff=NEAR) for key in tree if isinstance(key, str)}
    slips = {key: near[0] for key, near in named.items() if near}
    return slips | ({"script": "program"} if "script" in tree else {})


def gathered(tree: Mapping[str, Any]) -> tuple[dict[str, Any], list[tuple[tuple[str, ...], str]]]:
    """The file with all keys of the program below `program`, and complaints about those given twice or misspelled, by
    their path; what stands at a misspelled key is read as it was meant."""
    slips = _misspelled_marks(tree)
    problems: list[tuple[tuple[str, ...], str]] = []
    problems += (((wrong,), f"{wrong} is unknown; did you mean '{mark}'?") for wrong, mark in slips.items())
    tree = {slips.get(key, key): value for key, value in tree.items()}
    block = tree.get("program")
    keys: dict[str, Any] = dict(block) if isinstance(block, Mapping) else {}
    if isinstance(block, str):
        keys["script"] = block
    elif "program" in tree and not isinstance(block, Mapping):
        problems.append((("program",), f"program = {block!r} must be a path, or the keys of a program"))
    written = set(key_names().values()) - {"script"}
    for key in written & set(tree):
        if key in keys:
            problems.append(((key,), f"{key} stands at the top of the file and below program; keep one"))
        keys[key] = tree[key]
    rest = {key: value for key, value in tree.items() if key not in written and key != "program"}
    return {**rest, "program": keys}, problems
