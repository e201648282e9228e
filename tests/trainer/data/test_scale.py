"""Trivial scores for comparison, worked out by hand."""

from math import log2

import numpy as np
import pytest

from trainer.data.scale import trivial_scores


def test_token_codes_match_the_numbers_worked_out_by_hand():
    # Train counts 2, 1, 0, 0 with one added: 3, 2, 1, 1 of 7. Targets are 0, 1, 2: the first token is given.
    scores = trivial_scores(np.array([0, 0, 1]), np.array([3, 0, 1, 2], dtype=np.uint16), 4, b"abcdef")
    assert scores["uniform_bpb"] == pytest.approx(3 * 2 / 6)
    assert scores["unigram_bpb"] == pytest.approx((log2(7 / 3) + log2(7 / 2) + log2(7)) / 6)


def test_unigram_code_fitted_on_like_text_beats_the_uniform_code():
    tokens = np.random.default_rng(0).geometric(0.3, 10_000) % 64
    scores = trivial_scores(tokens[:5_000], tokens[5_000:], 64, bytes(5_000))
    assert scores["unigram_bpb"] < 0.6 * scores["uniform_bpb"]


def test_compressor_finds_repetition_and_gains_nothing_on_noise():
    noise = np.random.default_rng(0).bytes(20_000)
    tokens = np.array([0, 1])
    assert trivial_scores(tokens, tokens, 2, bytes(20_000))["zstd22_bpb"] < 0.05
    assert 8 <= trivial_scores(tokens, tokens, 2, noise)["zstd22_bpb"] < 8.1
    assert 4 <= trivial_scores(tokens, tokens, 2, 2 * noise)["zstd22_bpb"] < 4.1
