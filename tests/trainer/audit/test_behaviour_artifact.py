"""Our own modes of scoring, audited from outside at nano size."""

import pytest
import torch

from tests.fakes import OneByteEach, on_ranks
from trainer.audit.evaluators.behaviour import AuditReport, audit_evaluator
from trainer.audit.evaluators.behaviour_artifact import artifact_subject
from trainer.spec.load import load_preset, preset_names
from trainer.stages.train import initial_model

SHORT = {"evaluation.window_tokens": 32, "evaluation.stride_tokens": 12, "evaluation.batch_windows": 8}
LEARNING = {"ttt.mode": "score_first", "ttt.chunk_tokens": 64, "ttt.epochs": 2, "ttt.lr": 0.05, "ttt.batch_rows": 2}
MODES = {
    "sliding": {},
    "plain windows": {"evaluation.stride_tokens": 32},
    "score_first": LEARNING,
    "pre_eval": LEARNING | {"ttt.mode": "pre_eval"},
}


def audited(preset: str, mode: str, ranks: bool = False) -> AuditReport:
    changes = SHORT | MODES[mode] | {"data.vocab_size": 300}
    recipe = load_preset(f"{preset}_nano", changes).recipe
    model = initial_model(recipe, torch.device("cpu"))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():  # gates and projections that begin at zero would hide a dependence
            parameter += torch.randn(parameter.shape, generator=generator) * 0.1
    subject = artifact_subject(model.eval(), recipe, OneByteEach(), mode, on_ranks if ranks else None)
    return audit_evaluator(subject, lambda targets, previous: len(targets))


@pytest.mark.parametrize("mode", ["sliding", "plain windows", "score_first"])
def test_every_legal_mode_of_ours_passes_on_one_rank_and_two(mode):
    report = audited("tiny", mode, ranks=True)
    assert {finding.check: finding.sentence for finding in report.findings if finding.verdict == "violated"} == {}
    kept = {finding.check for finding in report.findings if finding.verdict == "kept"}
    wanted = {"coverage", "bytes", "deterministic", "future", "normalised", "recorded", "own target", "ranks", "events"}
    assert kept == wanted
    assert report.verdict == "no breach found"


def test_the_illegal_mode_is_caught_as_learning_before_the_evaluation():
    report = audited("tiny", "pre_eval")
    found = {finding.check: finding.conditions[0] for finding in report.findings if finding.verdict == "violated"}
    assert found == {"future": "E6", "own target": "E3", "events": "E6"}


@pytest.mark.slow
@pytest.mark.parametrize("preset", [name for name in preset_names() if not name.endswith("_nano")])
@pytest.mark.parametrize("mode", ["sliding", "score_first"])
def test_the_model_of_every_preset_passes(preset, mode):
    assert audited(preset, mode).verdict == "no breach found"
