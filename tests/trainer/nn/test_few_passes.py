"""The forms that a CPU takes against the plain ones: the same bits, forward and backward."""

import pytest
import torch

from tests.trainer.nn.test_gpt import VOCAB_SIZE, changed, draw_ids, lively
from trainer.nn import few_passes
from trainer.spec.recipe import Model

MODELS = {
    "usual": changed(),
    "leaky, scaled, gated": changed(activation="leaky_relu2", ln_scale=True, skip_gates=True),
    "partial rotation": changed(rope_dims=4),
    "untied, parallel": changed(tie_embeddings=False, parallel_residual="one_lane", parallel_from=1),
    "recurrent": changed(recur_first=1, recur_last=1, recur_loops=1),
    "value embedding": changed(value_embed_dim=8, value_embed_layers=(1,)),
}


def loss_and_gradients(model: Model, reduction: str) -> list[torch.Tensor]:
    """Of two micro-batches, the second added to the first, with more logits than are worked on at once."""
    gpt = lively(model)
    ids_BT = draw_ids(44, 33)
    for _ in range(2):
        loss = gpt.cross_entropy(ids_BT[:, :-1], ids_BT[:, 1:], reduction) / 3
        loss.backward()
    return [loss, *(parameter.grad for parameter in gpt.parameters())]


@pytest.mark.parametrize(("name", "reduction"), [("usual", "sum"), *((name, "mean") for name in MODELS)])
def test_loss_and_gradients_have_the_bits_of_the_plain_forms(monkeypatch, name, reduction):
    assert 44 * 32 * VOCAB_SIZE > few_passes.CHUNK_ELEMENTS
    ours = loss_and_gradients(MODELS[name], reduction)
    monkeypatch.setattr(few_passes, "suits", lambda x: False)
    plain = loss_and_gradients(MODELS[name], reduction)
    assert all(torch.equal(one, two) for one, two in zip(ours, plain, strict=True))


@pytest.mark.parametrize("name", MODELS)
def test_logits_without_gradients_have_the_same_bits(monkeypatch, name):
    gpt, ids_BT = lively(MODELS[name]), draw_ids(3, 32)
    with torch.inference_mode():
        ours = gpt(ids_BT)
    assert torch.equal(ours, gpt(ids_BT))
    monkeypatch.setattr(few_passes, "suits", lambda x: False)
    assert torch.equal(ours, gpt(ids_BT))


def test_a_model_in_bfloat16_takes_the_plain_forms():
    assert few_passes.suits(torch.zeros(1))
    assert not few_passes.suits(torch.zeros(1, dtype=torch.bfloat16))
    assert not few_passes.suits(torch.zeros(1, device="meta"))
