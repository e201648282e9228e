"""Training batches from shards: the same rows in the same order on 1, 2, 4 or 8 ranks.

An optimiser step is cut globally into `data.micro_batches` equal parts; at its a-th local micro-step rank r of R takes
part a*R + r. The content of a micro-batch is a pure function of its global number and the seed, so the state to
resume from is one number. Source: docs/recipe.md 3.3; docstrings name the differences.
"""

# B rows of a micro-batch · T positions of a row · S shards

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from trainer.data.coprime import coprime_order
from trainer.ranks import Ranks
from trainer.spec.errors import DataError
from trainer.spec.recipe import Data


def make_loader(data: Data, run_seed: int, shards: Sequence[np.ndarray], ranks: Ranks, device: torch.device) -> Loader:
    """The loader of the recipe, at the start of its data.

    shards:  token arrays of any integer dtype, in name order; may be memory-mapped
    `data.order_seed` None takes the run's seed. 'lineage' is the originals' seed-blind sequential order, from the
    first token; a recipe may not say it of the other loaders. (#1413 seeded each rank's own files with its rank,
    which no order independent of R can repeat.)
    Raises DataError if the ranks do not divide `data.micro_batches` or the shards are too short.
    """
    if data.micro_batches % ranks.size:
        raise DataError(f"data.micro_batches = {data.micro_batches} cannot be shared equally by {ranks.size} ranks")
    seed = run_seed if data.order_seed is None else data.order_seed
    if data.loader != "sequential":
        assert seed != "lineage", "the recipe refuses it"
        by_rows = {"shuffled": ShuffledLoader, "coprime": CoprimeLoader}[data.loader]
        return by_rows(data, shards, ranks, device, seed)
    return SequentialLoader(data, shards, ranks, device, seed=None if seed == "lineage" else seed)


class Loader(ABC):
    """An endless stream of this rank's micro-batches."""

    def __init__(self, data: Data, ranks: Ranks, device: torch.device):
        self.row_tokens = data.train_seq_len
        self.micro_batch_tokens = data.train_batch_tokens // data.micro_batches
        self._ranks = ranks
        self._device = device
        self._num_taken = 0
        self._next: tuple[Tensor, Tensor] | None = None
        """The coming micro-batch, if `prefetch` has made it."""

    def next_micro_batch(self) -> tuple[Tensor, Tensor]:
        """Inputs x_BT and targets y_BT of this rank's next micro-batch, int64 on the loader's device."""
        self.prefetch()
        assert self._next is not None
        batch, self._next = self._next, None
        self._num_taken += self._ranks.size
        return batch

    def prefetch(self) -> None:
        """Makes the coming micro-batch and starts its copy to the device, for a time when the device is busy."""
        if self._next is None:
            x_BT, y_BT = self._micro_batch(self._num_taken + self._ranks.rank)
            self._next = self._to_device(x_BT), self._to_device(y_BT)

    def state_dict(self) -> dict[str, int]:
        """Micro-batches taken so far, over all ranks; with the same recipe, seed and shards it is the whole state."""
        return {"micro_batches_taken": self._num_taken}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Continues after the micro-batches of `state`."""
        self._num_taken, self._next = state["micro_batches_taken"], None

    @abstractmethod
    def _micro_batch(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Inputs and targets of the global micro-batch with this number, counted from 0."""

    def _to_device(self, tokens_BT: np.ndarray) -> Tensor:
        if self._device.type == "cuda" and tokens_BT.dtype == np.uint16:  # a quarter of the bytes; cast on the device
            return self._ranks.to_device(torch.from_numpy(tokens_BT.copy())).to(torch.int64)
        return torch.from_numpy(tokens_BT.astype(np.int64)).to(self._device)


