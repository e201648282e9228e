"""Muon shared out over ranks: the same bits and the same state as alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.multiprocessing as mp

from trainer.optim.muon import Muon
from trainer.ranks import Ranks

pytestmark = pytest.mark.distributed

SHAPES = [(16, 16), (32, 16), (16, 48), (24, 8), (8, 8)]  # an odd number: the ranks' shares differ


def three_steps(ranks: Ranks) -> dict[str, list[torch.Tensor]]:
    """What one rank ends with; the same function for one rank and for two."""
    generator = torch.Generator().manual_seed(0)
    matrices = [torch.nn.Parameter(torch.randn(shape, generator=generator)) for shape in SHAPES]
    muon = Muon(matrices, lr=0.02, weight_decay=0.1, momentum=0.95, ranks=ranks)
    for _ in range(3):
        for matrix in matrices:
            matrix.grad = torch.randn(matrix.shape, generator=generator)
        muon.step()
    momenta = [state["momentum"] for state in muon.state_dict()["state"].values()]
    return {"matrices": [matrix.detach() for matrix in matrices], "momenta": momenta}


def one_of_two(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    ranks = Ranks.join(torch.device("cpu"), rank, 2, Path(folder) / "meeting")
    torch.save(three_steps(ranks), Path(folder) / f"{rank}.pt")
    ranks.leave()


def test_two_ranks_end_with_the_bits_of_one(tmp_path):
    mp.spawn(one_of_two, args=(str(tmp_path),), nprocs=2)
    alone = three_steps(Ranks())
    for rank in range(2):
        loaded = torch.load(tmp_path / f"{rank}.pt")
        for kind, tensors in alone.items():
            assert len(tensors) == len(loaded[kind]) == len(SHAPES)
            assert all(torch.equal(one, two) for one, two in zip(tensors, loaded[kind], strict=True)), (rank, kind)
