"""Several processes that torchrun started for one recipe: joining them, and what the first one does for all."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from trainer.ranks import Ranks
from trainer.spec.errors import UserError
from trainer.store.visible import CHECKS, SHARE_THE_STORE, is_visible, visible_file

Result = TypeVar("Result")


def join_launched(store: Path) -> Ranks:
    """Joins the ranks of this launch. Raises UserError on every rank if one of them does not see the first one's store.

    The first rank writes what the others read, so on several machines they need a common store.
    """
    ranks = Ranks.launched()
    with visible_file(store) if ranks.is_first else contextlib.nullcontext(Path()) as own:
        path = store.absolute() / CHECKS / ranks.broadcast_object(own.name)
        blind = [rank for rank, sees in enumerate(ranks.gather_objects(is_visible(path))) if not sees]
    if blind:
        raise UserError(
            f"{', '.join(f'rank {rank}' for rank in blind)} of this launch does not see the store of the first rank, "
            f"{store.absolute()}; {SHARE_THE_STORE}"
        )
    return ranks


def on_first(ranks: Ranks, work: Callable[[], Result]) -> Result:
    """What `work` returns on the first rank, on every rank; a UserError of it is raised on every rank."""
    result, complaint = None, ""
    if ranks.is_first:
        try:
            result = work()
        except UserError as mistake:
            complaint = str(mistake)
    result, complaint = ranks.broadcast_object((result, complaint))
    if complaint:
        raise UserError(complaint)
    return result
