"""What functions and methods of tensors do alike: `x.name(...)` and `torch.name(x, ...)`."""

from __future__ import annotations

from trainer.audit.effects import factors, gates
from trainer.audit.effects.arithmetic import mixed_in
from trainer.audit.effects.bent_logits import chosen, of_two, reduced, scored, searched
from trainer.audit.effects.choices import best_place, is_pooled, smaller
from trainer.audit.effects.document_begins import SWAPPED, in_a_call
from trainer.audit.effects.document_lengths import is_border
from trainer.audit.effects.iteration import narrowed
from trainer.audit.effects.mixtures import (
    at_targets,
    distribution,
    is_spread,
    larger,
    of_stacked,
    same_spread,
    smallest_cost,
    summed,
    transformed,
)
from trainer.audit.effects.own_losses import pooled
from trainer.audit.effects.positions import masked, sorts_out
from trainer.audit.effects.rows import unfolded
from trainer.audit.effects.side_cars import CASTS, SLICES, added_as_it_is
from trainer.audit.effects.sides import conditioned, moved_back, told_by_target
from trainer.audit.effects.tables_of_tokens import by_inputs
from trainer.audit.facts.known_names import MIXING, STATISTICS
from trainer.audit.facts.machine import Keywords, Machine
from trainer.audit.facts.polynomial import Polynomial
from trainer.audit.facts.values import (
    NOTHING,
    UNKNOWN,
    Cell,
    Sequence,
    Value,
    changed,
    combined,
    full,
    is_text,
    joined,
)

COMBINING = ("mul", "div", "add", "sub", "true_divide", "divide", "multiply", "subtract", "addcmul")
"""Methods that do arithmetic on two tensors."""
TRANSFORMS = ("log", "log2", "neg", "float", "double", "exp")
PARTED = ("split", "chunk", "tensor_split", "array_split")
"""What cuts a text into a list of parts."""
EQUAL = ("eq", "equal", "isin", "in1d")
"""What asks where a text holds a token."""
POOLING = ("sum", "mean", "std", "var", "median", "quantile")
"""What makes one number of the losses of many targets."""
LEAST_PROBABILITY, LEAST_LOG = 1e-5, -15.0
"""Floors of probabilities and of their logarithms up to these guard against a logarithm of zero."""
RESHAPED = ("squeeze", "unsqueeze", "view", "reshape", "flatten", "detach")
"""Methods whose result holds the same distributions in another shape."""


def method_like(
    machine: Machine, name: str, base: Value, others: list[Value], keywords: Keywords, result: Value
) -> Value:
    """What `x.name(...)` and `torch.name(x, ...)` have in common."""
    made = factors.as_position(name, _method_like(machine, name, base, others, keywords, result))
    if name in COMBINING and others:
        made = of_two(machine, full(base), full(others[0]), made)
    return searched(machine, name, base, reduced(name, made))


