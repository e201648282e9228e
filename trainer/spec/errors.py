"""People's mistakes, told to people: what was asked, what was found, what to do.

Every error a person can cause is a `UserError`; command lines print it without a traceback and exit with status 2.

    ValueError
    └── UserError
        ├── RecipeError        a preset, an override, a recipe
        ├── SpaceError         a search space file                 (orchestrator)
        ├── DataError          corpus, tokenizer, shard
        ├── ArtifactError      an artifact that cannot be read
        ├── BudgetExceeded     bytes or seconds over their limit    (a failed row, never a lost one)
        ├── LegalityError      an evaluation that breaks a rule of the challenge
        └── StoreError         a runs folder, a sweep, a stage folder
            └── StoreFull      nothing more can be written: no result of any run
                └── StoreUnreachable   its bucket does not answer
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence


class UserError(ValueError):
    """Something a person asked for that cannot be done; the message says what to change."""


class ProblemsError(UserError):
    """Several complaints about one source, told at once."""

    def __init__(self, source: str, problems: Sequence[str]):
        self.source = source
        self.problems = tuple(problems)
        count = f"{len(self.problems)} problem" + ("s" if len(self.problems) != 1 else "")
        super().__init__("\n".join([f"{count} in {source}", *(f"  {line}" for line in self.problems)]))


class RecipeError(ProblemsError):
    """A preset, an override or a recipe that does not hold together."""


class DataError(UserError):
    """A corpus, tokenizer or shard that is missing, damaged or of another vocabulary."""


class ArtifactError(UserError):
    """Bytes that are no artifact of ours, or of another version."""


class BudgetExceeded(UserError):
    """More bytes or seconds than the recipe's budget allows."""


class LegalityError(UserError):
    """An evaluation step that breaks a rule of the challenge (conditions E1-E16, docs/recipe.md 1.4)."""


class StoreError(UserError):
    """A runs folder, sweep or stage that is missing, busy or damaged."""


class StoreFull(StoreError):
    """The store takes no more bytes. Says nothing about the run, which leaves no record and is done again."""


class StoreUnreachable(StoreFull):
    """The store's bucket does not answer, or refuses: a wrong name, missing credentials, a lost network."""


def did_you_mean(found: str, known: Iterable[str]) -> str:
    """'; did you mean X?' with the nearest known name, or the empty string when nothing is near."""
    names = list(known)
    by_lower = {name.lower(): name for name in names}
    near = difflib.get_close_matches(found.lower(), by_lower, n=1, cutoff=0.5)
    if not near:  # people often give the right leaf under the wrong section
        leaf = found.lower().rsplit(".", 1)[-1]
        near = [low for low in by_lower if low.rsplit(".", 1)[-1] == leaf][:1]
    return f"; did you mean '{by_lower[near[0]]}'?" if near else ""
