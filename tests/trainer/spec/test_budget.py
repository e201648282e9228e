import pytest

from trainer.spec.budget import RESERVED_CODE_BYTES, check_artifact_bytes, check_eval_s, training_ends
from trainer.spec.errors import BudgetExceeded
from trainer.spec.recipe import Budget


def test_the_size_check_fires_at_one_byte_over():
    budget = Budget(train_steps=1)
    check_artifact_bytes(16_000_000 - 1000, budget, code_bytes=1000)
    with pytest.raises(BudgetExceeded, match="= 16,000,001 exceeds budget.artifact_bytes = 16,000,000 by 1"):
        check_artifact_bytes(16_000_000 - 999, budget, code_bytes=1000)


def test_unpackaged_code_is_counted_with_a_reserve():
    budget = Budget(train_steps=1, artifact_bytes=RESERVED_CODE_BYTES + 10)
    check_artifact_bytes(10, budget)
    with pytest.raises(BudgetExceeded, match="65,536 reserved for code"):
        check_artifact_bytes(11, budget)


def test_a_slow_evaluation_is_reported_with_what_to_change():
    with pytest.raises(BudgetExceeded, match="601.0 s exceeds budget.eval_s = 600 s; raise evaluation.stride_tokens"):
        check_eval_s(601.0, Budget(train_steps=1))


def test_training_stops_before_a_step_that_would_not_fit():
    budget = Budget(train_s=10.0)
    assert not training_ends(budget, step=8, elapsed_s=8.9, step_s=1.0)
    assert training_ends(budget, step=9, elapsed_s=9.1, step_s=1.0)


def test_whichever_budget_ends_first_ends_training():
    budget = Budget(train_steps=3, train_s=10.0)
    assert training_ends(budget, step=3, elapsed_s=0.1, step_s=0.1)
    assert training_ends(budget, step=1, elapsed_s=10.0, step_s=0.1)
    assert not training_ends(budget, step=2, elapsed_s=0.2, step_s=0.1)
