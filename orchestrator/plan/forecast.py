"""What is about to happen, for whoever has just started a sweep: runs, stages, slots, and when to expect the first."""

from __future__ import annotations

import math

from orchestrator.plan.detectable_effect import amount_of
from orchestrator.plan.plan import Plan
from trainer.spec.units import human_count, human_seconds


def forecast_lines(plan: Plan, status: str) -> list[str]:
    """Runs and stages that will be computed, when the first score and the end are expected, what the seeds can detect.

    status:  the command that shows where the sweep stands. Empty where nothing is to be computed.
    """
    missing = [run for run in plan.runs if run.missing]
    if not missing:
        return []
    slots = plan.resources.slots
    at_a_time = "one after another" if slots == 1 else f"{slots} at a time"
    stages = ", ".join(
        f"{'' if stage.exact else 'at most '}{stage.missing}x {stage.stage}{_each(stage.seconds_each)}"
        for stage in plan.stages
        if stage.missing
    )
    lines = [f"{human_count(len(missing), 'run')}, {at_a_time}; stages that runs share are computed once: {stages}"]
    seconds = {stage.stage: stage.seconds_each for stage in plan.stages}
    first = [seconds.get(stage) for stage, _ in missing[0].missing]
    if plan.wall_s is None or any(one is None for one in first):
        lines.append("how long it takes is not known yet: the first run measures it")
    else:
        first_s = plan.resources.start_s + sum(one for one in first if one is not None)
        lines.append(
            f"first score expected in about {human_seconds(first_s)}, the last in about {human_seconds(plan.wall_s)}; "
            f"from another terminal: {status}"
        )
    detected = plan.evidence.minimum_detectable_effect if plan.evidence else None
    if plan.evidence and detected is not None and math.isfinite(detected):
        amount = amount_of(detected, plan.evidence.measure.unit)
        lines.append(f"{len(plan.space.seeds)} seeds detect a gain of {amount} beyond the margin")
    if plan.evidence and plan.evidence.chosen:
        lines.append(f"but no verdict can be given on the baseline: {plan.evidence.chosen}")
    return lines


def _each(seconds: float | None) -> str:
    return "" if seconds is None else f" ({human_seconds(seconds)})"
