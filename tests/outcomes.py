"""Outcomes of stages, without anything having been computed."""

from __future__ import annotations

from typing import Any

from trainer.spec.record import StageOutcome


def stage_outcome(stage: str, fingerprint: str, seconds: float = 1.0, **fields: Any) -> StageOutcome:
    """An outcome; `fields` are others of StageOutcome, such as metrics or workload."""
    return StageOutcome.model_validate(
        {"started_at": "", "host": "laptop", "metrics": {}}
        | {"stage": stage, "fingerprint": fingerprint, "seconds": seconds}
        | fields
    )
