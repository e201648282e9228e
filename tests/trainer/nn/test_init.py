import math

import pytest
import torch

from trainer.nn.init import initial_value
from trainer.spec.recipe import Model

MODEL = Model(num_layers=8, qk_gain_init=5.25)


def start(name: str, *shape: int, model: Model = MODEL) -> torch.Tensor:
    return initial_value(name, shape, model, torch.Generator().manual_seed(0))


@pytest.mark.parametrize("shape", [(64, 256), (256, 64)])
def test_wide_linear_weights_start_orthogonal(shape):
    weight = start("blocks.0.mlp.fc.weight", *shape)
    torch.testing.assert_close(torch.linalg.svdvals(weight), torch.ones(64))


def test_narrow_linear_weights_start_as_the_framework_does():
    weight = start("blocks.0.attn.c_k.weight", 32, 400)
    assert weight.abs().max() <= 1 / math.sqrt(400)
    assert weight.std().item() == pytest.approx(1 / math.sqrt(3 * 400), rel=0.02)


def test_default_init_makes_nothing_orthogonal():
    weight = start("blocks.0.attn.c_q.weight", 64, 64, model=MODEL.model_copy(update={"init": "default"}))
    assert torch.linalg.svdvals(weight).min() < 0.5


@pytest.mark.parametrize("init", ["default", "orthogonal"])
def test_bigram_projection_starts_orthogonal_and_small(init):
    weight = start("bigram.proj.weight", 512, 32, model=MODEL.model_copy(update={"init": init}))
    torch.testing.assert_close(torch.linalg.svdvals(weight), torch.full((32,), 0.25))  # 1/sqrt(2 · 8 layers)


def test_bigram_projection_of_549_starts_plain_orthogonal():
    weight = start(
        "bigram.proj.weight", 512, 32, model=MODEL.model_copy(update={"bigram_projection_init": "orthogonal"})
    )
    torch.testing.assert_close(torch.linalg.svdvals(weight), torch.ones(32))


@pytest.mark.parametrize(
    "name", ["head.weight", "bigram.embed.weight", "blocks.3.attn.proj.weight", "blocks.3.mlp.proj.weight"]
)
def test_outputs_and_the_bigram_table_start_at_zero(name):
    assert not start(name, 64, 64).any()


def test_token_embedding_starts_small():
    assert start("tok_emb.weight", 1024, 64).std().item() == pytest.approx(MODEL.embed_init_std, rel=0.02)


def test_controls_start_so_that_a_block_is_the_identity_on_its_input():
    assert start("blocks.0.resid_mix", 2, 3).tolist() == [[1, 1, 1], [0, 0, 0]]
    assert start("blocks.0.attn.q_gain", 2).tolist() == [5.25, 5.25]
    assert start("bigram.scale").item() == pytest.approx(0.05)
    assert start("smear.gate", 2).tolist() == [0, 0]
    for name in ("skip_weights", "blocks.0.attn_scale", "blocks.0.mlp_scale"):
        assert (start(name, 2, 3) == 1).all()
