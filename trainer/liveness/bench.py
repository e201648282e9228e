"""Runs of the liveness check: stages of a recipe's nano sibling, with changed values, on this package's source as text.

Everything runs on one CPU thread in a temporary folder. `check` and `compiled` compare the results.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainer.data.shards import write_split
from trainer.data.tokenizer import Tokenizer, train_tokenizer
from trainer.liveness.switches import COMPRESSOR, GRAD_CLIP
from trainer.nn.gpt import GPT
from trainer.spec.load import with_values
from trainer.spec.nano import SEQ_TOKENS, nano_values
from trainer.spec.recipe import Recipe
from trainer.spec.stage_table import ARTIFACT_FILE, TOKENIZER_FILE
from trainer.stages.context import StageContext
from trainer.stages.export import export
from trainer.stages.train import LAST, initial_model, train_model
from trainer.stages.weights import load_weights
from trainer.store.local import StageStore

STEPS, WARMDOWN_STEPS = 7, 5
BATCH_ROWS, VOCAB_SIZE, VAL_TOKENS = 2, 400, 1_300


@dataclass(frozen=True)
class Finding:
    """Result for one gradient or switch: alive, or dead with the reason."""

    name: str
    alive: bool
    reason: str = ""


class Bench:
    """The nano recipe, its text, and a store in which stages of changed recipes have chosen names as fingerprints.

    original:  the recipe as given; `recipe` is its nano sibling
    """

    def __init__(self, folder: Path, recipe: Recipe):
        self.store = StageStore(folder)
        self.text = folder / "text"
        self.original = recipe
        self.recipe = with_values(recipe, _small(recipe, self.text), "check")
        _write_text(self.text)
        tokenizer = self.store.folder("train_text", "text") / TOKENIZER_FILE
        tokenizer.parent.mkdir(parents=True)
        tokenizer.write_bytes((self.text / TOKENIZER_FILE).read_bytes())
        self.start = initial_model(self.recipe, torch.device("cpu")).state_dict()

    def without(self, key: str, off: Any) -> Recipe:
        """The nano recipe with one switch off."""
        return with_values(self.recipe, {key: off}, "check")

    def trained(self, changes: Mapping[str, Any], steps: int, clipped: bool) -> dict[str, Tensor]:
        """Last weights of a training of the changed nano recipe from the common initial weights.

        clipped:  whether gradients are clipped as the recipe says, or not at all
        """
        few = {"budget.train_steps": steps, "averaging.swa_min_step": 0} | ({} if clipped else {GRAD_CLIP: 0.0})
        recipe = with_values(self.recipe, {**few, **changes}, "check")
        context = self.context(recipe, train=f"{steps}-{clipped}-{'-'.join(changes)}")
        return last_weights(self.run("train", train_model, context, self.started(recipe)))

    def context(self, recipe: Recipe, **names: str) -> StageContext:
        """A context in which each stage's folder has the name given for it in `names`, or is named 'on'."""
        stages = ("train", "export", "evaluate", "adapt")
        fingerprints = {"train_text": "text", "val_text": "text"} | dict.fromkeys(stages, "on") | names
        return StageContext(recipe, "check", self.store, fingerprints)

    def run(self, stage: str, work: Callable[..., Any], context: StageContext, *extra: Any) -> Path:
        """Runs a stage and returns its folder."""
        folder = context.folder(stage)
        folder.mkdir(parents=True)
        work(context, folder, *extra)
        return folder

    def exported(self, changes: Mapping[str, Any]) -> bytes:
        """The artifact of the changed recipe from the trained weights, with a fast compressor."""
        recipe = with_values(self.recipe, {COMPRESSOR: "zstd", "quantization.zstd_level": 1, **changes}, "check")
        context = self.context(recipe, export=f"quick-{'-'.join(changes)}")
        return (self.run("export", export, context) / ARTIFACT_FILE).read_bytes()

    def started(self, recipe: Recipe) -> GPT:
        """A model of `recipe` with the common initial weights; tensors that it adds or reshapes start as usual."""
        model = initial_model(recipe, torch.device("cpu"))
        own = model.state_dict()
        common = {name: value for name, value in self.start.items() if name in own and own[name].shape == value.shape}
        model.load_state_dict(own | common)
        return model


def last_weights(folder: Path) -> dict[str, Tensor]:
    """The weights after the last step, from a training's folder."""
    return load_weights(folder / LAST, torch.device("cpu"))


def same_weights(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    """Whether the tensors that both have, in equal shapes, are the same bit for bit."""
    common = [name for name in one if name in other and one[name].shape == other[name].shape]
    return all(torch.equal(one[name], other[name]) for name in common)


def differs(key: str, other: Any, what: str, alive: bool) -> Finding:
    """The finding of one switch, after a comparison with another value, usually off."""
    return Finding(key, alive, "" if alive else f"{what} are the same bits with {key} = {other!r}")


def _small(recipe: Recipe, text: Path) -> dict[str, Any]:
    """What turns the recipe into its nano sibling with fewer rows per step, on the given text, by dotted key."""
    return nano_values(recipe) | {
        "data.source": "shards",
        "data.folder": str(text),
        "data.tokenizer": str(text / TOKENIZER_FILE),
        "data.vocab_size": VOCAB_SIZE,
        "data.train_batch_tokens": BATCH_ROWS * SEQ_TOKENS,
        "data.micro_batches": 1,
        "budget.train_steps": STEPS,
        "schedule.warmdown_steps": min(recipe.schedule.warmdown_steps, WARMDOWN_STEPS),
        "quantization.calibration_batches": 1,
        "ttt.chunk_tokens": 4 * SEQ_TOKENS,
        "ttt.epochs": 1,
        "budget.artifact_bytes": 16_000_000,
        "optimizer.muon.ns_dtype": "float32",  # faster on a CPU
        "system.compile": "off",
    }


def _write_text(folder: Path) -> None:
    """Writes a tokenizer and shards of this package's source."""
    model, tokens, bos_id = _source_tokens()
    folder.mkdir(parents=True)
    (folder / TOKENIZER_FILE).write_bytes(model)
    write_split(folder, "train", [tokens[VAL_TOKENS:]], bos_id, VOCAB_SIZE)
    write_split(folder, "val", [tokens[:VAL_TOKENS]], bos_id, VOCAB_SIZE)


@functools.cache
def _source_tokens() -> tuple[bytes, NDArray[np.int_], int]:
    """A tokenizer trained on this package's source, the source in its tokens, and the id that begins a document."""
    sources = sorted(Path(__file__).parents[1].rglob("*.py"))
    texts = [path.read_text(encoding="utf-8") for path in sources]
    model = train_tokenizer(texts, VOCAB_SIZE)
    tokenizer = Tokenizer(model)
    return model, np.concatenate([tokenizer.encode(text) for text in texts]), tokenizer.bos_id
