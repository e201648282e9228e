"""Checks of a well-formed search space: nothing varies, a key without effect, values that no recipe accepts.

The recipes are checked on a sample of the configurations: each listed value and both ends of each range, in every
combination. A complaint comes with the path of the part it is about.
"""

from __future__ import annotations

import itertools
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from orchestrator.space.bounds import MOST_SEEDS, complaints_about_size
from orchestrator.space.configuration import identify, short_of
from orchestrator.space.parameter import Parameter, is_among, wanted_values
from orchestrator.space.race_checks import complaints_about_margins, complaints_about_race
from orchestrator.space.search_space import MOST_PROBES, SearchSpace
from orchestrator.space.sections import Rungs
from results.rows.columns import COLUMN_TYPES, SCORED_TEXT
from trainer.spec.certain_failures import certain_failures, refuse_certain_failure
from trainer.spec.errors import RecipeError, did_you_mean
from trainer.spec.field_index import FIELDS, disabled_by, value_at
from trainer.spec.load import spelled, unknown_key, with_values
from trainer.spec.program import Program
from trainer.spec.recipe import Recipe
from trainer.spec.record import NAME_PATTERN, usable_name
from trainer.spec.stage_table import stages_of

COLUMNS = tuple(
    name
    for name, kind in COLUMN_TYPES.items()
    if kind in ("integer", "number") and name not in ("seed", "code_bytes", *SCORED_TEXT)
)
"""Numbers of a run that a sweep may be judged by."""
DIAGNOSED = {
    "pre_quant_bpb": "evaluation.diagnose",
    "roundtrip_bpb": "evaluation.diagnose",
    "fit_cost_bpb": "quantization.fit_bytes",
}
"""Numbers that the stage `diagnose` measures, and what switches them on."""
TEXT_KEYS = ("data.source", "data.folder", "data.tokenizer", "data.val_bytes")
"""Keys that name the text itself: scores on different texts cannot be compared."""
LIMITED = ("model_bytes", "eval_s")
"""Columns of a program that are measured where its output does not tell them."""
MOST_LISTED = 20
"""Values that one message spells out."""
Complaint = tuple[str, tuple[str, ...]]


def complaints_about(space: SearchSpace, known_base: bool, whole: bool) -> Iterator[Complaint]:
    """Everything wrong with a space, each with the path of the part it is about.

    known_base:  whether the preset could be read; without it recipes are not checked
    whole:       whether no part was dropped for other complaints; else no part is reported as missing
    Raises graphlib.CycleError if the `when` of parameters refer to each other in a circle.
    """
    yield from _about_names(space, known_base)
    oversized = list(complaints_about_size(space))
    yield from oversized
    yield from _about_seeds(space)
    yield from _about_baseline(space, known_base)
    when = list(_about_when(space))
    yield from when
    yield from _about_method(space, whole)
    yield from _about_stopping(space)
    yield from complaints_about_margins(space)
    yield from _about_speed(space)
    yield from _about_warm_start(space)
    if whole:
        yield from _about_emptiness(space)
    for key in space.parameters:
        yield from _about_key(space, key, space.parameters[key])
    if known_base and not when and not oversized:
        faults = list(_about_recipes(space, whole))
        faults += [] if faults else _about_text(space)
        yield from faults or _about_rungs(space)


def _about_names(space: SearchSpace, known_base: bool) -> Iterator[Complaint]:
    if not re.fullmatch(NAME_PATTERN, space.name):
        hint = f"it names a folder; write name: {usable_name(space.name)}"
        yield f"name = {space.name!r} must be letters, digits, '.', '_' or '-': {hint}", ("name",)
    known = (*space.program.metrics, *LIMITED) if space.program else COLUMNS
    if space.program and not known_base:
        return
    if space.metric.name not in known:
        yield f"metric.name = {space.metric.name!r} {_no_column(space.metric.name, known)}", ("metric", "name")
    for name in space.constraints:
        if name not in known:
            yield f"constraints.{name} {_no_column(name, known)}", ("constraints", name)


def _no_column(name: str, known: Sequence[str]) -> str:
    return f"is no column of the table{did_you_mean(name, known)}; known: {', '.join(known)}"


