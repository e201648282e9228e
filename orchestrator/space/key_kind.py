"""Whether a parameter draws what its recipe key takes: integers, or numbers with a point."""

from __future__ import annotations

import math

from orchestrator.space.parameter import Parameter


def of_kind(item: Parameter, type_name: str) -> Parameter:
    """The parameter with ends and steps of the key's own kind.

    `uniform` and its like draw numbers with a point unless the key takes integers alone; multiples of q are integers
    where the key takes them and q is whole.
    """
    whole = "integer" in type_name
    if item.quantized:
        step = int(item.step) if whole and float(item.step).is_integer() else float(item.step)
        return _changed(item, q=step)
    if whole or not item.integer or item.distribution in (None, "int_uniform"):
        return item
    return _changed(item, min=float(item.min or 0), max=float(item.max or 0))


def complaint_of_kind(item: Parameter, type_name: str) -> str:
    """Why the key cannot take what the parameter draws, and what to write; the empty string if it can."""
    if not item.between:
        return ""
    if item.integer and item.distribution is None and type_name == "number":
        return (
            f"min = {item.min} and max = {item.max} would draw integers alone, but the key is a number; "
            f"write {item.min}.0 and {item.max}.0, or distribution: int_uniform"
        )
    if "integer" in type_name and not of_kind(item, type_name).integer:
        kind = item.distribution or "uniform"
        return f"{kind} draws numbers with a point, but the key takes integers; write {_in_integers(item)}"
    return ""


def _in_integers(item: Parameter) -> str:
    """What to write for the integers among, or nearest to, what the parameter draws."""
    low, high = item.ends
    if item.quantized:
        return "q: 1"
    if item.log:
        return f"{{distribution: q_log_uniform_values, min: {low:.6g}, max: {high:.6g}, q: 1}}"
    if item.by_share:
        return f"distribution: q_{item.distribution}, with q: 1"
    first = math.ceil(low)
    return f"min: {first}, max: {max(first, math.floor(high))}"


def _changed(item: Parameter, **changes: int | float) -> Parameter:
    return Parameter.model_validate(item.model_dump() | changes)
