"""What differs in loading a search space that runs a program: kinds of knobs, defaults, W&B's other keys."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from orchestrator.space.key_kind import of_kind
from orchestrator.space.parameter import Parameter
from orchestrator.space.program_file import Complaint, fixed_values, program_of, seed_key_of, usual_sources
from orchestrator.space.program_keys import ProgramKeys
from orchestrator.space.search_space import tells_both_scores
from orchestrator.space.sections import Compare, Metric
from orchestrator.space.wandb_words import LEFT_OUT, left_out, without
from trainer.program.sources import unlisted, words_of
from trainer.spec.errors import did_you_mean
from trainer.spec.program import ONLY_STAGE, Program, ProgramStage
from trainer.spec.record import usable_name

MOST_NAMED, MOST_LISTED = 3, 12
RUN_CAP = 20
"""Configurations of a search over a program that names no end, as W&B's files do not."""


def of_free_kind(item: Parameter) -> Parameter:
    """A parameter as W&B draws it: `uniform` draws numbers with a point, whatever its ends are; the rest as written."""
    return item if item.quantized else of_kind(item, "number")


def load_program(
    keys: ProgramKeys,
    path: Path,
    metric: str,
    parameters: Mapping[str, Parameter],
    overrides: Mapping[str, Any],
    preset: str | None,
) -> tuple[Program | None, list[Complaint]]:
    """The program of a search space file, or complaints with the path of what they are about."""
    problems: list[Complaint] = []
    if preset is not None:
        problems.append(("preset belongs to our trainer, and this file runs a program; keep one of them", ("preset",)))
    for key in overrides:
        if key in parameters:
            problems.append((f"--set {key} would be overwritten by parameters.{key}", ("parameters", key)))
    program, faults = program_of(keys, path.parent, metric, fixed_values(parameters), overrides, list(parameters))
    seed_key = seed_key_of(keys)
    for name, given in (("parameters", parameters), ("set", keys.set), ("--set", overrides)):
        if seed_key in given:
            words = "seeds are not swept: every configuration runs on all of them; write seeds: [1337, 42]"
            problems.append((f"{name}.{seed_key}: {words}", ("parameters", str(seed_key))))
    return (None if problems else program), [*problems, *faults]


def unknown_program(metric: str) -> Program:
    """Stands for a program that could not be read, so that the rest of its file is checked."""
    stage = ProgramStage(name=ONLY_STAGE)
    return Program(name="", root="", command=(), stages=(stage,), metrics={metric: ()}, headline=metric)


def resolved_keys(keys: ProgramKeys, program: Program) -> dict[str, Any]:
    """What the file said, as it may be written anywhere: its script by its absolute path."""
    said = keys.model_dump(mode="json", by_alias=True, exclude_unset=True)
    return said | ({"script": str(Path(program.root, program.script))} if program.script else {})


def terms_of_program(compare: Compare, metric: Metric, program: Program) -> Compare:
    """The terms of the comparison. Where nats and bits are not both told, or are not what is compared, the margin is in
    the unit of the metric, and 0 unless it is given."""
    if tells_both_scores(program, metric):
        return compare
    unit = "nats" if metric.name == "val_loss" else "bpb"
    changes: dict[str, Any] = {}
    if "unit" not in compare.model_fields_set:
        changes["unit"] = unit
    if "margin" not in compare.model_fields_set:
        changes["margin"] = 0.0
    return compare.model_copy(update=changes)


def remarks_about(
    tree: Mapping[str, Any],
    program: Program,
    knobs: Sequence[str],
    finite: bool,
    method: str | None,
    run_cap: int | None,
) -> tuple[tuple[str, ...], int | None]:
    """What is left out of the file or assumed for it, and the most configurations."""
    remarks = [f"{key}: {LEFT_OUT[key]}" for key in map(".".join, left_out(tree))]
    remarks += _about_headline(program, "metric" in tree)
    remarks += _about_unread(program, dict.fromkeys([*knobs, *program.values]))
    remarks += _about_lists(tree)
    if isinstance(name := tree.get("name"), str) and (usable := usable_name(name)) != name:
        remarks.append(f"name: {name!r} is {usable} here, where it names a folder")
    beside = unlisted(Path(program.root), program.code, program.files)
    if names := [name for name in beside if not any(stage.does_leave(name) for stage in program.stages)]:
        more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
        shown, listed = ", ".join(names[:MOST_NAMED]), ", ".join(names[:MOST_LISTED])
        remarks.append(
            f"{program.script or program.name} names {shown}{more}, beside it and not listed; a run finds what it "
            f"reads only where it is listed: files: [{listed}]"
        )
    endless = method not in (None, "grid") or not finite
    if not finite and endless and run_cap is None:
        remarks.append(f"run_cap is not given, and the search would never end: {RUN_CAP} is taken; or --trials N")
        return tuple(remarks), RUN_CAP
    return tuple(remarks), run_cap


def _about_headline(program: Program, named: bool) -> Iterator[str]:
    """That nobody says where the number stands which configurations are compared by, or not even which it is."""
    name, others = program.headline, [one for one in program.metrics if one != program.headline]
    if program.metrics[name] != usual_sources(name):
        return
    if others:
        near = did_you_mean(name, others)
        yield (
            f"{name}, which configurations are compared by, is none of `metrics` ({', '.join(others)}){near}; it is "
            f"looked for as '{name}: 1.23' or as a key of a JSON line"
        )
    elif not named:
        yield (
            f"metric is not given, so {name} is looked for in what the program prints; write, for example, "
            "metric: {name: loss, goal: minimize}"
        )


def _about_unread(program: Program, knobs: Iterable[str]) -> Iterator[str]:
    """Names that stand nowhere in the code: a variable or key that nobody reads is ignored without a word. Of unknown
    arguments the program complains itself."""
    code = [path for path in program.code if path != program.config_file]
    words = None if program.knobs_by == "args" else words_of(Path(program.root), code)
    if words is None:
        return
    where = f"{program.name} or what it imports"
    names = [program.names.get(key, key) for key in knobs]
    unread = [name for name in names if name.rpartition(".")[2] not in words]
    for name in unread[:MOST_NAMED]:
        yield f"{name} stands nowhere in {where}{did_you_mean(name, words) or '; is it read?'}"
    if program.seed_key and program.seed_key.rpartition(".")[2] not in words:
        yield (
            f"the seed is given as {program.seed_key}, which stands nowhere in {where}: where it is not read, seeds "
            "only repeat; seed_key: NAME names another"
        )


def _about_lists(tree: Mapping[str, Any]) -> Iterator[str]:
    """That a list under `value` is one value, not several to choose from."""
    parameters = tree.get("parameters")
    for key, block in parameters.items() if isinstance(parameters, Mapping) else ():
        if isinstance(block, Mapping) and isinstance(block.get("value"), list):
            yield f"parameters.{key}: the list is one value; to try each of its parts, write values: {block['value']}"


def without_left_out(tree: Mapping[str, Any]) -> dict[str, Any]:
    """The file without W&B's keys that say nothing about the runs of a program."""
    kept: Mapping[str, Any] = tree
    for path in left_out(tree):
        kept = without(kept, path)
    return dict(kept)
