"""Text from an artifact: seeded, from the counted bytes alone, and never from control tokens."""

import pytest
import torch

from tests.trainer.cli import trainer
from trainer.data.tokenizer import Tokenizer, train_tokenizer
from trainer.quant.artifact import encode_artifact
from trainer.spec.load import load_preset
from trainer.spec.stage_table import ARTIFACT_FILE, TOKENIZER_FILE
from trainer.stages.sample import sample_text
from trainer.stages.weights import build_model

PIECES = 300


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """An untrained artifact and its tokenizer where a store has them."""
    store = tmp_path_factory.mktemp("store") / "stages"
    recipe = load_preset("tiny_nano").recipe
    torch.manual_seed(0)
    model = build_model(recipe.model, PIECES, torch.device("cpu"))
    artifact = store / "export" / "f" / ARTIFACT_FILE
    tokenizer = store / "train_text" / "f" / TOKENIZER_FILE
    for path in (artifact, tokenizer):
        path.parent.mkdir(parents=True)
    state = {name: tensor.detach() for name, tensor in model.state_dict().items()}
    artifact.write_bytes(encode_artifact(state, recipe.model, PIECES, recipe.quantization))
    tokenizer.write_bytes(train_tokenizer(["the cat sat on the mat and the dog ran after the cat\n" * 20], PIECES))
    return store


def test_a_file_that_is_no_artifact_is_named_with_what_it_begins_with(tmp_path):
    other = tmp_path / "notes.txt"
    other.write_text("hello")
    message = str(trainer("sample", str(other)).exception)
    assert str(other) in message
    assert "the bytes start with b'hello'" in message


def test_the_same_seed_continues_the_prompt_alike_and_another_one_does_not(store):
    artifact = store / "export" / "f" / ARTIFACT_FILE
    texts = [sample_text(artifact, "the cat", None, 30, 1.0, seed) for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]
    assert all(text.startswith("the cat") for text in texts)
    assert sample_text(artifact, "the cat", None, 5, 0.0, 1) == sample_text(artifact, "the cat", None, 5, 0.0, 2)


def test_the_command_prints_text_and_an_unknown_tokenizer_is_asked_for(store, tmp_path):
    artifact = store / "export" / "f" / ARTIFACT_FILE
    done = trainer("sample", str(artifact), "--prompt", "the dog", "--tokens", "3")
    assert done.stdout.startswith("the dog")
    alone = tmp_path / "alone.bin"
    alone.write_bytes(artifact.read_bytes())
    assert "its store has none that fits; name it: --tokenizer FILE" in str(trainer("sample", str(alone)).exception)
    other = tmp_path / "other.model"
    other.write_bytes(train_tokenizer(["other words are here, many of them\n" * 20], PIECES + 1))
    message = str(trainer("sample", str(artifact), "--tokenizer", str(other)).exception)
    assert "has 301 pieces, and the artifact 300" in message
    assert Tokenizer(other).vocab_size == PIECES + 1