def _about_seeds(space: SearchSpace) -> Iterator[Complaint]:
    if not space.seeds:
        yield "seeds = [] is empty; give at least one, usual: [1337, 42, 2025]", ("seeds",)
    if len(space.seeds) > MOST_SEEDS:
        return
    for seed in sorted(seed for seed, count in Counter(space.seeds).items() if count > 1):
        yield f"seeds names {seed} twice; a repeated seed adds no information", ("seeds",)
    for seed in space.seeds:
        if seed >= 2**31:
            spelled = seed if seed < 10**15 else f"a number of {math.log10(seed):.0f} digits"
            yield f"seeds: {spelled} must be less than {2**31}", ("seeds",)


def _about_emptiness(space: SearchSpace) -> Iterator[Complaint]:
    known_keys = all(is_key(space, key) for key in space.compare.baseline)
    if known_keys and len(space.seeds) == 1 and not space.swept_keys:
        yield (
            "nothing varies: no key takes two values and there is one seed; add values under parameters, or seeds",
            ("parameters",),
        )


def _about_unknown_knobs(space: SearchSpace, baseline: Program) -> Iterator[Complaint]:
    """Knobs that a command writes out, and that have no value in the baseline, the program with its own defaults."""
    for stage in baseline.stages:
        words = " ".join(stage.command or baseline.command)
        if "${args" in words:
            continue  # it may be written for some configurations only
        missing = [key for key in space.parameters if f"${{{key}}}" in words and key not in baseline.values]
        for key in missing:
            yield (
                f"command: ${{{key}}} has no value in the baseline, which is the program with its own defaults; name "
                f"one: compare: {{baseline: {{{key}: ...}}}}, or write ${{args}} for all knobs that have a value",
                ("program", "command"),
            )


def _about_baseline(space: SearchSpace, known_base: bool) -> Iterator[Complaint]:
    path = ("compare", "baseline")
    unknown = [key for key in space.compare.baseline if not is_key(space, key) or key == "seed"]
    for key in unknown:
        what = "seed: the baseline runs on the same seeds" if key == "seed" else _unknown(space, key)
        yield f"compare.baseline: {what}", (*path, key)
    if not known_base or unknown:
        return
    try:
        recipe = with_values(space.base, space.compare.baseline, "compare.baseline")
    except RecipeError as error:
        for line in error.problems:
            yield f"compare.baseline: {line}", (*path, line.split(" ")[0])
        return
    if not isinstance(recipe, Recipe):
        yield from _about_unknown_knobs(space, recipe)
        return
    for key in space.compare.baseline:
        if switch := disabled_by(recipe, key):
            yield f"compare.baseline: {_without_effect(key, switch)}", (*path, key)
    for line in certain_failures(recipe):
        yield f"compare.baseline: {line}", path


def _about_when(space: SearchSpace) -> Iterator[Complaint]:
    for key, item in space.parameters.items():
        path = ("parameters", key, "when")
        for other, wanted in item.when.items():
            if not is_key(space, other):
                yield f"parameters.{key}: when: {_unknown(space, other)}", (*path, other)
                continue
            taken = _values_taken(space, other)
            values = wanted_values(wanted)
            misspelled = not space.program and any(not FIELDS[other].may_be(value) for value in values)
            if taken is None or (any(is_among(value, part) for value in values for part in taken) and not misspelled):
                continue
            yield f"parameters.{key}: when: {other} is never {wanted}; it takes: {_listed(taken)}", (*path, other)


def _values_taken(space: SearchSpace, key: str) -> list[Sequence[Any]] | None:
    """Values the key has among the configurations, as its choices and the preset's; None when they cannot be listed."""
    item = space.parameters.get(key)
    if item is None:
        return [[value_at(space.base, key)]]
    if item.choices is None:
        return None
    return [item.choices, [value_at(space.base, key)] if item.when else []]


def _listed(parts: Sequence[Sequence[Any]]) -> str:
    """The first values and how many others there are: a range may have a billion."""
    first = list(itertools.islice(itertools.chain.from_iterable(parts), MOST_LISTED))
    others = sum(map(len, parts)) - len(first)
    return ", ".join(map(str, first)) + (f" and {others:,} others" if others else "")


