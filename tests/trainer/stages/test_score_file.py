"""Files of the lineage are read safely and score as the weights they hold."""

import json
import lzma
import random
import zlib

import brotli
import pytest
import torch
import zstandard

from tests.trainer.cli import trainer
from tests.trainer.stages.conftest import small
from trainer.nn.gpt import GPT
from trainer.quant.lineage_files import read_lineage_file
from trainer.spec.errors import ArtifactError
from trainer.stages.score_file import model_of_file, score_file
from trainer.stages.train import initial_model
from trainer.store.local import StageStore

WRAPPERS = {
    "zlib": zlib.compress,
    "lzma": lzma.compress,
    "zstd": zstandard.ZstdCompressor().compress,
    "brotli": lambda data: brotli.compress(b"BSHF\x02" + data[0::2] + data[1::2]),
}


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    model, generator = initial_model(small(), torch.device("cpu")), torch.Generator().manual_seed(0)
    return {n: w + 0.1 * torch.randn(w.shape, generator=generator) for n, w in model.state_dict().items()}


def per_row(weight):
    scale = (weight.abs().amax(dim=1) / 31).half()
    return (weight / scale.float()[:, None]).round().to(torch.int8), scale


def pr150_container(state) -> dict:
    matrices = {name for name, w in state.items() if w.ndim == 2 and name.startswith("blocks") and "attn.c" in name}
    pairs = {name: per_row(state[name]) for name in matrices}
    return {
        "__quant_format__": "int6_clean_per_row_v1",
        "quantized": {name: pair[0] for name, pair in pairs.items()},
        "scales": {name: pair[1] for name, pair in pairs.items()},
        "dtypes": dict.fromkeys(matrices, "float32"),
        "passthrough": {name: w for name, w in state.items() if name not in matrices},
    }


def pr549_container(state) -> dict:
    stored, meta = {}, {}
    for name, weight in state.items():
        if name.startswith("blocks") and ".mlp." in name:
            stored[f"{name}.q"], stored[f"{name}.scale"] = per_row(weight)
            meta[name] = {"type": "int6"}
        else:
            stored[name] = weight
            meta[name] = "passthrough"
    return {"w": stored, "m": meta}


def saved(path, content, wrap=lambda data: data):
    torch.save(content, path)
    path.write_bytes(wrap(path.read_bytes()))
    return path


def test_a_checkpoint_gives_back_its_weights(state, tmp_path):
    loaded = read_lineage_file(saved(tmp_path / "final_model.pt", {n: w.bfloat16() for n, w in state.items()}))
    assert {name: w.dtype for name, w in loaded.items()} == dict.fromkeys(state, torch.float32)
    assert all(torch.equal(loaded[name], state[name].bfloat16().float()) for name in state)


@pytest.mark.parametrize("container", [pr150_container, pr549_container])
@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_a_quantised_container_gives_its_weights_to_half_a_step(state, tmp_path, container, wrapper):
    loaded = read_lineage_file(saved(tmp_path / "final_model.int6.ptz", container(state), WRAPPERS[wrapper]))
    assert set(loaded) == set(state)
    for name, weight in state.items():
        step = weight.abs().amax() / 31
        assert (loaded[name] - weight).abs().max() <= 0.51 * step, name
    assert not all(torch.equal(loaded[name], state[name]) for name in state)


def test_banks_are_cut_back_into_layers(state, tmp_path):
    roles = {
        "qo_bank": ("attn.c_q", "attn.proj"),
        "kv_bank": ("attn.c_k", "attn.c_v"),
        "mlp_up_bank": ("mlp.fc",),
        "mlp_down_bank": ("mlp.proj",),
    }
    layers = range(small().model.num_layers)
    banked = {b: torch.stack([state[f"blocks.{i}.{r}.weight"] for r in rs for i in layers]) for b, rs in roles.items()}
    inside = {f"blocks.{i}.{r}.weight" for rs in roles.values() for r in rs for i in layers}
    rest = {name: weight for name, weight in state.items() if name not in inside}
    loaded = read_lineage_file(saved(tmp_path / "final_model.pt", banked | rest))
    assert set(loaded) == set(state)
    assert all(torch.equal(loaded[name], state[name]) for name in state)


class Evil:
    def __reduce__(self):
        return (print, ("executed",))


def test_a_file_that_would_execute_is_refused(tmp_path, capsys):
    with pytest.raises(ArtifactError, match="holds no lineage checkpoint"):
        read_lineage_file(saved(tmp_path / "evil.pt", {"x": Evil()}))
    assert "executed" not in capsys.readouterr().out


