"""What each technique of the lineage is worth on a nano model, with its interval, whichever sign.

    python -m pytest -m bench tests/benchmarks/test_lineage_techniques.py -s

Five seeds of `tiny`, cut to 60 steps, on the text every machine has. SWA against EMA and TTT against none share the
trained weights and are compared seed by seed; QAT and the bigram table need their own training and are not paired.
About two minutes on two cores. A difference here is no claim about the full size.
"""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from scipy import stats

from tests.trainer.stages.conftest import run
from trainer.nn import gpt
from trainer.nn.gpt import GPT
from trainer.nn.init import initial_value
from trainer.quant.fake_quant import dequantize_rows, largest_code
from trainer.quant.gptq import gptq_rows
from trainer.quant.packing import storage_of
from trainer.spec.load import load_preset
from trainer.spec.recipe import Recipe
from trainer.stages.calibrate import calibration_batches, layer_hessians
from trainer.stages.context import StageContext
from trainer.stages.export import averaged_weights
from trainer.stages.run_record import fingerprints_of
from trainer.stages.weights import load_weights
from trainer.store.local import StageStore

pytestmark = pytest.mark.bench
SEEDS = (1, 2, 3, 4, 5)
SHORT = {
    "budget.train_steps": 60,
    "schedule.warmdown_steps": 30,
    "averaging.swa_every": 3,
    "averaging.ema_decay": 0.9,
    "data.val_bytes": 40_000,
    "evaluation.diagnose": False,
    "ttt.lr": 0.01,
    "ttt.epochs": 3,
    "quantization.calibration_batches": 8,
}


def recipe(seed: int, **changes: object) -> Recipe:
    return load_preset("tiny", SHORT | {"seed": seed} | {k.replace("__", "."): v for k, v in changes.items()}).recipe


def bpb(store: Path, name: str, **changes: object) -> list[float]:
    """The headline of each seed."""
    scores = []
    for seed in SEEDS:
        record = run(store, recipe(seed, **changes), f"{name}-{seed}")
        assert record.status == "done", record.error
        scores.append(record.metric(record.headline, "val_bpb"))
    return scores


def line_of(comparison: str, new: Sequence[float], old: Sequence[float], paired: bool) -> str:
    """One row: means, their difference, and its 95 % interval (paired t, or Welch)."""
    test = (
        stats.ttest_1samp([a - b for a, b in zip(new, old, strict=True)], 0.0)
        if paired
        else stats.ttest_ind(new, old, equal_var=False)
    )
    low, high = test.confidence_interval(0.95)
    first, second = sum(new) / len(new), sum(old) / len(old)
    interval, kind = f"[{low:+.4f}, {high:+.4f}]", "paired" if paired else "Welch"
    return f"| {comparison} | {first:.4f} | {second:.4f} | {first - second:+.4f} | {interval} | {kind} |"


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("lineage")


def test_what_each_technique_is_worth(store, tmp_path, monkeypatch):
    swa = bpb(store, "swa")
    ema = bpb(store, "ema", averaging__use="ema")
    last = bpb(store, "last", averaging__use="none")
    adapted = bpb(store, "ttt", ttt__mode="score_first")
    qat = bpb(store, "qat", quantization__qat="late", quantization__qat_late_below=0.3)

    def dead(name, shape, *rest):
        return torch.zeros(shape) if name == "bigram.proj.weight" else initial_value(name, shape, *rest)

    monkeypatch.setattr(gpt, "initial_value", dead)
    (tmp_path / "stages").mkdir()
    for stage in ("train_text", "val_text"):
        (tmp_path / "stages" / stage).symlink_to(store / "stages" / stage)
    zeros = bpb(tmp_path, "dead")
    print("\n| comparison | first, bpb | second, bpb | difference | 95 % interval | test |\n|---|---|---|---|---|---|")
    print(line_of("SWA against EMA 0.9", swa, ema, paired=True))
    print(line_of("SWA against the last weights", swa, last, paired=True))
    print(line_of("score-first TTT against none", adapted, swa, paired=True))
    print(line_of("late QAT against none", qat, swa, paired=False))
    print(line_of("BigramHash live against dead", swa, zeros, paired=False))
    assert len({*swa, *ema, *last, *adapted, *qat, *zeros}) == 6 * len(SEEDS)  # every technique did something


def weighted_error(weight: torch.Tensor, hessian: torch.Tensor, codes: torch.Tensor, scales: torch.Tensor) -> float:
    error = dequantize_rows(codes, scales) - weight
    return (error @ hessian * error).sum().item()


def test_gptq_beats_round_to_nearest_at_the_same_scales_on_real_activations(store):
    print("\n| seed | matrices | GPTQ / nearest, all | worst matrix |\n|---|---|---|---|")
    for seed in SEEDS:
        wanted = recipe(seed, quantization__method="gptq", quantization__embedding="int8")
        run(store, recipe(seed), f"trained-{seed}")
        context = StageContext(wanted, "gptq", StageStore(store), fingerprints_of(wanted, 1))
        weights = load_weights(averaged_weights(context), torch.device("cpu"))
        model = GPT(wanted.model, wanted.data.vocab_size)
        model.load_state_dict(weights)
        pairs = []
        for name, hessian in layer_hessians(model, calibration_batches(context)).items():
            storage = storage_of(name, weights[name].shape, wanted.quantization)
            if not storage.startswith("int"):
                continue
            bits, weight = int(storage.removeprefix("int")), weights[name]
            codes, scales = gptq_rows(weight, hessian, bits, wanted.quantization.clip_stds)
            qmax = largest_code(bits)
            nearest = (weight / scales.float()[:, None]).round().clamp(-qmax, qmax).to(torch.int8)
            pairs.append(
                (
                    weighted_error(weight, hessian.inputs_CC, codes, scales),
                    weighted_error(weight, hessian.inputs_CC, nearest, scales),
                )
            )
        ratio = sum(pair[0] for pair in pairs) / sum(pair[1] for pair in pairs)
        worst = max(pair[0] / pair[1] for pair in pairs)
        print(f"| {seed} | {len(pairs)} | {ratio:.3f} | {worst:.3f} |")
        assert ratio < 1
