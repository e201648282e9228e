"""Which fields of a recipe the liveness check covers, with their off values, and which it leaves out and why.

A field that can turn something off (a boolean, a choice, a list, a number that may be 0) stands in exactly one of these
tables; `tests/trainer/liveness/test_switches.py` fails for one that stands in none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trainer.spec.field_index import disabled_by, value_at
from trainer.spec.recipe import Recipe

GRAD_CLIP, COMPRESSOR = "optimizer.grad_clip", "quantization.compressor"
TRAIN_SWITCHES: Mapping[str, Any] = {
    "model.activation": "relu2",
    "model.rope_dims": 0,
    "model.rope_native_tokens": 0,
    "model.xsa_layers": [],
    "model.ln_scale": False,
    "model.smear_gate": "off",
    "model.bigram_buckets": 0,
    "model.bigram_first": "reserved",
    "model.value_embed_dim": 0,
    "model.skip_gates": False,
    "model.parallel_residual": "off",
    "model.recur_loops": 0,
    "model.tie_embeddings": True,
    "data.loader": "sequential",
    "data.order_seed": None,
    "optimizer.muon.weight_decay": 0.0,
    "optimizer.muon.momentum": 0.0,
    "optimizer.muon.momentum_start": 0.0,
    "optimizer.muon.momentum_warmup_steps": 0,
    "optimizer.muon.ns_coefficients": "fixed",
    "optimizer.muon.row_normalize": False,
    "optimizer.adam.beta1": 0.0,
    "optimizer.adam.beta2": 0.0,
    "optimizer.adam.embed_weight_decay": 0.0,
    "optimizer.adam.scalar_weight_decay": 0.0,
    "optimizer.embed_projections": "muon",
    "optimizer.bigram_table": "embed",
    GRAD_CLIP: 0.0,
    "schedule.warmdown_steps": 0,
    "schedule.warmdown_fraction": 0.0,
    "quantization.qat": "off",
    "quantization.qat_sees": "integers",
}
"""Switches of the train stage, and the value at which each is off: the trained weights must differ."""
LATE_SWITCHES = ("model.recur_loops", "quantization.qat", "quantization.qat_sees")
"""Switches that change the computation late in a run; they are checked in compiled training as well."""
FULL_LENGTH = frozenset(
    {*LATE_SWITCHES, "model.bigram_buckets", "schedule.warmdown_steps", "schedule.warmdown_fraction"}
)
"""Switches that need a training of full length; all others show within a few steps. The bigram table starts at zero:
under QAT with the floor of scales it has no effect before it has grown beyond the floor."""
INIT_SWITCHES: Mapping[str, Any] = {"model.init": "default", "model.bigram_projection_init": "scaled"}
"""The initial weights must differ."""
DTYPE_SWITCHES: Mapping[str, Any] = {"model.compute_dtype": "float32", "optimizer.muon.ns_dtype": "float32"}
"""Fields that the nano sibling sets to float32, which is fast on a CPU: the trained weights must differ from those of
the recipe's own value."""
EXPORT_SWITCHES: Mapping[str, Any] = {
    "averaging.use": "none",
    "quantization.mlp_bits": None,
    "quantization.attention_bits": None,
    "quantization.embedding": "float16",
    "quantization.keep_float16": [],
    "quantization.controls": "float32",
    "quantization.gates": "controls",
    "quantization.tables": "matrix_bits",
    "quantization.method": "nearest",
    "quantization.clip_search_in": "everywhere",
    "quantization.scale": "row_max",
    "quantization.hessian_clip": 0.0,
    COMPRESSOR: "zstd",
}
"""The bytes of the artifact must differ."""
TTT_SWITCHES: Mapping[str, Any] = {"ttt.momentum": 0.0, "ttt.frozen_blocks": 0, "ttt.grad_clip": 0.0}
"""The scores after test-time training must differ; `ttt.mode` itself is compared with the plain score."""
COMPARED_WITH: Mapping[str, Any] = {
    "data.order_seed": 999_983,
    "schedule.warmdown_fraction": 1.0,
    "ttt.grad_clip": 1e-9,
}
"""Values other than off to compare with: off may give the same bits in a nano run although the field has an effect."""
CHECKED = frozenset(
    {*TRAIN_SWITCHES, *INIT_SWITCHES, *DTYPE_SWITCHES, *EXPORT_SWITCHES, *TTT_SWITCHES, "ttt.mode", "system.compile"}
)
"""All fields that the liveness check compares. `system.compile` must change nothing, which `compiled` checks."""
EXEMPT: Mapping[str, str] = {
    "model.value_embed_layers": "each listed layer has a scale whose gradient is checked",
    "model.parallel_from": "a position; model.parallel_residual is checked",
    "model.recur_first": "a position; model.recur_loops is checked",
    "model.recur_last": "a position; model.recur_loops is checked",
    "model.recur_at": "a threshold; model.recur_loops is checked",
    "data.source": "the check brings a text of its own",
    "data.val_bytes": "a size of the text; the check brings a text of its own",
    "schedule.form": "each form's warm-down is checked under that form",
    "schedule.min_multiplier": "a floor that a nano run need not reach; tests/trainer/spec/test_schedule.py",
    "averaging.swa_every": "averaging.use is checked",
    "averaging.swa_below": "a threshold; averaging.use is checked",
    "averaging.swa_min_step": "a threshold; averaging.use is checked",
    "averaging.ema_decay": "averaging.use is checked",
    "quantization.min_elements": "a threshold; the check uses a smaller one, for small matrices",
    "quantization.qat_late_below": "a threshold; quantization.qat is checked",
    "quantization.fit_bytes": "acts on artifacts over the byte limit alone; tests/trainer/quant/test_fit.py",
    "quantization.prune_to_fit": "acts on artifacts over the byte limit alone; tests/trainer/quant/test_prune.py",
    "quantization.mlp_clip_stds": "a width; quantization.scale is checked",
    "quantization.attention_clip_stds": "a width; quantization.scale is checked",
    "evaluation.diagnose": "adds a stage and changes no other; tests/trainer/stages/test_pipeline.py",
    "budget.train_steps": "a limit; the check sets its own",
    "budget.train_s": "a limit; the check has none of seconds",
    "budget.reserve_s": "acts under budget.train_s only; tests/trainer/spec/test_budget.py",
    "seed": "not a switch: any value has an effect; tests/trainer/stages/test_pipeline.py",
}
"""Fields that could turn something off but are not compared, and why."""


def switched_on(recipe: Recipe, switches: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the switches that are on in the recipe and have an effect, with the value to compare each with."""
    return {
        key: other_value(key, value, off)
        for key, off in switches.items()
        if (value := plain_value(recipe, key)) != off and disabled_by(recipe, key) is None
    }


def other_value(key: str, value: Any, off: Any) -> Any:
    """The value to compare `value` with: that of `COMPARED_WITH`, or off if there is none or it is the same."""
    other = COMPARED_WITH.get(key, off)
    return off if other == value else other


def plain_value(recipe: Recipe, key: str) -> Any:
    """The field's value, a list in place of a tuple."""
    value = value_at(recipe, key)
    return list(value) if isinstance(value, tuple) else value
