"""Is every switch of a recipe alive? Found out in seconds, on the nano sibling, through the real stages.

PR #150 carried a table whose gradient was exactly zero, a late phase that the compiler had folded away, and snapshots
that nobody used. Each of these leaves numbers bit for bit unchanged, so that is what is looked for: a parameter whose
gradient is zero over all steps, and a switch without which its stage leaves the very same bits. The schedule passes
every late phase. Nothing about quality is claimed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trainer.data.shards import write_split
from trainer.data.tokenizer import Tokenizer, train_tokenizer
from trainer.nn.gpt import GPT
from trainer.quant.artifact import decode_artifact
from trainer.quant.packing import storage_of, weight_transform
from trainer.spec.fields import disabled_by, value_at
from trainer.spec.load import with_values
from trainer.spec.nano import SEQ_TOKENS, nano_values
from trainer.spec.recipe import Recipe
from trainer.stages.adapt import adapt
from trainer.stages.cache import StageStore
from trainer.stages.context import StageContext
from trainer.stages.evaluate import NLL, evaluate
from trainer.stages.export import ARTIFACT, averaged_weights, export
from trainer.stages.prepare import TOKENIZER
from trainer.stages.train import LAST, initial_model, train_model
from trainer.stages.weights import build_model, load_weights

GRAD_CLIP, COMPRESSOR = "optimizer.grad_clip", "quantization.compressor"
TRAIN_SWITCHES: Mapping[str, Any] = {
    "model.activation": "relu2",
    "model.rope_dims": 0,
    "model.rope_native_tokens": 0,
    "model.xsa_layers": [],
    "model.ln_scale": False,
    "model.smear_gate": "off",
    "model.bigram_buckets": 0,
    "model.value_embed_dim": 0,
    "model.skip_gates": False,
    "model.parallel_residual": "off",
    "model.recur_loops": 0,
    "data.loader": "sequential",
    "optimizer.muon.weight_decay": 0.0,
    "optimizer.muon.momentum_warmup_steps": 0,
    "optimizer.muon.ns_coefficients": "fixed",
    "optimizer.muon.row_normalize": False,
    "optimizer.adam.embed_weight_decay": 0.0,
    "optimizer.adam.scalar_weight_decay": 0.0,
    "optimizer.embed_projections": "muon",
    GRAD_CLIP: 0.0,
    "quantization.qat": "off",
}
"""Switches of the train stage, and the value at which each is off."""
EXPORT_SWITCHES: Mapping[str, Any] = {
    "averaging.use": "none",
    "quantization.embedding": "float16",
    "quantization.tables": "matrix_bits",
    "quantization.method": "nearest",
    COMPRESSOR: "zstd",
}
LATE_SWITCHES = frozenset({"model.recur_loops", "quantization.qat"})
"""Switches that may act only late in a run; all others show within a few steps."""
STEPS, FEW_STEPS, WARMDOWN_STEPS = 7, 3, 5
BATCH_ROWS, VOCAB_SIZE, VAL_TOKENS = 2, 400, 1_300


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at: alive, or dead and why."""

    name: str
    alive: bool
    reason: str = ""


def check_liveness(recipe: Recipe, report: Callable[[Finding], None] = lambda finding: None) -> list[Finding]:
    """Everything that is dead or alive in a recipe's nano sibling; `report` hears of each finding at once."""
    findings: list[Finding] = []
    torch.set_num_threads(1)
    with TemporaryDirectory(prefix="liveness-") as folder:
        bench = _Bench(Path(folder), recipe)
        for check in (_training, _quantized_forward, _exporting, _scoring):
            for finding in check(bench):
                report(finding)
                findings.append(finding)
    return findings


