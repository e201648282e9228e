"""Reads a search space file and names everything that is wrong with it at once, each with line and column.

The vocabulary is W&B's, over dotted recipe keys; what W&B lacks (seeds, baseline, constraints, `when`) is added. What
W&B has and a search space lacks is refused by `wandb_words`.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, NonNegativeInt, PositiveInt, ValidationError
from pydantic import Field as PydanticField

from orchestrator.space.checks import complaints_about
from orchestrator.space.key_kind import complaint_of_kind, of_kind
from orchestrator.space.load_program import (
    load_program,
    of_free_kind,
    remarks_about,
    resolved_keys,
    terms_of_program,
    unknown_program,
    without_left_out,
)
from orchestrator.space.parameter import Parameter, reads_as_number
from orchestrator.space.program_keys import ProgramKeys, gathered, keys_below, keys_of_file, runs_program
from orchestrator.space.search_space import SearchSpace
from orchestrator.space.sections import (
    Compare,
    Condition,
    Guard,
    Limit,
    Metric,
    Race,
    Rungs,
    SpaceError,
    Spending,
    listed,
)
from orchestrator.space.type_words import expected
from orchestrator.space.wandb_words import refused_keys, without
from trainer.spec.errors import ProblemsError, RecipeError, did_you_mean
from trainer.spec.field_index import FIELDS, begins_key
from trainer.spec.load import load_preset, override_text, unknown_key
from trainer.spec.program import Program
from trainer.spec.recipe import Recipe, Section
from trainer.spec.record import usable_name
from trainer.spec.yaml_text import YamlText, read_text

DEFAULT_SEEDS = (1337, 42, 2025)
RULES: Mapping[str, type[Section]] = {"race": Race, "asha": Rungs, "median": Rungs}


def _unwrapped(seeds: Any) -> Any:
    """`{values: [...]}` is a list of seeds too."""
    if isinstance(seeds, Mapping) and set(seeds) == {"values"}:
        seeds = seeds["values"]
    return tuple(seeds) if isinstance(seeds, list) else seeds


class SpaceFile(Section):
    """A search space file as it is written."""

    name: str | None = None
    """Name of the sweep; the file's name when left out."""
    description: str = ""
    """The question that the sweep answers, in a sentence."""
    preset: str | None = None
    """The recipe that the parameters change: a name, or a file beside this one; `--preset` takes another."""
    set: Mapping[str, Any] = {}
    """Recipe keys changed in the preset, for the baseline and every configuration alike; `--set` changes them again."""
    method: Literal["grid", "random", "tpe", "cmaes", "gp", "bayes"] | None = None
    """How configurations are chosen; `bayes` means tpe. Grid when every parameter lists its values, else tpe."""
    metric: Metric = Metric()
    """The column that configurations are compared by."""
    parameters: Mapping[str, Parameter] = {}
    """The swept keys, dotted or nested under `parameters`."""
    seeds: Annotated[tuple[NonNegativeInt, ...], BeforeValidator(_unwrapped)] = DEFAULT_SEEDS
    """Seeds of every configuration, the baseline included: a list, or {values: [...]}; at most 1,000."""
    run_cap: PositiveInt | None = None
    """Most configurations, the baseline not counted; a sweep has at most 10,000, and 100,000 runs."""
    compare: Compare = Compare()
    """What the winner is compared with."""
    constraints: Mapping[str, Limit] = {}
    """Bounds of columns: {total_bytes: {max: 16000000}}."""
    budget: Spending = Spending()
    """What it may cost."""
    guard: Guard = Guard()
    """What its machines must have in common: {min_speed: 0.9}."""
    stopping: Annotated[Race | Rungs, PydanticField(discriminator="rule")] | None = None
    """Which configurations end early. {rule: race}: between seeds; `seeds` is then the longest the race may go.
    {rule: asha} or {rule: median}: after short schedules, if they are shown to rank like full ones."""
    warm_start: Annotated[tuple[str, ...], BeforeValidator(listed)] = ()
    """Earlier sweeps of the same store whose finished configurations an adaptive search starts from."""
    program: ProgramKeys | None = None
    """A program of your own, in place of `preset`: the path of a script, whose other keys stand beside it at the top of
    the file, or all of them together here. `parameters` then name its knobs, freely: docs/own_program.md."""


