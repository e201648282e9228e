"""The liveness check: does every switch of a recipe change something? Takes seconds, on the recipe's nano sibling.

PR #150 had a table whose gradient was exactly zero, a late phase that the compiler had removed, and snapshots that were
never used. All such defects leave numbers bit for bit unchanged. The check therefore runs the real stages and reports
as dead each parameter whose gradient is zero over all steps, and each switch that can be turned off without changing a
bit of what its stage leaves. It says nothing about quality. `switches` lists what is checked.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

from trainer.liveness.bench import STEPS, Bench, Finding, differs, same_weights
from trainer.liveness.compiled import CAPTURE, compiled_findings
from trainer.liveness.switches import (
    COMPRESSOR,
    DTYPE_SWITCHES,
    EXPORT_SWITCHES,
    FULL_LENGTH,
    GRAD_CLIP,
    INIT_SWITCHES,
    LATE_SWITCHES,
    TRAIN_SWITCHES,
    TTT_SWITCHES,
    plain_value,
    switched_on,
)
from trainer.quant.artifact import decode_artifact
from trainer.quant.packing import storage_of, weight_transform
from trainer.spec.nano import SEQ_TOKENS
from trainer.spec.recipe import Recipe
from trainer.spec.stage_table import ARTIFACT_FILE
from trainer.stages.adapt import adapt
from trainer.stages.compiling import is_compiled
from trainer.stages.cpu import prepare_cpu
from trainer.stages.evaluate import NLL, evaluate
from trainer.stages.export import averaged_weights, export
from trainer.stages.train import initial_model, train_model
from trainer.stages.weights import build_model, load_weights

FEW_STEPS = 2


def check_liveness(
    recipe: Recipe, report: Callable[[Finding], None] = lambda finding: None, compiler: str | None = None
) -> list[Finding]:
    """Every gradient and switch of a recipe's nano sibling, dead or alive.

    report:    called with each finding as soon as it is made
    compiler:  torch's name of the back end for the checks of compiled training; None for captured graphs where the
               recipe's training is compiled on a GPU, and no such check where it is compiled nowhere
    """
    findings: list[Finding] = []
    with TemporaryDirectory(prefix="liveness-") as folder:
        checks = eager_findings(Path(folder), recipe)
        if compiler or is_compiled(recipe, torch.device("cuda")):
            late = switched_on(recipe, {key: TRAIN_SWITCHES[key] for key in LATE_SWITCHES})
            compiled = compiled_findings(Path(folder) / "compiled", recipe, late, compiler or CAPTURE)
            checks = itertools.chain(checks, compiled)
        for finding in checks:
            report(finding)
            findings.append(finding)
    return findings


def eager_findings(folder: Path, recipe: Recipe) -> Iterator[Finding]:
    """The findings of all stages without a compiler, each as soon as it is made; their files go to `folder`."""
    prepare_cpu()
    bench = Bench(folder, recipe)
    for check in (_training, _initialisation, _quantized_forward, _exporting, _scoring):
        yield from check(bench)


def _training(bench: Bench) -> list[Finding]:
    """The gradient of every parameter, and every switch of training."""
    model = bench.started(bench.recipe)
    moved: set[str] = set()
    for name, parameter in model.named_parameters():
        parameter.register_post_accumulate_grad_hook(lambda p, name=name: moved.add(name) if p.grad.any() else None)
    bench.run("train", train_model, bench.context(bench.recipe), model)
    findings = [
        Finding(f"gradient of {name}", name in moved, "" if name in moved else f"exactly zero over {STEPS} steps")
        for name, _ in model.named_parameters()
    ]
    others = {key: (other, other) for key, other in switched_on(bench.recipe, TRAIN_SWITCHES).items()}
    own_dtypes = switched_on(bench.original, DTYPE_SWITCHES)  # of these, the nano sibling has the other value
    others |= {key: (other, plain_value(bench.original, key)) for key, other in own_dtypes.items()}
    trained: dict[tuple[int, bool], dict[str, Tensor]] = {}
    for key, (other, value) in others.items():
        # The clipped norm is a sum over all parameters, and is rounded differently with one more, even a dead one.
        how = (STEPS if key in FULL_LENGTH else FEW_STEPS, key == GRAD_CLIP)
        if how not in trained:
            trained[how] = bench.trained({}, *how)
        same = same_weights(trained[how], bench.trained({key: value}, *how))
        findings.append(differs(key, other, "the trained weights", not same))
    return findings


def _initialisation(bench: Bench) -> list[Finding]:
    """Every switch of the initial weights."""
    findings = []
    for key, other in switched_on(bench.recipe, INIT_SWITCHES).items():
        weights = initial_model(bench.without(key, other), torch.device("cpu")).state_dict()
        findings.append(differs(key, other, "the initial weights", not same_weights(bench.start, weights)))
    return findings


def _quantized_forward(bench: Bench) -> list[Finding]:
    """Whether fake quantisation in training gives the weights that the artifact holds."""
    context = bench.context(bench.recipe)
    artifact = decode_artifact((bench.run("export", export, context) / ARTIFACT_FILE).read_bytes())
    if bench.recipe.quantization.qat == "off":
        return []
    quantization, vocab_size = bench.recipe.quantization, bench.recipe.data.vocab_size
    weights = load_weights(averaged_weights(context), torch.device("cpu"))
    storages = {name: storage_of(name, weight.shape, quantization) for name, weight in weights.items()}
    kinds = ("int", "float16") if quantization.qat_sees == "everything" else ("int",)
    seen = {name: weight for name, weight in weights.items() if storages[name].startswith(kinds)}
    faked, exported = (build_model(bench.recipe.model, vocab_size, torch.device("cpu")).eval() for _ in range(2))
    faked.load_state_dict(artifact.state | seen)
    faked.set_weight_transform(weight_transform(quantization))
    exported.load_state_dict(artifact.state)
    ids_BT = torch.arange(SEQ_TOKENS).view(1, -1) % vocab_size
    with torch.no_grad():
        same = torch.equal(faked(ids_BT), exported(ids_BT))
    reason = "" if same else "the forward with fake-quantised weights differs from that with the exported ones"
    return [Finding("quantization.qat meets the export", same, reason)]


def _exporting(bench: Bench) -> list[Finding]:
    """Every switch of the export; all but the compressor are compared under a fast one."""
    findings = []
    artifact = (bench.context(bench.recipe).folder("export") / ARTIFACT_FILE).read_bytes()
    fast = bench.exported({})
    for key, other in switched_on(bench.recipe, EXPORT_SWITCHES).items():
        expected = artifact if key == COMPRESSOR else fast
        findings.append(differs(key, other, "the artifact", bench.exported({key: other}) != expected))
    return findings


def _scoring(bench: Bench) -> list[Finding]:
    """Sliding windows against windows without overlap, and test-time training with all its switches."""
    findings = []
    plain = _nats(bench.run("evaluate", evaluate, bench.context(bench.recipe)))
    window, stride = bench.recipe.evaluation.window_tokens, bench.recipe.evaluation.stride_tokens
    if stride < window:
        other = bench.context(bench.without("evaluation.stride_tokens", window), evaluate="rows")
        rows = _nats(bench.run("evaluate", evaluate, other))
        findings.append(differs("evaluation.stride_tokens", window, "the scores", not torch.equal(plain, rows)))
    if bench.recipe.ttt.mode != "off":
        adapted = _nats(bench.run("adapt", adapt, bench.context(bench.recipe)))
        findings.append(differs("ttt.mode", "off", "the scores", not torch.equal(plain, adapted)))
        switches = switched_on(bench.recipe, TTT_SWITCHES) if findings[-1].alive else {}  # else they are dead with it
        for key, value in switches.items():
            scores = _nats(bench.run("adapt", adapt, bench.context(bench.without(key, value), adapt=key)))
            findings.append(differs(key, value, "the scores", not torch.equal(adapted, scores)))
    return findings


def _nats(folder: Path) -> Tensor:
    return load_weights(folder / NLL, torch.device("cpu"))["nll"]
