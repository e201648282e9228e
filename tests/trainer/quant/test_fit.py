"""Artifacts made to fit: the finest within the limit, the same every time, in few encodings."""

import pytest
import torch

from trainer.quant.artifact import encode_artifact
from trainer.quant.fit import MOST_ENCODINGS, encode_to_fit, estimated_bytes, estimated_multiplier
from trainer.quant.gptq import Hessian
from trainer.spec.recipe import Model, Quantization

QUICK = Quantization(min_elements=1000, zstd_level=3)
RULES = {
    "row_max": QUICK,
    "clip_search": QUICK.model_copy(update={"method": "clip_search"}),
    "sdclip": QUICK.model_copy(update={"scale": "sdclip", "clip_stds": 4.0}),
    "gptq": QUICK.model_copy(update={"method": "gptq", "clip_stds": 4.0}),
    "zlib": QUICK.model_copy(update={"compressor": "zlib"}),
}
TAILS = {"gaussian": 1, "heavy": 3}


def weights(power: int = 1) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = {f"blocks.{layer}.mlp.fc.weight": (96, 128) for layer in range(4)} | {"skip_weights": (2, 64)}
    return {name: 0.05 * torch.randn(shape, generator=generator) ** power for name, shape in shapes.items()}


def fitted(state, quantization, limit):
    hessians = (
        {name: Hessian(torch.eye(128)) for name in state if "mlp" in name} if quantization.method == "gptq" else None
    )
    return encode_to_fit(state, Model(), 1024, quantization, limit, hessians)


@pytest.mark.parametrize("tails", TAILS)
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize(("share", "used"), [(0.95, 0.97), (0.8, 0.93), (0.6, 0.89)])
def test_an_artifact_is_made_to_fit_with_little_to_spare(rule, tails, share, used):
    state = weights(TAILS[tails])
    rule_bytes = len(fitted(state, RULES[rule], 10**9).artifact)
    limit = int(rule_bytes * share)
    fit = fitted(state, RULES[rule], limit)
    assert fit.coarser > 1
    assert fit.encodings <= MOST_ENCODINGS
    assert limit * used < len(fit.artifact) <= limit
    assert fitted(state, RULES[rule], limit) == fit


def test_an_artifact_that_fits_as_it_is_stays_as_it_is():
    plain = encode_artifact(weights(), Model(), 1024, QUICK)
    fit = fitted(weights(), QUICK, len(plain))
    assert (fit.artifact, fit.coarser, fit.encodings) == (plain, 1.0, 1)
    assert fit.first == plain


def test_scales_that_training_saw_are_kept_where_the_artifact_fits():
    seen = estimated_multiplier(weights(), QUICK, 15_000)
    fit = encode_to_fit(weights(), Model(), 1024, QUICK, 10**6, finest=seen)
    assert seen > 1
    assert (fit.coarser, fit.encodings) == (seen, 1)


@pytest.mark.parametrize("share", [0.9, 0.7])
def test_scales_that_training_saw_are_coarsened_where_it_does_not(share):
    seen = 1.2
    limit = int(share * len(encode_artifact(weights(), Model(), 1024, QUICK, coarser=seen)))
    fit = encode_to_fit(weights(), Model(), 1024, QUICK, limit, finest=seen)
    assert len(fit.artifact) <= limit < len(fit.first)
    assert fit.coarser > seen


def test_a_limit_that_nothing_meets_leaves_the_smallest_artifact_tried():
    fit = fitted(weights(), QUICK, 100)
    assert 100 < len(fit.artifact) < len(encode_artifact(weights(), Model(), 1024, QUICK)) / 4


@pytest.mark.parametrize("limit", [0, 100, 4_000])
def test_weights_without_integers_are_left_as_they_are_where_no_scale_makes_them_fit(limit):
    plain = encode_artifact({"skip_weights": torch.randn(50, 50)}, Model(), 1024, QUICK)
    fit = fitted({"skip_weights": torch.randn(50, 50)}, QUICK, limit)
    assert abs(len(fit.artifact) - len(plain)) < 200


def test_the_estimate_falls_as_scales_coarsen_and_is_near_what_the_coder_makes():
    state = weights()
    estimates = [estimated_bytes(state, QUICK, coarser) for coarser in (1, 1.5, 2, 4, 8, 64)]
    assert estimates == sorted(estimates, reverse=True)
    assert estimates[0] == pytest.approx(len(encode_artifact(state, Model(), 1024, QUICK)), rel=0.1)
