"""Whether new results would be measured on the same text as the sweep's earlier ones."""

from __future__ import annotations

from orchestrator.sweep.sweep import Sweep
from trainer.spec.errors import StoreError
from trainer.spec.recipe import Recipe
from trainer.spec.stage_table import TEXT_STAGES
from trainer.stages.run_record import fingerprints_of


def text_complaint(sweep: Sweep) -> str:
    """Why new results cannot be compared with the sweep's: it 'was measured on another text ...'; or ''.

    All runs of a sweep share their text, so one record is enough. The number of ranks does not matter.
    """
    record = next((record for record in sweep.records().values() if "val_text" in record.stages), None)
    if record is None or sweep.space.program:
        return ""
    fingerprints = fingerprints_of(Recipe.model_validate(dict(record.recipe)), record.num_ranks)
    return next(
        (
            "was measured on another text, or by another version of the stages "
            f"({stage} was {record.stages[stage].fingerprint}, now {fingerprints[stage]})"
            for stage in TEXT_STAGES
            if record.stages[stage].fingerprint != fingerprints[stage]
        ),
        "",
    )


def refuse_other_text(sweep: Sweep) -> None:
    """Raises StoreError when the sweep's results were measured on other text, or by other stages, than now.

    One table must not mix them.
    """
    if complaint := text_complaint(sweep):
        raise StoreError(
            f"sweep '{sweep.name}' {complaint}; restore them, or start a new sweep: "
            f"orchestrator sweep SPACE.yaml --name NAME"
        )
