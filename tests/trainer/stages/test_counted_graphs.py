"""Graphs of compiled steps: how many, what they launch, and what they keep; no C++ compiler and no GPU."""

import math

import pytest
import torch

from tests.counting import META, meta_model
from tests.lowering import Lowered, lowered
from trainer.nn.gpt import GPT
from trainer.quant.packing import weight_transform
from trainer.spec.load import load_preset
from trainer.stages.compiling import compiler_for, drop_graphs, variants

ROWS, TOKENS = 2, 2048
"""Of a step of test-time training on one of eight ranks."""


def of_step(preset: str, changes: dict[str, object] | None = None) -> list[Lowered]:
    """Forward and backward of a step of test-time training."""
    recipe = load_preset(preset, changes).recipe

    def make():
        model = GPT(recipe.model, recipe.data.vocab_size)
        ids_RT = torch.zeros(ROWS, TOKENS, dtype=torch.int64)
        return lambda: model.cross_entropy(ids_RT, ids_RT, "sum")

    return lowered(make)


@pytest.fixture(scope="module")
def of_one_layer():
    return of_step("pr150_v21", {"model.num_layers": 1})


def logits_kept(forward: Lowered, vocab_size: int) -> list[torch.dtype]:
    return [dtype for dtype, shape in forward.outputs if shape == (ROWS * TOKENS, vocab_size)]


def test_a_step_of_one_layer_launches_at_most_50_functions_and_calls(of_one_layer):
    """Each further layer adds 36: of the forward 7 functions and 7 calls, of the backward 9 and 13."""
    forward, backward = of_one_layer
    assert (forward.calls["mm"], backward.calls["mm"]) == (8, 16)
    assert forward.launches + backward.launches <= 50, of_one_layer
    assert forward.loops + backward.loops <= 55, of_one_layer


def test_no_float32_logits_are_kept_for_the_backward(of_one_layer):
    assert logits_kept(of_one_layer[0], 1024) == [torch.bfloat16]


def test_compiled_scoring_writes_no_float32_tensor_larger_than_the_logits_of_scored_positions():
    """Eager norms do; the largest of all are the states inside of the MLP, in bfloat16."""
    recipe = load_preset("pr150_v21", {"model.num_layers": 2}).recipe
    evaluation = recipe.evaluation

    def make():
        model = GPT(recipe.model, recipe.data.vocab_size).eval()
        ids_BT = torch.zeros(evaluation.batch_windows, evaluation.window_tokens, dtype=torch.int64)
        return lambda: model.hidden(ids_BT, evaluation.window_tokens - evaluation.stride_tokens)

    with torch.no_grad():
        (forward,) = lowered(make)
    numbers = {
        dtype: max(math.prod(shape) for made, shape in forward.made if made == dtype)
        for dtype in (torch.float32, torch.bfloat16)
    }
    num_scored = evaluation.batch_windows * evaluation.stride_tokens
    assert numbers[torch.float32] <= num_scored * recipe.data.vocab_size
    assert numbers[torch.bfloat16] == evaluation.batch_windows * evaluation.window_tokens * recipe.model.mlp_hidden


@pytest.mark.slow
@pytest.mark.parametrize(
    ("preset", "vocab_size", "products", "launches", "kernels"),
    [("pr150_v21", 1024, 6 * 11 + 2, 430, 620), ("pr1413", 8192, 6 * 15 + 1, 600, 870)],
)
def test_a_step_of_test_time_training_launches_few_functions_and_calls(preset, vocab_size, products, launches, kernels):
    """Uncompiled it was 2,301 kernels. Products: six of each layer that runs, the projection of bigrams, the head."""
    forward, backward = of_step(preset)
    assert (forward.calls["mm"], backward.calls["mm"]) == (products, 2 * products)
    assert logits_kept(forward, vocab_size) == [torch.bfloat16]
    assert forward.launches + backward.launches <= launches, (forward, backward)
    assert forward.loops + forward.calls.total() + backward.loops + backward.calls.total() <= kernels


SLOW = [pytest.param(preset, marks=pytest.mark.slow) for preset in ("pr549", "pr1413")]


@pytest.mark.parametrize("preset", ["pr150_v21", *SLOW])
def test_the_loss_of_a_full_model_is_one_graph_for_each_variant(preset):
    """A break would raise: the loss is compiled with `fullgraph`."""
    recipe = load_preset(preset).recipe
    model, ids_BT = meta_model(recipe), torch.zeros(2, recipe.data.train_seq_len, dtype=torch.int64, device=META)
    drop_graphs()
    compiler = compiler_for(recipe, "eager")
    for number, variant in enumerate(variants(recipe), start=1):
        quantize = weight_transform(recipe.quantization, torch.ones((), device=META)) if variant.quantized else None
        model.looped = variant.looped
        model.set_weight_transform(quantize)
        for _ in range(2):
            compiler.loss_of(model, ids_BT, ids_BT)
        assert compiler.made == number
