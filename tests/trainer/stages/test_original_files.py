"""Files with the names and shapes that the originals' own scripts write; `tests/data/originals` was made by those.

`state_dicts.json` lists the tensors of each full-size model, `*.npz` are small models with their inputs and loss.
"""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tests.trainer.cli import trainer
from trainer.data.corpus import read_stdlib
from trainer.data.shards import write_split
from trainer.data.tokenizer import Tokenizer, train_tokenizer
from trainer.spec.errors import ArtifactError
from trainer.spec.load import load_preset, parse_overrides
from trainer.stages.score_file import model_of_file

DATA = Path(__file__).parents[2] / "data"
FOLDER = DATA / "originals"
ORIGINALS = json.loads((FOLDER / "state_dicts.json").read_text())
ZERO = "model.bigram_first=zero"
TABLE = "model.bigram_buckets=2048"  # the script's own default; its published run set 1536
SCORED_AS = {  # the preset, and what else says that the model is the original's
    "baseline": ("baseline",),
    "pr150_v12": ("pr150_v12", ZERO),
    "pr150_v21": ("pr150_v21", ZERO),
    "pr338_v24": ("pr338_v24",),
    "pr549": ("pr549", TABLE),
    "pr1394": ("pr1413", "ttt.mode=off"),
    "pr1413": ("pr1413",),
    "pr1493": ("pr1493",),
}
WORDS = "def score(file): return [line.strip() for line in file]\n"


def shapes_of(original: str) -> dict[str, list[int]]:
    """Shape of every tensor; one line stands for all blocks."""
    layers = range(ORIGINALS[original]["num_layers"])
    shapes = ORIGINALS[original]["shapes"]
    return {name.replace("*", str(layer)): shape for name, shape in shapes.items() for layer in layers}


def checkpoint(original: str, path: Path) -> Path:
    """Random weights under the original's names, as `torch.save` writes them."""
    generator = torch.Generator().manual_seed(0)
    state = {name: (0.02 * torch.randn(shape, generator=generator)) for name, shape in shapes_of(original).items()}
    torch.save({name: weight.bfloat16() for name, weight in state.items()}, path)
    return path


@pytest.fixture(scope="session")
def texts(tmp_path_factory) -> dict[int, list[str]]:
    """Shards of a few words under a vocabulary of 1024 and under the published one of 8192, as overrides."""
    folder = tmp_path_factory.mktemp("texts")
    models = {
        1024: train_tokenizer([document.text for document in read_stdlib().train[:80]], 1024),
        8192: (DATA / "fineweb_8192_bpe.model").read_bytes(),
    }
    overrides = {}
    for vocab_size, model in models.items():
        path, tokenizer = folder / f"{vocab_size}.model", Tokenizer(model)
        path.write_bytes(model)
        for split, text in (("train", WORDS), ("val", WORDS + WORDS)):
            write_split(folder / str(vocab_size), split, [tokenizer.encode(text)], tokenizer.bos_id, vocab_size)
        overrides[vocab_size] = [f"data.folder={folder / str(vocab_size)}", f"data.tokenizer={path}"]
    return overrides


def score(path: Path, preset: str, *overrides: str, store: Path):
    changes = [part for override in overrides for part in ("--set", override)]
    return trainer("score", path, "--preset", preset, "--store", store, "--format", "json", *changes)


@pytest.mark.parametrize("original", SCORED_AS)
def test_a_file_with_the_names_and_shapes_of_an_original_scores(original, texts, tmp_path):
    preset, *overrides = SCORED_AS[original]
    path = checkpoint(original, tmp_path / "final_model.pt")
    text = texts[load_preset(preset).recipe.data.vocab_size]
    done = score(path, preset, *overrides, *text, "model.compute_dtype=float32", store=tmp_path / "runs")
    assert done.exit_code == 0, done.exception
    assert json.loads(done.stdout)[0]["val_bpb"] > 1


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.npz")), ids=lambda path: path.stem)
def test_a_file_of_an_original_has_the_loss_that_its_script_has(path, tmp_path):
    golden = np.load(path)
    config = json.loads(str(golden["config"]))
    state = {n.removeprefix("param/"): torch.tensor(golden[n]) for n in golden.files if n.startswith("param/")}
    torch.save(state, tmp_path / "final_model.pt")
    recipe = load_preset(config["preset"], parse_overrides(config["sets"])).recipe
    model = model_of_file(tmp_path / "final_model.pt", recipe)
    ids_BT, targets_BT = (torch.tensor(golden[name].astype(np.int64)) for name in ("x", "y"))
    with torch.no_grad():
        loss = F.cross_entropy(model(ids_BT).flatten(0, 1), targets_BT.flatten())
    assert loss.item() == pytest.approx(float(golden["loss"]), rel=5e-7)


def test_a_value_table_as_wide_as_the_values_has_no_projection(tmp_path):
    """#549's script leaves the projection out where the widths agree, as it does for the bigram table."""
    state = torch.load(checkpoint("pr549", tmp_path / "x.pt"), weights_only=True)
    del state["ve_shared.proj.weight"]
    width = state["kv_bank"].shape[1]
    state["ve_shared.embed.weight"] = torch.zeros(1024, width)
    torch.save(state, tmp_path / "x.pt")
    changes = {"model.value_embed_dim": width, "model.bigram_buckets": 2048}
    model = model_of_file(tmp_path / "x.pt", load_preset("pr549", changes).recipe)
    assert model.ve_shared.proj is None


def test_a_file_of_two_lanes_is_refused_by_the_name_of_their_merge(tmp_path):
    path = checkpoint("pr1477", tmp_path / "final_model.pt")
    with pytest.raises(ArtifactError, match=r"lane_merge.*two residual lanes.*model.parallel_residual"):
        model_of_file(path, load_preset("pr1413").recipe)


def test_the_example_of_the_help_works_on_a_file_of_its_original(texts, tmp_path, monkeypatch):
    example = " ".join(trainer("score", "--help").output.split()).partition("python -m trainer ")[2].split()
    monkeypatch.chdir(tmp_path)
    checkpoint("pr150_v21", tmp_path / example[1])
    data = [part for change in texts[1024] for part in ("--set", change)]
    assert trainer(*example, *data).exit_code == 0
