"""Compiled training: late switches act in its graphs, none is made inside the clock, and planted defects are named."""

import pytest
import torch

from trainer.liveness.compiled import CAPTURE, compiled_findings
from trainer.liveness.switches import TRAIN_SWITCHES
from trainer.nn import linear
from trainer.spec.load import load_preset
from trainer.spec.recipe import Recipe
from trainer.stages import compiling

LATE_QAT = {"quantization.qat": "late"}
RECURRENCE = {"model.recur_loops": 1, "model.recur_first": 0, "model.recur_last": 0}


def recipe_with(**switches) -> Recipe:
    return load_preset("tiny", {"model.num_layers": 2, "model.bigram_dim": 32, **switches}).recipe


def dead(folder, compiler=CAPTURE, **switches) -> dict[str, str]:
    late = {key: TRAIN_SWITCHES[key] for key in ("quantization.qat", "model.recur_loops") if key in switches}
    findings = compiled_findings(folder, recipe_with(**switches), late, compiler)
    return {finding.name: finding.reason for finding in findings if not finding.alive}


def test_late_qat_and_recurrence_act_in_captured_graphs(tmp_path):
    assert dead(tmp_path, **LATE_QAT, **RECURRENCE) == {}


@pytest.mark.slow
def test_late_qat_and_recurrence_act_in_graphs_of_the_real_compiler(tmp_path):
    assert dead(tmp_path, "inductor", **LATE_QAT, **RECURRENCE) == {}


def test_a_qat_switch_that_the_compiler_folds_away_is_found(tmp_path, monkeypatch):
    @torch.compiler.assume_constant_result
    def transform_of(master):
        return None

    def used_weight(master):
        transform = transform_of(master) if torch.compiler.is_compiling() else master.transform
        return master.weight if transform is None else transform("weight", master.weight)

    monkeypatch.setattr(linear.Master, "used_weight", used_weight)
    assert set(dead(tmp_path, **LATE_QAT)) == {"compiled training", "compiled quantization.qat"}


def test_a_graph_that_the_warm_up_forgot_is_found_with_its_guard(tmp_path, monkeypatch):
    whole = compiling.variants
    monkeypatch.setattr(compiling, "variants", lambda recipe: whole(recipe)[:1])
    findings = dead(tmp_path, **RECURRENCE)
    assert list(findings) == ["graphs inside the clock"]
    assert "looped" in findings["graphs inside the clock"]
