"""A program of the user's own: what stands in the place of a recipe where a sweep runs a script, not our trainer.

A program has knobs (free names, values from the search space) in place of the recipe's fields, and stages that the user
declares, or one. Its fingerprints hash the bytes of its code and of the files that it lists, its commands, the knobs
that each stage reads, the seed, and the machine. How numbers are read from its output, and its limits, are not hashed:
a corrected pattern trains nothing twice. Only the names of files that numbers are read from are: they say what is kept.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import PurePath
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, NonNegativeInt, PositiveFloat, PositiveInt, model_serializer
from pydantic import Field as PydanticField

from trainer.spec.section import Section

VERSION = 1
"""Raised by hand when what a program is given changes: its folder, its environment, its arguments. A test compares that
with `tests/golden/given_to_programs.json`."""
METRIC_NAME = r"[A-Za-z_][A-Za-z0-9_./-]{0,60}"
STAGE_NAME = r"[a-z][a-z0-9_-]{0,30}"
IDENTITY = {
    "script", "command", "stages", "values", "knobs_by", "config_file", "seed_key", "names", "nproc", "code", "files",
    "env", "inherit",
}  # fmt: skip
"""Fields that make a configuration; the others say how its output is read, and what ends it."""
READER_VERSION = 3
"""Of how lines are told apart, whatever the patterns are; another one reads kept output again."""
OWN_METRICS = ("seconds", "process_peak_bytes", "left_over_processes", "limited_file_bytes")
"""Numbers of a stage that are measured here, not read in what it printed."""
READ_BY = "read_by"
"""Metric of an outcome: hash of the patterns that its numbers were read by."""
NUM_READ = "scores_printed"
"""Metric of an outcome: how many numbers were found for the headline."""
USUAL_SUMMARY = "wandb/latest-run/files/wandb-summary.json"
"""W&B's own, which is kept and looked into where nobody says where a number stands."""
WANDB_CONFIG = "WANDB_SWEEP_PARAM_PATH", ".wandb-config.json"
"""The variable by which W&B's agent names the file of a run's values, which `wandb.init` takes into `wandb.config`; and
that file, relative to the working folder."""
ONLY_STAGE = "run"
"""Name of the stage of a program that declares none."""


Take = Literal["last", "first", "min", "max", "sum", "mean"]


class Source(Section):
    """Where one number is read: in the output's lines, or in a file that the program writes."""

    pattern: str | None = None
    """Regular expression whose first group, or group `value`, is the number."""
    key: str | None = None
    """In place of a pattern: the key of a line that is a JSON object, or of a file of JSON, JSON Lines or CSV; dots for
    nested ones."""
    file: str | None = None
    """File, relative to the working folder, that is read in place of the output; of a pattern, `logs/*.txt`, the newest
    that matches."""
    scale: float = 1.0
    """What the number is multiplied with: 0.001 for milliseconds."""
    take: Take = "last"
    """Which of several counts: the last, the first, the least, the largest, or the sum or mean of all."""

    @model_serializer(mode="wrap")
    def _without_defaults(self, serialize: Any) -> dict[str, Any]:
        """`take` came later: where it is not used, a source has the digest that it had."""
        said = serialize(self)
        return said if self.take != "last" else {key: value for key, value in said.items() if key != "take"}

    def complaints(self) -> Iterator[str]:
        if (self.pattern is None) == (self.key is None):
            yield "needs one of pattern and key; for example: {pattern: 'loss=([0-9.]+)'}, or {key: loss}"
        if self.pattern is not None:
            yield from pattern_complaints("pattern", self.pattern, groups=1)
        if self.file is not None:
            yield from _file_complaints(self.file)


def pattern_complaints(key: str, pattern: str, groups: int) -> Iterator[str]:
    """Why a regular expression cannot be used: not valid, or no group for the number. Its time is limited when it runs,
    in a process of its own (`trainer.program.reader`)."""
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        yield f"{key} = {pattern!r} is no regular expression: {error}"
        return
    if compiled.groups < groups:
        yield f"{key} = {pattern!r} has no group; put brackets around the number: (NUMBER)"


def leads_outside(path: str) -> bool:
    """Whether a path is absolute or climbs out of the folder that it is relative to."""
    return path.startswith(("/", "~")) or ".." in path.split("/")


def _file_complaints(file: str) -> Iterator[str]:
    if leads_outside(file):
        yield f"file = {file!r} must lie in the working folder: a relative path without .."
    if any("**" in part and part != "**" for part in file.split("/")):
        yield f"file = {file!r}: ** stands for folders, between slashes only; write * for any part of a name"


def is_pattern(file: str) -> bool:
    """Whether the name of a file is a pattern: `logs/*.txt`."""
    return any(letter in file for letter in "*?[")


