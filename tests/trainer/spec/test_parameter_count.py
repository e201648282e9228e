"""The number of weights that is known without a model is the model's."""

import pytest
import torch

from trainer.nn import gpt
from trainer.spec.load import load_preset, preset_names
from trainer.spec.parameter_count import num_parameters

SWITCHES = (
    {"model.tie_embeddings": False},
    {"model.bigram_dim": 64},
    {"model.bigram_buckets": 0, "model.smear_gate": "off"},
    {"model.value_embed_dim": 32, "model.value_embed_layers": [1, 2], "model.num_kv_heads": 4},
    {"model.recur_loops": 2, "model.recur_first": 1, "model.recur_last": 1, "model.skip_gates": True},
)
CASES = [(name, {}) for name in preset_names()] + [("tiny", switches) for switches in SWITCHES]


@pytest.mark.parametrize(("name", "changes"), CASES)
def test_weights_are_counted_without_a_model(name, changes):
    preset = load_preset(name, changes)
    model, vocab_size = preset.recipe.model, preset.recipe.data.vocab_size
    with torch.device("meta"):
        built = gpt.num_parameters(gpt.GPT(model, vocab_size))
    assert num_parameters(model, vocab_size) == built
    assert preset.parameters in (None, built) or changes
