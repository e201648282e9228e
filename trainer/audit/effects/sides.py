"""Inputs and targets of one window, told apart by how they were cut out of it, and whose bytes are counted.

`span[:-1]` are the inputs of a window, `span[1:]` its targets: marked `input:N` and `target:N`, with a number for the
window. A table that tokens look up pays for the side that looked it up (`pays:`); a condition on the piece before a
target, joined by `&`, pays for none. The inputs moved one place back (`roll`, or cut again behind another token) are
`early:N`. Where both are slices of the text with known ends, `from:N` says which.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from trainer.audit.effects.mixtures import NEARLY, is_spread, mass_of
from trainer.audit.facts.machine import Machine
from trainer.audit.facts.polynomial import Polynomial
from trainer.audit.facts.trace import Evaluation, Reported, Trace
from trainer.audit.facts.values import Value, changed

Ends = tuple[Polynomial, Polynomial]
SIDES = ("input", "target", "early")


def cut_in_two(machine: Machine, base: Value, result: Value, low: Value | None, high: Value | None) -> Value:
    """`base[low:high]`: the result, marked where it is one side of a window, or a side that was cut again."""
    first = low is None and high is not None and high.const == -1
    last = high is None and low is not None and low.const == 1 and low.is_known
    if base.scores or not any(part.source == "val" for part in base.tokens):
        return result
    if not (first or last):
        return _between(machine, base, result, low, high)
    own = _of(base)
    if not own:
        number, _ = machine.divisions.setdefault((-2, id(base)), (machine.new_id(), base))
        return result.with_marks(f"{'input' if first else 'target'}:{number}")
    plain = result.without_marks(*SIDES)
    if first and all(mark.startswith("input:") for mark in own):
        return plain.with_marks(*(f"early:{mark[6:]}" for mark in own))
    return plain


def _between(machine: Machine, base: Value, result: Value, low: Value | None, high: Value | None) -> Value:
    """`text[low:high]` with known ends, marked with these."""
    ends = tuple(end.number if end is not None else None for end in (low, high))
    if None in ends or any(mark.startswith("from:") for mark in base.marks) or not _is_placed(base):
        return result
    number, _ = machine.divisions.setdefault((-3, ends), (machine.new_id(), base))
    return result.with_marks(f"from:{number}")


def _is_placed(value: Value) -> bool:
    return all(part.is_placed and part.via == "tokens" for part in value.tokens)


def _ends(machine: Machine) -> dict[str, Ends]:
    """The ends of slices of the text, by their marks."""
    return {f"from:{number}": key[1] for key, (number, _) in machine.divisions.items() if key[0] == -3}


def moved_back(value: Value) -> Value:
    """Inputs that `roll` moved one place back."""
    own = {mark for mark in _of(value) if mark.startswith("input:")}
    return value.without_marks("input").with_marks(*(f"early:{mark[6:]}" for mark in own)) if own else value


def _of(value: Value) -> frozenset[str]:
    return frozenset(mark for mark in value.marks if mark.partition(":")[0] in SIDES)


def paid_for(index: Value) -> frozenset[str]:
    """The marks of a table's entries: whose bytes they are."""
    sides = _of(index) or {mark for mark in index.marks if mark.startswith("from:")}
    return frozenset(f"pays:{mark}" for mark in sides) or frozenset(["pays:other"])


def conditioned(machine: Machine, left: Value, right: Value, result: Value) -> Value:
    """`left & right`: where both were looked up, it is no count of bytes but a condition on neighbours."""
    pays = [{mark[5:] for mark in side.marks if mark.startswith("pays:")} for side in (left, right)]
    if not all(pays):
        return result
    for of_target, of_previous in (pays, pays[::-1]):
        early = {mark.replace("early", "target") for mark in of_previous if mark.startswith("early:")}
        if early & of_target or _is_two_before(machine, of_target, of_previous):
            detail = "whether a space counts is asked of the token two places before the target, not of the one before"
            machine.note("bytes-miscounted", detail)
    machine.trace.asks_for_spaces = True
    plain = changed(result, marks=frozenset(mark for mark in result.marks if not mark.startswith("pays:")))
    begins = [side for side in (left, right) if "mask" not in side.marks]
    tables = [mark[6:] for mark in begins[0].marks if mark.startswith("table:")] if len(begins) == 1 else []
    return plain.with_marks(*(f"space:{table}" for table in tables))


def twice(machine: Machine, left: Value, right: Value) -> None:
    """Notes where the spaces before pieces are added by the same table with a condition and without one."""
    for one, other in ((left, right), (right, left)):
        tables = {f"table:{mark[6:]}" for mark in one.marks if mark.startswith("space:")}
        plain = not any(mark.startswith("space:") for mark in other.marks)
        if plain and tables & other.marks and not (one.scores or other.scores):
            machine.note("bytes-miscounted", "spaces before pieces are added with a condition and without one")


