"""Ranks: which conditions one rank alone passes, which tokens are one rank's share, and whether shares are added up.

A score is one rank's share where its tokens were cut out by both the rank and the number of ranks. `alone:B` marks a
condition whose branch B one rank alone takes, `share:L` what was cut out in line L.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from trainer.audit.effects.chunk_borders import edges
from trainer.audit.effects.portions import of_ends
from trainer.audit.facts.machine import Machine
from trainer.audit.facts.polynomial import Polynomial
from trainer.audit.facts.trace import Evaluation, Guards, Reported, Trace
from trainer.audit.facts.values import UNKNOWN, Value, combined, constant, full

RANKS = frozenset(["RANK", "LOCAL_RANK", "SLURM_PROCID"])
WORLDS = frozenset(["WORLD_SIZE", "LOCAL_WORLD_SIZE"])
ADDING = re.compile(r"reduce|gather|all_to_all|^(send|recv|isend|irecv|put|set)$")
"""Names of what brings the scores of several ranks together."""
ELSEWHERE = ("torch.gather", "np.", "numpy.", "functools.", "itertools.", "operator.", "torch.scatter")
"""Functions whose names say so, but which know nothing of ranks."""
FIRST: dict[type[ast.cmpop], tuple[int, int]] = {
    ast.Eq: (0, 1), ast.NotEq: (0, 0), ast.Gt: (0, 0), ast.Lt: (1, 1), ast.Is: (0, 1), ast.IsNot: (0, 0),
}  # fmt: skip
"""Of a comparison of the rank: the number that it is compared with, and which branch one rank alone takes then."""


def setting_of(name: str) -> Value:
    """The rank, or the number of ranks, as a launcher sets it."""
    marks = ["rank", "itself"] if "RANK" in name else ["world"]
    return Value(number=Polynomial.unknown(name), marks=frozenset(marks))


def of_comparison(op: ast.cmpop, left: Value, right: Value) -> tuple[str, ...]:
    """The marks of a comparison with the rank: whether one rank alone passes, or each rank in its turn."""
    for own, other in ((left, right), (right, left)):
        if "itself" not in own.marks:
            continue
        if "world" in other.marks:
            return ("turn",) if isinstance(op, ast.Eq | ast.NotEq) else ()
        first, branch = FIRST.get(type(op), (None, 0))
        if other.const == first and (own is left or isinstance(op, ast.Eq | ast.NotEq)):
            return (f"alone:{branch}",)
        return ("world",) if other.const == -1 else ()  # which stands for a single process
    return ()


def of_not(value: Value) -> tuple[str, ...]:
    """The marks of `not value`."""
    if "itself" in value.marks:
        return ("alone:1",)
    return tuple(f"alone:{1 - branch}" for branch in _alone(value))


def of_boolean(op: ast.boolop, values: Sequence[Value]) -> tuple[str, ...]:
    """The marks of `a and b`, `a or b`: the branch that one of them leaves to one rank, if the others allow it."""
    surely = 1 if isinstance(op, ast.And) else 0
    for value in values:
        for branch in _alone(value):
            others = [other for other in values if other is not value]
            if branch == surely or all("world" in other.marks for other in others):
                return (f"alone:{branch}",)
    return ()


def _alone(value: Value) -> list[int]:
    return [int(mark[6:]) for mark in value.marks if mark.startswith("alone:")]


def share(line: int, *ends: Value | None) -> tuple[str, ...]:
    """The marks of what these ends cut out: a rank's share, or a part of one."""
    marks = frozenset().union(*(end.marks for end in ends if end is not None))
    if {"rank", "world"} <= marks:
        met = [int(mark[4:]) for mark in marks if mark.startswith("met:")]
        return (f"share:{min(met, default=line)}",)
    return tuple(shares(marks))


def meet(machine: Machine, left: Value, right: Value, result: Value) -> Value:
    """The result of an operation, marked `met:L` where it is the first that knows the rank and the number of ranks."""
    both = [{"rank", "world"} <= one.marks for one in (left, right, result)]
    return result.with_marks(f"met:{machine.place.line}") if both == [False, False, True] else result


def cut_out(machine: Machine, base: Value, result: Value, *ends: Value | None) -> Value:
    """What these ends cut out of a text or list, marked where it is a rank's share; not of what a model computed."""
    marked = [end for end in ends if end is not None and end.marks]
    marks = (*share(machine.place.line, *ends), *edges(ends), *of_ends(marked)) if marked else ()
    return result.with_marks(*marks) if marks and not base.scores else result


def shares(marks: Iterable[str]) -> Iterator[str]:
    """The marks that say where a rank's share was cut out."""
    return (mark for mark in marks if mark.startswith("share:"))


