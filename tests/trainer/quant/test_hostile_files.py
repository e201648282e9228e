"""Files that claim or hold more than memory has, or what no model is: refused in the reader's own error."""

import io
import json
import lzma
import zipfile
import zlib

import brotli
import pytest
import safetensors.torch
import torch
import zstandard

from trainer.quant import bounded_streams, lineage_files
from trainer.quant.artifact import MAGIC, METADATA_KEY, decode_artifact
from trainer.quant.compression import compress
from trainer.quant.lineage_files import read_lineage_file
from trainer.spec.errors import ArtifactError
from trainer.spec.recipe import Model, Quantization
from trainer.stages.weights import require_shapes

ZSTD = b"\x28\xb5\x2f\xfd"
BLOCK_BYTES = 2**17


def zstd_of_zeros(size: int, declared: bool = True) -> bytes:
    """RFC 8878: every block of four bytes is a byte to be repeated 2^17 times; 5,000 MB are 160 kB."""
    num_blocks = size // BLOCK_BYTES
    header = b"\xe0" + (num_blocks * BLOCK_BYTES).to_bytes(8, "little") if declared else b"\x00\x38"
    block, last = ((BLOCK_BYTES << 3 | 1 << 1 | end).to_bytes(3, "little") + b"\0" for end in (0, 1))
    return ZSTD + header + block * (num_blocks - 1) + last


def refusal(tmp_path, data: bytes) -> str:
    (tmp_path / "x.ptz").write_bytes(data)
    with pytest.raises(ArtifactError, match=r"x\.ptz") as caught:
        read_lineage_file(tmp_path / "x.ptz")
    return str(caught.value)


@pytest.mark.parametrize("declared", [True, False])
def test_kilobytes_of_zstd_that_hold_5000_megabytes_are_not_expanded(tmp_path, declared):
    data = zstd_of_zeros(5_000_000_000, declared)
    assert len(data) < 160_000
    assert ("a frame claims 4999.87 MB" if declared else "more than 268") in refusal(tmp_path, data)


def test_sixteen_bytes_that_claim_2_to_46_are_refused(tmp_path):
    assert "claims 70368744.18 MB" in refusal(tmp_path, ZSTD + b"\xe0" + (2**46).to_bytes(8, "little") + b"\0\0\0")


def test_a_file_of_gigabytes_is_not_read(tmp_path):
    with (tmp_path / "x.ptz").open("wb") as file:
        file.truncate(5_000_000_000)
    with pytest.raises(ArtifactError, match="no file of at most 268"):
        read_lineage_file(tmp_path / "x.ptz")


@pytest.mark.parametrize("pack", [zlib.compress, lzma.compress, brotli.compress, zstandard.ZstdCompressor().compress])
def test_no_stream_is_expanded_beyond_the_limit(tmp_path, pack, monkeypatch):
    monkeypatch.setattr(lineage_files, "LARGEST_CONTENT_BYTES", 1_000_000)
    text = refusal(tmp_path, pack(bytes(2_000_000)))
    assert "more than 1.00 MB" in text or "claims 2.00 MB; at most 1.00 MB" in text


class Bytes:
    def __reduce__(self):
        return bytearray, (2**40,)


def saved(content) -> bytes:
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


def sparse() -> torch.Tensor:
    return torch.sparse_coo_tensor([[0]], [1.0], (2**40,))


TENSORS = {
    "expanded": lambda: torch.zeros(1).expand(2**32),
    "expanded often": lambda: torch.zeros(2**10, 1).expand(2**10, 2**20),
    "sparse": sparse,
    "nested": lambda: torch.nested.nested_tensor([torch.zeros(2), torch.zeros(3)]),
    "meta": lambda: torch.zeros(2**40, device="meta"),
    "quantised": lambda: torch.quantize_per_tensor(torch.zeros(4), 0.1, 0, torch.quint8),
    "bytes": Bytes,
}


@pytest.mark.parametrize("kind", TENSORS)
def test_a_small_container_whose_tensors_would_take_gigabytes_is_refused(tmp_path, kind):
    data = saved({"tok_emb.weight": TENSORS[kind]()})
    assert len(data) < 10_000
    text = refusal(tmp_path, data)
    assert ("would take" if "expanded" in kind else "expected dense tensors") in text


