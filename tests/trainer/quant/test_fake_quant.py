"""Rows of integers: the stored values, the gradient behind them, and the rows that are hard."""

from __future__ import annotations

import pytest
import torch

from trainer.quant.fake_quant import dequantize_rows, fake_quantize, quantize_rows
from trainer.spec.errors import ArtifactError


def rows_of_many_sizes() -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    sizes_R1 = torch.logspace(-6, 4, 40)[:, None]
    return torch.randn(40, 65, generator=generator) * sizes_R1


def test_codes_of_a_row_worked_out_by_hand():
    codes, scales = quantize_rows(torch.tensor([[3.1, -0.26, 0.1, 0.04], [62.0, -62.0, 31.0, 2.9]]), bits=6)
    assert scales.tolist() == [torch.tensor(0.1).half().item(), 2.0]
    assert codes.tolist() == [[31, -3, 1, 0], [31, -31, 16, 1]]  # 31 / 2 = 15.5 rounds to even


@pytest.mark.parametrize("bits", [5, 6, 7, 8])
def test_training_sees_bit_for_bit_what_export_stores(bits):
    weight = rows_of_many_sizes()
    stored = dequantize_rows(*quantize_rows(weight, bits))
    assert torch.equal(fake_quantize(weight, bits).view(torch.int32), stored.view(torch.int32))


def test_the_gradient_passes_as_if_nothing_were_rounded():
    weight = rows_of_many_sizes().requires_grad_()
    upstream = torch.arange(weight.numel(), dtype=torch.float32).view_as(weight)
    (gradient,) = torch.autograd.grad(fake_quantize(weight, bits=6), weight, upstream)
    assert torch.equal(gradient, upstream)


def test_no_value_is_off_by_more_than_half_a_step_and_the_rounding_of_the_scale():
    weight = rows_of_many_sizes()[10:]  # rows whose scale is a normal float16, exact to 2^-11
    codes, scales = quantize_rows(weight, bits=6)
    error = (weight - dequantize_rows(codes, scales)).abs()
    allowed = scales.float()[:, None] * (0.5 + 31 * 2.0**-11)
    assert (error <= allowed).all(), f"max {error.max():g}, mean {error.mean():g}"


def test_small_rows_keep_their_relative_precision():
    # A scale floor of 1/31 makes this error 0.21 (docs/recipe.md 7.7); the step of 2 max / 62 makes it about 0.03.
    weight = 0.044 * torch.randn(8, 512, generator=torch.Generator().manual_seed(0))
    error = (fake_quantize(weight, bits=6) - weight).norm() / weight.norm()
    assert error < 0.04


def test_a_row_of_zeros_stays_exactly_zero():
    weight = torch.tensor([[0.0, -0.0, 0.0], [1e-9, -1e-9, 0.0]])
    codes, scales = quantize_rows(weight, bits=6)
    assert codes.count_nonzero() == 0
    assert dequantize_rows(codes, scales).count_nonzero() == 0


def test_codes_are_nearest_for_the_scale_in_the_file():
    weight = rows_of_many_sizes()
    codes, scales = quantize_rows(weight, bits=6)
    wanted = (weight.double() / scales.double()[:, None]).clamp(-31, 31)
    assert ((codes.double() - wanted).abs() <= 0.5 + 1e-6).all()


@pytest.mark.parametrize("value", [1e8, float("inf"), float("nan")])
def test_a_row_beyond_float16_is_refused_by_name_and_row(value):
    weight = torch.ones(4, 3)
    weight[2, 1] = value
    with pytest.raises(ArtifactError, match=r"blocks\.0\.mlp\.fc\.weight: row 2 reaches"):
        quantize_rows(weight, bits=6, name="blocks.0.mlp.fc.weight")
