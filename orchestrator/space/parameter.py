"""One parameter of a search space: the set of its values, in W&B's vocabulary.

Does not use recipes: `orchestrator.space.checks` checks whether the recipe field accepts the values.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, model_serializer
from pydantic import Field as PydanticField

from trainer.spec.recipe import Section

Distribution = Literal["constant", "categorical", "uniform", "int_uniform", "q_uniform", "log_uniform_values"]


def _number(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        hint = "; it is text, so remove the quotes" if isinstance(value, str) and reads_as_number(value) else ""
        raise ValueError(f"= {value!r} must be a number{hint}")
    return value


def reads_as_number(text: str) -> bool:
    """Whether the text would be a number without its quotes."""
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


Number = Annotated[int | float, BeforeValidator(_number)]


MOST_STEPS = 100_000
"""Most values between min and max in steps of q."""


class Parameter(Section):
    """The values one recipe key may take: one value, a list of them, or everything between two ends."""

    value: Annotated[Any, PydanticField(description="The one value the key has in every configuration.")] = None
    values: list[Any] | None = None
    """The values to choose from."""
    min: Number | None = None
    """Lower end, included. Two integers draw integers, two numbers with a point draw numbers."""
    max: Number | None = None
    """Upper end, included."""
    q: Annotated[Number, PydanticField(gt=0)] | None = None
    """Step of `q_uniform`, counted from `min`."""
    distribution: Distribution | None = None
    """How values are drawn; follows from the other keys when it is left out."""
    when: Mapping[str, Any] = {}
    """The parameter exists only while another key has this value, or one of this list of values."""

    @model_serializer
    def _as_written(self) -> dict[str, Any]:
        return {key: getattr(self, key) for key in type(self).model_fields if key in self.model_fields_set}

    @property
    def between(self) -> bool:
        """Whether the values lie between two ends, not in a list."""
        return self.min is not None and self.max is not None

    @property
    def ends(self) -> tuple[Any, Any]:
        """Lower and upper end, both included."""
        return self.min, self.max

    @property
    def integer(self) -> bool:
        """Whether only integers are drawn."""
        ends = (self.min, self.max, self.q or 0)
        return self.between and all(isinstance(end, int) for end in ends)

    @property
    def log(self) -> bool:
        """Whether equal ratios are equally likely."""
        return self.distribution == "log_uniform_values"

    @property
    def choices(self) -> Sequence[Any] | None:
        """Every value in order, or None when they cannot be listed."""
        if self.values is not None:
            return self.values
        if not self.between:
            return (self.value,)
        low, high = self.ends
        if self.integer:
            return range(low, high + 1, int(self.q or 1))
        if self.q:
            return [round(low + step * self.q, 12) for step in range(round((high - low) / self.q) + 1)]
        return (low,) if low == high else None

    def takes(self, value: Any) -> bool:
        """Whether the value is one of those the parameter may take."""
        if self.choices is not None:
            return value in self.choices
        low, high = self.ends
        return isinstance(value, int | float) and low <= value <= high

    @property
    def varies(self) -> bool:
        """Whether the parameter takes more than one value."""
        return self.choices is None or len(self.choices) > 1

    @property
    def probes(self) -> Sequence[Any]:
        """Values that the space is checked with: each one of a list, else both ends."""
        return self.ends if self.between else self.choices or ()

    def active(self, values: Mapping[str, Any]) -> bool:
        """Whether its `when` holds among the values of other keys."""
        return all(values[key] in wanted_values(wanted) for key, wanted in self.when.items())

    def __str__(self) -> str:
        if not self.between:
            return " | ".join(_short(value) for value in self.choices or ())
        low, high = (_short(end) for end in self.ends)
        kind = self.distribution or ("int_uniform" if self.integer else "uniform")
        return f"{low} .. {high} ({kind}{f', step {_short(self.q)}' if self.q else ''})" if self.varies else low

    def complaints(self) -> Iterator[str]:
        given: list[str] = [name for name in ("value", "values") if name in self.model_fields_set]
        given += ["min/max"] if self.model_fields_set & {"min", "max"} else []
        if not given:
            yield "declares no values; give it value, values, or min and max"
        elif len(given) > 1:
            yield f"declares its values twice: {' and '.join(given)}; keep one"
        elif given == ["min/max"]:
            yield from self._complaints_between()
        elif self.values is not None:
            yield from self._complaints_of_values()
        if len(given) == 1 and self.distribution is not None:
            yield from self._complaints_of_distribution(given[0])

    def _complaints_between(self) -> Iterator[str]:
        if self.min is None or self.max is None:
            yield f"{'min' if self.min is None else 'max'} is missing beside {'max' if self.min is None else 'min'}"
            return
        if self.min > self.max:
            yield f"min = {self.min} exceeds max = {self.max}"
        if self.log and self.min <= 0:
            yield f"min = {self.min} must be greater than 0, for {self.distribution} draws the logarithm"
        steps = (self.max - self.min) / self.q if self.q else 0.0
        if steps > MOST_STEPS:
            yield f"q = {self.q} cuts min .. max into {steps:.3g} values; at most {MOST_STEPS:,}, or leave q out"
        elif abs(steps - round(steps)) > 1e-6:
            yield f"q = {self.q} does not divide max - min = {self.max - self.min:g}"

    def _complaints_of_values(self) -> Iterator[str]:
        if not self.values:
            yield "values = [] is empty; give at least one value"
        spelled = [json.dumps(_without_point(value), sort_keys=True, default=str) for value in self.values or ()]
        for text in sorted({text for text in spelled if spelled.count(text) > 1}):
            yield f"values names {text} twice"
        if any(isinstance(value, float) and not math.isfinite(value) for value in self.values or ()):
            yield "values holds a number that is not finite"

    def _complaints_of_distribution(self, given: str) -> Iterator[str]:
        needs = {"constant": "value", "categorical": "values"}.get(str(self.distribution), "min/max")
        if given != needs:
            yield f"distribution = {self.distribution} needs {needs}, not {given}"
        if self.distribution == "int_uniform" and self.between and not self.integer:
            yield f"distribution = int_uniform needs integers, not {self.min} and {self.max}"
        if (self.distribution == "q_uniform") != (self.q is not None):
            yield "distribution = q_uniform and q, its step, belong together"


def _without_point(value: Any) -> Any:
    """1.0 as 1: for a recipe they are one value."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def wanted_values(wanted: Any) -> list[Any]:
    """The values a `when` accepts: its list, or its one value."""
    return wanted if isinstance(wanted, list) else [wanted]


def _short(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
