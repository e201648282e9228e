import math

import pytest
import torch

from trainer.nn.rotary import ntk_base, rotary_tables, rotate

CPU = torch.device("cpu")


def rotated(vector: list[float], position: int, num_dims: int) -> torch.Tensor:
    x_BTHK = torch.zeros(1, position + 1, 1, len(vector))
    x_BTHK[0, position, 0] = torch.tensor(vector)
    return rotate(x_BTHK, rotary_tables(position + 1, num_dims, 10_000.0, CPU, torch.float32))[0, position, 0]


def test_rotation_is_by_a_negative_angle():
    # Two dimensions turn by 1 radian per position; (1, 0) at position 1 goes to (cos 1, -sin 1).
    torch.testing.assert_close(rotated([1.0, 0.0], 1, 2), torch.tensor([math.cos(1), -math.sin(1)]))


def test_halves_are_paired_and_each_pair_has_its_own_angle():
    # Four dimensions: pairs (0, 2) at 1 radian and (1, 3) at 10000^(-1/2) = 0.01 radian per position.
    expected = [math.cos(3), math.sin(0.03), -math.sin(3), math.cos(0.03)]
    torch.testing.assert_close(rotated([1.0, 0.0, 0.0, 1.0], 3, 4), torch.tensor(expected))


def test_partial_rotation_leaves_the_other_dimensions_alone():
    # The angle comes from the two rotated dimensions, not from the head's width.
    turned = rotated([0.0, 1.0, 7.0, 8.0], 1, 2)
    torch.testing.assert_close(turned, torch.tensor([math.sin(1), math.cos(1), 7.0, 8.0]))


def test_scores_depend_on_distance_alone():
    q, k = torch.randn(2, 1, 1, 1, 16, generator=torch.Generator().manual_seed(0)).expand(2, 1, 9, 1, 16)
    tables = rotary_tables(9, 16, 10_000.0, CPU, torch.float32)
    scores = rotate(q, tables)[0, :, 0] @ rotate(k, tables)[0, :, 0].T
    torch.testing.assert_close(scores.diagonal(-3), scores[3, 0].expand(6))


@pytest.mark.parametrize(("num_dims", "base"), [(16, 22_082), (64, 20_452)])
def test_ntk_rescale_at_twice_the_native_length(num_dims, base):
    assert ntk_base(10_000.0, 2048, native_tokens=1024, num_dims=num_dims) == pytest.approx(base, abs=0.5)


@pytest.mark.parametrize("native_tokens", [0, 2048, 4096])
def test_no_rescale_within_the_native_length_or_without_one(native_tokens):
    assert ntk_base(10_000.0, 2048, native_tokens, num_dims=16) == 10_000.0