@dataclass(frozen=True)
class Places:
    """Where each part of the search space was given: in the file, or on the command line."""

    text: YamlText
    parameter_paths: Mapping[str, tuple[str, ...]]
    flags: Mapping[str, str]

    def written(self, complaint: str) -> str:
        """A complaint that begins with a key, as the file has it: `limits` where it does not stand in `program`."""
        return complaint if isinstance(self.text.value.get("program"), dict) else complaint.removeprefix("program.")

    def where(self, path: Sequence[str | int]) -> str:
        """' (FILE:LINE:COLUMN)' of the part, or ' (--flag)'."""
        if path and path[0] in self.flags:
            return f" ({self.flags[str(path[0])]})"
        full = tuple(path)
        if len(full) > 1 and full[0] == "program" and not isinstance(self.text.value.get("program"), dict):
            full = ("program", *full[2:]) if full[1] == "script" else full[1:]
        if len(full) > 1 and full[0] == "parameters":
            full = (*self.parameter_paths.get(str(full[1]), full[:2]), *full[2:])
        place = self.text.where(full)
        return f" ({place})" if ":" in place.removeprefix(self.text.source) else ""


def load_space(
    path: str | Path,
    *,
    preset: str | None = None,
    overrides: Mapping[str, Any] | None = None,
    seeds: Sequence[int] | None = None,
    trials: int | None = None,
    warm_start: Sequence[str] = (),
) -> SearchSpace:
    """The search space in a file, with the changes of the command line.

    preset, overrides, seeds, trials, warm_start:  `--preset`, `--set` (dotted keys), `--seeds`, `--trials` (the
    run_cap) and `--warm-start`
    Raises SpaceError with every complaint, each with file, line and column.
    """
    text = _text_of(Path(path))
    tree, paths, problems = _flattened(text)
    given: dict[str, Any] = {"preset": preset, "seeds": list(seeds) if seeds is not None else None, "run_cap": trials}
    given["warm_start"] = list(warm_start) or None
    given = {key: value for key, value in given.items() if value is not None}
    flags = {key: {"run_cap": "--trials"}.get(key, f"--{key.replace('_', '-')}") for key in given}
    places = Places(text, paths, flags)
    file, dropped = _validated({**tree, **given}, places, problems)
    if preset is None:
        file = file.model_copy(update={"preset": _beside(Path(path), file.preset)})
    changes = {**file.set, **(overrides or {})}
    base: Recipe | Program | None
    if file.program is not None:
        parameters = {key: of_free_kind(item) for key, item in file.parameters.items()}
        base, faults = load_program(file.program, Path(path), file.metric.name, parameters, changes, file.preset)
        problems += [line + places.where(at) for line, at in faults]
    elif runs_program(text.value):
        base, parameters = None, dict(file.parameters)  # its keys are refused
    else:
        base = _base(file, dict(overrides or {}), places, problems)
        parameters = _known_parameters(file, places, problems)
    whole = not dropped and len(parameters) == len(file.parameters)
    space = _resolved(file, Path(path), parameters, base, changes, text.value)
    try:
        problems += [line + places.where(at) for line, at in complaints_about(space, base is not None, whole)]
    except CycleError as error:
        circle = " waits for ".join(error.args[1])
        problems.append(
            f"when: {circle}: a circle, so none of them can be chosen first" + places.where(("parameters",))
        )
    if problems:
        raise SpaceError(text.source, list(dict.fromkeys(problems)))
    return space


