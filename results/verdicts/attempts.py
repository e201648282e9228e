"""How often a search space was tested: every attempt shares one alpha, whatever the sweeps are called.

Two sweeps test the same thing when their search spaces have the same tested identity (recipe, swept values, baseline,
metric), or when they compare one configuration in common; a confirmation counts to the search space it confirms. An
attempt is such a sweep with a run that ended with a score; attempts are numbered by their first such run. A sweep
whose results choose its configurations is exploratory: it claims nothing and spends nothing. So does one whose runs all
failed without a score, or that has one seed: no test could be made.

`compare: {attempts: N}` declares, before the first run, how many there may be. Attempt k of N is tested at alpha / 2^k,
the last at the level of the one before it; with N = 1, the default, the first has all of alpha. The levels of the N
attempts add up to alpha, so by Bonferroni's inequality the probability that any attempt calls something better that is
not is at most alpha. A further attempt halves the level once more and is exploratory, since alpha is spent.
Source: Bonferroni; Foster and Stine 2008 and Tian and Ramdas 2021 (alpha spending over a sequence of tests).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

UNDECLARED = 1
"""Attempts of a search space whose file names no number, and of sweeps before there was one."""


@dataclass(frozen=True)
class Tested:
    """What a sweep says of its tests when it declares its seeds."""

    space: str
    """Digest of the tested identity of the search space."""
    confirmatory: bool = True
    """Whether its verdicts claim something; not where results choose the configurations."""
    attempts: int = UNDECLARED
    """Attempts among which alpha is divided."""
    alpha: float = 1.0
    """What is divided: the alpha of the first attempt bounds all of them."""


@dataclass(frozen=True)
class Attempt:
    """One test of a search space."""

    sweep: str
    number: int
    """1 for the first."""
    planned: int
    """Attempts that the first one declared."""
    seeds: tuple[int, ...]
    declared_at: str
    alpha: float = 1.0
    """That the first one declared; 1 where it is not known, and so bounds nothing."""

    def level(self, alpha: float) -> float:
        """The level at which it is tested, by its own alpha or that of the first attempt if that is smaller."""
        return min(alpha, self.alpha) * self.share

    @property
    def share(self) -> float:
        """The part of alpha at which it is tested."""
        halvings = min(self.number, self.planned - 1) if self.number <= self.planned else self.number - 1
        return float(0.5**halvings)

    @property
    def part(self) -> str:
        """'alpha / 4'."""
        return "alpha" if self.share == 1 else f"alpha / {1 / self.share:.0f}"

    @property
    def is_spent(self) -> bool:
        """Whether the attempts before it had spent alpha, so that this one is exploratory."""
        return self.number > self.planned


@dataclass
class _Declared:
    """What the ledger holds of one sweep."""

    baseline: str
    declared_at: str
    candidates: set[str] = field(default_factory=set)
    seeds: set[int] = field(default_factory=set)
    tested: Tested | None = None
    first_end: float = float("inf")
    """Place of its first run with a score in the ledger; infinity before there is one."""

    @property
    def could_test(self) -> bool:
        """Whether any test could have called something better: there is a score, and two seeds to show a spread."""
        return self.first_end < float("inf") and len(self.seeds) > 1

    def tests_the_same_as(self, other: _Declared) -> bool:
        spaces = [one.tested.space for one in (self, other) if one.tested]
        return (len(spaces) == 2 and spaces[0] == spaces[1]) or bool(self.candidates & other.candidates)


def attempts_at(
    entries: Iterable[Mapping[str, Any]], sweep: str, confirmatory_before: Callable[[str], bool] = lambda name: True
) -> list[Attempt]:
    """All attempts at what this sweep tests, in their order, the sweep itself among them; empty if it claims nothing.

    entries:              lines of the seed ledger
    confirmatory_before:  whether a sweep declared by a version before there were attempts claims anything
    """
    declared = _by_sweep(entries)
    own = declared.get(sweep)
    return [] if own is None else _numbered(declared, own, sweep, confirmatory_before)


def attempts_to_come(
    entries: Iterable[Mapping[str, Any]],
    tested: Tested,
    candidates: Collection[str] = (),
    confirmatory_before: Callable[[str], bool] = lambda name: True,
) -> list[Attempt]:
    """The same for a sweep that is not begun, which stands last and has no name."""
    own = _Declared("", "", candidates=set(candidates), tested=tested)
    return _numbered({**_by_sweep(entries), "": own}, own, "", confirmatory_before)


def _numbered(
    declared: Mapping[str, _Declared], own: _Declared, name: str, confirmatory_before: Callable[[str], bool]
) -> list[Attempt]:
    def claims(sweep: str, one: _Declared) -> bool:
        return one.tested.confirmatory if one.tested else confirmatory_before(sweep)

    if not claims(name, own):
        return []
    related = [
        (one.first_end, sweep, one)
        for sweep, one in declared.items()
        if one is own or (one.could_test and one.tests_the_same_as(own) and claims(sweep, one))
    ]
    related.sort(key=lambda item: (item[0], item[1] == name))
    first = related[0][2]
    planned, alpha = (first.tested.attempts, first.tested.alpha) if first.tested else (UNDECLARED, 1.0)
    return [
        Attempt(sweep, number, planned, tuple(sorted(one.seeds)), one.declared_at, alpha)
        for number, (_, sweep, one) in enumerate(related, start=1)
    ]


def _by_sweep(entries: Iterable[Mapping[str, Any]]) -> dict[str, _Declared]:
    declared: dict[str, _Declared] = {}
    for place, entry in enumerate(entries):
        sweep, config = entry["sweep"], entry["config"]
        if entry["event"] == "declared":
            one = declared.setdefault(sweep, _Declared(config, entry["at"]))  # the baseline is declared first
            one.candidates |= {config} - {one.baseline}
            one.seeds.update(entry["seeds"])
            if one.tested is None and "tested" in entry:
                one.tested = Tested(**entry["tested"])
        elif entry["event"] == "ended" and sweep in declared and shows_a_score(entry):
            declared[sweep].first_end = min(declared[sweep].first_end, place)
    return declared


def shows_a_score(entry: Mapping[str, Any]) -> bool:
    """Whether a line of the ledger says that its run has a score; one that does not say it counts as such."""
    return entry.get("scored", True) is not False


def further_attempt(attempts: Iterable[Attempt], sweep: str) -> str:
    """Why the verdicts of this sweep are exploratory, or the empty string: earlier attempts spent alpha."""
    listed = list(attempts)
    own = next((attempt for attempt in listed if attempt.sweep == sweep), None)
    if own is None or not own.is_spent:
        return ""
    earlier = ", ".join(attempt.sweep or "this one" for attempt in listed[: own.number - 1])
    return (
        f"it is attempt {own.number} at this search space, after {earlier}; attempts share one alpha, "
        f"{'which the first had' if own.planned == 1 else f'declared for {own.planned}'}"
    )
