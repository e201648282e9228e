"""What a person may name as an evaluator to audit: MODULE:FUNCTION, a Python script, or an artifact with its recipe."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from trainer.audit.evaluators.behaviour import AuditReport, CountsBytes, audit_evaluator
from trainer.audit.evaluators.behaviour_cases import Subject
from trainer.audit.evaluators.behaviour_process import Fence, ModuleSubject, ScriptSubject
from trainer.spec.errors import UserError
from trainer.spec.load import load_preset, parse_overrides
from trainer.store.shared import stage_store

FUNCTION = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


def audit_target(
    target: str,
    preset: str | None,
    overrides: Sequence[str],
    tokenizer: Path | None,
    store: Path,
    fence: Fence,
) -> AuditReport:
    """The report on a named evaluator.

    preset, overrides:  the recipe of an artifact
    tokenizer:          counts bytes again, for functions and scripts; an artifact's recipe has its own
    Raises UserError for a target that is nothing of the three.
    """
    path = Path(target)
    if FUNCTION.fullmatch(target) and not path.exists():
        return audit_evaluator(*_foreign(ModuleSubject(target, Path.cwd(), fence), tokenizer))
    if not path.is_file():
        raise UserError(
            f"'{target}' is no file; expected a script, an artifact, or MODULE:FUNCTION such as mine:evaluate"
        )
    if path.suffix == ".py":
        return audit_evaluator(*_foreign(ScriptSubject(target, path.absolute(), fence), tokenizer))
    if preset is None:
        raise UserError(f"{target} is scored by a recipe: add --preset, and --set for what it changes")
    from trainer.audit.evaluators.behaviour_artifact import file_subject  # late: it starts torch

    recipe = load_preset(preset, parse_overrides(list(overrides))).recipe
    return audit_evaluator(*file_subject(path, recipe, stage_store(store)))


def _foreign(subject: Subject, tokenizer: Path | None) -> tuple[Subject, CountsBytes | None]:
    if tokenizer is None:
        return subject, None
    from trainer.audit.evaluators.behaviour_artifact import counting  # late: it starts torch
    from trainer.data.byte_counts import ByteTable

    return subject, counting(ByteTable.from_tokenizer(tokenizer, subject.claims().vocab_size))
