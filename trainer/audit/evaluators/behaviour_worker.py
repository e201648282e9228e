"""Answers cases, inside the fence.

    python -m trainer.audit.evaluators.behaviour_worker MODULE:FUNCTION REQUEST.json ANSWER.json

The module is imported once; each case is answered by a fork of this process, so that none sees what another left.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trainer.audit.evaluators.behaviour_callable import CallableSubject
from trainer.audit.evaluators.behaviour_cases import Answer, Case

CLAIMS, TRAIN = "CLAIMS", "train"


def subject_of(target: str) -> CallableSubject:
    """The evaluator `MODULE:FUNCTION`, its module's CLAIMS, and its `train` if it has one."""
    module_name, _, function = target.partition(":")
    module = importlib.import_module(module_name)
    return CallableSubject(target, getattr(module, function), getattr(module, CLAIMS, {}), getattr(module, TRAIN, None))


def plain(answer: Answer) -> dict[str, Any]:
    """The answer as JSON takes it."""
    values = {name: getattr(answer, name) for name in Answer.__dataclass_fields__}
    values["nats"] = answer.nats.tolist()
    values["distributions"] = {position: row.tolist() for position, row in answer.distributions.items()}
    return values


def answer_in_fork(subject: CallableSubject, case: Case, path: Path) -> None:
    if (child := os.fork()) == 0:
        try:
            path.write_text(json.dumps(plain(subject.answer(case))), encoding="utf-8")
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    if not path.exists():
        code = os.waitstatus_to_exitcode(status)
        path.write_text(json.dumps(plain(Answer.failed(f"the process ended with status {code}"))), encoding="utf-8")


def main(target: str, request: Path, answers: Path) -> None:
    subject = subject_of(target)
    asked = json.loads(request.read_text(encoding="utf-8"))
    if asked.get("ask") == "claims":
        given = {**subject.given, "trains": subject.train is not None}
        answers.write_text(json.dumps(given), encoding="utf-8")
        return
    for number, case in enumerate(asked["cases"]):
        answer_in_fork(subject, case_of(case), answers.with_name(f"{answers.name}.{number}"))


def case_of(values: Mapping[str, Any]) -> Case:
    names = ("tokens", "positions", "train_tokens", "val_tokens")
    return Case(ranks=values["ranks"], **{name: tuple(values[name]) for name in names})


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