def _about_method(space: SearchSpace, whole: bool) -> Iterator[Complaint]:
    endless = {key: item for key, item in space.parameters.items() if item.choices is None}
    if space.method == "grid":
        for key, item in endless.items():
            yield (
                f"parameters.{key}: a grid cannot list {item}; give values: [...], or choose method: tpe",
                ("parameters", key),
            )
    elif endless and whole and space.run_cap is None:
        yield f"run_cap is missing: method {space.method} would never end; for example run_cap: 20, or --trials 20", ()
    if space.method != "random":
        for key, item in space.parameters.items():
            if item.probabilities is not None:
                yield (
                    f"parameters.{key}: probabilities are of method random, and the method is {space.method}; write "
                    f"method: random, or leave them out: {{values: {item.values}}}",
                    ("parameters", key, "probabilities"),
                )
    if space.method == "cmaes":
        fit = [key for key, item in space.parameters.items() if item.between and item.varies and not item.when]
        if len(fit) < 2:
            yield (
                "method = cmaes needs at least two parameters with min and max and without when, "
                f"found {len(fit)}; choose method: tpe",
                ("method",),
            )


def _about_speed(space: SearchSpace) -> Iterator[Complaint]:
    """A claim of speed is about configurations that are fixed beforehand and all run in full."""
    if space.compare.metric is None:
        return
    path = ("compare", "metric")
    if space.adaptive:
        yield (
            f"compare.metric: method {space.method} chooses configurations by results, so they cannot take turns; "
            "choose method: grid or random",
            path,
        )
    if space.stopping is not None:
        yield f"compare.metric: stopping: {{rule: {space.stopping.rule}}} gives runs to some alone; leave it out", path


def _about_stopping(space: SearchSpace) -> Iterator[Complaint]:
    if space.stopping is None:
        return
    if all(is_key(space, key) for key in space.compare.baseline) and not space.swept_keys:
        yield "stopping: there is no configuration beside the baseline; add values under parameters", ("stopping",)
    if space.race is not None:
        yield from complaints_about_race(space, space.race)


def _about_rungs(space: SearchSpace) -> Iterator[Complaint]:
    """Short schedules of the preset must be valid, and short runs must measure the metric and the constraints."""
    if not isinstance(space.stopping, Rungs):
        return
    path = ("stopping", "rungs")
    if space.program:
        yield "stopping: nothing is known of shorter schedules of a program; leave it out, or {rule: race}", path
        return
    for name in {space.metric.name, *space.constraints} & set(DIAGNOSED):
        yield f"stopping: short runs leave out the diagnosis that measures {name}; judge by val_bpb", path
    for rung in space.stopping.rungs:
        try:
            short = short_of(space, identify(space, 1, next(iter(space.probes()), {})), rung)
            refuse_certain_failure(space.recipe(short.values), "stopping.rungs")
        except RecipeError as error:
            yield f"stopping.rungs = {rung:g}: such a short schedule is not valid: {'; '.join(error.problems)}", path


def _about_warm_start(space: SearchSpace) -> Iterator[Complaint]:
    path = ("warm_start",)
    if space.warm_start and not space.adaptive:
        yield (
            f"warm_start: method {space.method} does not use earlier results; choose method: tpe, or leave it out",
            path,
        )
    for name in sorted({name for name in space.warm_start if space.warm_start.count(name) > 1}):
        yield f"warm_start names {name} twice", path


def _about_key(space: SearchSpace, key: str, item: Parameter) -> Iterator[Complaint]:
    if not item.varies or space.program:
        return
    if key in TEXT_KEYS:
        yield (
            f"parameters.{key} changes the text, and scores on different texts cannot be compared; "
            f"run a sweep of its own for each text: --set {key}=...",
            ("parameters", key),
        )
    elif not FIELDS[key].stages:
        yield f"parameters.{key} changes no result: no stage reads it; give it one value", ("parameters", key)


def is_key(space: SearchSpace, key: str) -> bool:
    """Whether a dotted key names a field of the recipe, or a knob that the file gives the program."""
    return key in FIELDS if space.program is None else key in space.parameters or key in space.program.values


def _unknown(space: SearchSpace, key: str) -> str:
    if space.program is None:
        return unknown_key(key)
    knobs = [*space.parameters, *space.program.values]
    return f"{key} is no knob of this file{did_you_mean(key, knobs)}; name it under parameters or set"


