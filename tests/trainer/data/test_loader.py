"""The order of training rows: any number of ranks, any place to resume from."""

import itertools
import math

import numpy as np
import pytest
import torch

from trainer.data.coprime import coprime_order
from trainer.data.loader import make_loader
from trainer.ranks import Ranks
from trainer.spec.errors import DataError
from trainer.spec.recipe import Data

CPU = torch.device("cpu")
LOADERS = pytest.mark.parametrize("kind", ["sequential", "shuffled", "coprime"])
BY_ROWS = pytest.mark.parametrize("kind", ["shuffled", "coprime"])


def shards_of(*lengths):
    """Shards whose tokens are their places in the stream."""
    ends = np.cumsum(lengths)
    return [np.arange(end - length, end, dtype=np.uint16) for length, end in zip(lengths, ends, strict=True)]


def loader_for(kind="shuffled", shards=None, rank=0, size=1, run_seed=3, **fields):
    fields = {"train_seq_len": 4, "train_batch_tokens": 64, "micro_batches": 8} | fields
    shards = shards_of(100, 37, 211) if shards is None else shards
    return make_loader(Data(loader=kind, **fields), run_seed, shards, Ranks(rank, size), CPU)


def take(loader, count):
    return [tuple(tensor.tolist() for tensor in loader.next_micro_batch()) for _ in range(count)]


def test_sequential_rows_follow_the_stream_over_shard_borders_and_round_again():
    shards = shards_of(10, 15)
    loader = loader_for("sequential", shards, train_batch_tokens=8, micro_batches=1, order_seed="lineage")
    (x0, y0), (x1, _), (x2, y2) = take(loader, 3)
    assert (x0, y0) == ([[0, 1, 2, 3], [4, 5, 6, 7]], [[1, 2, 3, 4], [5, 6, 7, 8]])
    assert x1 == [[9, 10, 11, 12], [13, 14, 15, 16]]  # token 8 was a target and is never an input
    assert (x2, y2) == ([[18, 19, 20, 21], [22, 23, 24, 0]], [[19, 20, 21, 22], [23, 24, 0, 1]])


def test_seeded_sequential_stream_starts_at_a_row_that_the_seed_picks():
    starts = {take(loader_for("sequential", run_seed=seed), 1)[0][0][0][0] for seed in range(20)}
    assert len(starts) > 10
    assert all(start % 4 == 0 for start in starts)