def test_an_entry_that_inflates_is_refused_by_what_it_claims(tmp_path, monkeypatch):
    monkeypatch.setattr(bounded_streams, "LARGEST_CONTENT_BYTES", 1_000_000)
    plain, packed = zipfile.ZipFile(io.BytesIO(saved({"a": torch.zeros(1_000_000)}))), io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as container:
        for entry in plain.infolist():
            container.writestr(entry.filename, plain.read(entry))
    assert "it claims 4.00 MB" in refusal(tmp_path, packed.getvalue())


def test_scales_that_would_multiply_codes_and_banks_of_a_million_layers_are_refused(tmp_path):
    stored = {"a.q": torch.zeros(1, 2**16, dtype=torch.int8), "a.scale": torch.zeros(2**16)}
    assert "scales of shape (65536,) for codes of shape (1, 65536)" in refusal(tmp_path, saved({"w": stored, "m": {}}))
    assert "mlp_up_bank holds more than 1,000 layers" in refusal(
        tmp_path, saved({"mlp_up_bank": torch.zeros(2**20, 1, 1)})
    )


def artifact(header: str | None = None, stored=None, **said) -> bytes:
    text = header or json.dumps(
        {"model": Model(**said.pop("model", {})).model_dump(mode="json"), "vocab_size": 64} | said
    )
    content = safetensors.torch.save(stored or {"a": torch.zeros(2)}, {METADATA_KEY: text})
    return MAGIC + compress(content, Quantization(compressor="zlib"))


LAYERS = '{"model": {"num_layers": %s}, "vocab_size": %s}'


@pytest.mark.parametrize(
    ("header", "complaint"),
    [
        ("[" * 100_000, "nested too deep"),
        ('{"model": ' + '{"a":' * 50_000, "nested too deep"),
        (LAYERS % (3, "1e400"), "vocab_size = inf must be an integer"),
        (LAYERS % (3, "-5"), "vocab_size = -5 must be"),
        (LAYERS % (3, "0"), "vocab_size = 0 must be"),
        (LAYERS % (3, "true"), "vocab_size = True must be"),
        (LAYERS % (3, "10000000000"), "vocab_size = 10000000000 must be"),
        (LAYERS % (3, "9" * 5000), "not a model of this version"),
        (LAYERS % ("1000000000", 64), "model.num_layers = 1000000000 is beyond 1,000"),
        (LAYERS % ("9" * 400, 64), "model.num_layers = 99999999999999999999 is beyond"),
        (LAYERS % ("-3", 64), "not a model of this version"),
        ('{"model": {"num_layers": 7, "recur_loops": 1000000000}, "vocab_size": 64}', "model.recur_loops = 1000000000"),
        ('{"model": [], "vocab_size": 64}', "not a model of this version"),
        ("[]", "not a model of this version"),
        ("x" * 5_000_000, "at most"),
    ],
)
def test_an_artifact_of_no_model_is_refused(header, complaint):
    with pytest.raises(ArtifactError, match=complaint):
        decode_artifact(artifact(header))


def test_a_nested_safetensors_header_is_refused():
    content = (100_000).to_bytes(8, "little") + b"[" * 100_000
    with pytest.raises(ArtifactError, match="nested too deep"):
        decode_artifact(MAGIC + compress(content, Quantization(compressor="zlib")))


def test_codes_of_one_dimension_do_not_multiply_with_their_scales():
    codes = {"a": torch.zeros(2**16, dtype=torch.int8), "a.row_scale": torch.zeros(2**16)}
    with pytest.raises(ArtifactError, match="integer codes need one scale per row"):
        decode_artifact(artifact(stored=codes))


def test_a_model_of_terabytes_is_compared_with_the_stored_tensors_and_not_built():
    wide = Model(num_layers=900, model_dim=2**20, mlp_hidden=2**20, num_heads=8, num_kv_heads=4)
    with pytest.raises(ArtifactError, match=r"the file holds others\n  a: \(2,\), expected no such tensor"):
        require_shapes("the file", wide, 2**20, {"a": torch.zeros(2)}, "holds others")
