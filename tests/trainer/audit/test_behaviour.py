"""Each planted cheat is caught with its condition, and what is honest passes."""

import json
from pathlib import Path

import pytest

from tests.trainer.audit import evaluators
from tests.trainer.audit.evaluators import CLAIMS
from trainer.audit.evaluators.behaviour import AuditReport, audit_evaluator
from trainer.audit.evaluators.behaviour_callable import CallableSubject
from trainer.audit.evaluators.behaviour_cases import Answer, Claims, made_text
from trainer.spec.errors import UserError

APART = {"documents_apart": True, "chunk_tokens": None, "num_tokens": 136}
RANKS = {"ranks": (1, 2, 8)}


def audited(evaluate, train=None, **claims) -> AuditReport:
    subject = CallableSubject(evaluate.__name__, evaluate, CLAIMS | claims, train)
    return audit_evaluator(subject, lambda targets, previous: 2 * len(targets))


@pytest.mark.parametrize(
    ("evaluate", "train", "claims"),
    [
        (evaluators.plain, None, RANKS),
        (evaluators.score_first, None, {}),
        (evaluators.score_first_of_nats_alone, None, {}),
        (evaluators.counts_mixture, None, {}),
        (evaluators.by_document, None, APART),
        (evaluators.shortest_document_first, None, {}),
        (evaluators.score_trained, evaluators.train_on_training_text, {}),
    ],
    ids=lambda part: getattr(part, "__name__", ""),
)
def test_an_honest_evaluator_passes(evaluate, train, claims):
    report = audited(evaluate, train, **claims)
    assert [finding for finding in report.findings if finding.verdict == "violated"] == []
    assert report.verdict == "no breach found"


@pytest.mark.parametrize(
    ("evaluate", "check", "condition"),
    [
        (evaluators.trains_before_the_evaluation, "future", "E6"),
        (evaluators.keeps_the_last_epoch, "future", "E4"),
        (evaluators.keeps_the_smaller_of_two_passes, "recorded", "E4"),
        (evaluators.looks_up_the_target, "normalised", "E14"),
        (evaluators.gates_by_the_target, "own target", "E14"),
        (evaluators.counts_the_whole_text, "future", "E1"),
        (evaluators.does_not_normalise, "normalised", "E2"),
        (evaluators.nats_that_do_not_normalise, "normalised", "E2"),
        (evaluators.fits_a_temperature_afterwards, "future", "E4"),
        (evaluators.drops_tokens, "coverage", "E9"),
        (evaluators.claims_fewer_tokens, "coverage", "E9"),
        (evaluators.counts_too_many_bytes, "bytes", "E9"),
        (evaluators.counts_bytes_of_whole_windows, "bytes", "E9"),
        (evaluators.discards_the_first_pass, "events", "E4"),
        (evaluators.discards_it_silently, "future", "E4"),
        (evaluators.reads_its_target, "own target", "E1"),
        (evaluators.reads_one_token_ahead, "future", "E1"),
        (evaluators.is_honest_when_asked, "deterministic", "E2"),
        (evaluators.learns_the_last_chunk, "events", "E5"),
        (evaluators.normalises_over_a_chunk, "future", "E1"),
    ],
    ids=lambda part: getattr(part, "__name__", ""),
)
def test_a_cheat_is_caught_with_its_condition(evaluate, check, condition):
    found = violated(audited(evaluate))
    assert condition in found[check], found


@pytest.mark.parametrize(
    ("evaluate", "train", "claims", "condition"),
    [
        (evaluators.score_trained, evaluators.calibrate_on_validation_text, {}, "E7"),
        (evaluators.smears_across_documents, None, APART, "E11"),
        (evaluators.learns_on_ranks_without_waiting, None, RANKS, "E12"),
    ],
    ids=["calibrates_on_validation_text", "smears_across_documents", "learns_on_ranks_without_waiting"],
)
def test_a_cheat_against_what_it_claims_is_caught_and_nothing_else_is_said(evaluate, train, claims, condition):
    found = violated(audited(evaluate, train, **claims))
    assert [conditions[0] for conditions in found.values()] == [condition]


def violated(report: AuditReport) -> dict[str, tuple[str, ...]]:
    assert report.verdict == "illegal"
    return {finding.check: finding.conditions for finding in report.findings if finding.verdict == "violated"}


def test_a_noisy_evaluator_cannot_be_judged_and_the_noise_is_given():
    report = audited(evaluators.draws_at_random)
    assert report.verdict == "cannot tell"
    (noise,) = [finding.evidence["noise"] for finding in report.findings if finding.check == "deterministic"]
    assert 1e-4 < noise < 1e-3


def test_an_evaluator_that_crashes_is_not_accused():
    report = audited(evaluators.crashes)
    assert report.verdict == "cannot tell"
    assert "RuntimeError: out of memory" in report.findings[0].sentence


def test_evidence_names_positions_and_numbers_and_is_json():
    report = audited(evaluators.reads_one_token_ahead)
    (row,) = [row for row in json.loads(json.dumps(report.rows())) if row["check"] == "future"]
    assert row["evidence"]["positions"] == [row["evidence"]["cut"] - 1]
    assert row["evidence"]["largest_difference_nats"] > 0
    assert row["sentence"].endswith("the distribution looks up to 1 tokens ahead")


def test_a_made_up_text_has_documents_and_a_change_moves_none():
    text = made_text(Claims(vocab_size=300, bos=2))
    assert len(text.starts) == 5
    changed = text.changed(text.tokens.nonzero()[0])
    assert [index for index, token in enumerate(changed) if token == 2] == text.starts
    assert sum(one != two for one, two in zip(text.tokens, changed, strict=True)) == len(changed) - 5


def test_wrong_claims_and_answers_are_refused_by_name():
    with pytest.raises(UserError, match=r"claim 'chunk_token' is unknown; did you mean 'chunk_tokens'\?"):
        Claims.of({"chunk_token": 3}, "mine.py")
    with pytest.raises(UserError, match="vocab_size = 'many', expected a whole number from 4"):
        Claims.of({"vocab_size": "many"}, "mine.py")
    with pytest.raises(UserError, match="ranks = 2, expected a list"):
        Claims.of({"ranks": 2}, "mine.py")
    with pytest.raises(UserError, match="the answer has 'nat', which is unknown; did you mean 'nats'"):
        Answer.of({"nat": [1.0]})
    for wrong in ({"nats": "abc"}, {"nats": [1.0], "num_bytes": "x"}, {"nats": [1.0], "events": [["look", 0, 1]]}, {}):
        with pytest.raises(UserError, match="not of the form expected"):
            Answer.of(wrong)


def test_the_evaluator_of_the_page_has_the_outcome_of_its_transcript():
    page = (Path(__file__).parents[3] / "docs" / "legality.md").read_text(encoding="utf-8")
    code, transcript = page.split("```python\n")[1].split("```")[0], page.split("audit-evaluator mixture:evaluate\n")[1]
    names: dict = {}
    exec(code, names)
    report = audit_evaluator(CallableSubject("mixture:evaluate", names["evaluate"], names["CLAIMS"]))
    lines = transcript.splitlines()[: len(report.findings) + 1]
    for finding, line in zip(report.findings, lines, strict=False):
        assert line.startswith(finding.verdict)
        assert line.endswith(f"{' '.join(finding.conditions):<12}  {finding.sentence}")
    assert f"{report.verdict}, after {report.num_evaluations} evaluations" in lines[-1]
