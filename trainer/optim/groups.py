"""Groups parameters by the optimiser that trains them, from their names and shapes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from trainer.spec.tensors import (
    BIGRAM_PROJECTION,
    BIGRAM_TABLE,
    EMBEDDING,
    HEAD,
    VALUE_PROJECTION,
    VALUE_TABLE,
    is_control,
)

GROUPS = ("matrix", "embed", "scalar", "head")
"""Muon trains the matrices; Adam trains the others, each with its own learning rate."""


def parameter_groups(
    shapes: Mapping[str, Sequence[int]], embed_projections: str = "muon", bigram_table: str = "embed"
) -> dict[str, list[str]]:
    """Names of each group, in the given order; every group is there, every name in exactly one (docs/recipe.md 3.2).

    embed_projections:  'adam' puts the projections of the bigram and value tables among the scalars, as #549 does
    bigram_table:       'scalar' puts the bigram table there, as PR #150 does
    """
    groups: dict[str, list[str]] = {group: [] for group in GROUPS}
    for name, shape in shapes.items():
        projection = embed_projections == "adam" and name in (BIGRAM_PROJECTION, VALUE_PROJECTION)
        table = bigram_table == "scalar" and name == BIGRAM_TABLE
        groups["scalar" if projection or table else _group_of(name, len(shape))].append(name)
    return groups


def _group_of(name: str, num_dims: int) -> str:
    if name == HEAD:
        return "head"
    if name in (EMBEDDING, BIGRAM_TABLE, VALUE_TABLE):
        return "embed"
    return "scalar" if num_dims < 2 or is_control(name) else "matrix"
