"""The forms that a CPU takes against the plain ones: the same bits, forward and backward."""

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from tests.trainer.nn.test_gpt import VOCAB_SIZE, changed, draw_ids, lively
from trainer.nn import few_passes
from trainer.nn.attention import without_own_value
from trainer.nn.norm import norm_beside
from trainer.spec.recipe import Model

MODELS = {
    "usual": changed(),
    "leaky, scaled, gated": changed(activation="leaky_relu2", ln_scale=True, skip_gates=True),
    "partial rotation": changed(rope_dims=4),
    "untied, parallel": changed(tie_embeddings=False, parallel_residual="one_lane", parallel_from=1),
    "recurrent": changed(recur_first=1, recur_last=1, recur_loops=1),
    "value embedding": changed(value_embed_dim=8, value_embed_layers=(1,)),
}


def loss_and_gradients(model: Model, reduction: str, divisor: int) -> list[torch.Tensor]:
    """Of two micro-batches, the second added to the first, with more logits than are worked on at once."""
    gpt = lively(model)
    ids_BT = draw_ids(44, 33)
    for _ in range(2):
        loss = gpt.cross_entropy(ids_BT[:, :-1], ids_BT[:, 1:], reduction) / divisor
        loss.backward()
    return [loss, *(parameter.grad for parameter in gpt.parameters())]


TIMES = [("sum", 1), ("sum", 44 * 32), ("mean", 1), ("mean", 3), ("mean", 4)]
CASES = [*(("usual", *times) for times in TIMES), *((name, "mean", 2) for name in MODELS)]


@pytest.mark.parametrize(("name", "reduction", "divisor"), CASES)
def test_loss_and_gradients_have_the_bits_of_the_plain_forms(monkeypatch, name, reduction, divisor):
    assert 44 * 32 * VOCAB_SIZE > few_passes.CHUNK_ELEMENTS
    ours = loss_and_gradients(MODELS[name], reduction, divisor)
    monkeypatch.setattr(few_passes, "suits", lambda x: False)
    plain = loss_and_gradients(MODELS[name], reduction, divisor)
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


def test_a_tensor_without_numbers_takes_the_plain_forms_and_leaves_none_behind():
    gpt, ids_BT = lively(), draw_ids(2, 8)
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        fake = mode.from_tensor(torch.zeros(2, 3, 7, 8))
        assert not few_passes.suits(fake)
        few_passes.number.cache_clear()
        norm_beside(fake)
    assert torch.isfinite(gpt(ids_BT)).all()


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("name", MODELS)
def test_states_of_the_last_positions_alone_are_those_of_all(monkeypatch, name, plain):
    if plain:
        monkeypatch.setattr(few_passes, "suits", lambda x: False)
    gpt, ids_BT = lively(MODELS[name]), draw_ids(4, 64)
    with torch.inference_mode():
        whole = gpt.hidden(ids_BT)
        for first in (0, 1, 20, 48, 63):
            torch.testing.assert_close(gpt.hidden(ids_BT, first), whole[:, first:], rtol=1e-5, atol=1e-5)


def test_a_value_of_length_zero_is_left_out_and_has_no_gradient_of_its_direction(monkeypatch):
    def results() -> list[torch.Tensor]:
        y_BTHK = draw(2, 5, 4, 8)
        v_BTGK = draw(2, 5, 2, 8)
        with torch.no_grad():
            v_BTGK[:, 3] = 0
            v_BTGK[:, 4] *= 1e-20
        out_BTHK = without_own_value(y_BTHK.requires_grad_(), v_BTGK.requires_grad_())
        (out_BTHK * draw(2, 5, 4, 8)).sum().backward()
        return [out_BTHK, y_BTHK.grad, v_BTGK.grad]

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))

    ours = results()
    monkeypatch.setattr(few_passes, "suits", lambda x: False)
    plain = results()
    assert all(torch.equal(one, two) for one, two in zip(ours, plain, strict=True))