@LOADERS
@pytest.mark.parametrize("size", [2, 4, 8])
def test_any_number_of_ranks_sees_the_same_micro_batches(kind, size):
    alone = take(loader_for(kind), 48)
    together = [take(loader_for(kind, rank=rank, size=size), 48 // size) for rank in range(size)]
    assert [batch for step in zip(*together, strict=True) for batch in step] == alone


@LOADERS
@pytest.mark.parametrize("taken", [0, 5, 40, 97])
def test_resumed_loader_goes_on_as_if_never_stopped(kind, taken):
    straight = loader_for(kind)
    take(straight, taken)
    state = straight.state_dict()
    resumed = loader_for(kind)
    take(resumed, 90)  # whatever it did before
    resumed.load_state_dict(state)
    assert take(resumed, 20) == take(straight, 20)


@LOADERS
def test_order_follows_the_run_seed_unless_the_recipe_fixes_it(kind):
    assert take(loader_for(kind, run_seed=1), 5) == take(loader_for(kind, run_seed=1), 5)
    assert take(loader_for(kind, run_seed=1), 5) != take(loader_for(kind, run_seed=2), 5)
    for fixed in (7, "lineage") if kind == "sequential" else (7,):
        orders = [take(loader_for(kind, run_seed=seed, order_seed=fixed), 5) for seed in (1, 2)]
        assert orders[0] == orders[1]


@BY_ROWS
def test_the_lineages_order_of_rows_is_refused_because_it_depends_on_the_ranks(kind):
    with pytest.raises(ValueError, match=f"order_seed = 'lineage' is no order of loader = '{kind}'"):
        loader_for(kind, order_seed="lineage")


@LOADERS
def test_targets_are_the_next_tokens_in_the_stream(kind):
    loader = loader_for(kind, shards=shards_of(5_000))
    for _ in range(20):
        x_BT, y_BT = loader.next_micro_batch()
        assert x_BT.dtype == y_BT.dtype == torch.int64
        assert x_BT.shape == (2, 4)
        assert torch.equal(y_BT, x_BT + 1)


def epoch_of_rows(loader, num_rows):
    return [row[0] for x_BT, _ in take(loader, num_rows // 2) for row in x_BT]


@BY_ROWS
def test_an_epoch_holds_every_row_of_every_shard_once(kind):
    loader = loader_for(kind, shards=shards_of(103, 201))  # any phase leaves 24 or 25 rows, and 49 or 50
    phases, ends = loader._epoch.phases_S, loader._epoch.ends_S
    starts = epoch_of_rows(loader, 72)
    assert len(set(starts)) == 72
    first, second = [s for s in starts if s < 103], [s - 103 for s in starts if s >= 103]
    assert {s % 4 for s in first} == {phases[0]}
    assert {s % 4 for s in second} == {phases[1]}
    assert ends[-1] == (102 - phases[0]) // 4 + (200 - phases[1]) // 4


@BY_ROWS
def test_rows_mix_shards_and_change_phase_and_order_between_epochs(kind):
    loader = loader_for(kind, shards=[np.arange(400), np.arange(400, 800)])
    rows = loader._epoch.end_row // 2 * 2
    first, second = epoch_of_rows(loader, rows), epoch_of_rows(loader, rows)
    assert first != sorted(first)
    assert 0.3 < np.mean([start < 400 for start in first[: rows // 4]]) < 0.7
    assert first != second
    assert len({start % 4 for start in first + second}) > 1


@BY_ROWS
def test_rows_never_cross_a_shard_border(kind):
    loader = loader_for(kind, shards=[np.full(9, 1), np.full(3, 2), np.full(30, 3)])
    for x_BT, y_BT in take(loader, 40):
        for x, y in zip(x_BT, y_BT, strict=True):
            assert set(x + y) in ({1}, {3})  # the shard of 3 tokens cannot hold a row


def test_shards_without_a_single_row_are_refused_with_both_counts():
    with pytest.raises(DataError, match=r"longest train shard holds 4 tokens.* need 5"):
        loader_for("shuffled", shards_of(4, 3))
    with pytest.raises(DataError, match=r"train shards hold 7 tokens.* needs 9"):
        loader_for("sequential", shards_of(4, 3))


@LOADERS
def test_ranks_that_do_not_divide_the_micro_batches_are_refused(kind):
    with pytest.raises(DataError, match=r"data.micro_batches = 8 .* 3 ranks"):
        loader_for(kind, size=3)


@pytest.mark.parametrize("rows_S", [[12, 7, 1], [30], [1], [0, 5, 0, 64], [97, 97]])
def test_a_coprime_order_reaches_every_row_once_at_one_stride_a_shard(rows_S):
    order = coprime_order(np.random.default_rng(0), np.array(rows_S))
    assert sorted(order) == list(range(sum(rows_S)))
    for first, count in zip(np.cumsum(rows_S) - rows_S, rows_S, strict=True):
        own = [row - first for row in order if first <= row < first + count]
        strides = {(after - before) % count for before, after in itertools.pairwise(own)}
        assert len(strides) <= 1
        assert all(math.gcd(stride, count) == 1 for stride in strides)


def test_every_stretch_of_a_coprime_order_holds_shards_in_proportion_to_their_rows():
    order = coprime_order(np.random.default_rng(1), np.array([300, 100]))
    shares = [(order[start : start + 40] < 300).sum() for start in range(0, 400, 40)]
    assert all(29 <= share <= 31 for share in shares)