class _Bench:
    """The nano recipe on the package's own source as text, and its stages under names of our choice."""

    def __init__(self, folder: Path, recipe: Recipe):
        self.store = StageStore(folder)
        self.text = folder / "text"
        self.recipe = with_values(recipe, _small(recipe, self.text), "check")
        _write_text(self.text)
        tokenizer = self.store.folder("train_text", "text") / TOKENIZER
        tokenizer.parent.mkdir(parents=True)
        tokenizer.write_bytes((self.text / TOKENIZER).read_bytes())
        self.start = initial_model(self.recipe, torch.device("cpu")).state_dict()

    def without(self, key: str, off: Any) -> Recipe:
        return with_values(self.recipe, {key: off}, "check")

    def trained(self, changes: Mapping[str, Any], steps: int, clipped: bool) -> dict[str, Tensor]:
        """The last weights of the changed recipe after so many steps from the common start."""
        few = {"budget.train_steps": steps, "averaging.swa_min_step": 0} | ({} if clipped else {GRAD_CLIP: 0.0})
        recipe = with_values(self.recipe, {**few, **changes}, "check")
        context = self.context(recipe, train=f"{steps}-{clipped}-{'-'.join(changes)}")
        return _last_weights(self.run("train", train_model, context, self.started(recipe)))

    def context(self, recipe: Recipe, **marks: str) -> StageContext:
        """A context in which each stage's folder has the given name, 'on' unless told otherwise."""
        stages = ("train", "export", "evaluate", "adapt")
        fingerprints = {"train_text": "text", "val_text": "text"} | dict.fromkeys(stages, "on") | marks
        return StageContext(recipe, "check", self.store, fingerprints)

    def run(self, stage: str, work: Callable[..., Any], context: StageContext, *extra: Any) -> Path:
        folder = context.folder(stage)
        folder.mkdir(parents=True)
        work(context, folder, *extra)
        return folder

    def exported(self, changes: Mapping[str, Any]) -> bytes:
        """The artifact of the changed recipe from the kept weights, by a compressor that does not keep one waiting."""
        recipe = with_values(self.recipe, {COMPRESSOR: "zstd", "quantization.zstd_level": 1, **changes}, "check")
        context = self.context(recipe, export=f"quick-{'-'.join(changes)}")
        return (self.run("export", export, context) / ARTIFACT).read_bytes()

    def started(self, recipe: Recipe) -> GPT:
        """A model of `recipe` with the common start: what a switch adds or reshapes is its own."""
        model = initial_model(recipe, torch.device("cpu"))
        own = model.state_dict()
        common = {name: value for name, value in self.start.items() if name in own and own[name].shape == value.shape}
        model.load_state_dict(own | common)
        return model


def _training(bench: _Bench) -> list[Finding]:
    """Gradients of every parameter, and every switch of training."""
    model = bench.started(bench.recipe)
    moved: set[str] = set()
    for name, parameter in model.named_parameters():
        parameter.register_post_accumulate_grad_hook(lambda p, name=name: moved.add(name) if p.grad.any() else None)
    context = bench.context(bench.recipe)
    bench.run("train", train_model, context, model)
    found = [
        Finding(f"gradient of {name}", name in moved, "" if name in moved else f"exactly zero over {STEPS} steps")
        for name, _ in model.named_parameters()
    ]
    kept: dict[tuple[int, bool], dict[str, Tensor]] = {}
    for key, off in _switched_on(bench.recipe, TRAIN_SWITCHES).items():
        # The norm that clips is summed over all parameters: a dead one more would round it differently.
        how = (STEPS if key in LATE_SWITCHES else FEW_STEPS, key == GRAD_CLIP)
        if how not in kept:
            kept[how] = bench.trained({}, *how)
        weights = bench.trained({key: off}, *how)
        found.append(_differs(key, off, "the trained weights", not _same_weights(kept[how], weights)))
    return found + _initialisation(bench)


def _initialisation(bench: _Bench) -> list[Finding]:
    if bench.recipe.model.init == "default":
        return []
    other = initial_model(bench.without("model.init", "default"), torch.device("cpu")).state_dict()
    return [_differs("model.init", "default", "the initial weights", not _same_weights(bench.start, other))]


def _quantized_forward(bench: _Bench) -> list[Finding]:
    """What training with fake quantisation computed with, against what the artifact holds."""
    context = bench.context(bench.recipe)
    artifact = decode_artifact((bench.run("export", export, context) / ARTIFACT).read_bytes())
    if bench.recipe.quantization.qat == "off":
        return []
    quantization, vocab_size = bench.recipe.quantization, bench.recipe.data.vocab_size
    weights = load_weights(averaged_weights(context), torch.device("cpu"))
    integers = {name: w for name, w in weights.items() if storage_of(name, w.shape, quantization).startswith("int")}
    faked, exported = (build_model(bench.recipe.model, vocab_size, torch.device("cpu")).eval() for _ in range(2))
    faked.load_state_dict(artifact.state | integers)
    faked.set_weight_transform(weight_transform(quantization))
    exported.load_state_dict(artifact.state)
    ids_BT = torch.arange(SEQ_TOKENS).view(1, -1) % vocab_size
    with torch.no_grad():
        same = torch.equal(faked(ids_BT), exported(ids_BT))
    reason = "" if same else "the forward with fake-quantised weights differs from that with the exported ones"
    return [Finding("quantization.qat meets the export", same, reason)]


