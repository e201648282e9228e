"""The liveness check names each defect of PR #150 and similar ones when they are planted; it passes the presets."""

import json
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import torch

from tests.trainer.cli import trainer
from trainer.liveness import check as liveness
from trainer.liveness.check import eager_findings
from trainer.liveness.size import size_of_random_model
from trainer.nn import attention, gpt, init
from trainer.quant import fake_quant, packing
from trainer.spec.budget import RESERVED_CODE_BYTES
from trainer.spec.load import load_preset
from trainer.stages import adapt, export, train

QUICK = {"model.num_layers": 2, "model.bigram_dim": 32}


def dead(preset: str = "tiny", **changes) -> list[str]:
    recipe = load_preset(preset, QUICK | {key.replace("__", "."): value for key, value in changes.items()}).recipe
    with TemporaryDirectory() as folder:
        return [finding.name for finding in eager_findings(Path(folder), recipe) if not finding.alive]


def test_a_recipe_with_everything_on_is_alive():
    everything = {
        "model__xsa_layers": [1],
        "model__ln_scale": True,
        "model__skip_gates": True,
        "model__value_embed_dim": 128,
        "model__value_embed_layers": [1],
        "model__recur_loops": 1,
        "model__recur_first": 0,
        "model__recur_last": 1,
        "model__parallel_residual": "one_lane",
        "model__parallel_from": 1,
        "quantization__qat": "late",
        "quantization__method": "clip_search",
        "quantization__compressor": "lzma",
        "quantization__mlp_bits": 5,
        "quantization__attention_bits": 7,
        "quantization__embedding": "int7",
        "quantization__keep_float16": ["blocks.1.attn.c_k.weight"],
        "quantization__gates": "int8",
        "data__loader": "coprime",
        "ttt__mode": "score_first",
    }
    assert dead(**everything) == []


def test_compiled_training_is_checked_where_a_gpu_would_compile_it_or_a_compiler_is_named(monkeypatch):
    monkeypatch.setattr(liveness, "eager_findings", lambda *_: iter(()))
    monkeypatch.setattr(liveness, "compiled_findings", lambda *said: iter([liveness.Finding(said[-1], True)]))
    checked = [liveness.check_liveness(load_preset(name).recipe) for name in ("tiny", "baseline")]
    assert [[finding.name for finding in findings] for findings in checked] == [[], ["eager"]]
    (named,) = liveness.check_liveness(load_preset("tiny").recipe, compiler="inductor")
    assert named.name == "inductor"


def test_a_bigram_table_and_projection_that_both_start_at_zero_are_found(monkeypatch):
    whole = init.initial_value

    def both_zero(name, shape, *rest):
        return torch.zeros(shape) if name == "bigram.proj.weight" else whole(name, shape, *rest)

    monkeypatch.setattr(gpt, "initial_value", both_zero)
    assert {"model.bigram_buckets", "gradient of bigram.proj.weight", "gradient of bigram.embed.weight"} <= set(dead())


def test_late_qat_that_was_folded_away_is_found(monkeypatch):
    monkeypatch.setattr(gpt.GPT, "set_weight_transform", lambda self, transform: None)
    assert "quantization.qat" in dead(quantization__qat="late")


def test_a_scale_floor_in_the_export_alone_is_found(monkeypatch):
    quantize = fake_quant.quantize_rows

    def floored(weight, bits, *rest):
        scales = quantize(weight, bits, *rest)[1].clamp(min=1 / 31)
        return (weight / scales.float()[:, None]).round().clamp(-31, 31).to(torch.int8), scales

    monkeypatch.setattr(packing, "quantize_rows", floored)
    assert dead(quantization__qat="always") == ["quantization.qat meets the export"]


def test_unused_snapshots_are_reported(monkeypatch):
    monkeypatch.setitem(export.WEIGHTS_FILE, "swa", train.LAST)
    assert dead() == ["averaging.use"]


def test_test_time_training_that_leaves_the_weights_is_found(monkeypatch):
    monkeypatch.setattr(adapt, "make_sgd", lambda parameters, lr, momentum: torch.optim.SGD(parameters, lr=0.0))
    monkeypatch.setattr("trainer.scoring.ttt.chunk_lr", lambda *_: 0.0)
    assert dead(ttt__mode="score_first") == ["ttt.mode"]


def test_test_time_training_that_ignores_frozen_blocks_is_found(monkeypatch):
    monkeypatch.setattr("trainer.scoring.ttt.learning_parameters", lambda model, frozen: list(model.parameters()))
    assert dead(ttt__mode="score_first", ttt__frozen_blocks=1) == ["ttt.frozen_blocks"]


def test_a_schedule_that_ignores_its_warm_down_is_found(monkeypatch):
    monkeypatch.setattr(train, "multiplier", lambda *_: 0.4)
    assert "schedule.warmdown_steps" in dead()
    assert "schedule.warmdown_fraction" in dead(schedule__form="fraction")


def test_a_model_that_ignores_its_compute_dtype_is_found(monkeypatch):
    whole = train.build_model
    in_float32 = {"compute_dtype": "float32"}
    monkeypatch.setattr(train, "build_model", lambda model, *rest: whole(model.model_copy(update=in_float32), *rest))
    assert dead(model__compute_dtype="bfloat16") == ["model.compute_dtype"]


def test_a_recurrence_that_never_switches_on_is_found(monkeypatch):
    monkeypatch.setattr(train, "used_fraction", lambda *_: 0.0)
    assert "model.recur_loops" in dead(model__recur_loops=1, model__recur_first=0, model__recur_last=1)


def test_exclusive_attention_that_excludes_nothing_is_found(monkeypatch):
    monkeypatch.setattr(attention, "without_own_value", lambda y, v: y)
    assert dead(model__xsa_layers=[1]) == ["model.xsa_layers"]


def test_the_command_names_what_is_dead_and_fails(monkeypatch):
    done = trainer("check", "baseline", "--no-size")
    assert done.exit_code == 0
    assert "104 of 104 alive" in done.output
    findings = [liveness.Finding("averaging.use", False, "the artifact is the same")]
    monkeypatch.setattr(liveness, "check_liveness", lambda recipe, report, compiler: [report(findings[0])] and findings)
    failed = trainer("check", "baseline", "--no-size")
    assert failed.exit_code == 1
    assert "averaging.use" in failed.output
    rows = json.loads(trainer("check", "baseline", "--no-size", "--format", "json").stdout)
    assert rows == [{"name": "averaging.use", "alive": False, "reason": "the artifact is the same"}]


@pytest.mark.parametrize(("limit", "verdict"), [(16_000_000, "to spare of"), (200_000, "too many of")])
def test_check_says_the_bytes_of_a_full_size_model_and_whether_they_fit(limit, verdict, monkeypatch):
    monkeypatch.setattr(liveness, "check_liveness", lambda *_: [])
    said = trainer("check", "tiny", "--set", f"budget.artifact_bytes={limit}").output
    assert "artifact of a full-size model of random weights" in said
    assert verdict in said


def test_a_random_model_is_made_to_fit_where_the_recipe_says_so():
    size = size_of_random_model(load_preset("tiny").recipe)
    limit = {"budget.artifact_bytes": int(0.8 * size.model_bytes) + RESERVED_CODE_BYTES}
    fitted = size_of_random_model(load_preset("tiny", limit | {"quantization.fit_bytes": True}).recipe)
    assert not size_of_random_model(load_preset("tiny", limit).recipe).fits
    assert fitted.fits
    assert fitted.scale_multiplier > 1