def _text_of(path: Path) -> YamlText:
    if path.is_dir():
        raise SpaceError(str(path), ["is a folder; name a file in it"])
    if not path.is_file():
        folders = [path.parent] if path.parent != Path() else [Path(), Path("search_spaces")]
        known = {file.stem: file.as_posix() for folder in folders for file in sorted(folder.glob("*.yaml"))}
        near = did_you_mean(path.stem, known)
        for stem, file in known.items():
            near = near.replace(f"'{stem}'", f"'{file}'")
        listing = f"; known: {', '.join(known.values())}" if known else ""
        raise SpaceError(str(path), [f"there is no such file{near}{listing}"])
    try:
        return YamlText(read_text(path), str(path))
    except ProblemsError as error:
        raise SpaceError(error.source, error.problems) from None


def _flattened(text: YamlText) -> tuple[dict[str, Any], dict[str, tuple[str, ...]], list[str]]:
    """The file with dotted parameters, the path of each in the file, and complaints about keys that are refused."""
    if not isinstance(text.value, dict):
        raise SpaceError(text.source, ["the file holds no mapping; it needs at least preset and parameters"])
    if odd := [key for key in text.value if not isinstance(key, str)]:
        raise SpaceError(text.source, [f"{key!r} is no key: keys are words ({text.where((key,))})" for key in odd])
    problems, tree = [], text.value
    if runs_program(tree):
        tree, twice = gathered(without_left_out(tree))
        problems += [f"{complaint} ({text.where(path)})" for path, complaint in twice]
    for path, complaint in refused_keys(tree):
        problems.append(f"{complaint} ({text.where(path)})")
        tree = without(tree, path)
    paths: dict[str, tuple[str, ...]] = {}
    blocks: dict[str, Any] = {}

    def walk(node: Mapping[str, Any], prefix: str, path: tuple[str, ...]) -> None:
        for key, block in node.items():
            if not isinstance(key, str):
                problems.append(f"parameters.{key!r} is no dotted key ({text.where((*path, key))})")
                continue
            dotted, here = f"{prefix}{key}", (*path, key)
            if isinstance(block, dict) and isinstance(block.get("parameters"), dict) and set(block) == {"parameters"}:
                walk(block["parameters"], f"{dotted}.", (*here, "parameters"))
            elif dotted in blocks:
                problems.append(f"parameters.{dotted} is declared twice ({text.where(here)})")
            else:
                blocks[dotted], paths[dotted] = block, here

    if isinstance(tree.get("parameters"), dict):
        walk(tree["parameters"], "", ("parameters",))
        tree["parameters"] = blocks
    if tree.get("parameters", {}) is None:  # `parameters:` with nothing below it
        del tree["parameters"]
    return tree, paths, problems


def _validated(tree: dict[str, Any], places: Places, problems: list[str]) -> tuple[SpaceFile, bool]:
    """The well-formed part of the file, and whether a part had to be dropped to get it."""
    try:
        return SpaceFile.model_validate(tree), False
    except ValidationError as error:
        bad = error.errors(include_url=False)
    own = runs_program(places.text.value)
    for item in bad:
        loc = _place(item)
        problems += [places.written(line) + places.where(loc) for line in _complaints(item, loc, own)]
        _drop(tree, loc)
    return SpaceFile.model_validate(tree), True


def _place(item: Mapping[str, Any]) -> tuple[str | int, ...]:
    """Path of the complaint in the file; pydantic adds the rule of `stopping`, which is no key there."""
    loc: tuple[str | int, ...] = item["loc"]
    return (loc[0], *loc[2:]) if loc[0] == "stopping" and len(loc) > 1 else loc


def _drop(tree: dict[str, Any], loc: Sequence[str | int]) -> None:
    if len(loc) > 1 and loc[0] in ("parameters", "constraints") and isinstance(tree.get(str(loc[0])), dict):
        tree[str(loc[0])].pop(loc[1], None)
    else:
        tree.pop(str(loc[0]), None)