def _about_recipes(space: SearchSpace, whole: bool) -> Iterator[Complaint]:
    if space.program:
        return
    effective: set[str] = set()
    idle: dict[str, tuple[str, Any]] = {}
    undiagnosed: set[str] = set()
    for values in _checked_values(space):
        try:
            recipe = space.recipe(values)
        except RecipeError as error:
            for line in error.problems:
                yield _at_its_key(line, space.parameters)
            continue
        assert isinstance(recipe, Recipe)
        for line in certain_failures(recipe):
            yield _at_its_key(line, space.parameters)
        on = "diagnose" in stages_of(recipe)  # fit_bytes too switches the stage on
        fits = recipe.quantization.fit_bytes
        undiagnosed |= {name for name in DIAGNOSED if not (fits if name == "fit_cost_bpb" else on)}
        for key in values:
            switch = disabled_by(recipe, key)
            if switch is None:
                effective.add(key)
            else:
                idle.setdefault(key, switch)
    if not whole:
        return
    for key, switch in idle.items():
        if space.parameters[key].varies or key not in effective:
            yield f"{_without_effect(key, switch)}{_remedy(space, key, switch)}", ("parameters", key)
    if (name := space.metric.name) in undiagnosed:
        yield f"metric.name = {name} needs {DIAGNOSED[name]} = true", ("metric", "name")


def _about_text(space: SearchSpace) -> Iterator[Complaint]:
    """Configurations that score another text than the baseline: their scores cannot be compared."""
    named = [key for key in TEXT_KEYS if key in space.parameters or key in space.compare.baseline]
    if not named or not isinstance(space.base, Recipe):
        return
    baseline = with_values(space.base, space.compare.baseline, "compare.baseline")
    others = [with_values(space.base, values, "parameters") for values in _checked_values(space)]
    for key in TEXT_KEYS:
        theirs = _text_part(baseline, key)
        mine = next((part for recipe in others if (part := _text_part(recipe, key)) != theirs), theirs)
        if mine == theirs or mine is None or theirs is None:  # where the source differs, that is the complaint
            continue
        yield (
            f"{key} is {spelled(mine)} in the configurations and {spelled(theirs)} in the baseline: scores on "
            f"different texts cannot be compared; what holds for both is written once: set: {{{key}: {spelled(mine)}}}",
            ("parameters", key) if key in space.parameters else ("compare", "baseline", key),
        )


def _text_part(recipe: Recipe, key: str) -> Any:
    """The value of a key that names the text; None while it has no effect."""
    return None if disabled_by(recipe, key) else value_at(recipe, key)


def _checked_values(space: SearchSpace) -> list[dict[str, Any]]:
    """The probes; of a small grid every combination, since a grid also uses values between the ends."""
    listed = space.method == "grid" and space.size is not None and space.size <= MOST_PROBES
    return list(space.combinations()) if listed else space.probes()


def _at_its_key(line: str, parameters: Mapping[str, Parameter]) -> Complaint:
    key = line.split(" ")[0]
    if key not in parameters:
        return line, ("parameters",)
    return f"{line}{_reached(parameters[key])}", ("parameters", key)


def _reached(item: Parameter) -> str:
    """How far a distribution goes that has no ends of its own, or rounds them, and what would stay inside."""
    if not item.by_share or not item.between:
        return ""
    low, high = item.ends
    other = "a smaller sigma, or " if "normal" in str(item.distribution) else ""
    return f"; {item.distribution} draws {low:.4g} .. {high:.4g}: give {other}distribution: uniform with min and max"


def _without_effect(key: str, switch: tuple[str, Any]) -> str:
    return f"{key} has no effect while {switch[0]} is {spelled(switch[1])}"


def _remedy(space: SearchSpace, key: str, switch: tuple[str, Any]) -> str:
    """What to write instead: a `when` if the switch is swept, else the switch."""
    name = switch[0]
    off_values = {**FIELDS[key].unless, **FIELDS[key].unless_all}[name]
    off_values = off_values if isinstance(off_values, tuple) else (off_values,)
    swept = space.parameters.get(name)
    if swept is not None and swept.varies and swept.choices is not None:
        on = [value for value in swept.choices if value not in off_values]
        wanted = spelled(on[0]) if len(on) == 1 else f"[{', '.join(spelled(value) for value in on)}]"
        return f"; give it when: {{{name}: {wanted}}}"
    way = f"give {name} another value" if swept is not None else f"add {name} to parameters, or to set: {{{name}: ...}}"
    return f"; {way}, or leave {key} out"