class SequentialLoader(Loader):
    """Rows in the order of the shards, over and over.

    A micro-batch takes one token more than it has targets; that token is consumed, so it is never an input. A seed
    picks the row at which the stream starts (the originals always start at the first token: seed None).
    """

    def __init__(self, data: Data, shards: Sequence[np.ndarray], ranks: Ranks, device: torch.device, seed: int | None):
        super().__init__(data, ranks, device)
        self._shards = shards
        self._ends_S = np.cumsum([len(shard) for shard in shards])
        self._total = int(self._ends_S[-1])
        needed = self.micro_batch_tokens + 1
        if self._total < needed:
            raise DataError(
                f"the train shards hold {self._total} tokens; a micro-batch of data.train_batch_tokens / "
                f"data.micro_batches needs {needed}"
            )
        self._start = 0
        if seed is not None:
            num_rows = self._total // self.row_tokens
            self._start = int(_generator(seed).integers(num_rows)) * self.row_tokens

    def _micro_batch(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        count = self.micro_batch_tokens + 1
        tokens = self._span(self._start + number * count, count)
        return tokens[:-1].reshape(-1, self.row_tokens), tokens[1:].reshape(-1, self.row_tokens)

    def _span(self, start: int, count: int) -> np.ndarray:
        """`count` tokens from `start` on, over shard borders and from the end of the last to the first."""
        parts = []
        while count:
            position = start % self._total
            shard = int(np.searchsorted(self._ends_S, position, side="right"))
            left = int(self._ends_S[shard]) - position
            parts.append(self._shards[shard][len(self._shards[shard]) - left :][:count])
            start, count = start + len(parts[-1]), count - len(parts[-1])
        return np.concatenate(parts)


@dataclass(frozen=True)
class Epoch:
    """One pass over the rows of all shards: where each shard's first row starts, and the order of all rows."""

    number: int
    first_row: int
    """Rows of all earlier epochs."""
    phases_S: np.ndarray
    ends_S: np.ndarray
    """Rows of the shards up to and including each."""
    order: np.ndarray

    @property
    def end_row(self) -> int:
        return self.first_row + len(self.order)


class ShuffledLoader(Loader):
    """Rows in a shuffled order, with a new phase of every shard and a new order in every epoch.

    Drawing shards in proportion to the rows they have left, each with its rows permuted, is a uniform permutation of
    all rows; it is drawn at once. Unlike the originals, where each rank shuffles its own files, there is one order for
    all ranks. A row's last target is the next row's first input.
    """

    def __init__(self, data: Data, shards: Sequence[np.ndarray], ranks: Ranks, device: torch.device, seed: int):
        super().__init__(data, ranks, device)
        self._shards = shards
        self._seed = seed
        self._lengths_S = np.array([len(shard) for shard in shards])
        if self._lengths_S.max() <= self.row_tokens:
            raise DataError(
                f"the longest train shard holds {self._lengths_S.max()} tokens; a row of data.train_seq_len and its "
                f"last target need {self.row_tokens + 1}"
            )
        self._epoch = self._shuffle(0, first_row=0)

    def _micro_batch(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        num_rows = self.micro_batch_tokens // self.row_tokens
        rows = np.stack([self._row(row) for row in range(number * num_rows, (number + 1) * num_rows)])
        return rows[:, :-1], rows[:, 1:]

    def _row(self, number: int) -> np.ndarray:
        """A row and the target after it; rows are numbered over all epochs."""
        if number < self._epoch.first_row:
            self._epoch = self._shuffle(0, first_row=0)
        while number >= self._epoch.end_row:
            self._epoch = self._shuffle(self._epoch.number + 1, self._epoch.end_row)
        epoch = self._epoch
        place = epoch.order[number - epoch.first_row]
        shard = int(np.searchsorted(epoch.ends_S, place, side="right"))
        rows_before = epoch.ends_S[shard - 1] if shard else 0
        start = int(epoch.phases_S[shard] + (place - rows_before) * self.row_tokens)
        return self._shards[shard][start : start + self.row_tokens + 1]

    def _shuffle(self, number: int, first_row: int) -> Epoch:
        generator = _generator([self._seed, number])
        slack_S = np.clip(self._lengths_S - 1 - self.row_tokens, 0, self.row_tokens - 1)
        phases_S = generator.integers(slack_S, endpoint=True)
        rows_S = np.maximum(self._lengths_S - 1 - phases_S, 0) // self.row_tokens  # a shard shorter than a row has none
        return Epoch(number, first_row, phases_S, np.cumsum(rows_S), self._order(generator, rows_S))

    def _order(self, generator: np.random.Generator, rows_S: np.ndarray) -> np.ndarray:
        return generator.permutation(rows_S.sum())


class CoprimeLoader(ShuffledLoader):
    """Rows of the shuffled loader's epochs, each shard's at a stride that reaches all of them, shards mixed evenly."""

    def _order(self, generator: np.random.Generator, rows_S: np.ndarray) -> np.ndarray:
        return coprime_order(generator, rows_S)


def _generator(seed: int | list[int]) -> np.random.Generator:
    """PCG64 by name: numpy's default generator may change between versions."""
    return np.random.Generator(np.random.PCG64(seed))