def turns(tests: Sequence[Value], line: int) -> tuple[str, ...]:
    """The marks of what a comprehension keeps of which each rank takes its turn."""
    return (f"share:{line}",) if any("turn" in test.marks for test in tests) else ()


def asked(machine: Machine, condition: int, node: ast.If, test: Value) -> None:
    """Remembers what a condition says about ranks."""
    trace = machine.trace
    if "rank" in test.marks:
        trace.by_rank.add(condition)
    if "world" in test.marks:
        trace.by_world.add(condition)
    if "turn" in test.marks:
        trace.turns[condition] = node.lineno
    for branch in [0] if "itself" in test.marks else _alone(test):
        trace.alone[condition] = (branch, node.lineno)


def called(machine: Machine, name: str, path: str, arguments: Sequence[Value]) -> Value | None:
    """A function of torch.distributed and its like; None if it is none whose value is known."""
    if path.endswith("torch.device"):
        return combined(arguments).without_marks("rank", "world")
    if name == "init_process_group":
        machine.trace.is_grouped = True
    if name == "destroy_process_group":
        machine.trace.torn.append(machine.event())
    if ADDING.search(name) and not path.startswith(ELSEWHERE) and path != name and not _are_weights(arguments):
        machine.trace.added.append(machine.event())
        return None if name != "reduce" else UNKNOWN
    if path.partition(".")[0] in machine.absent and any(full(value).scores for value in arguments):
        machine.trace.added.append(machine.event())  # what it does with them is not known
    if name == "is_initialized":
        return constant(False) if _is_torn(machine) else Value(marks=frozenset(["world"]))
    return None


def _are_weights(arguments: Sequence[Value]) -> bool:
    """Whether weights or their gradients are brought together, not scores; of a gather both its list and its own."""
    held = combined(arguments)
    return bool(held.objects) and not held.scores and all(part.via == "gradient" for part in held.tokens)


def handed_on(machine: Machine, name: str, value: Value) -> None:
    """Remembers a method by which a rank may hand on its scores, as that of a queue or an accelerator."""
    if ADDING.search(name) and (value.scores or not value.tokens):
        machine.trace.added.append(machine.event())


def filed(machine: Machine, value: Value) -> None:
    """Remembers scores that each rank writes to a file, which another one may read."""
    if value.scores and not any(guard.condition in machine.trace.alone for guard in machine.guards):
        machine.trace.added.append(machine.event())


def _is_torn(machine: Machine) -> bool:
    """Whether the ranks took leave of each other before, where they knew each other at all."""
    trace, here = machine.trace, {*machine.guards, *machine.decided}
    return any(
        not event.off and all(guard in here or _is_of_group(trace, guard.condition) for guard in event.guards)
        for event in trace.torn
    )


def _is_of_group(trace: Trace, condition: int) -> bool:
    return condition in trace.by_world and condition not in trace.alone


@dataclass(frozen=True)
class Lost:
    """A score that is one rank's share of the text."""

    line: int
    detail: str
    score: Evaluation
    report: Reported
    lines: tuple[int, ...]


def shares_lost(trace: Trace) -> Iterator[Lost]:
    """The last score, where it is one rank's share and no other rank's is added to it."""
    if not (trace.reports and trace.is_grouped):
        return
    report = trace.reports[-1]
    losses = [one for number in report.scores if (one := trace.evaluations[number]).is_loss]
    cut = [_cut_in(trace, one) for one in losses]
    if not losses or not all(cut):
        return
    own = [one for one in losses if not any(other.objects < one.objects for other in losses)]  # not mixed with tables
    last = max(own, key=lambda one: one.time)
    alone = {guard for guard in last.guards if trace.alone.get(guard.condition, (None, 0))[0] == guard.branch}
    if any(one.time > last.time and one.happens_with(last) and not alone & {*one.guards} for one in trace.added):
        return
    lines = tuple(sorted(trace.alone[guard.condition][1] for guard in alone))
    detail = f"one rank alone comes here past line {lines[-1]}" if lines else "nothing adds up what the ranks scored"
    yield Lost(min(cut[-1]), f"the share of one rank is cut out; {detail}", last, report, lines)


def _cut_in(trace: Trace, score: Evaluation) -> set[int]:
    """Lines where the tokens of a score were cut out as a rank's share."""
    return {int(mark[6:]) for mark in shares(score.marks)} | _in_turn(trace, score.guards)


def _in_turn(trace: Trace, guards: Guards) -> set[int]:
    return {trace.turns[guard.condition] for guard in guards if guard.condition in trace.turns}
