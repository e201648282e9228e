"""Which tensor is stored how, and that training, export and loading mean the same."""

from __future__ import annotations

import pytest
import torch

from trainer.quant.fake_quant import dequantize_rows, quantize_rows
from trainer.quant.packing import pack, storage_of, unpack, weight_transform
from trainer.spec.errors import ArtifactError
from trainer.spec.recipe import Quantization

SMALL = Quantization(min_elements=32)


def small_state() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    shapes = {
        "tok_emb.weight": (16, 4),
        "bigram.embed.weight": (12, 4),
        "bigram.scale": (),
        "skip_weights": (5, 8),
        "blocks.0.attn.c_q.weight": (8, 8),
        "blocks.0.attn.c_k.weight": (4, 8),
        "blocks.0.resid_mix": (2, 64),
    }
    return {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}


@pytest.mark.parametrize(
    ("name", "shape", "expected"),
    [
        ("blocks.3.mlp.fc.weight", (1536, 512), "int6"),
        ("blocks.3.attn.c_k.weight", (128, 512), "float16"),  # 65,536 weights are not more than 65,536
        ("blocks.3.attn.c_v.weight", (129, 512), "int6"),
        ("bigram.embed.weight", (2048, 128), "int6"),
        ("head.weight", (1024, 512), "int6"),
        ("tok_emb.weight", (1024, 512), "float16"),
        ("blocks.3.resid_mix", (2, 65_536), "float32"),
        ("some.large.vector", (100_000,), "float32"),
    ],
)
def test_storage_of_the_tensors_of_pr150(name, shape, expected):
    assert storage_of(name, shape, Quantization()) == expected


def test_bits_go_by_the_role_of_a_matrix():
    quantization = Quantization(mlp_bits=5, attention_bits=7, tables="int8")
    names = ("blocks.3.mlp.fc.weight", "blocks.3.mlp.proj.weight", "blocks.3.attn.c_q.weight", "bigram.embed.weight")
    assert [storage_of(name, (512, 512), quantization) for name in names] == ["int5", "int5", "int7", "int8"]
    alone = Quantization(mlp_bits=5)
    assert [storage_of(name, (512, 512), alone) for name in names] == ["int5", "int5", "int6", "int6"]


def test_matrices_of_the_keep_list_stay_float16():
    quantization = Quantization(keep_float16=["blocks.8.attn.c_k.weight"])
    assert storage_of("blocks.8.attn.c_k.weight", (512, 512), quantization) == "float16"
    assert storage_of("blocks.7.attn.c_k.weight", (512, 512), quantization) == "int6"


def test_codes_of_few_bits_stay_in_their_range_and_training_sees_them():
    quantization = Quantization(min_elements=32, mlp_bits=4)
    weight = {"blocks.0.mlp.fc.weight": torch.randn(16, 64, generator=torch.Generator().manual_seed(3))}
    stored = pack(weight, quantization)
    assert stored["blocks.0.mlp.fc.weight"].abs().max() == 7
    transformed = weight_transform(quantization)("blocks.0.mlp.fc.weight", weight["blocks.0.mlp.fc.weight"])
    assert torch.equal(transformed, unpack(stored)["blocks.0.mlp.fc.weight"])


def test_the_embedding_follows_its_own_switch_whatever_its_size():
    assert storage_of("tok_emb.weight", (4, 4), Quantization(embedding="int8")) == "int8"
    assert storage_of("tok_emb.weight", (4, 4), Quantization(embedding="int7")) == "int7"
    assert storage_of("tok_emb.weight", (4096, 512), Quantization(embedding="float16")) == "float16"


def test_controls_are_float16_where_the_recipe_says_so():
    quantization = Quantization(min_elements=32, controls="float16")
    assert storage_of("blocks.3.attn_scale", (512,), quantization) == "float16"
    assert storage_of("bigram.scale", (), quantization) == "float16"
    assert pack(small_state(), quantization)["skip_weights"].dtype == torch.float16


def test_gates_of_two_dimensions_are_int8_by_their_rows_maximum_whatever_the_rule_of_matrices():
    quantization = Quantization(min_elements=32, gates="int8", scale="sdclip", clip_stds=3.0)
    state = small_state()
    stored, loaded = pack(state, quantization, coarser=2.0), unpack(pack(state, quantization, coarser=2.0))
    for name in ("skip_weights", "blocks.0.resid_mix"):
        codes, scales = quantize_rows(state[name], 8)
        assert torch.equal(stored[name], codes)
        assert torch.equal(loaded[name], dequantize_rows(codes, scales))
    assert stored["bigram.scale"].dtype == torch.float32
    search = Quantization(gates="int8", method="clip_search")
    assert all(torch.equal(pack(state, search)[name], stored[name]) for name in ("skip_weights", "blocks.0.resid_mix"))


