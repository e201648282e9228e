"""Checks of the budget's hard limits, as pure functions of steps, seconds and bytes. No clock is read here."""

from __future__ import annotations

from trainer.spec.errors import BudgetExceeded
from trainer.spec.recipe import Budget

RESERVED_CODE_BYTES = 65_536
"""Counted for the code as long as no submission is packaged and its real size is unknown."""


def total_bytes(model_bytes: int, code_bytes: int | None = None) -> int:
    """Counted bytes: the artifact file plus the code, or plus the reserve while the code is not packaged."""
    return model_bytes + (RESERVED_CODE_BYTES if code_bytes is None else code_bytes)


def model_limit_bytes(budget: Budget) -> int:
    """Most bytes of the artifact file while the code is not packaged."""
    return budget.artifact_bytes - RESERVED_CODE_BYTES


def check_artifact_bytes(model_bytes: int, budget: Budget, code_bytes: int | None = None) -> None:
    """Raises BudgetExceeded when artifact and code together are over `budget.artifact_bytes`."""
    counted = total_bytes(model_bytes, code_bytes)
    if counted > budget.artifact_bytes:
        code = f"{RESERVED_CODE_BYTES:,} reserved for code" if code_bytes is None else f"{code_bytes:,} of code"
        raise BudgetExceeded(
            f"artifact: {model_bytes:,} bytes + {code} = {counted:,} exceeds budget.artifact_bytes = "
            f"{budget.artifact_bytes:,} by {counted - budget.artifact_bytes:,}; "
            "set quantization.fit_bytes, lower model.mlp_hidden or quantization.matrix_bits, or raise "
            "optimizer.muon.weight_decay"
        )


def check_eval_s(eval_s: float, budget: Budget) -> None:
    """Raises BudgetExceeded when the scoring stage took longer than `budget.eval_s`."""
    if eval_s > budget.eval_s:
        raise BudgetExceeded(
            f"evaluation: {eval_s:.1f} s exceeds budget.eval_s = {budget.eval_s:g} s; "
            "raise evaluation.stride_tokens or lower ttt.epochs"
        )


def check_train_s(train_s: float, calibration_s: float, budget: Budget) -> None:
    """Raises BudgetExceeded when training and calibration together took longer than `budget.train_s`."""
    if budget.train_s is not None and train_s + calibration_s > budget.train_s:
        raise BudgetExceeded(
            f"training: {train_s:.1f} s + {calibration_s:.1f} s of calibration exceeds budget.train_s = "
            f"{budget.train_s:g} s; raise budget.reserve_s or lower quantization.calibration_batches"
        )


def training_ends(budget: Budget, step: int, elapsed_s: float, step_s: float | None) -> bool:
    """Whether training stops before `step` (counted from 0) begins.

    elapsed_s:  wall seconds of training so far (docs/recipe.md 1.1)
    step_s:     a robust estimate of the next step's seconds, or None before the first step
    With a wall clock the next step must fit whole: the measured time stays below the limit.
    """
    if budget.train_steps is not None and step >= budget.train_steps:
        return True
    return budget.loop_s is not None and elapsed_s + (step_s or 0.0) >= budget.loop_s
