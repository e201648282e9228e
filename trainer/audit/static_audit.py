"""Static audit of a training script: what learns from validation tokens before they are scored, by its syntax alone.

The script is parsed and walked through, never imported or run; self-extracting wrappers are opened, helper modules
beside it are parsed too. What the names say decides nothing: followed is which tokens reach which update, and when.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from trainer.audit.audit_rules import RULES
from trainer.audit.byte_rules import Miscount, miscounts
from trainer.audit.interpreter import Interpreter
from trainer.audit.judgement import Finding, doubts, findings, remarks, scores_of
from trainer.audit.neighbours import Neighbour, look_aheads, look_backs
from trainer.audit.static_report import StaticReport, Verdict
from trainer.audit.trace import Place
from trainer.audit.unwrap import parsed, read_source, unwrap


def audit_file(path: Path) -> StaticReport:
    """The audit of a script, with helper modules beside it. Raises Unreadable for a file that is no Python."""
    text = read_source(path)

    def helper(name: str) -> tuple[str, ast.Module] | None:
        if not name or name.partition(".")[0] in sys.stdlib_module_names:
            return None
        beside = path.parent.joinpath(*name.split("."))
        for candidate in (beside.with_suffix(".py"), beside / "__init__.py"):
            if candidate.is_file() and candidate.resolve() != path.resolve():
                inner = unwrap(read_source(candidate), candidate.name)
                return candidate.name, parsed(inner.text, candidate.name)
        return None

    return audit_text(text, path.name, helper)


def audit_text(text: str, name: str, helpers: Any = lambda name: None) -> StaticReport:
    """The audit of the source of a script."""
    unwrapped = unwrap(text, name)
    tree = parsed(unwrapped.text, name)
    walk = Interpreter(helpers)
    frame = walk.walk(tree, name)
    if not walk.trace.evaluations and "main" in frame.names and "main" not in walk.entered:
        walk.walk_call(frame.names["main"])
    trace = walk.trace
    found = [*findings(trace), *_by_form(tree, name)]
    scored = scores_of(trace)
    reasons = [*trace.gaps, *doubts(found)]
    if "val" not in trace.sources:
        reasons.append("nothing in it reads validation tokens in a way that could be followed")
    elif not scored:
        reasons.append("no score of validation tokens was found")
    if reasons and walk.absent:
        names = ", ".join(sorted(walk.absent))
        reasons.append(f"modules that it imports are not beside the script, and not read: {names}")
    return StaticReport(
        file=name,
        verdict=_verdict(found, reasons),
        findings=tuple(found),
        reasons=tuple(reasons),
        layers=unwrapped.layers,
        lines=unwrapped.text.count("\n") + 1,
        code_bytes=len(text.encode("utf-8")),
        scores=tuple(sorted({score.place.line for score in scored})),
        remarks=() if found else tuple(remarks(trace)),
    )


def _by_form(tree: ast.Module, name: str) -> Iterator[Finding]:
    """What is told by the form of a function alone."""
    kinds: list[tuple[str, Iterator[Miscount] | Iterator[Neighbour]]] = [
        ("bytes-miscounted", miscounts(tree)),
        ("state-across-documents", look_backs(tree)),
        ("future-position", look_aheads(tree)),
    ]
    for rule, each in kinds:
        for found in each:
            yield Finding(RULES[rule], Place(name, found.line), found.detail, "medium")


def _verdict(found: list[Finding], reasons: list[str]) -> Verdict:
    sure = [finding for finding in found if finding.confidence in ("high", "medium")]
    if any(not finding.only_when for finding in sure):
        return "illegal"
    if sure:
        return "illegal when switched on"
    return "cannot tell" if reasons else "no breach found"