def _method_like(
    machine: Machine, name: str, base: Value, others: list[Value], keywords: Keywords, result: Value
) -> Value:
    held = full(base)
    if name in PARTED and is_text(held) and keywords.get("dim", UNKNOWN).const in (NOTHING, 0):
        loop = machine.new_id()
        parts = [narrowed(held, frozenset([(loop, k)])) for k in (0, 1)]
        world = {"world"} & frozenset().union(*(value.marks for value in others))
        return Value(refs=(Sequence(machine.new_id(), parts, joined(parts)),), marks=frozenset(world))
    if name == "unfold" and len(others) == 3:
        return unfolded(machine, held, *others[1:])
    if name in (*PARTED, "unbind", "split_with_sizes") and machine.holds_loss(held):
        return masked(machine, held, result)
    if name in ("max", "amax") and not (others or keywords) and is_text(held):  # the largest id: how many there are
        return Value(at=held.at, number=Polynomial.unknown(f"n{machine.new_id()}"))
    if name == "roll" and _shift(others, keywords) == 1:
        return moved_back(result)
    if name in EQUAL and others and is_border(held, others[0]):
        return result.with_marks("mask", "boundary")
    if name == "logical_and" and others:
        return conditioned(machine, held, full(others[0]), result)
    if name in MIXING:
        mixed = mixed_in(machine, [held, *map(full, others)], result)
        return summed(machine, held, full(others[0]), mixed, logs=True) if name == "logaddexp" and others else mixed
    if name in ("softmax", "gumbel_softmax", "normalize"):
        return distribution(result)
    if name == "log_softmax":
        return distribution(changed(result, refs=()), logs=True)
    if name == "logsumexp":
        return of_stacked(held, changed(result, refs=()))
    if name in (*gates.SAME, "log") and gates.by(held):
        return gates.same_gate(held, result)
    if name in TRANSFORMS and is_spread(held):
        return transformed(result, held, name)
    if name in RESHAPED and is_spread(held):
        return same_spread(result, held)
    if name == "sum" and not others:
        result = added_as_it_is(held, result)
    if name in POOLING:
        result = pooled(machine, name, held, others, keywords, result)
    if name == "sum" and ("lookup" in held.marks or any(part.via == "table" for part in held.tokens)):
        of_context = ("lookup", "picked") if by_inputs(held) else ()  # how often it was seen says no target
        return result.without_marks(*of_context).with_marks("total", "summed")
    if name == "sum" or (name in ("clamp_min", "clamp") and "summed" in held.marks):
        result = _of_counted(machine, result, held) if "counted" in held.marks else result
        return result.with_marks("summed")
    if name == "one_hot":
        return result.with_marks("counted")
    if name == "mean" and "counted" in held.marks:
        result = _of_counted(machine, result, held)
    if name in CASTS:
        result = result.with_marks(*(mark for mark in held.marks if mark.partition(":")[0] in SLICES))
    if name in ("where", "masked_fill", "masked_select"):
        result = result.with_marks(*in_a_call(machine, name, base, others))
    if name in (*RESHAPED, "bool", "long", "expand"):
        result = result.with_marks(*(held.marks & SWAPPED.keys()))
    if name in STATISTICS:
        if not name.startswith("unique"):  # which also sorts out what to compute
            machine.trace.counting_lines.add(machine.place.line)
        if "entire" in held.marks:
            machine.trace.of_documents.add(machine.place.line)
        if name in ("bincount", "unique", "histc", "histogram", "Counter", "quantile", "percentile") or not held.scores:
            return result.seen_via("statistic", machine.place.line) if not held.scores else result
        return result
    if name in ("gather", "take_along_dim", "take_along_axis", "pick", "index_select", "take") and others:
        index = full(combined(others))
        if index.tokens and held.scores and not machine.holds_loss(held):
            summed_up = any(mark.startswith("unnormalised:") for mark in held.marks)
            if "weighted" in held.marks and "logs" not in held.marks and not summed_up:
                result = result.with_marks(f"unnormalised:{machine.place.line}")
            if "lookup" in index.marks:  # the model's own probability of what a table says comes next
                result = result.with_marks("hinted")
            given = scored(machine, result.without_marks("lookup"), index)
            return at_targets(held, machine.evaluated(given, is_loss=True, targets=index))
        learned = any(part.source == "val" and part.via in ("table", "statistic") for part in held.tokens)
        if index.tokens and learned and held.objects and not held.scores:
            if held.marks & {"probability", "logs"}:
                return at_targets(held, result).without_marks("lookup", "picked").with_marks("row")
            return result.with_marks("lookup", "picked")
        return result
    if name in ("argmin", "argmax", "argsort"):
        return best_place(machine, held, result)
    if name in ("minimum", "fmin", "amin") or (name == "min" and (others or keywords)):
        return smaller(machine, [base, *others], smallest_cost(machine, [base, *others], result))
    if name in ("max", "amax") and "several" in held.marks:
        return result.with_marks(f"greater:{machine.place.line}")
    if name in ("maximum", "fmax", "max") and any(is_spread(full(value)) for value in others and [base, *others]):
        return larger(machine, [base, *others], result)
    if name == "where" and others:
        test = full(base)
        result = factors.either(masked(machine, combined(others), result))
        if machine.holds_loss(test) and all(machine.holds_loss(full(value)) for value in others[:2]):
            return smaller(machine, others, result)
        if told_by_target(test, [full(value) for value in others[:2]]):
            result = result.with_marks(f"told:{machine.place.line}")
        result = chosen(machine, test, others, result)
        return changed(result, refs=joined(others).refs if not result.tokens else ())
    if name in ("clamp", "clip", "clamp_max") and machine.holds_loss(held) and _cuts(name, others, keywords):
        return result.with_marks(f"clamped:{machine.place.line}")
    if is_spread(held) and (floor := _floor(name, others, keywords)) is not None and _lifts(floor, held):
        kind = "clamped" if machine.holds_loss(held) else "unnormalised"
        return same_spread(result, held).with_marks(f"{kind}:{machine.place.line}")
    if name in ("masked_select", "masked_fill", "take", "index_select", "narrow", "cumsum"):
        result = masked(machine, held, result)
    if name == "masked_select" and not any(sorts_out(machine, full(value)) for value in others):
        return result
    if name in ("topk", "kthvalue", "masked_select", "quantile") and machine.holds_loss(held):
        return result.with_marks(f"filtered:{machine.place.line}") if name != "quantile" else result
    if name in ("clone", "copy"):
        copied = changed(result, refs=(), snapshot=machine.time if result.snapshot is None else result.snapshot)
        return changed(copied, refs=(Cell(machine.new_id(), copied),))
    if (
        name in ("nonzero", "argwhere", "flatnonzero") or (name == "where" and not others)
    ) and "boundary" in held.marks:
        return Value(at=held.at, marks=frozenset(["border"]))
    if name in ("nonzero", "argwhere", "flatnonzero") or (name == "where" and not others):
        return result.with_marks("places")
    return result


def _of_counted(machine: Machine, result: Value, held: Value) -> Value:
    """The sum or mean of one-hot rows: how often each token is there."""
    return result if held.scores else result.seen_via("statistic", machine.place.line).without_marks("counted")


def _shift(others: list[Value], keywords: Keywords) -> object:
    """How far `roll` moves."""
    return keywords.get("shifts", keywords.get("shift", others[0] if others else UNKNOWN)).const


def _cuts(name: str, others: list[Value], keywords: Keywords) -> bool:
    """Whether `clamp` bounds scores from above, by a number or by what losses gave; 1 bounds a probability."""
    place = 0 if name == "clamp_max" else 1
    highest = keywords.get("max", others[place] if len(others) > place else UNKNOWN)
    return is_pooled(full(highest)) or (isinstance(highest.const, int | float) and highest.const > 1)


def _floor(name: str, others: list[Value], keywords: Keywords) -> float | None:
    """The number below which `clamp` and its like leave nothing."""
    if name not in ("clamp", "clip", "clamp_min", "clamp_", "clamp_min_", "maximum"):
        return None
    lowest = keywords.get("min", keywords.get("a_min", others[0] if others else UNKNOWN)).const
    return float(lowest) if isinstance(lowest, int | float) else None


def _lifts(floor: float, held: Value) -> bool:
    """Whether a floor is more than a guard against the logarithm of zero."""
    return floor > LEAST_LOG if "logs" in held.marks else floor > LEAST_PROBABILITY