def _complaints(item: Mapping[str, Any], place: Sequence[str | int], own: bool) -> list[str]:
    """own: whether the file runs a program."""
    loc = [part for part in place if part != "[key]"]
    key = ".".join(str(part) for part in loc)
    if item["type"] == "extra_forbidden":
        return [f"{key} is unknown{_nearest(loc, item['loc'], own)}"]
    if item["type"] == "missing":
        return [f"{key} is missing"]
    if loc == ["stopping"] and not isinstance(item["input"], Mapping):
        written = str(item["input"])
        rule = written if written in RULES else "race"
        return [f"stopping = {item['input']!r} must be a mapping; for example: {{rule: {rule}}}"]
    if item["type"] == "union_tag_not_found":
        return [f"{key}.rule is missing; known: {', '.join(RULES)}"]
    if item["type"] == "union_tag_invalid":
        written = str(item["ctx"]["tag"])
        return [f"{key}.rule = {written!r} is unknown{did_you_mean(written, RULES)}; known: {', '.join(RULES)}"]
    if item["type"] == "value_error":
        return [_joined(key, line) for line in str(item["ctx"]["error"]).split("\n")]
    if item["type"] == "literal_error":
        known, written = re.findall(r"'([^']*)'", item["ctx"]["expected"]), str(item["input"])
        return [f"{key} = {item['input']!r} is unknown{did_you_mean(written, known)}; known: {', '.join(known)}"]
    quoted = (
        isinstance(item["input"], str) and item["type"].startswith(("int", "float")) and reads_as_number(item["input"])
    )
    hint = f"; it is text, so remove the quotes: {loc[-1]}: {item['input']}" if quoted else ""
    written = "null" if item["input"] is None else repr(item["input"])
    return [f"{key} = {written} {expected(key, item)}{hint}"]


def _joined(key: str, line: str) -> str:
    """'compare' and 'alpha = 3 must' read 'compare.alpha = 3 must'; blocks that carry a name are set apart by ': '."""
    if line.startswith("= "):
        return f"{key} {line}"
    return f"{key}: {line}" if key.startswith(("parameters.", "constraints.", "program")) else f"{key}.{line}"


def _nearest(loc: Sequence[str | int], place: Sequence[str | int], own: bool) -> str:
    sections: dict[str, type[Section]] = {
        "metric": Metric,
        "compare": Compare,
        "budget": Spending,
        "guard": Guard,
        "stopping": RULES.get(str(place[1]), Race) if len(place) > 1 else Race,
    }
    if len(loc) > 3 and tuple(loc[:2]) == ("compare", "subject_to"):
        known = list(Condition.model_fields)
        return f"{did_you_mean(str(loc[-1]), known)}; known: {', '.join(known)}"
    if loc[0] == "program":
        known = keys_below(loc[1:])
        return f"{did_you_mean(str(loc[-1]), known)}; known: {', '.join(known)}"
    nested: dict[str, type[Section]] = {"parameters": Parameter, "constraints": Limit}
    model = SpaceFile if len(loc) == 1 else sections.get(str(loc[0])) or nested[str(loc[0])]
    if model is SpaceFile and not own and begins_key(str(loc[0])) and loc[0] != "seed":
        return "; recipe keys stand under `parameters:`, or under `set:` where they do not vary"
    known = list(model.model_fields)
    if model is SpaceFile and own:
        known = keys_of_file(known)
    near = did_you_mean(str(loc[-1]), known)
    below = "; nested keys stand under `parameters:`" if model is Parameter and not near else ""
    return f"{near}{below}; known: {', '.join(known)}"


def _beside(path: Path, preset: str | None) -> str | None:
    """The preset as the file names it; a file is looked for beside the search space first, then in this folder."""
    if preset is None or not preset.endswith((".yaml", ".yml")):
        return preset
    beside = path.parent / preset
    return str(beside) if beside.is_file() else preset