def _sources(value: Any) -> Any:
    """A text is a pattern, and one source is a list of one."""
    items = value if isinstance(value, list | tuple) else [value]
    return tuple({"pattern": item} if isinstance(item, str) else item for item in items)


Sources = Annotated[tuple[Source, ...], BeforeValidator(_sources)]
"""Where a number may be read; the first source that has one counts."""


class FileLimit(Section):
    """Most bytes of one file that the program writes."""

    file: str
    """Relative to the working folder; of a pattern, `*.ptz`, the largest that matches counts."""
    at_most: PositiveInt
    """Bytes."""

    def complaints(self) -> Iterator[str]:
        yield from _file_complaints(self.file)


class ProgramLimits(Section):
    """What ends a run before its program does; the run is then a failed row that says so."""

    seconds: PositiveFloat | None = None
    """Of all stages together, from the start of each program to its end."""
    train_s: PositiveFloat | None = None
    """Seconds of training: those that the output tells as `train_s`, else those of the phase `train`, else of each
    stage but the last of several."""
    eval_s: PositiveFloat | None = None
    """Seconds of evaluation, in the same way, else of the last of several stages. Of several that are told the newest
    counts, unless the metric takes the sum."""
    bytes: FileLimit | None = None
    """Size of a file: {file: final_model.int8.ptz, at_most: 16000000}."""
    memory_gb: PositiveFloat | None = None
    """Main memory of all its processes together, in units of 10^9 bytes."""
    output_mb: PositiveFloat = 200.0
    """Everything it prints, in units of 10^6 bytes."""


class ProgramStage(Section):
    """One step of a program: a command, the knobs it reads, and the files it leaves to later steps."""

    name: str
    """Name of the stage, as tables and the store have it."""
    command: tuple[str, ...] = ()
    """Its command; left out, that of the program."""
    reads: tuple[str, ...] | None = None
    """Knobs that it is given and that its fingerprint holds; left out, all of them."""
    leaves: tuple[str, ...] = ()
    """Files, or folders, that later stages find in their working folder."""
    env: Mapping[str, str] = {}
    """Variables of its environment alone."""

    def does_leave(self, path: str) -> bool:
        """Whether a path below its working folder is one of those that it leaves."""
        leaves = self.leaves
        return any(path == one or path.startswith(f"{one.rstrip('/')}/") or PurePath(path).match(one) for one in leaves)


