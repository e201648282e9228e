"""What a static audit says beside its findings: no breach, but worth a sentence."""

import re

import pytest

from tests.trainer.audit.scripts import FOLDER
from trainer.audit.effects import clocks, size_limits
from trainer.audit.static_audit import audit_file, audit_text
from trainer.spec.limits import Budget


@pytest.mark.parametrize(("script", "is_said"), [("chunks_without_last_guard", True), ("score_first_sliding", False)])
def test_learning_the_last_chunk_is_said_and_no_breach(script, is_said):
    report = audit_file(FOLDER / "legal" / f"{script}.py")
    assert report.verdict == "no breach found"
    assert ["(E5)" in remark for remark in report.remarks] == [True] * is_said


@pytest.mark.parametrize(
    ("read", "verdict"), [("pass", "illegal"), ('model.load_state_dict(torch.load("m.pt"))', "no breach found")]
)
def test_an_artifact_that_is_written_and_never_read_back_is_named(read, verdict):
    text = (FOLDER / "legal" / "ngram_full_distribution.py").read_text()
    scoring = re.search(r"\n( +)(print|tell|log)\(.*evaluate", text)
    written = f'\n{scoring[1]}torch.save(model.state_dict(), "m.pt")\n{scoring[1]}{read}{scoring[0]}'
    report = audit_text(text.replace(scoring[0], written), "kept_in_memory.py")
    assert report.verdict == verdict
    assert [found.rule.name for found in report.findings] == ["artifact-not-scored"] * (verdict == "illegal")


def test_an_artifact_of_which_a_part_was_loaded_since_is_said_and_no_breach():
    text = (FOLDER / "legal" / "artifact_weights_loaded_from_memory.py").read_text()
    report = audit_text(text, "kept_in_memory.py")
    assert report.verdict == "no breach found"
    assert ["(E15)" in remark for remark in report.remarks] == [True]


@pytest.mark.parametrize("script", ["adapted_copy_is_thrown_away", "score_first_sliding"])
def test_learning_by_weights_that_are_thrown_away_is_said_and_no_breach(script):
    remarks = audit_file(FOLDER / "legal" / f"{script}.py").remarks
    assert ["(E6)" in remark for remark in remarks] == [True] * (script == "adapted_copy_is_thrown_away")


@pytest.mark.parametrize(
    ("call", "is_said"),
    [
        ("q, k, v, is_causal=True", False),
        ("q, k, v, mask", False),
        ("q, k, v", True),
        ("q, k, v, is_causal=False", True),
    ],
)
def test_attention_that_is_told_of_no_mask_is_said(call, is_said):
    text = (FOLDER / "legal" / "score_first_sliding.py").read_text()
    text += f"\n\ndef attend(q, k, v, mask):\n    return F.scaled_dot_product_attention({call})\n"
    report = audit_text(text, "attention.py")
    assert report.verdict == "no breach found"
    assert any("(E1)" in remark for remark in report.remarks) == is_said


def test_the_lower_of_finished_scores_is_said_and_no_breach():
    report = audit_file(FOLDER / "legal" / "lower_of_two_finished_scores.py")
    assert report.verdict == "no breach found"
    assert [remark for remark in report.remarks if "lower of several finished scores" in remark]


@pytest.mark.parametrize(
    ("seconds", "said"), [("590.0", []), ("0.0", []), ("600.0", []), ("4_800.0", ["4,800 seconds"])]
)
def test_a_clock_that_allows_more_than_the_budget_is_said_and_no_breach(seconds, said):
    text = (FOLDER / "legal" / "token_by_token_with_cache.py").read_text()
    report = audit_text(text.replace("seconds: float = 590.0", f"seconds: float = {seconds}"), "clock.py")
    assert report.verdict == "no breach found"
    assert [[part in remark for part in said] for remark in report.remarks if "may take" in remark] == [[True]] * len(
        said
    )


@pytest.mark.parametrize(("seconds", "is_said"), [(1200, True), (580, False)])
def test_a_clock_of_the_evaluation_is_read_too(seconds, is_said):
    text = (FOLDER / "legal" / "score_first_sliding.py").read_text()
    loop = "    for c in range(num_chunks):\n"
    timed = text.replace(
        loop,
        f"    began = time.time()\n{loop}        if time.time() - began > {seconds}:\n            raise TimeoutError\n",
    )
    report = audit_text(timed.replace("import math\n", "import math\nimport time\n", 1), "slow.py")
    assert any("evaluation may take 1,200 seconds" in remark for remark in report.remarks) is is_said


@pytest.mark.parametrize(("limit", "is_said"), [("16 * 1024 * 1024", True), ("16_000_000", False), ("1 << 25", False)])
def test_a_limit_of_the_artifacts_size_above_the_budget_is_said(limit, is_said):
    text = (FOLDER / "legal" / "pairs_of_training_text_in_the_artifact.py").read_text()
    checked = f'    if Path("model.ptz").stat().st_size > {limit}:\n        raise SystemExit("too large")\n    stored ='
    report = audit_text(text.replace("    stored =", checked), "sized.py")
    assert report.verdict == "no breach found"
    assert any("16,777,216" in remark and "(E16)" in remark for remark in report.remarks) == is_said


def test_the_audit_of_scripts_has_the_budgets_of_our_own_runs():
    budget = Budget(train_s=600)
    assert (budget.artifact_bytes, budget.eval_s) == (size_limits.MOST_BYTES, clocks.MOST_S)
