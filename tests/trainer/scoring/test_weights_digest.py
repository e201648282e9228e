"""A checksum of weights that sees every bit, however they are cut."""

import pytest
import torch

from tests.fakes import TinyModel
from trainer.scoring import weights_digest
from trainer.scoring.weights_digest import WORDS_OF_ROW, parameter_digest, state_tensors


def model_of_every_dtype() -> torch.nn.Module:
    model = TinyModel()
    model.register_buffer("angles", torch.ones(3, dtype=torch.bfloat16), persistent=False)
    model.register_buffer("steps", torch.tensor(7))
    model.register_buffer("mask", torch.tensor([True, False]))
    return model


def test_the_parameter_digest_sees_one_bit_anywhere():
    reference = int(parameter_digest(state_tensors(model_of_every_dtype())))
    model = model_of_every_dtype()
    tensors = [*model.parameters(), *(buffer for buffer in model.buffers() if buffer.dtype != torch.bool)]
    for tensor in tensors:
        raw = tensor.data.view(-1).view(torch.uint8)
        for byte in (0, len(raw) // 2, len(raw) - 1):
            for bit in (1, 128):
                raw[byte] ^= bit
                assert int(parameter_digest(state_tensors(model))) != reference
                raw[byte] ^= bit
    assert int(parameter_digest(state_tensors(model))) == reference


@pytest.mark.parametrize("piece_rows", [1, 2, 3, 1024])
@pytest.mark.parametrize("lengths", [(5000,), (1024, 2048), (1, 3000, 70, 3071), (3,)])
def test_the_parameter_digest_is_the_weighted_sum_of_all_words_however_they_are_cut(monkeypatch, piece_rows, lengths):
    monkeypatch.setattr(weights_digest, "PIECE_WORDS", piece_rows * WORDS_OF_ROW)
    tensors = [torch.randn(length, generator=torch.Generator().manual_seed(length)) for length in lengths]
    words = torch.cat(tensors).view(torch.int32).tolist()
    digest = sum((2 * place + 1) * word for place, word in enumerate(words))
    assert (int(parameter_digest(tensors)) - digest) % 2**64 == 0


def test_the_parameter_digest_sees_swapped_values():
    model = TinyModel()
    reference = int(parameter_digest(state_tensors(model)))
    with torch.no_grad():
        model.head.weight[[0, 5]] = model.head.weight[[5, 0]].clone()
    assert int(parameter_digest(state_tensors(model))) != reference
