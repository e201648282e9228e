"""A row order that steps through each shard by a stride without common divisor with the number of its rows (PR #726).

Neighbouring rows of a shard come far apart, every row comes once, and every stretch of the order holds rows of all
shards in proportion to their sizes. Drawn from the generator alone; no row is read.

    S shards
"""

from __future__ import annotations

import math

import numpy as np


def coprime_order(generator: np.random.Generator, rows_S: np.ndarray) -> np.ndarray:
    """The order of all rows, numbered over the shards: a permutation of 0 .. rows_S.sum() - 1.

    The i-th row of a shard with n rows is (start + i * stride) mod n, and stands at (i + u) / n of the whole order;
    start, stride and u in 0 .. 1 are drawn for each shard. Source: docs/recipe.md 3.3.
    """
    rows, places = [], []
    first_rows = np.cumsum(rows_S) - rows_S
    for first, num_rows in zip(first_rows.tolist(), rows_S.tolist(), strict=True):
        if num_rows == 0:
            continue
        start, steps = int(generator.integers(num_rows)), np.arange(num_rows, dtype=np.int64)
        rows.append(first + (start + steps * coprime_stride(generator, num_rows)) % num_rows)
        places.append((steps + generator.random()) / num_rows)
    return np.concatenate(rows)[np.argsort(np.concatenate(places), kind="stable")]


def coprime_stride(generator: np.random.Generator, num_rows: int) -> int:
    """A number from 1 to num_rows - 1 without common divisor with num_rows; 1 for a single row."""
    while num_rows > 1:
        stride = int(generator.integers(1, num_rows))
        if math.gcd(stride, num_rows) == 1:
            return stride
    return 1