def _exporting(bench: _Bench) -> list[Finding]:
    """Every switch of the export; all but the compressor are compared under a quick one."""
    found = []
    artifact = (bench.context(bench.recipe).folder("export") / ARTIFACT).read_bytes()
    quick = bench.exported({})
    for key, off in _switched_on(bench.recipe, EXPORT_SWITCHES).items():
        kept = artifact if key == COMPRESSOR else quick
        found.append(_differs(key, off, "the artifact", bench.exported({key: off}) != kept))
    return found


def _scoring(bench: _Bench) -> list[Finding]:
    """Sliding windows against rows, and test-time training against none."""
    found = []
    plain = _nats(bench.run("evaluate", evaluate, bench.context(bench.recipe)))
    window, stride = bench.recipe.evaluation.window_tokens, bench.recipe.evaluation.stride_tokens
    if stride < window:
        other = bench.context(bench.without("evaluation.stride_tokens", window), evaluate="rows")
        rows = _nats(bench.run("evaluate", evaluate, other))
        found.append(_differs("evaluation.stride_tokens", window, "the scores", not torch.equal(plain, rows)))
    if bench.recipe.ttt.mode != "off":
        adapted = _nats(bench.run("adapt", adapt, bench.context(bench.recipe)))
        found.append(_differs("ttt.mode", "off", "the scores", not torch.equal(plain, adapted)))
    return found


def _differs(key: str, off: Any, what: str, alive: bool) -> Finding:
    return Finding(key, alive, "" if alive else f"{what} are the same bits with {key} = {off!r}")


def _switched_on(recipe: Recipe, switches: Mapping[str, Any]) -> dict[str, Any]:
    """The switches that are on in the recipe and have an effect, with their off values."""

    def is_on(key: str, off: Any) -> bool:
        value = value_at(recipe, key)
        return (list(value) if isinstance(value, tuple) else value) != off and disabled_by(recipe, key) is None

    return {key: off for key, off in switches.items() if is_on(key, off)}


def _same_weights(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    """Whether what both have in common is the same, bit for bit."""
    common = [name for name in one if name in other and one[name].shape == other[name].shape]
    return all(torch.equal(one[name], other[name]) for name in common)


def _last_weights(folder: Path) -> dict[str, Tensor]:
    return load_weights(folder / LAST, torch.device("cpu"))


def _nats(folder: Path) -> Tensor:
    return load_weights(folder / NLL, torch.device("cpu"))["nll"]


def _small(recipe: Recipe, text: Path) -> dict[str, Any]:
    """The nano sibling, cut down once more: a few rows a step, on text that needs no preparing."""
    return nano_values(recipe) | {
        "data.source": "shards",
        "data.folder": str(text),
        "data.tokenizer": str(text / TOKENIZER),
        "data.vocab_size": VOCAB_SIZE,
        "data.train_batch_tokens": BATCH_ROWS * SEQ_TOKENS,
        "data.micro_batches": 1,
        "budget.train_steps": STEPS,
        "schedule.warmdown_steps": min(recipe.schedule.warmdown_steps, WARMDOWN_STEPS),
        "quantization.calibration_batches": 1,
        "ttt.chunk_tokens": 4 * SEQ_TOKENS,
        "ttt.epochs": 1,
        "budget.artifact_bytes": 16_000_000,
    }


def _write_text(folder: Path) -> None:
    """Tokenizer and shards of this package's own source."""
    sources = sorted(Path(__file__).parent.rglob("*.py"))
    texts = [path.read_text(encoding="utf-8") for path in sources]
    folder.mkdir(parents=True)
    model = train_tokenizer(texts, VOCAB_SIZE)
    (folder / TOKENIZER).write_bytes(model)
    tokenizer = Tokenizer(model)
    tokens = np.concatenate([tokenizer.encode(text) for text in texts])
    write_split(folder, "train", [tokens[VAL_TOKENS:]], tokenizer.bos_id, VOCAB_SIZE)
    write_split(folder, "val", [tokens[:VAL_TOKENS]], tokenizer.bos_id, VOCAB_SIZE)
