"""Is every switch of a recipe alive? Found out in seconds, on the nano sibling, through the real stages.

PR #150 carried a table whose gradient was exactly zero, a late phase that the compiler had folded away, and snapshots
that nobody used. Each of these leaves numbers bit for bit unchanged, so that is what is looked for: a parameter whose
gradient is zero over all steps, and a switch without which its stage leaves the very same bits. The schedule passes
every late phase. Nothing about quality is claimed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

from trainer.liveness.bench import COMPRESSOR, GRAD_CLIP, STEPS, Bench, Finding, differs, same_weights
from trainer.liveness.compiled import CAPTURE, compiled_findings
from trainer.quant.artifact import decode_artifact
from trainer.quant.packing import storage_of, weight_transform
from trainer.spec.field_index import disabled_by, value_at
from trainer.spec.nano import SEQ_TOKENS
from trainer.spec.recipe import Recipe
from trainer.stages.adapt import adapt
from trainer.stages.evaluate import NLL, evaluate
from trainer.stages.export import ARTIFACT, averaged_weights, export
from trainer.stages.train import initial_model, train_model
from trainer.stages.weights import build_model, load_weights

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
    "model.tie_embeddings": True,
    "data.loader": "sequential",
    "optimizer.muon.weight_decay": 0.0,
    "optimizer.muon.momentum_warmup_steps": 0,
    "optimizer.muon.ns_coefficients": "fixed",
    "optimizer.muon.row_normalize": False,
    "optimizer.adam.embed_weight_decay": 0.0,
    "optimizer.adam.scalar_weight_decay": 0.0,
    "optimizer.embed_projections": "muon",
    "optimizer.bigram_table": "embed",
    GRAD_CLIP: 0.0,
    "quantization.qat": "off",
}
"""Switches of the train stage, and the value at which each is off."""
START_SWITCHES: Mapping[str, Any] = {"model.init": "default", "model.bigram_projection_init": "scaled"}
"""Switches of the weights before the first step."""
EXPORT_SWITCHES: Mapping[str, Any] = {
    "averaging.use": "none",
    "quantization.embedding": "float16",
    "quantization.controls": "float32",
    "quantization.tables": "matrix_bits",
    "quantization.method": "nearest",
    "quantization.clip_search_in": "everywhere",
    COMPRESSOR: "zstd",
}
LATE_SWITCHES = ("model.recur_loops", "quantization.qat")
"""Switches that may act only late in a run; all others show within a few steps."""
FEW_STEPS = 2


def check_liveness(
    recipe: Recipe, report: Callable[[Finding], None] = lambda finding: None, compiler: str = CAPTURE
) -> list[Finding]:
    """Everything that is dead or alive in a recipe's nano sibling; `report` hears of each finding at once.

    compiler:  torch's name of the back end that compiled training is tried with
    """
    findings: list[Finding] = []
    torch.set_num_threads(1)
    with TemporaryDirectory(prefix="liveness-") as folder:
        bench = Bench(Path(folder), recipe)
        for check in (_training, _quantized_forward, _exporting, _scoring):
            for finding in check(bench):
                report(finding)
                findings.append(finding)
        late = _switched_on(recipe, {key: TRAIN_SWITCHES[key] for key in LATE_SWITCHES})
        for finding in compiled_findings(Path(folder) / "compiled", recipe, late, compiler):
            report(finding)
            findings.append(finding)
    return findings


def _training(bench: Bench) -> list[Finding]:
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
        found.append(differs(key, off, "the trained weights", not same_weights(kept[how], weights)))
    return found + _initialisation(bench)


def _initialisation(bench: Bench) -> list[Finding]:
    found = []
    for key, off in _switched_on(bench.recipe, START_SWITCHES).items():
        other = initial_model(bench.without(key, off), torch.device("cpu")).state_dict()
        found.append(differs(key, off, "the initial weights", not same_weights(bench.start, other)))
    return found


def _quantized_forward(bench: Bench) -> list[Finding]:
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


def _exporting(bench: Bench) -> list[Finding]:
    """Every switch of the export; all but the compressor are compared under a quick one."""
    found = []
    artifact = (bench.context(bench.recipe).folder("export") / ARTIFACT).read_bytes()
    quick = bench.exported({})
    for key, off in _switched_on(bench.recipe, EXPORT_SWITCHES).items():
        kept = artifact if key == COMPRESSOR else quick
        found.append(differs(key, off, "the artifact", bench.exported({key: off}) != kept))
    return found


def _scoring(bench: Bench) -> list[Finding]:
    """Sliding windows against rows, and test-time training against none."""
    found = []
    plain = _nats(bench.run("evaluate", evaluate, bench.context(bench.recipe)))
    window, stride = bench.recipe.evaluation.window_tokens, bench.recipe.evaluation.stride_tokens
    if stride < window:
        other = bench.context(bench.without("evaluation.stride_tokens", window), evaluate="rows")
        rows = _nats(bench.run("evaluate", evaluate, other))
        found.append(differs("evaluation.stride_tokens", window, "the scores", not torch.equal(plain, rows)))
    if bench.recipe.ttt.mode != "off":
        adapted = _nats(bench.run("adapt", adapt, bench.context(bench.recipe)))
        found.append(differs("ttt.mode", "off", "the scores", not torch.equal(plain, adapted)))
    return found


def _switched_on(recipe: Recipe, switches: Mapping[str, Any]) -> dict[str, Any]:
    """The switches that are on in the recipe and have an effect, with their off values."""

    def is_on(key: str, off: Any) -> bool:
        value = value_at(recipe, key)
        return (list(value) if isinstance(value, tuple) else value) != off and disabled_by(recipe, key) is None

    return {key: off for key, off in switches.items() if is_on(key, off)}


def _nats(folder: Path) -> Tensor:
    return load_weights(folder / NLL, torch.device("cpu"))["nll"]
