"""A plan as rows for programs, and as text for people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from typing import Any

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from orchestrator.plan.artifact_size import ArtifactSize
from orchestrator.plan.detectable_effect import SCORE, Evidence, evidence_lines
from orchestrator.plan.plan import Plan, StagePlan, times
from orchestrator.search.next_run import Stage
from orchestrator.space.configuration import Configuration, label
from trainer.spec.load import expected_of, spelled
from trainer.spec.recipe import Recipe
from trainer.spec.record import run_id_of
from trainer.spec.units import human_bytes, human_count, human_seconds

UNKNOWN = "?"
WIDEST = 1_000
"""Characters: more than any table of stages takes."""
MODES = {
    "steps": "training ends by steps: different machines compute the same thing",
    "clock": "training ends by the clock: the result depends on the hardware, so keep to machines of one kind",
}
PROGRAM = "the scores of a program may depend on the hardware, so stored results are taken from like machines alone"


def plan_rows(plan: Plan) -> list[dict[str, Any]]:
    """One flat row per stage, and one named 'total'; unknown numbers are None."""
    return [*(_stage_row(plan, stage) for stage in plan.stages), _total_row(plan)]


def _stage_row(plan: Plan, stage: StagePlan) -> dict[str, Any]:
    gpu_hours = times(plan.resources.gpus_per_run / 3600, stage.seconds)
    price = plan.space.budget.usd_per_gpu_hour
    return {
        "sweep": plan.space.name,
        **{key: value for key, value in asdict(stage).items() if key != "bytes_each"},
        "missing": stage.missing,
        "seconds": stage.seconds,
        "gpu_hours": gpu_hours,
        "usd": None if price is None else times(price, gpu_hours),
        "disk_bytes": stage.disk_bytes,
    }


def _total_row(plan: Plan) -> dict[str, Any]:
    return {
        "sweep": plan.space.name,
        "stage": "total",
        "runs": plan.total_runs,
        "needed": sum(stage.needed for stage in plan.stages),
        "exact": plan.exact,
        "cached": sum(stage.cached for stage in plan.stages),
        "seconds_each": None,
        "seconds_from": None,
        "missing": sum(stage.missing for stage in plan.stages),
        "seconds": plan.seconds,
        "gpu_hours": plan.gpu_hours,
        "usd": plan.usd,
        "disk_bytes": plan.disk_bytes,
        "total_runs": plan.total_runs,
        "fewest_runs": plan.fewest_runs,
        "recorded_runs": plan.recorded_runs,
        "wall_s": plan.wall_s,
        **asdict(plan.resources),
        "usd_per_gpu_hour": plan.space.budget.usd_per_gpu_hour,
        "mode": plan.mode,
        "artifact_low_bytes": min((size.low_bytes for size in plan.sizes if size.low_bytes is not None), default=None),
        "artifact_high_bytes": max((size.high_bytes for size in plan.sizes if size.high_bytes), default=None),
        "artifact_may_exceed": any(size.may_exceed for size in plan.sizes),
        "test": plan.evidence.design.test if plan.evidence else "none",
        **_effect_columns(plan.evidence),
    }


def _effect_columns(evidence: Evidence | None) -> dict[str, Any]:
    """The spread and the smallest gain that is detected, in their own unit, and in bits per byte where that is it."""
    known = evidence if evidence and evidence.spread else None
    in_bits = known if known and known.measure == SCORE else None
    return {
        "sd_bpb": in_bits.design.sd if in_bits else None,
        "minimum_detectable_effect_bpb": in_bits.minimum_detectable_effect if in_bits else None,
        "effect_unit": evidence.measure.unit if evidence else None,
        "sd": known.design.sd if known else None,
        "minimum_detectable_effect": known.minimum_detectable_effect if known else None,
    }


def run_rows(plan: Plan) -> list[dict[str, Any]]:
    """One flat row per run in their order: what it would compute first, and what another run computes."""
    claimed: set[Stage] = set()
    rows = []
    for run in plan.runs:
        mine = [stage for stage in run.missing if stage not in claimed]
        claimed.update(mine)
        rows.append(
            {
                "sweep": plan.space.name,
                "config": run.configuration.id if run.configuration else None,
                "seed": run.seed,
                "is_baseline": run.configuration is not None and run.configuration.is_baseline,
                "values": dict(run.configuration.values) if run.configuration else None,
                "recorded": run.recorded,
                **_size_columns(plan, run.configuration),
                "computes": [stage for stage, _ in mine],
                "shares": [stage for stage, fingerprint in run.missing if (stage, fingerprint) not in mine],
            }
        )
    return rows


def _size_columns(plan: Plan, configuration: Configuration | None) -> dict[str, int | None]:
    sizes = (size for size in plan.sizes if configuration and configuration.id in size.configurations)
    size = next(sizes, None)
    return {
        "artifact_low_bytes": size.low_bytes if size else None,
        "artifact_high_bytes": size.high_bytes if size else None,
    }


def plan_text(plan: Plan, gain: float | None = None) -> RenderableType:
    """The search space, the configurations as far as they are known, a line per stage, its cost and its power.

    gain:  beyond the margin, whose number of seeds is wanted
    """
    lines = [Text(line) for line in (*_price_lines(plan), *_notes(plan))]
    lines += [Text(line, style="bold yellow" if warns else "") for line, warns in _size_lines(plan)]
    if plan.over_budget:
        lines.append(Text(f"more than budget.gpu_hours = {plan.space.budget.gpu_hours:g}", style="bold red"))
    lines.append(Text(f"comparison: {plan.test}; {plan.test_reason}"))
    if plan.evidence:
        lines += [Text(line) for line in evidence_lines(plan.evidence, gain)]
    lines += [Text(note) for note in plan.notes]
    return Group(Text(str(plan.space)), *_configuration_lines(plan), "", _Stages(plan.stages), "", *lines)


class _Stages:
    """A table of the stages, or, where the line is too short for it, two lines of words for each."""

    def __init__(self, stages: Sequence[StagePlan]) -> None:
        self._stages = stages

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        table = _stage_table(self._stages)
        fits = console.measure(table, options=options.update(width=WIDEST)).maximum <= options.max_width
        yield from [table] if fits else map(_in_words, self._stages)


def _stage_table(stages: Sequence[StagePlan]) -> Table:
    table = Table(box=None, pad_edge=False)
    for head in ("stage", "runs", "needed", "cached", "missing", "each", "together", "from"):
        table.add_column(head, justify="left" if head in ("stage", "from") else "right", no_wrap=True)
    for stage in stages:
        table.add_row(*_cells(stage))
    return table


def _in_words(stage: StagePlan) -> Text:
    name, runs, needed, cached, missing, each, together, source = _cells(stage)
    where = f" ({source})" if source else ""
    counted = f"{name}: of {runs} runs {needed} needed, {cached} cached, {missing} missing"
    return Text(f"{counted};\n  {each} each, {together} together{where}")


def runs_text(plan: Plan) -> RenderableType:
    """A line per run; those that a search has yet to choose are counted."""
    table = Table(box=None, pad_edge=False)
    for head in ("run", "values", "computes", "shares with earlier runs"):
        table.add_column(head, no_wrap=head == "run", overflow="fold")
    known = {run.configuration.id: run.configuration for run in plan.runs if run.configuration}
    rows = run_rows(plan)
    for row in rows:
        if row["config"] is not None:
            computes = "recorded" if row["recorded"] else " ".join(row["computes"]) or "nothing"
            named = label(known[row["config"]], plan.space)
            table.add_row(run_id_of(row["config"], row["seed"]), named, computes, " ".join(row["shares"]))
    unchosen = sum(row["config"] is None for row in rows)
    more = (
        [Text(f"and at most {unchosen} runs of configurations that the search has yet to choose")] if unchosen else []
    )
    return Group(table, *more)


def _configuration_lines(plan: Plan) -> list[Text]:
    if plan.space.method != "grid":
        return []
    return [Text(f"  {item.id}  {_values(item, plan.space.itself)}") for item in plan.configurations]


def _values(item: Configuration, itself: str) -> str:
    values = " ".join(f"{key}={spelled(value)}" for key, value in item.values.items())
    return f"baseline  {values or itself}" if item.is_baseline else values


def _cells(stage: StagePlan) -> tuple[str, ...]:
    bound = "" if stage.exact else "\u2264 "
    each = UNKNOWN if stage.seconds_each is None else human_seconds(stage.seconds_each)
    together = UNKNOWN if stage.seconds is None else bound + human_seconds(stage.seconds)
    counts = str(stage.runs), f"{bound}{stage.needed}", str(stage.cached), f"{bound}{stage.missing}"
    return stage.stage, *counts, each, together, "" if stage.seconds_each is None else stage.seconds_from


def _price_lines(plan: Plan) -> Iterator[str]:
    """Runs, seconds, GPU-hours and dollars, bytes."""
    bound = "" if plan.exact else "at most "
    bounds = sorted({plan.fewest_runs, plan.total_runs})
    runs = f"{' to '.join(map(str, bounds))} runs, {plan.recorded_runs} of them recorded already"
    if plan.seconds is None or plan.wall_s is None:
        yield f"{runs}; time and price: {UNKNOWN}"
        return
    slots = plan.resources.slots
    yield f"{runs}; {bound}{human_seconds(plan.seconds)} of computing"
    yield f"about {human_seconds(plan.wall_s)} from start to end on {slots} slot{'s' if slots > 1 else ''}"
    yield _dollars(plan, bound)
    if plan.disk_bytes is not None:
        yield f"{human_bytes(round(plan.disk_bytes))} on disk"


def _size_lines(plan: Plan) -> Iterator[tuple[str, bool]]:
    """A line per size of artifact, and whether it is a warning."""
    alike: dict[ArtifactSize, list[str]] = {}
    for size in plan.sizes:
        alike.setdefault(replace(size, configurations=()), []).extend(size.configurations)
    for known, configurations in alike.items():
        size = replace(known, configurations=tuple(configurations))
        of = "" if len(alike) == 1 else f" of {_configurations(plan, size)}"
        limit = f"{human_bytes(size.limit_bytes)} beside the code"
        if size.source == "limit":
            yield f"artifact{of}: made to fit {limit} (quantization.fit_bytes)", False
        elif size.high_bytes is None or size.low_bytes is None:
            yield f"artifact{of}: {UNKNOWN} of {limit}; python -m trainer check encodes random weights", False
        elif size.source == "width":
            yield f"artifact{of}: at most {human_bytes(size.high_bytes)} of {limit}", False
        else:
            measured = (
                f"measured in {size.num_runs} runs" if size.source == "history" else "estimated from random weights"
            )
            span = f"{human_bytes(size.low_bytes)} to {human_bytes(size.high_bytes)} {measured}"
            yield f"artifact{of}: {span}, of {limit}{_over(size)}", size.may_exceed


def _over(size: ArtifactSize) -> str:
    if not size.may_exceed:
        return ""
    verdict = "will not fit" if (size.low_bytes or 0) > size.limit_bytes else "may not fit"
    return f": {verdict}; set quantization.fit_bytes, lower quantization.matrix_bits or raise the weight decay"


def _configurations(plan: Plan, size: ArtifactSize) -> str:
    """The values that a few configurations of this size have, or how many have it."""
    known = {item.id: item for item in plan.configurations}
    if len(size.configurations) == 1 and size.configurations[0] in known:
        return label(known[size.configurations[0]], plan.space)
    return human_count(len(size.configurations), "configuration")


def _dollars(plan: Plan, bound: str) -> str:
    gpus, price = plan.resources.gpus_per_run, plan.space.budget.usd_per_gpu_hour
    if not gpus:
        return "no GPU takes part: 0 GPU-hours" + ("" if price is None else ", 0 USD")
    hours = f"{bound}{plan.gpu_hours:.2f} GPU-hours on {gpus} GPUs a run"
    return hours if price is None else f"{hours}, {plan.usd:.2f} USD at {price:g} USD per GPU-hour"


def _notes(plan: Plan) -> Iterator[str]:
    """What the signs mean, where figures come from, and what ends a training."""
    if not plan.text_is_here:
        yield "the text is not here (data.folder, data.tokenizer): nothing could be looked up in the store"
    if any(stage.missing and stage.seconds_each is None for stage in plan.stages):
        yield f"{UNKNOWN}: not known before one such stage has run in this store; a smaller sweep measures it"
    if not plan.exact:
        yield "\u2264: at most; configurations are yet to be chosen, or may be pruned or eliminated"
    expected = expected_of(plan.space.preset)
    if expected and any(stage.seconds_from == "preset" for stage in plan.stages):
        yield f"preset: as {plan.space.preset} declares it for {expected.hardware}; the store has no run of these sizes"
    yield PROGRAM if plan.space.program else MODES[plan.mode]
    if isinstance(plan.space.base, Recipe) and (export := _export_clock(plan.space.base)):
        yield export


def _export_clock(recipe: Recipe) -> str:
    """Which part of an export counts against a limit of seconds; nothing where there is no such limit."""
    budget = recipe.budget
    if budget.train_s is None:
        return ""
    if recipe.quantization.method != "gptq":
        return "the export counts against no limit of seconds"
    return (
        f"of the export, GPTQ's calibration counts as training: {budget.reserve_s:g} of the {budget.train_s:g} s are "
        "kept for it; rounding and compression count against no limit of seconds"
    )
