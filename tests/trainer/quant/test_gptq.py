"""GPTQ against rounding to nearest, and against a reference that solves each row by itself."""

import pytest
import torch

from trainer.quant.fake_quant import dequantize_rows, quantize_rows
from trainer.quant.gptq import BLOCK_COLUMNS, DAMPING, Hessian, gptq_rows, row_importance
from trainer.quant.packing import pack
from trainer.spec.errors import ArtifactError
from trainer.spec.recipe import Quantization

ROWS, COLUMNS = 24, BLOCK_COLUMNS + 40


def problem(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A weight and the Hessian of correlated inputs."""
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(600, COLUMNS, generator=generator) @ torch.randn(COLUMNS, COLUMNS, generator=generator)
    return torch.randn(ROWS, COLUMNS, generator=generator) * 0.05, inputs.T @ inputs / 600


def weighted_error(weight, hessian, pair) -> float:
    error = dequantize_rows(*pair) - weight
    return (error @ hessian * error).sum().item()


@pytest.mark.parametrize("seed", range(5))
def test_weighted_error_is_far_below_that_of_rounding_to_nearest(seed):
    weight, hessian = problem(seed)
    gptq = weighted_error(weight, hessian, gptq_rows(weight, Hessian(hessian), bits=5, clip_stds=4.0))
    scales = gptq_rows(weight, Hessian(hessian), bits=5, clip_stds=4.0)[1].float()[:, None]
    nearest = ((weight / scales).round().clamp(-15, 15).to(torch.int8), scales[:, 0].half())
    assert gptq < 0.5 * weighted_error(weight, hessian, nearest)


def test_codes_equal_a_reference_that_updates_the_whole_row_after_every_column():
    weight, hessian = problem(0)
    codes, scales = gptq_rows(weight, Hessian(hessian), bits=6, clip_stds=6.0)
    damped = hessian.double() + DAMPING * hessian.diagonal().mean() * torch.eye(COLUMNS)
    order = hessian.diagonal().argsort(descending=True)
    inverse = torch.linalg.inv(damped[order][:, order])
    rest, rounded = weight[:, order].double().clone(), torch.empty(ROWS, COLUMNS)
    for column in range(COLUMNS):  # optimal brain surgeon: remove a column, then its row and column of the inverse
        rounded[:, column] = (rest[:, column] / scales.double()).round().clamp(-31, 31)
        error = (rest[:, column] - rounded[:, column] * scales.double()) / inverse[column, column]
        rest -= torch.outer(error, inverse[column])
        inverse = inverse - torch.outer(inverse[:, column], inverse[column]) / inverse[column, column]
    assert (codes[:, order].float() == rounded).float().mean() > 0.999


def test_an_input_that_never_occurs_gets_zero_weights():
    weight, hessian = problem(1)
    hessian[7], hessian[:, 7] = 0, 0
    codes, _ = gptq_rows(weight, Hessian(hessian), bits=6, clip_stds=6.0)
    assert not codes[:, 7].any()
    assert codes[:, 8].any()


def test_scales_are_a_multiple_of_the_rows_standard_deviation():
    weight, hessian = problem(2)
    _, scales = gptq_rows(weight, Hessian(hessian), bits=6, clip_stds=12.85)
    torch.testing.assert_close(scales.float(), 12.85 * weight.std(dim=1) / 31, rtol=1e-3, atol=0)


def test_a_row_beyond_float16_is_named():
    weight, hessian = problem(3)
    weight[5] *= 1e9
    with pytest.raises(ArtifactError, match="layer: row 5 reaches"):
        gptq_rows(weight, Hessian(hessian), 6, 12.85, "layer")


@pytest.mark.parametrize("bits", [5, 6, 8])
def test_no_row_is_worse_for_the_clip_search_and_heavy_tails_are_better(bits):
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(64, 2048, generator=generator) ** 3
    plain, searched = (
        (dequantize_rows(*quantize_rows(weight, bits, clip_search=search)) - weight).square().sum(dim=1)
        for search in (False, True)
    )
    assert (searched <= plain).all()
    assert (searched < plain).float().mean() > 0.7


def test_the_clip_of_a_row_follows_its_importance_to_the_inputs_by_the_share_that_is_set():
    weight, hessian = problem(2)
    loud = (weight.abs() @ hessian.diagonal()).double()
    followed = 1 + 0.175 * (loud / loud.mean() - 1)
    _, scales = gptq_rows(weight, Hessian(hessian), bits=6, clip_stds=12.85, hessian_clip=0.175)
    torch.testing.assert_close(scales.double(), followed * 12.85 * weight.std(dim=1) / 31, rtol=1e-3, atol=0)
    assert row_importance(weight, hessian).mean().item() == pytest.approx(1)
    assert torch.equal(row_importance(torch.zeros(3, COLUMNS), hessian), torch.ones(3))


def test_packing_hands_the_share_on_to_gptq():
    weight, hessian = problem(2)
    name = "blocks.0.mlp.fc.weight"
    plain, followed = (
        pack({name: weight}, Quantization(method="gptq", min_elements=32, hessian_clip=share), {name: Hessian(hessian)})
        for share in (0.0, 0.175)
    )
    assert not torch.equal(plain[f"{name}.row_scale"], followed[f"{name}.row_scale"])


def test_what_is_derived_from_a_hessian_is_computed_once_for_all_encodings(monkeypatch):
    weight, inputs = problem(0)
    hessian, cholesky, calls = Hessian(inputs), torch.linalg.cholesky, []
    monkeypatch.setattr(
        torch.linalg, "cholesky", lambda *said, **options: calls.append(1) or cholesky(*said, **options)
    )
    first, second, again = (gptq_rows(weight, hessian, bits=6, clip_stds=stds) for stds in (6.0, 7.0, 6.0))
    assert len(calls) == 2
    assert torch.equal(first[0], again[0])
    assert not torch.equal(first[0], second[0])
