"""Checks of what decides: a race over seeds, and margins. A complaint comes with the path of the part it is about."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.space.search_space import SearchSpace
from orchestrator.space.sections import Race, too_large


def complaints_about_race(space: SearchSpace, race: Race) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Why a race over seeds cannot be run, or could not keep its error rate."""
    if space.compare.attempts > 1:
        yield (
            f"compare.attempts = {space.compare.attempts} must be 1 with stopping: {{rule: race}}, whose looks spend "
            "all of alpha",
            ("compare", "attempts"),
        )
    path = ("stopping",)
    if space.adaptive:
        yield (
            f"stopping: a race keeps its error rate over configurations that are fixed before it starts, and method "
            f"{space.method} chooses them by their scores; choose method: random",
            path,
        )
    if len(space.seeds) < race.first_look:
        yield (
            f"stopping.first_look = {race.first_look} exceeds the {len(space.seeds)} declared seeds; "
            "declare as many as the race may need, usual: 10 to 20",
            path,
        )
    if space.program is None and (space.metric.name, space.metric.goal) != ("val_bpb", "minimize"):
        yield "stopping: a race is judged by val_bpb; put metric: {name: val_bpb, goal: minimize}", path


def complaints_about_margins(space: SearchSpace) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Margins that no configuration gains. Of a program's own metric nobody knows what is much."""
    if not space.is_judged_by_a_score:
        return
    for line in too_large(space.compare.margin, space.compare.unit):
        yield f"compare.{line}", ("compare", "margin")
    if space.race is not None:
        for line in too_large(space.race.margin or 0.0, "nats"):
            yield f"stopping.{line}", ("stopping", "margin")
