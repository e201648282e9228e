import math

import pytest
import torch

from trainer.optim.muon import Muon, newton_schulz


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def muon_step(matrix: torch.Tensor, gradient: torch.Tensor, **settings) -> torch.Tensor:
    """The change one first step makes."""
    parameter = torch.nn.Parameter(matrix.clone())
    parameter.grad = gradient
    defaults = {"lr": 1.0, "weight_decay": 0.0, "momentum": 0.9, "ns_dtype": torch.float32}
    Muon([parameter], **{**defaults, **settings}).step()
    return parameter.detach() - matrix


@pytest.mark.parametrize(("coefficients", "lowest", "highest"), [("fixed", 0.68, 1.13), ("polar_express", 0.86, 1.14)])
@pytest.mark.parametrize("shape", [(256, 512), (512, 256)])
def test_singular_values_of_a_gaussian_end_near_one(coefficients, lowest, highest, shape):
    values = torch.linalg.svdvals(newton_schulz(draw(*shape), coefficients=coefficients, dtype=torch.float32))
    assert lowest - 0.02 < values.min()
    assert values.max() < highest + 0.02


@pytest.mark.parametrize(("coefficients", "mean", "lowest"), [("fixed", 0.92, 0.01), ("polar_express", 1.0, 0.02)])
def test_singular_values_of_a_square_gaussian(coefficients, mean, lowest):
    values = torch.linalg.svdvals(newton_schulz(draw(512, 512), coefficients=coefficients, dtype=torch.float32))
    assert values.mean().item() == pytest.approx(mean, abs=0.03)
    assert lowest < values.min() < 0.2  # the smallest are not reached: near one, not at it


def test_singular_vectors_are_kept():
    u, _, vh = torch.linalg.svd(draw(16, 40), full_matrices=False)
    spectrum = torch.linspace(1, 3, 16)
    result = newton_schulz(u * spectrum @ vh, dtype=torch.float32)
    turned = u.T @ result @ vh.T
    assert (turned - turned.diagonal().diag()).abs().max() < 1e-4


def test_a_column_worked_by_hand():
    # One singular value: 1 after the norm, then the quintic p(s) = 3.4445 s - 4.775 s³ + 2.0315 s⁵, once.
    result = newton_schulz(torch.tensor([[3.0], [4.0]]), steps=1, dtype=torch.float32)
    torch.testing.assert_close(result, torch.tensor([[0.6], [0.8]]) * 0.701)


def test_tall_matrices_step_further():
    wide, tall = (muon_step(torch.zeros(shape), draw(*shape)).norm() for shape in [(16, 64), (64, 16)])
    assert (tall / wide).item() == pytest.approx(math.sqrt(64 / 16), rel=0.1)


def test_decay_comes_before_the_step_and_both_take_the_same_rate():
    matrix, gradient = draw(8, 8), draw(8, 8, seed=1)
    change = muon_step(matrix, gradient, lr=0.1, weight_decay=0.5)
    step = muon_step(torch.zeros(8, 8), gradient, lr=0.1)
    torch.testing.assert_close(change, -0.05 * matrix + step)


def test_momentum_is_a_sum_with_nesterov_look_ahead():
    parameter = torch.nn.Parameter(torch.zeros(4, 6))
    muon = Muon([parameter], lr=1.0, weight_decay=0.0, momentum=0.9, ns_dtype=torch.float32)
    first, second = draw(4, 6), draw(4, 6, seed=1)
    parameter.grad = first
    muon.step()
    before = parameter.detach().clone()
    parameter.grad = second
    muon.step()
    direction = second + 0.9 * (0.9 * first + second)
    torch.testing.assert_close(parameter.detach() - before, -newton_schulz(direction, dtype=torch.float32))


def test_row_normalisation_forgets_the_size_of_each_row():
    gradient = draw(8, 16)
    uneven = gradient * torch.logspace(-3, 3, 8)[:, None]
    even, plain = (muon_step(torch.zeros(8, 16), uneven, row_normalize=flag) for flag in (True, False))
    torch.testing.assert_close(even, muon_step(torch.zeros(8, 16), gradient, row_normalize=True))
    assert (even - plain).abs().max() > 0.1


def test_a_matrix_without_gradient_stays():
    idle, busy = torch.nn.Parameter(torch.ones(2, 2)), torch.nn.Parameter(torch.ones(2, 2))
    busy.grad = torch.eye(2)
    Muon([idle, busy], lr=0.1, weight_decay=0.5, momentum=0.9).step()
    assert torch.equal(idle, torch.ones(2, 2))
    assert not torch.equal(busy, torch.ones(2, 2))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("shape", [(64, 64), (32, 64), (192, 64), (8, 24)])
def test_a_matrix_of_a_batch_has_the_bits_that_it_has_alone(shape, dtype):
    updates_BMN = draw(5, *shape) * torch.logspace(-3, 1, 5)[:, None, None]
    together = newton_schulz(updates_BMN, dtype=dtype)
    assert all(
        torch.equal(one, newton_schulz(two, dtype=dtype)) for one, two in zip(together, updates_BMN, strict=True)
    )


SHAPES = [(32, 32), (16, 32), (96, 32), (32, 96), (16, 96), (32, 32), (96, 32)]


@pytest.mark.parametrize("row_normalize", [False, True])
def test_batches_give_the_updates_of_single_matrices_up_to_rounding(row_normalize):
    directions = [draw(*shape, seed=seed).double() for seed, shape in enumerate(SHAPES)]
    parameters = [torch.nn.Parameter(torch.zeros(shape)) for shape in SHAPES]
    muon = Muon(parameters, lr=1.0, weight_decay=0.0, momentum=0.9, ns_dtype=torch.float64, row_normalize=row_normalize)
    batched = muon._updates_in_batches(directions)
    for update, single in zip(batched, muon._updates(directions), strict=True):
        assert update.is_contiguous()
        torch.testing.assert_close(update, single, rtol=1e-5, atol=1e-6)
