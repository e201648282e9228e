"""The attempts at what a sweep tests, from the seed ledger of its store, and the part of alpha that it is tested at."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from orchestrator.space.configuration import baseline_of, grid_of
from orchestrator.space.search_space import SearchSpace
from orchestrator.sweep.sweep import Sweep, list_sweeps
from results.verdicts.attempts import Attempt, attempts_at, attempts_to_come
from results.verdicts.seed_ledger import ledger_of


def attempts_of(sweep: Sweep) -> list[Attempt]:
    """All attempts at what this sweep tests, its own among them; empty if it is exploratory or declared no seed yet."""
    return attempts_at(sweep.ledger.entries(), sweep.name, _confirmatory_before(sweep.store))


def planned_attempts(
    space: SearchSpace, store: Path, tested_space: str = "", candidates: tuple[str, ...] = ()
) -> list[Attempt]:
    """The same for a sweep of this search space that is not begun; its own stands last, without a name.

    tested_space, candidates:  of a confirmation those of its source and the winner; by default the space's own
    """
    if not candidates and space.method == "grid":
        candidates = tuple({item.id for item in grid_of(space)} - {baseline_of(space).id})
    return attempts_to_come(
        ledger_of(store).entries(), space.tested(tested_space), candidates, _confirmatory_before(store)
    )


def level_of(attempts: list[Attempt], name: str, alpha: float) -> float:
    """The level at which the sweep of this name is tested; alpha itself where it claims nothing."""
    return next((attempt.level(alpha) for attempt in attempts if attempt.sweep == name), alpha)


def _confirmatory_before(store: Path) -> Callable[[str], bool]:
    """Of sweeps whose ledger lines do not say it; one whose folder is gone counts."""
    exploratory: set[str] | None = None

    def claims(name: str) -> bool:
        nonlocal exploratory
        if exploratory is None:
            exploratory = {sweep.name for sweep in list_sweeps(store) if sweep.space.exploratory}
        return name not in exploratory

    return claims


SPENT = ", which only suggests: the attempts before it have spent alpha (compare: {attempts: N} declares more)"
"""Of an attempt beyond those that were declared."""


def attempt_lines(attempts: list[Attempt], sweep: str) -> list[str]:
    """Every attempt with its seeds and its part of alpha; nothing where there is only one, with all of alpha."""
    if len(attempts) < 2 and all(attempt.planned == 1 for attempt in attempts):
        return []
    return [
        f"attempt {attempt.number}{f' of {attempt.planned}' if attempt.planned > 1 else ''}: {attempt.sweep}"
        f"{' (this one)' if attempt.sweep == sweep else ''}, seeds {', '.join(map(str, attempt.seeds))}, "
        f"tested at {attempt.part}{SPENT if attempt.is_spent else ''}"
        for attempt in attempts
    ]