class Program(Section):
    """A script with its knobs, stages and limits, resolved: everything that a run needs beside its files."""

    kind: Literal["program"] = "program"
    name: str
    """Name of the script, or of the command."""
    root: str
    """Folder that the script and its files are relative to, on the machine that began the sweep."""
    script: str = ""
    """Path of the script below `root`; empty where the command says everything."""
    command: tuple[str, ...]
    """Command with macros: ${env}, ${interpreter}, ${program}, ${args} and the others."""
    stages: tuple[ProgramStage, ...]
    values: Mapping[str, Any] = {}
    """Knobs by name; one that is not here has the program's own default."""
    seed: NonNegativeInt = 0
    knobs_by: Literal["env", "args", "file"] = "args"
    """How knobs reach it: environment variables, arguments, or a JSON file."""
    config_file: str = "config.json"
    """That file, relative to the working folder."""
    seed_key: str | None = "seed"
    """The knob that the seed is passed as; None where none is passed."""
    names: Mapping[str, str] = {}
    """Names under which knobs reach it, where they differ."""
    nproc: PositiveInt | None = None
    """Processes that torchrun starts; None for the GPUs of a slot."""
    code: Mapping[str, str] = {}
    """SHA-256 of the script and of each module that it imports from its folder, by path below `root`."""
    files: Mapping[str, str] = {}
    """SHA-256 of each listed file, by path: below `root`, or absolute."""
    env: Mapping[str, str] = {}
    """Variables of its environment."""
    inherit: tuple[str, ...] = ()
    """Variables that it gets as they are where it runs; their values enter no fingerprint."""
    metrics: Mapping[str, tuple[Source, ...]]
    """Numbers that are read, by name."""
    headline: str
    """The number without which a run has failed."""
    curve: str | None = None
    """Pattern of a line of the learning curve: groups `step` and `loss`, and perhaps `total`, `seconds`, `ms`."""
    phases: Mapping[str, str] = {}
    """Patterns of the lines at which training (`train`) and evaluation (`eval`) begin."""
    limits: ProgramLimits = ProgramLimits()

    @property
    def limited(self) -> dict[str, tuple[str, float]]:
        """Each limit, and its key below `limits`, by the column that holds what a run used of it."""
        limits = self.limits
        gb, size = limits.memory_gb, limits.bytes
        given: dict[str, tuple[str, float | None]] = {
            "program_s": ("seconds", limits.seconds),
            "train_s": ("train_s", limits.train_s),
            "eval_s": ("eval_s", limits.eval_s),
            "limited_file_bytes": ("bytes", None if size is None else size.at_most),
            "process_peak_bytes": ("memory_gb", gb and gb * 1e9),
        }
        return {column: (key, limit) for column, (key, limit) in given.items() if limit is not None}

    @property
    def stage_names(self) -> tuple[str, ...]:
        """Its stages in running order."""
        return tuple(stage.name for stage in self.stages)

    @property
    def curve_stage(self) -> str:
        """The stage whose output holds the learning curve: the first."""
        return self.stages[0].name

    @property
    def artifact_stage(self) -> str | None:
        """The stage whose result the last one scores; runs that share it are pairs. None for a single stage."""
        return self.stages[-2].name if len(self.stages) > 1 else None

    def evaluates_in(self, stage: str) -> bool:
        """Whether the seconds of a stage are those of evaluation where nothing tells them: of the last of several."""
        return len(self.stages) > 1 and stage == self.stages[-1].name

    @property
    def readings_digest(self) -> str:
        """Hash of how numbers are read; numbers that were read otherwise are read again from the kept output."""
        sources = {name: [each.model_dump() for each in sources] for name, sources in self.metrics.items()}
        return _digest([READER_VERSION, sources])

    def stage(self, name: str) -> ProgramStage:
        """The stage of this name."""
        return next(stage for stage in self.stages if stage.name == name)

    def knobs_of(self, stage: str) -> dict[str, Any]:
        """The knobs that a stage is given."""
        reads = self.stage(stage).reads
        return {key: value for key, value in self.values.items() if reads is None or key in reads}

    def with_knobs(self, values: Mapping[str, Any]) -> Program:
        """The same with some knobs changed; `seed` is the run's seed."""
        given = dict(values)
        seed = given.pop("seed", self.seed)
        return self.model_copy(update={"values": {**self.values, **given}, "seed": seed})

    def flat(self) -> dict[str, Any]:
        """Its knobs, and what makes it another program, by dotted key."""
        parts = self.model_dump(mode="json", exclude={"kind", "name", "root", "values", "seed"})
        return {**self.values, "seed": self.seed, **{f"program.{key}": part for key, part in parts.items()}}

    def identity(self) -> str:
        """Hash of everything but the seed: of a configuration."""
        return _digest(self.model_dump(mode="json", include=IDENTITY))

    def fingerprints(self, environment: str) -> dict[str, str]:
        """Fingerprint of each stage, in running order. A stage stands on the one before it.

        environment:  hardware, ranks and versions: nothing is known of how much a program depends on them
        """
        known: dict[str, str] = {}
        below = ""
        for stage in self.stages:
            content = {
                "program stage": stage.name,
                "version": VERSION,
                "code": dict(self.code),
                "files": dict(self.files),
                "script": self.script,
                "command": list(stage.command or self.command),
                "knobs": self.knobs_of(stage.name),
                "names": dict(self.names),
                "knobs by": self._passing,
                "seed": [self.seed_key, self.seed],
                "env": {**self.env, **stage.env},
                "inherit": list(self.inherit),
                "nproc": self.nproc,
                "leaves": list(stage.leaves),
                "environment": environment,
                "stands_on": below,
            }
            if self.kept_files:
                content["keeps"] = list(self.kept_files)
            known[stage.name] = below = _digest(content)
        return known

    @property
    def kept_files(self) -> tuple[str, ...]:
        """Files that the space names for numbers: they are kept beside the output."""
        named = {source.file for sources in self.metrics.values() for source in sources if source.file}
        return tuple(sorted(named - {USUAL_SUMMARY}))

    @property
    def _passing(self) -> list[str]:
        """How knobs are passed; into a configuration of the program's own, or in a file that holds nothing else."""
        if self.knobs_by != "file":
            return [self.knobs_by, ""]
        own = self.config_file in self.code or self.config_file in self.files
        return [self.knobs_by, self.config_file, *(["changed"] if own else [])]

    def workload(self, stage: str) -> str:
        """Hash of what a stage's duration depends on as far as anybody knows: the code, and knobs that are integers."""
        counted = {key: value for key, value in self.knobs_of(stage).items() if isinstance(value, int)}
        return _digest([stage, dict(self.code), list(self.stage(stage).command or self.command), counted])


def _digest(content: Any) -> str:
    """As `fingerprint.digest`, which this module stands below."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


ProgramMetrics = Annotated[Mapping[str, Sources], PydanticField(default_factory=dict)]
