"""Recurrence, gated skips, parallel residual and value embedding (docs/recipe.md 2.5, 2.7, 2.8)."""

import pytest
import torch

from tests.trainer.nn.test_gpt import VOCAB_SIZE, changed, draw_ids, lively, sgd_step, started
from trainer.nn.depth import layer_order
from trainer.nn.gpt import GPT, with_skip
from trainer.spec.recipe import Model

LOOPED = changed(recur_loops=2, recur_first=1, recur_last=1)


@pytest.mark.parametrize(
    ("first", "last", "encoder", "decoder", "num_skips"),
    [
        (4, 5, (0, 1, 2, 3, 4, 5, 4), (5, 4, 5, 6, 7, 8, 9, 10), 7),
        (3, 5, (0, 1, 2, 3, 4, 5, 3, 4), (5, 3, 4, 5, 6, 7, 8, 9, 10), 8),
    ],
)
def test_looped_order_is_that_of_the_records(first, last, encoder, decoder, num_skips):
    order = layer_order(Model(recur_loops=2, recur_first=first, recur_last=last), looped=True)
    assert (order.encoder, order.decoder, order.num_skips) == (encoder, decoder, num_skips)


def test_until_it_loops_a_recurrent_model_is_the_plain_one_with_the_first_skip_weights():
    looped, plain = lively(LOOPED), GPT(changed(), VOCAB_SIZE)
    state = looped.state_dict()
    plain.load_state_dict(state | {"skip_weights": state["skip_weights"][:1]})
    ids_BT = draw_ids(2, 20)
    assert not torch.equal(looped(ids_BT), plain(ids_BT))
    looped.looped = False
    assert torch.equal(looped(ids_BT), plain(ids_BT))


def test_a_model_loops_by_default():
    assert GPT(LOOPED, VOCAB_SIZE).looped


def test_a_gated_skip_starts_halfway_and_an_open_gate_keeps_the_stream():
    x_BTD, skip_BTD, weight_D = torch.ones(1, 1, 32), torch.full((1, 1, 32), 3.0), torch.full((32,), 2.0)
    halfway_BTD = with_skip(x_BTD, skip_BTD, weight_D, gate_D=torch.zeros(32))
    assert halfway_BTD[0, 0, 0].item() == pytest.approx(0.5 * 1 + 0.5 * 2 * 3)
    torch.testing.assert_close(with_skip(x_BTD, skip_BTD, weight_D, gate_D=torch.full((32,), 50.0)), x_BTD)


def test_in_a_parallel_block_the_mlp_does_not_see_the_attention():
    parallel, serial = (
        lively(changed(**values)).blocks[2] for values in ({"parallel_residual": "one_lane", "parallel_from": 2}, {})
    )
    x_BTD = torch.randn(1, 5, 32, generator=torch.Generator().manual_seed(0))
    rotary = lively()._rotary(draw_ids(1, 5))
    out = {name: block(x_BTD, x_BTD, rotary) for name, block in (("parallel", parallel), ("serial", serial))}
    assert not torch.equal(out["parallel"], out["serial"])
    keep_D, recall_D = parallel.resid_mix
    mixed_BTD = (keep_D + recall_D) * x_BTD
    _, normed_BTD = parallel._norm_beside(mixed_BTD)
    branches = parallel.attn_scale * parallel.attn(normed_BTD, rotary) + parallel.mlp_scale * parallel.mlp(normed_BTD)
    torch.testing.assert_close(out["parallel"], mixed_BTD + branches)


def test_value_embedding_reaches_the_listed_layers_alone():
    model = lively(changed(value_embed_dim=8, value_embed_layers=(1, 2)))
    values = model._extra_values(draw_ids(2, 5))
    assert sorted(values) == [1, 2]
    assert values[1].shape == (2, 5, 2 * 8)
    torch.testing.assert_close(values[1] / model.ve_layer_scales[0], values[2] / model.ve_layer_scales[1])


@pytest.mark.parametrize(
    "values",
    [
        {"value_embed_dim": 8, "value_embed_layers": (0, 2)},
        {"skip_gates": True},
        {"parallel_residual": "one_lane", "parallel_from": 1},
        {"recur_loops": 1, "recur_first": 0, "recur_last": 1, "skip_gates": True},
    ],
)
def test_every_parameter_of_a_technique_soon_has_a_gradient(values):
    gpt = started(changed(**values))
    for _ in range(4):
        sgd_step(gpt)
    assert [name for name, parameter in gpt.named_parameters() if not parameter.grad.any()] == []


def test_value_embedding_starts_as_the_lineage_says():
    gpt = started(changed(value_embed_dim=8, value_embed_layers=(1, 2)))
    assert gpt.ve_shared.scale.item() == pytest.approx(0.1)
    assert [scale.item() for scale in gpt.ve_layer_scales] == [1.0, 1.0]
    assert gpt.ve_shared.embed.weight.std().item() == pytest.approx(0.01, rel=0.1)