def _base(file: SpaceFile, overrides: dict[str, Any], places: Places, problems: list[str]) -> Recipe | None:
    changes = {**file.set, **overrides}
    said = {key: f"--set {key}" if key in overrides else f"set.{key}" for key in changes}
    for key in changes:
        if key in file.parameters:
            problems.append(f"{said[key]} would be overwritten by parameters.{key}" + places.where(("parameters", key)))
    if "seed" in changes:
        flag = "--seeds" if "seed" in overrides else "seeds: [1, 2, 3]"
        problems.append(f"{said['seed']}: a sweep declares its seeds; use {flag}" + places.where(("set", "seed")))
    if file.preset is None:
        if not any(line.startswith("preset = ") for line in problems):  # it is there, and was dropped
            problems.append("preset is missing; for example: preset: tiny, or --preset tiny")
        return None
    try:
        return load_preset(file.preset, changes).recipe
    except RecipeError as error:
        for line in error.problems:
            key = line.split(" ")[0]
            if key in file.set and key not in overrides:
                problems.append(f"set.{line.removesuffix(' (--set)')}{places.where(('set', key))}")
            elif key in overrides:
                value = shlex.quote(override_text(key, overrides[key]))
                problems.append(f"{line.removesuffix(' (--set)')} (--set {value})")
            else:
                problems.append(line + places.where(("preset",)))
        return None


def _known_parameters(file: SpaceFile, places: Places, problems: list[str]) -> dict[str, Parameter]:
    """The parameters that name a recipe key, with ends of the key's own kind."""
    known = {}
    for key, item in file.parameters.items():
        complaint = "".join(_complaint_about_key(key, item))
        if complaint:
            problems.append(complaint + places.where(("parameters", key)))
        else:
            known[key] = of_kind(item, FIELDS[key].type_name)
    return known


def _complaint_about_key(key: str, item: Parameter) -> Iterator[str]:
    if key == "seed":
        yield "parameters.seed: seeds are not swept: every configuration runs on all of them; write seeds: [1337, 42]"
    elif key not in FIELDS:
        below = [known for known in FIELDS if known.startswith(f"{key}.")]
        hint = f" is a section; sweep one of its keys, for example {below[0]}" if below else ""
        yield f"parameters.{key}{hint}" if hint else f"parameters.{unknown_key(key)}"
    elif complaint := complaint_of_kind(item, FIELDS[key].type_name):
        yield f"parameters.{key}: {complaint}"


def _resolved(
    file: SpaceFile,
    path: Path,
    parameters: dict[str, Parameter],
    base: Recipe | Program | None,
    overrides: dict[str, Any],
    tree: Mapping[str, Any],
) -> SearchSpace:
    finite = all(item.choices is not None for item in parameters.values())
    method: Any = {"bayes": "tpe", None: "grid" if finite else "tpe"}.get(file.method, file.method)
    if isinstance(base, Program) and file.program is not None:
        remarks, run_cap = remarks_about(tree, base, list(parameters), finite, file.method, file.run_cap)
        compare, preset = terms_of_program(file.compare, file.metric, base), f"program {base.name}"
        keys = resolved_keys(file.program, base)
    else:
        remarks, run_cap, compare, preset, keys = (), file.run_cap, file.compare, file.preset or "", {}
    return SearchSpace(
        name=file.name if file.name and not isinstance(base, Program) else usable_name(file.name or path.stem),
        description=file.description,
        preset=preset,
        program_keys=keys,
        remarks=remarks,
        overrides=overrides,
        base=base or (unknown_program(file.metric.name) if runs_program(tree) else load_preset("tiny").recipe),
        method=method,
        metric=file.metric,
        parameters=parameters,
        seeds=file.seeds,
        run_cap=run_cap,
        compare=compare,
        constraints=file.constraints,
        budget=file.budget,
        stopping=file.stopping,
        guard=file.guard,
        warm_start=file.warm_start,
    )
