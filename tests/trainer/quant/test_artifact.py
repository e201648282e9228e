"""The counted bytes: the same for the same weights, exact when read, refused when they are not ours."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import zstandard

from trainer.quant.artifact import decode_artifact, encode_artifact
from trainer.quant.compression import LARGEST_CONTENT_BYTES
from trainer.quant.packing import pack, unpack
from trainer.spec.errors import ArtifactError
from trainer.spec.recipe import Model, Quantization

SMALL = Quantization(min_elements=32)
HEADER_BYTES = 8


def weights() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    names = {"tok_emb.weight": (16, 8), "blocks.0.mlp.fc.weight": (24, 8), "blocks.0.mlp_scale": (8,), "a": (2, 2)}
    return {name: torch.randn(shape, generator=generator) for name, shape in names.items()}


@pytest.fixture(scope="module")
def artifact() -> bytes:
    return encode_artifact(weights(), Model(num_layers=3, rope_dims=16), 1024, SMALL)


def test_a_decoded_artifact_is_the_packed_model_and_its_section(artifact):
    decoded = decode_artifact(artifact)
    expected = unpack(pack(weights(), SMALL))
    assert decoded.model == Model(num_layers=3, rope_dims=16)
    assert decoded.vocab_size == 1024
    assert decoded.state.keys() == expected.keys()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in decoded.state.items())


def test_every_layout_of_layer_lists_survives_the_artifact():
    model = Model(**{name: (0, 2) for name, info in Model.model_fields.items() if isinstance(info.default, tuple)})
    assert decode_artifact(encode_artifact(weights(), model, 300, SMALL)).model == model


def test_the_order_of_the_state_dict_does_not_matter(artifact):
    backwards = dict(reversed(weights().items()))
    assert encode_artifact(backwards, Model(num_layers=3, rope_dims=16), 1024, SMALL) == artifact


def test_another_process_with_another_hash_seed_writes_the_same_bytes(artifact):
    program = (
        "import hashlib, test_artifact as t\n"
        "data = t.encode_artifact(t.weights(), t.Model(num_layers=3, rope_dims=16), 1024, t.SMALL)\n"
        "print(hashlib.sha256(data).hexdigest())"
    )
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    environment = os.environ | {"PYTHONHASHSEED": "12345", "PYTHONPATH": path}
    output = subprocess.run(
        [sys.executable, "-c", program], env=environment, check=True, capture_output=True, text=True
    )
    assert output.stdout.strip() == hashlib.sha256(artifact).hexdigest()


def test_a_damaged_byte_is_refused_wherever_it_is(artifact):
    for position in range(len(artifact)):
        damaged = bytearray(artifact)
        damaged[position] ^= 0xFF
        with pytest.raises(ArtifactError):
            decode_artifact(bytes(damaged))


@pytest.mark.parametrize("kept", [0, 3, HEADER_BYTES - 1, HEADER_BYTES, HEADER_BYTES + 5, 200, -1])
def test_a_truncated_artifact_is_refused(artifact, kept):
    with pytest.raises(ArtifactError):
        decode_artifact(artifact[:kept])


def test_bytes_behind_the_artifact_are_refused(artifact):
    with pytest.raises(ArtifactError, match="damaged"):
        decode_artifact(artifact + b"!")


def test_another_version_is_named_in_the_refusal(artifact):
    with pytest.raises(ArtifactError, match="version 9 found, this program reads versions"):
        decode_artifact(artifact[: HEADER_BYTES - 1] + b"\x09" + artifact[HEADER_BYTES:])


def test_a_file_of_another_kind_is_refused_as_no_artifact():
    with pytest.raises(ArtifactError, match="no artifact"):
        decode_artifact(b"PK\x03\x04 a zip file")


def test_an_absurd_size_is_refused_before_it_is_unpacked(artifact):
    claim = (LARGEST_CONTENT_BYTES + 1).to_bytes(8, "little")
    with pytest.raises(ArtifactError, match="claims"):
        decode_artifact(artifact[:HEADER_BYTES] + b"\x28\xb5\x2f\xfd\xe0" + claim)  # RFC 8878: magic, 8-byte size


@pytest.mark.parametrize("content", [b"", b"hello, world", b"\x02\0\0\0\0\0\0\0{}"])
def test_a_sound_frame_with_other_content_is_refused(artifact, content):
    with pytest.raises(ArtifactError, match="not a model of this version"):
        decode_artifact(artifact[:HEADER_BYTES] + zstandard.ZstdCompressor().compress(content))