def test_the_clip_search_leaves_int8_tables_alone_where_it_is_of_the_blocks():
    heavy = torch.randn(48, 512, generator=torch.Generator().manual_seed(2)) ** 5  # rows that a clip serves better
    state = {"tok_emb.weight": heavy, "bigram.embed.weight": heavy, "blocks.0.attn.c_q.weight": heavy}
    nearest = Quantization(min_elements=32, embedding="int8", tables="int8", matrix_bits=8)
    search = nearest.model_copy(update={"method": "clip_search", "clip_search_in": "blocks"})
    plain, searched = pack(state, nearest), pack(state, search)
    changed = {name for name in state if not torch.equal(plain[name], searched[name])}
    assert changed == {"blocks.0.attn.c_q.weight"}
    everywhere = pack(state, search.model_copy(update={"clip_search_in": "everywhere"}))
    assert not torch.equal(everywhere["tok_emb.weight"], plain["tok_emb.weight"])
    transform = weight_transform(search)
    assert all(torch.equal(transform(name, weight), unpack(searched)[name]) for name, weight in state.items())


def test_unpacking_gives_the_rounded_weights_exactly():
    state = small_state()
    loaded = unpack(pack(state, SMALL))
    assert set(loaded) == set(state)
    assert torch.equal(loaded["skip_weights"], state["skip_weights"])
    assert torch.equal(loaded["tok_emb.weight"], state["tok_emb.weight"].half().float())
    rounded = dequantize_rows(*quantize_rows(state["blocks.0.attn.c_q.weight"], 6))
    assert torch.equal(loaded["blocks.0.attn.c_q.weight"], rounded)
    assert all(tensor.dtype == torch.float32 and tensor.shape == state[name].shape for name, tensor in loaded.items())


def test_an_embedding_of_7_bits_is_half_as_fine_as_one_of_8():
    state = {"tok_emb.weight": small_state()["tok_emb.weight"]}
    coarse, fine = (pack(state, Quantization(embedding=kind)) for kind in ("int7", "int8"))
    assert coarse["tok_emb.weight"].abs().max() == 63
    ratio = coarse["tok_emb.weight.row_scale"].float() / fine["tok_emb.weight.row_scale"].float()
    torch.testing.assert_close(ratio, torch.full((16,), 127 / 63), rtol=2e-3, atol=0)


@pytest.mark.parametrize("embedding", ["float16", "int8", "int7"])
def test_training_rounds_exactly_the_tensors_that_export_makes_integer(embedding):
    quantization = Quantization(min_elements=32, embedding=embedding)
    state, stored = small_state(), pack(small_state(), quantization)
    loaded, transform = unpack(stored), weight_transform(quantization)
    for name, weight in state.items():
        is_integer = stored[name].dtype == torch.int8
        assert torch.equal(transform(name, weight), loaded[name] if is_integer else weight), name
    assert sum(tensor.dtype == torch.int8 for tensor in stored.values()) == (2 if embedding == "float16" else 3)


def test_packing_what_was_unpacked_changes_nothing():
    once = pack(small_state(), SMALL)
    again = pack(unpack(once), SMALL)
    assert all(torch.equal(tensor, again[name]) for name, tensor in once.items())


@pytest.mark.parametrize(
    ("tensor", "complaint"),
    [
        (torch.ones(3, 3, dtype=torch.int64), r"w\.weight: torch.int64 cannot be stored"),
        (torch.full((3, 3), 1e6), r"w\.weight: reaches 1e\+06; float16 allows at most 65504"),
        (torch.full((3,), float("nan")), r"w\.weight: reaches nan"),
    ],
)
def test_what_cannot_be_stored_is_refused_by_name(tensor, complaint):
    with pytest.raises(ArtifactError, match=complaint):
        pack({"w.weight": tensor}, SMALL)


def test_codes_without_scales_are_refused():
    stored = pack(small_state(), SMALL)
    del stored["blocks.0.attn.c_q.weight.row_scale"]
    with pytest.raises(ArtifactError, match="one scale per row"):
        unpack(stored)