def added_up(value: Value) -> Value:
    """Bytes that are added to a sum, in a tensor that may hold the sum of scores too."""
    pays = {mark for mark in value.marks if mark.startswith("pays:")} if not value.scores else set()
    return value.without_marks("pays").with_marks(*(f"sum{mark}" for mark in pays)) if pays else value


def ask_whose(machine: Machine, score: Value, counted: Value, *names: str) -> None:
    """Notes where the bytes of a score are certainly those of its windows' inputs, and of none of their targets."""
    pays = {mark.partition(":")[2] for mark in counted.marks if mark.partition(":")[0] in names}
    of_both = bool(pays) and _of_both(machine, score, pays)
    if pays and (of_both or _of_inputs(score, pays) or _of_earlier(machine, score, pays)):
        lines = [int(mark[6:]) for mark in counted.marks if mark.startswith("sized:")]
        detail = "they are those of each window's inputs, not of the targets that are scored"
        detail = "they are those of each window's inputs and targets together" if of_both else detail
        machine.note("bytes-miscounted", detail, line=max(lines, default=0))


def _of_both(machine: Machine, score: Value, pays: set[str]) -> bool:
    """Whether slices of the text pay that hold the inputs of a window and its last target."""
    ends = _ends(machine)
    losses = [one for number in score.scores if (one := machine.trace.evaluations[number]).is_loss]
    if not losses or not pays <= ends.keys():
        return False
    windows = {
        (own.low, target.high)
        for one in losses
        for own in one.tokens
        for target in one.targets
        if own.via == "tokens" and own.at == target.at and (own.low, own.high) != (target.low, target.high)
    }
    return {ends[mark] for mark in pays} <= windows


def _of_inputs(score: Value, pays: set[str]) -> bool:
    """Whether only inputs pay, of windows whose targets are scored."""
    return all(mark.startswith("input:") and mark.replace("input", "target") in score.marks for mark in pays)


def _of_earlier(machine: Machine, score: Value, pays: set[str]) -> bool:
    """Whether only slices of the text pay that a model was given, and that are not its targets."""
    ends = _ends(machine)
    losses = [one for number in score.scores if (one := machine.trace.evaluations[number]).is_loss]
    inputs = {(part.low, part.high) for one in losses for part in one.tokens if part.via == "tokens"}
    targets = {(part.low, part.high) for one in losses for part in one.targets}
    if any(part.piece for one in losses for part in one.targets):
        return False  # elements or parts of such a slice, counted from its start
    return bool(targets) and pays <= ends.keys() and {ends[mark] for mark in pays} <= inputs - targets


def given_targets(trace: Trace) -> Iterator[tuple[Reported, Evaluation]]:
    """The scores of windows of which the model was given the targets, and not the inputs; with their reports."""
    models = [one for one in trace.evaluations.values() if not one.is_loss]
    for report in trace.reports:
        for loss in (trace.evaluations[number] for number in sorted(report.scores)):
            own = {mark for mark in loss.marks if mark.startswith("target:")}
            own = {mark for mark in own if mark.replace("target", "input") not in loss.marks}
            if loss.is_loss and own and (_alone(loss) or any(own & one.marks for one in models)):
                yield report, loss


def _alone(loss: Evaluation) -> bool:
    """Whether a model that computes its loss itself got what was cut out in one place, as the targets were."""
    return not loss.targets and sum(mark.startswith("window:") for mark in loss.marks) == 1


def told_by_target(test: Value, either: Sequence[Value]) -> bool:
    """Whether a condition that asks a table for the target chooses between a mixture with it and the whole model.

    What the model says weighs less where it is mixed, so the choice raises each score; chosen by the context it does
    not. A part that is weighed in both sums up to the same mixture.
    """
    targets = {mark for mark in test.marks if mark.startswith("target:")}
    asks = test.marks & {"lookup", "row"}
    if not (targets and asks) or len(either) != 2 or any(not targets & value.marks for value in either):
        return False
    mixed = [any(part.via == "table" for part in value.tokens) for value in either]
    whole = either[mixed.index(False)] if any(mixed) and not all(mixed) else None
    return whole is not None and is_spread(whole) and (mass := mass_of(whole)) is not None and abs(mass - 1) < NEARLY


def _is_two_before(machine: Machine, of_target: set[str], of_previous: set[str]) -> bool:
    """Whether two slices of the text are two places apart."""
    if len(of_target) != 1 or len(of_previous) != 1:
        return False
    ends = _ends(machine)
    after, before = (ends.get(next(iter(marks))) for marks in (of_target, of_previous))
    return (
        after is not None
        and before is not None
        and all((apart := a.plus(b, -1)) is not None and apart.value == 2 for a, b in zip(after, before, strict=True))
    )
