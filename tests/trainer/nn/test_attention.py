import math

import torch

from trainer.nn.attention import without_own_value
from trainer.nn.attention_backend import SDPA


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def slow_attention(q_BTHK, k_BTGK, v_BTGK):
    """One query at a time; head h reads key and value head floor(h G / H)."""
    y_BTHK = torch.zeros_like(q_BTHK)
    num_heads, num_kv_heads = q_BTHK.size(2), k_BTGK.size(2)
    for b, t, h in torch.cartesian_prod(*(torch.arange(n) for n in q_BTHK.shape[:3])).tolist():
        g = h * num_kv_heads // num_heads
        scores = k_BTGK[b, : t + 1, g] @ q_BTHK[b, t, h] / math.sqrt(q_BTHK.size(3))
        y_BTHK[b, t, h] = scores.softmax(0) @ v_BTGK[b, : t + 1, g]
    return y_BTHK


def test_consecutive_query_heads_share_a_key_and_value_head():
    q, k, v = draw(2, 7, 6, 8), draw(2, 7, 2, 8, seed=1), draw(2, 7, 2, 8, seed=2)
    torch.testing.assert_close(SDPA(q, k, v, causal=True), slow_attention(q, k, v))


def test_exclusive_attention_has_no_component_along_the_own_value():
    y, v = draw(2, 5, 4, 8), draw(2, 5, 2, 8, seed=1)
    own_v = v.repeat_interleave(2, dim=2)
    rest = without_own_value(y, v)
    assert (rest * own_v).sum(-1).abs().max() < 1e-5
    removed = y - rest  # and nothing else is taken away: what is gone is parallel to the value
    cosine = torch.nn.functional.cosine_similarity(removed, own_v, dim=-1)
    torch.testing.assert_close(cosine.abs(), torch.ones_like(cosine))


def test_exclusive_attention_bears_a_zero_value():
    y = draw(1, 3, 2, 4)
    assert torch.equal(without_own_value(y, torch.zeros(1, 3, 1, 4)), y)
