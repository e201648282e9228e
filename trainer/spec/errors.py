"""Errors that a user can cause: the message names the value, what was expected, and what to do.

Command lines print a `UserError` without a traceback and exit with status 2.

    ValueError
    └── UserError
        ├── RecipeError        a preset, an override, a recipe
        ├── SpaceError         a search space file                 (orchestrator)
        ├── DataError          corpus, tokenizer, shard
        ├── ArtifactError      an artifact that cannot be read
        ├── BudgetExceeded     bytes or seconds over their limit    (a failed row, never a lost one)
        ├── LegalityError      an evaluation that breaks a rule of the challenge
        └── StoreError         a runs folder, a sweep, a stage folder
            └── StoreFull      the store cannot be written; the run leaves no record
                └── StoreUnreachable   the store's bucket cannot be reached
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence


class UserError(ValueError):
    """A request that cannot be carried out; the message says what to change."""


class ProblemsError(UserError):
    """All problems of one source in one message."""

    def __init__(self, source: str, problems: Sequence[str]):
        self.source = source
        self.problems = tuple(problems)
        count = f"{len(self.problems)} problem" + ("s" if len(self.problems) != 1 else "")
        super().__init__("\n".join([f"{count} in {source}", *(f"  {line}" for line in self.problems)]))


class RecipeError(ProblemsError):
    """A preset, an override or a recipe that is invalid."""


class DataError(UserError):
    """A corpus, tokenizer or shard that is missing, damaged or of another vocabulary."""


class ArtifactError(UserError):
    """Bytes that are not an artifact of this program, or of another version."""


class BudgetExceeded(UserError):
    """More bytes or seconds than the recipe's budget allows."""


class LegalityError(UserError):
    """An evaluation step that breaks a rule of the challenge (conditions E1-E16, docs/recipe.md 1.4)."""


class StoreError(UserError):
    """A runs folder, sweep or stage that is missing, busy or damaged."""


class StoreFull(StoreError):
    """The store cannot be written. This is no result of the run, which leaves no record and is repeated later."""


class StoreUnreachable(StoreFull):
    """The store's bucket cannot be reached: a wrong name, missing credentials, no network; or a file cannot be read."""


def did_you_mean(unknown: str, known: Iterable[str]) -> str:
    """'; did you mean X?' with the most similar known name, or the empty string if none is similar."""
    names = list(known)
    by_lower = {name.lower(): name for name in names}
    cutoff = 0.6 if len(unknown) > 3 else 0.5  # of two letters that were exchanged, half are alike
    near = difflib.get_close_matches(unknown.lower(), by_lower, n=1, cutoff=cutoff)
    if not near:  # the right last part under a wrong section
        leaf = unknown.lower().rsplit(".", 1)[-1]
        near = [low for low in by_lower if low.rsplit(".", 1)[-1] == leaf][:1]
    return f"; did you mean '{by_lower[near[0]]}'?" if near else ""


class Interrupted(Exception):
    """A run was asked to stop; it leaves no record and is resumed later. No error of anybody."""
