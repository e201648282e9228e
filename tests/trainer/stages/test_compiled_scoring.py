"""Compiled scoring computes states at one shape; what is not of that shape is not compiled. No GPU and no compiler."""

import pytest
import torch

from tests.counting import compiled_calls
from trainer.nn.gpt import GPT
from trainer.ranks import Ranks
from trainer.spec.load import load_preset
from trainer.stages.compiling import MIN_COMPILED_BATCHES, scoring_forward

BATCH, WINDOW, STRIDE = 4, 32, 8
FIRST = WINDOW - STRIDE
"""The place from which every window but the text's first is scored."""
RECIPE = load_preset(
    "tiny_nano",
    {
        "model.num_layers": 2,
        "evaluation.batch_windows": BATCH,
        "evaluation.window_tokens": WINDOW,
        "evaluation.stride_tokens": STRIDE,
    },
).recipe
LONG_TEXT = (MIN_COMPILED_BATCHES * BATCH + 1) * STRIDE + FIRST
A_GPU = Ranks(device=torch.device("cuda"))


@pytest.fixture
def model():
    model = GPT(RECIPE.model, RECIPE.data.vocab_size).eval()
    model.init_weights(torch.Generator().manual_seed(0))
    return model


@pytest.fixture
def compiled():
    with compiled_calls() as calls:
        yield calls


def random_ids(num_rows: int) -> torch.Tensor:
    return torch.randint(0, RECIPE.data.vocab_size, (num_rows, WINDOW), generator=torch.Generator().manual_seed(1))


@torch.inference_mode()
def test_the_last_batch_is_padded_to_the_shape_of_the_others(model, compiled):
    states = scoring_forward(model, RECIPE, LONG_TEXT, A_GPU).states
    for num_rows in (BATCH, BATCH - 1, 1):
        ids_BT = random_ids(num_rows)
        torch.testing.assert_close(states(ids_BT, FIRST), model.hidden(ids_BT, FIRST))
    assert compiled == [("hidden", (BATCH, WINDOW), FIRST)] * 3


@torch.inference_mode()
def test_the_batch_of_the_texts_first_window_is_not_compiled(model, compiled):
    ids_BT = random_ids(BATCH)
    states_BTD = scoring_forward(model, RECIPE, LONG_TEXT, A_GPU).states(ids_BT, 0)
    assert torch.equal(states_BTD, model.hidden(ids_BT))
    assert compiled == []


def test_the_loss_that_is_learned_from_is_compiled_at_the_shape_of_its_rows(model, compiled):
    ids_RT = random_ids(2)
    scoring_forward(model, RECIPE, LONG_TEXT, A_GPU).summed_nats(ids_RT, ids_RT)
    assert compiled == [("summed_nats", (2, WINDOW))]


@pytest.mark.parametrize(
    ("num_positions", "ranks"),
    [
        (LONG_TEXT - 2 * BATCH * STRIDE, A_GPU),
        (LONG_TEXT, Ranks()),
        (LONG_TEXT, Ranks(size=2, device=A_GPU.device)),
    ],
)
def test_a_short_text_or_share_and_a_cpu_score_uncompiled(model, compiled, num_positions, ranks):
    forward = scoring_forward(model, RECIPE, num_positions, ranks)
    forward.states(random_ids(BATCH), FIRST)
    assert compiled == []