@pytest.mark.parametrize("data", [b"", b"hello", b"PK\x03\x04 no zip", zlib.compress(b"no pickle")])
def test_a_file_of_another_kind_is_refused(tmp_path, data):
    (tmp_path / "x.ptz").write_bytes(data)
    with pytest.raises(ArtifactError, match="holds no lineage checkpoint"):
        read_lineage_file(tmp_path / "x.ptz")


def lacking_scale(state):
    content = pr150_container(state)
    del content["scales"]["blocks.0.attn.c_q.weight"]
    return content


DAMAGED = {
    "codes without their scale": lacking_scale,
    "scales of another shape": lambda s: pr150_container(s) | {"scales": dict.fromkeys(s, torch.ones(3))},
    "no tensor": lambda s: pr150_container(s) | {"passthrough": {"smear.gate": "text"}},
    "w that is no mapping": lambda s: {"w": [1, 2], "m": {}},
    "a bank of an odd number of layers": lambda s: {"kv_bank": torch.ones(1, 4, 4)},
    "a number that is not finite": lambda s: {**s, "smear.gate": torch.full((64,), float("nan"))},
    "nothing": lambda s: {},
    "a list": lambda s: [torch.ones(1)],
    "numbers for names": lambda s: {1: torch.ones(1), "a": torch.ones(2)},
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_a_damaged_container_is_reported_in_a_message(state, tmp_path, damage):
    with pytest.raises(ArtifactError, match="x.ptz"):
        model_of_file(saved(tmp_path / "x.ptz", DAMAGED[damage](state), zlib.compress), small())


@pytest.mark.parametrize("wrapper", WRAPPERS)
@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_a_file_cut_short_is_refused(state, tmp_path, wrapper, share):
    path = saved(tmp_path / "x.ptz", pr549_container(state), WRAPPERS[wrapper])
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(ArtifactError, match="holds no lineage checkpoint"):
        read_lineage_file(path)


def read_or_told(path):
    """The weights, or the message of the error."""
    try:
        return read_lineage_file(path), ""
    except ArtifactError as error:
        return {}, str(error)


@pytest.mark.parametrize("seed", range(40))
def test_a_file_with_bytes_changed_is_read_or_refused(state, tmp_path, seed):
    path, draw = saved(tmp_path / "x.pt", dict(list(state.items())[:3])), random.Random(seed)
    data = bytearray(path.read_bytes())
    for _ in range(20):
        data[draw.randrange(len(data))] = draw.randrange(256)
    path.write_bytes(data)
    weights, complaint = read_or_told(path)
    assert bool(weights) != bool(complaint)
    assert all(weight.isfinite().all() for weight in weights.values())
    assert not complaint or complaint.startswith(str(path))


def test_tensors_of_another_model_are_reported_by_name(state, tmp_path):
    path = saved(
        tmp_path / "x.pt",
        {name: w for name, w in state.items() if name != "smear.gate"} | {"extra": state["smear.gate"]},
    )
    with pytest.raises(ArtifactError, match=r"smear.gate: missing, expected \(64,\)"):
        model_of_file(path, small())


def test_a_checkpoint_scores_as_the_model_it_holds(state, tmp_path, text_store):
    path = saved(tmp_path / "final_model.pt", state)
    scores = score_file(path, small(), StageStore(text_store), lambda fraction: None)
    model = GPT(small().model, small().data.vocab_size)
    model.load_state_dict(state)
    other = score_file(saved(tmp_path / "same.pt", model.state_dict()), small(), StageStore(text_store), lambda _: None)
    assert scores.val_bpb == other.val_bpb
    adapted = score_file(
        path,
        small(ttt__mode="score_first", ttt__lr=0.01, ttt__chunk_tokens=128),
        StageStore(text_store),
        lambda _: None,
    )
    assert adapted.val_bpb < scores.val_bpb


def test_the_command_prints_the_score(state, tmp_path, text_store):
    path = saved(tmp_path / "final_model.pt", state)
    changes = [part for item in ("data.val_bytes=1", "budget.train_steps=30") for part in ("--set", item)]
    done = trainer("score", path, "--preset", "tiny", "--store", text_store, *changes)
    assert done.exit_code == 0, done.output
    assert "val_bpb" in done.output
    printed = trainer("score", path, "--preset", "tiny", "--store", text_store, *changes, "--format", "json")
    assert f"{json.loads(printed.stdout)[0]['val_bpb']:.6f}" in done.output
