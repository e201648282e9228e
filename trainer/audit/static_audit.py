"""Static audit of a training script: what learns from validation tokens before they are scored, by its syntax alone.

The script is parsed and walked through, never imported or run; self-extracting wrappers are opened, helper modules
beside it are parsed too. What the names say decides nothing: followed is which tokens reach which update, and when.
"""

from __future__ import annotations

import ast
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from trainer.audit.facts.machine import MOST_SECONDS
from trainer.audit.facts.trace import Place, Trace
from trainer.audit.findings.audit_rules import RULES
from trainer.audit.findings.byte_rules import Miscount, miscounts
from trainer.audit.findings.clamped_targets import clamped_targets
from trainer.audit.findings.finding import Finding
from trainer.audit.findings.judgement import doubts, findings, learned_beyond
from trainer.audit.findings.neighbours import Neighbour, look_aheads, look_backs
from trainer.audit.findings.remarks import remarks
from trainer.audit.findings.scored import scores_of
from trainer.audit.findings.static_report import StaticReport, Verdict
from trainer.audit.findings.unmasked_attention import Uncovered, uncovered, unmasked
from trainer.audit.source.unwrap import read_source, unwrap
from trainer.audit.walk.interpreter import Interpreter

MOST_SECONDS_SWITCHED = 0.8
"""Of the processor, for walks with settings switched on that are off by default."""
MOST_SECONDS_TOGETHER = 1.8
"""For those and the first walk: what the first one takes beyond a second is taken from them."""


def audit_file(path: Path) -> StaticReport:
    """The audit of a script, with helper modules beside it. Raises Unreadable for a file that is no Python."""
    text = read_source(path)

    def helper(name: str) -> tuple[str, ast.Module] | None:
        if not name or name.partition(".")[0] in sys.stdlib_module_names:
            return None
        beside = path.parent.joinpath(*name.split("."))
        for candidate in (beside.with_suffix(".py"), beside / "__init__.py"):
            if candidate.is_file() and candidate.resolve() != path.resolve():
                return candidate.name, unwrap(read_source(candidate), candidate.name).tree
        return None

    return audit_text(text, path.name, helper)


def audit_text(text: str, name: str, helpers: Any = lambda name: None) -> StaticReport:
    """The audit of the source of a script."""
    started_s = time.process_time()
    unwrapped = unwrap(text, name)
    tree = unwrapped.tree
    walk = _walked(tree, name, helpers, {}, MOST_SECONDS)
    trace = walk.trace
    found = [*findings(trace), *_by_form(tree, name, trace)]
    ends_s = min(time.process_time() + MOST_SECONDS_SWITCHED, started_s + MOST_SECONDS_TOGETHER)
    if trace.filings and trace.is_grouped:  # which tokens a rank learns from is told where there is one rank alone
        left_s = started_s + MOST_SECONDS_TOGETHER - time.process_time()
        alone = _walked(tree, name, helpers, {}, min(left_s, MOST_SECONDS), is_alone=True).trace
        known = {_key(one) for one in found}
        beyond = learned_beyond(alone, scores_of(alone)) if not alone.gaps else ()
        found += {_key(one): one for one in beyond if _key(one) not in known}.values()
    found += _switched_on(walk, found, ends_s, lambda given, seconds: _walked(tree, name, helpers, given, seconds))
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
        remarks=() if found else (*remarks(trace), *_attention(tree), *_clamped(tree)),
    )


def _walked(
    tree: ast.Module, name: str, helpers: Any, given: Mapping[str, Any], seconds: float, *, is_alone: bool = False
) -> Interpreter:
    """A walk through the script, with settings that differ from their defaults, or as the only process."""
    walk = Interpreter(helpers)
    walk.given, walk.seconds, walk.is_alone = given, seconds, is_alone
    frame = walk.walk(tree, name)
    if not walk.trace.evaluations and "main" in frame.names and "main" not in walk.entered:
        walk.walk_call(frame.names["main"])
    return walk


def _switched_on(
    first: Interpreter,
    known: list[Finding],
    ends_s: float,
    again: Callable[[Mapping[str, Any], float], Interpreter],
) -> Iterator[Finding]:
    """Breaches that one setting switches on whose default leaves something out, beyond those of its own branches.

    A walk with all of them on says whether there is any; a walk with one of them on, which it is. After a first walk
    that left something out, as one that was too long, there is none: it would leave out the same.

    ends_s:  of the processor, when no further walk begins and the last one stops
    """
    if first.trace.gaps:
        return

    def more(given: Sequence[str]) -> dict[tuple[str, Place], Finding]:
        walk = again({one: first.left_out[one] for one in given}, ends_s - time.process_time())
        each = findings(walk.trace) if not walk.trace.gaps else []
        return {key: one for one in each if one.confidence != "low" and (key := _key(one)) not in seen}

    seen = {_key(one) for one in known}
    waiting = more(list(first.switches)) if first.switches else {}
    near = {setting for one in waiting.values() for setting in one.only_when}
    for name in sorted(first.switches, key=lambda name: first.switches[name] not in near):
        if not waiting or time.process_time() > ends_s:
            return
        for key, one in more([name]).items():
            seen.add(key)
            waiting.pop(key, None)
            yield replace(one, only_when=(first.switches[name],))


def _key(finding: Finding) -> tuple[str, Place]:
    return finding.rule.name, finding.place


def _by_form(tree: ast.Module, name: str, trace: Trace) -> Iterator[Finding]:
    """What is told by the form of a function alone."""
    kinds: list[tuple[str, Iterator[Miscount] | Iterator[Neighbour] | Iterator[Uncovered]]] = [
        ("bytes-miscounted", miscounts(tree)),
        ("state-across-documents", look_backs(tree)),
        ("future-position", look_aheads(tree)),
        ("future-position", uncovered(tree, trace)),
    ]
    for rule, each in kinds:
        for found in each:
            yield Finding(RULES[rule], Place(name, found.line), found.detail, "medium")


def _attention(tree: ast.Module) -> Iterator[str]:
    for line in unmasked(tree):
        yield (
            f"line {line}: attention that is told of no mask; whether a position sees those behind it, its target "
            "among them, is not told (E1)"
        )


def _clamped(tree: ast.Module) -> Iterator[str]:
    for line in clamped_targets(tree):
        yield (
            f"line {line}: targets are clamped before they are scored; an id of the text above that is scored as "
            "another token (E9, E2), so say that there is none"
        )


def _verdict(found: list[Finding], reasons: list[str]) -> Verdict:
    sure = [finding for finding in found if finding.confidence in ("high", "medium")]
    if any(not finding.only_when for finding in sure):
        return "illegal"
    if sure:
        return "illegal when switched on"
    return "cannot tell" if reasons else "no breach found"
