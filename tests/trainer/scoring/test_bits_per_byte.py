"""The metric, by numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from trainer.scoring.bits_per_byte import NothingScored, bits_per_byte, mean_nats


def test_two_tokens_of_one_bit_each_over_four_bytes_are_half_a_bit_per_byte():
    nll = torch.tensor([math.log(2), math.log(2)])
    assert bits_per_byte(nll, torch.tensor([1, 3])) == pytest.approx(0.5)


def test_a_ratio_of_sums_not_a_mean_of_ratios():
    nll = torch.tensor([math.log(2), 3 * math.log(2)])  # 1 bit for 1 byte, 3 bits for 7 bytes
    assert bits_per_byte(nll, torch.tensor([1, 7])) == pytest.approx(4 / 8)


def test_a_token_without_bytes_still_costs_its_nats():
    assert bits_per_byte(torch.tensor([math.log(2)] * 2), torch.tensor([0, 1])) == pytest.approx(2.0)


def test_sums_are_float64():
    nll = torch.full((3_000_001,), 0.1)  # a float32 running sum is off by percents here
    assert mean_nats(nll) == pytest.approx(float(torch.tensor(0.1)), rel=1e-12)


def test_no_token_or_no_byte_is_no_score():
    with pytest.raises(NothingScored, match="no token"):
        mean_nats(torch.tensor([]))
    with pytest.raises(NothingScored, match="2 scored tokens stand for no byte"):
        bits_per_byte(torch.ones(2), torch.zeros(2, dtype=torch.int64))
