"""A configuration as people name it: its id, `baseline`, or its words as tables show them, such as 'LR=0.003'."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping

from orchestrator.space.configuration import Configuration, label
from orchestrator.sweep.sweep import Sweep
from trainer.spec.errors import UserError, did_you_mean

MOST_LISTED = 20
"""Configurations that one message names."""
BEST, BASELINE = "best", "baseline"
"""What may stand for a configuration's id."""


def find_configuration(sweep: Sweep, word: str) -> Configuration | None:
    """The configuration of full length that a word names; None if there is none, or several have the same words."""
    asked = {item.id: item for item in reversed(sweep.asked()) if item.rung == 1}
    if word == BASELINE:
        return next(reversed(asked.values()), None)
    if word in asked:
        return asked[word]
    values = sorted(word.split())
    alike = [item for item in asked.values() if sorted(label(item, sweep.space).split()) == values]
    return alike[0] if len(alike) == 1 else None


def named_configuration(sweep: Sweep, word: str, option: str = "", among: Collection[str] = ()) -> Configuration:
    """The same, if it is among these identities. Raises UserError naming what may be said, and the nearest.

    option:  that said it, with a space behind it
    among:   all of the sweep if empty
    """
    found = find_configuration(sweep, word)
    ids = [item.id for item in sweep.asked() if item.rung == 1 and (not among or item.id in among)]
    if found is None or found.id not in ids:
        words = words_of(sweep, ids)
        names = [BEST, *([BASELINE] if any(item.is_baseline and item.id in ids for item in sweep.asked()) else [])]
        known = ", ".join([*names, listed(words)])
        if found:
            raise UserError(f"{option}'{word}' may not be named here; known: {known}")
        nearest = did_you_mean(word, (*names, *words, *words.values()))
        raise UserError(f"{option}'{word}' is no configuration of sweep '{sweep.name}'{nearest}; known: {known}")
    return found


def listed(words: Mapping[str, str]) -> str:
    """'a1b2c3d4e5 (LR=0.1), ...' of the first MOST_LISTED, and how many others there are."""
    first = [f"{config} ({text})" for config, text in itertools.islice(words.items(), MOST_LISTED)]
    others = len(words) - len(first)
    return ", ".join(first) + (f" and {others:,} others: orchestrator table" if others else "")


def words_of(sweep: Sweep, ids: Collection[str] = ()) -> dict[str, str]:
    """The words of each configuration of full length, by its id; of these alone where some are named."""
    asked = (item for item in sweep.asked() if item.rung == 1 and (not ids or item.id in ids))
    return {item.id: label(item, sweep.space) for item in asked}
