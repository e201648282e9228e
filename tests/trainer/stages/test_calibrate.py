"""Calibration over ranks: they divide the batches, hold the same sums, and leave together."""

import pytest
import torch

from tests.fakes import on_ranks
from tests.trainer.stages.conftest import small
from tests.trainer.stages.test_training_clock import TINIEST
from trainer.spec.errors import Interrupted
from trainer.stages.calibrate import calibration_batches, layer_hessians
from trainer.stages.context import StageContext
from trainer.stages.run_record import fingerprints_of
from trainer.stages.train import initial_model
from trainer.store.local import StageStore

RECIPE = small(**TINIEST, quantization__method="gptq", quantization__calibration_batches=4)


def context_of(text_store, ranks, stops_at=None) -> StageContext:
    looks = iter(range(100))
    stages = fingerprints_of(RECIPE, 1)
    return StageContext(RECIPE, "run", StageStore(text_store), stages, ranks, stopping=lambda: next(looks) == stops_at)


@pytest.mark.parametrize("num_ranks", [3, 5])
def test_each_batch_is_seen_by_one_rank_and_every_rank_holds_the_sum_over_all(text_store, num_ranks):
    def calibrate(ranks):
        batches = list(calibration_batches(context_of(text_store, ranks)))
        return batches, layer_hessians(initial_model(RECIPE, torch.device("cpu")), batches, ranks)

    [(batches, alone)] = on_ranks(1, calibrate)
    shares, hessians = zip(*on_ranks(num_ranks, calibrate), strict=True)
    divided = [shares[number % num_ranks][number // num_ranks] for number in range(sum(map(len, shares)))]
    assert torch.equal(torch.stack(divided), torch.stack(batches))
    for name, hessian in alone.items():
        torch.testing.assert_close(hessians[0][name].inputs_CC, hessian.inputs_CC)
        assert all(torch.equal(of_rank[name].inputs_CC, hessians[0][name].inputs_CC) for of_rank in hessians)


def test_all_ranks_leave_before_the_same_batch_when_the_run_should_stop(text_store):
    def calibrate(ranks):
        batches = calibration_batches(context_of(text_store, ranks, stops_at=1))
        with pytest.raises(Interrupted):
            next(batches), next(batches)
        return True

    assert all(on_ranks(2, calibrate))
