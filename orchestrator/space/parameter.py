"""One parameter of a search space: the set of its values, in W&B's vocabulary.

Does not use recipes: `orchestrator.space.checks` checks whether the recipe field accepts the values.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Annotated, Any, get_args

from pydantic import BeforeValidator, model_serializer
from pydantic import Field as PydanticField

from orchestrator.space import distribution as distributions
from orchestrator.space.distribution import (
    ENDS,
    EXPONENTS,
    LARGEST_EXPONENT,
    LOGARITHMS,
    MOST_STEPS,
    Continuous,
    Distribution,
    Weighted,
    needs,
)
from trainer.spec.load import spelled
from trainer.spec.recipe import Section

QUANTIZED = tuple(name for name in get_args(Distribution) if name.startswith("q_"))


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


class Parameter(Section):
    """The values one recipe key may take: one value, a list of them, or what a distribution draws."""

    value: Annotated[Any, PydanticField(description="The one value the key has in every configuration.")] = None
    values: list[Any] | None = None
    """The values to choose from."""
    probabilities: list[Number] | None = None
    """Of each of `values`, for method random; they sum to 1."""
    min: Number | None = None
    """Lower end, included. Two integers draw integers, two numbers with a point draw numbers."""
    max: Number | None = None
    """Upper end, included."""
    q: Annotated[Number, PydanticField(gt=0)] | None = None
    """Step of the distributions that begin with q_: values are multiples of it; 1 when left out."""
    mu: Number | None = None
    """Mean of a normal distribution, for `log_normal` of the logarithm; 0 when left out."""
    sigma: Annotated[Number, PydanticField(gt=0)] | None = None
    """Standard deviation beside `mu`; 1 when left out."""
    a: Annotated[Number, PydanticField(gt=0)] | None = None
    """First shape of a beta distribution; 1 when left out."""
    b: Annotated[Number, PydanticField(gt=0)] | None = None
    """Second shape of a beta distribution; 1 when left out."""
    distribution: Distribution | None = None
    """How values are drawn, as W&B defines it; follows from the other keys when it is left out."""
    when: Mapping[str, Any] = {}
    """The parameter exists only while another key has this value, or one of this list of values."""

    @model_serializer
    def _as_written(self) -> dict[str, Any]:
        return {key: getattr(self, key) for key in type(self).model_fields if key in self.model_fields_set}

    @property
    def given(self) -> str:
        """Which keys say the values: 'value', 'values', 'min/max', 'mu/sigma' or 'a/b'."""
        if self.distribution is not None:
            return needs(self.distribution)
        return next((keys for keys in ("value", "values") if keys in self.model_fields_set), ENDS)

    @property
    def between(self) -> bool:
        """Whether the values lie between two ends, not in a list."""
        return self.given not in ("value", "values")

    @cached_property
    def ends(self) -> tuple[Any, Any]:
        """Lower and upper end of what is drawn, both included."""
        if self.weighted is not None and self.between:
            return self.weighted.values[0], self.weighted.values[-1]
        if self.between and self.distribution in (None, "uniform", "int_uniform", *LOGARITHMS):
            return self.min, self.max
        drawn = self.continuous
        return (drawn.low, drawn.high) if drawn else (None, None)

    @property
    def step(self) -> int | float:
        """The q of the distributions that begin with q_."""
        return 1 if self.q is None else self.q

    @property
    def quantized(self) -> bool:
        """Whether values are multiples of q."""
        return str(self.distribution).startswith("q_")

    @property
    def integer(self) -> bool:
        """Whether only integers are drawn."""
        return self.between and all(isinstance(end, int) for end in self.ends)

    @property
    def log(self) -> bool:
        """Whether equal ratios are equally likely."""
        return self.distribution in (*EXPONENTS, *LOGARITHMS) and not self.quantized

    @property
    def by_share(self) -> bool:
        """Whether the search chooses a number from 0 to 1, which `at` turns into a value."""
        return self.weighted is not None or self.given in (distributions.NORMAL, distributions.BETA)

    @property  # not kept: functions of it cannot be pickled
    def continuous(self) -> Continuous | None:
        """What is drawn before any rounding; None for listed values."""
        if not self.between:
            return None
        low, high = self.min or 0, self.max or 0
        mu, sigma = self.mu or 0.0, 1.0 if self.sigma is None else self.sigma
        name = str(self.distribution).removeprefix("q_")
        if name == "log_uniform":
            return distributions.log_uniform(math.exp(low), math.exp(high))
        if name == "inv_log_uniform":
            return distributions.log_uniform(math.exp(-high), math.exp(-low))
        if name in LOGARITHMS:
            return distributions.log_uniform(low, high)
        if name == "normal":
            return distributions.normal(mu, sigma)
        if name == "log_normal":
            return distributions.log_normal(mu, sigma)
        if name == "beta":
            return distributions.beta(1.0 if self.a is None else self.a, 1.0 if self.b is None else self.b)
        return distributions.uniform(low, high)

    @cached_property
    def weighted(self) -> Weighted | None:
        """Listed values of unequal probability; None for all others."""
        if self.probabilities is not None:
            return Weighted(self.values or (), self.probabilities)
        if self.quantized and self.continuous is not None:
            return distributions.multiples(self.continuous, self.step)
        return None

    @property
    def choices(self) -> Sequence[Any] | None:
        """Every value in order, or None when they cannot be listed."""
        if self.weighted is not None:
            return self.weighted.values
        if self.values is not None:
            return self.values
        if not self.between:
            return (self.value,)
        low, high = self.ends
        if self.integer:
            return range(low, high + 1)
        return (low,) if low == high else None

    def at(self, share: float) -> Any:
        """The value that so large a share of what is drawn lies below, for a parameter that is drawn `by_share`."""
        if self.weighted is not None:
            return self.weighted.values[self.weighted.index(share)]
        drawn = self.continuous
        assert drawn is not None
        return drawn.quantile(share)

    def share_of(self, value: Any) -> float:
        """A number from 0 to 1 that `at` turns into the value, or into one near it that was drawn by another rule."""
        drawn = self.continuous
        if drawn is None:
            assert self.weighted is not None
            return self.weighted.share(list(self.weighted.values).index(value))
        inside = min(max(value, drawn.low), drawn.high)
        return min(max(drawn.share_below(inside), 0.0), 1.0)

    def takes(self, value: Any) -> bool:
        """Whether the value is one of those the parameter may take."""
        if self.choices is not None:
            return is_among(value, self.choices)
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
        return (
            f"{low} .. {high} ({kind}{f', step {_short(self.step)}' if self.quantized else ''})" if self.varies else low
        )

    def complaints(self) -> Iterator[str]:
        given = [
            keys for keys in ("value", "values", ENDS, distributions.NORMAL, distributions.BETA) if self._says(keys)
        ]
        if not given and self.given not in (distributions.NORMAL, distributions.BETA):
            yield "declares no values; give it value, values, or min and max"
        elif len(given) > 1:
            yield f"declares its values twice: {' and '.join(given)}; keep one"
        elif given and given[0] != self.given:
            yield self._other_distribution(given[0])
        else:
            yield from self._complaints_of_what_is_drawn()
        yield from self._complaints_of_other_keys()

    def _complaints_of_what_is_drawn(self) -> Iterator[str]:
        by_keys = {
            "values": self._complaints_of_values,
            ENDS: self._complaints_between,
            distributions.NORMAL: self._complaints_of_normal,
        }
        faults = list(by_keys[self.given]()) if self.given in by_keys else []
        yield from faults
        if self.quantized and not faults:
            yield from self._complaints_of_steps()

    def _says(self, keys: str) -> bool:
        return bool(self.model_fields_set & set(keys.split("/")))

    def _other_distribution(self, given: str) -> str:
        if self.distribution is None:
            names = ", ".join(distributions.GIVEN_BY[given])
            return f"{given.replace('/', ' and ')} need their distribution; known: {names}"
        return f"distribution = {self.distribution} needs {self.given}, not {given}"

    def _complaints_between(self) -> Iterator[str]:
        if self.min is None or self.max is None:
            yield f"{'min' if self.min is None else 'max'} is missing beside {'max' if self.min is None else 'min'}"
        elif self.min > self.max:
            yield f"min = {self.min} exceeds max = {self.max}"
        elif self.distribution in LOGARITHMS and self.min <= 0:
            yield f"min = {self.min} must be greater than 0, for {self.distribution} draws the logarithm"
        elif self.distribution in EXPONENTS:
            yield from self._complaints_of_exponents(self.min, self.max)
        elif self.distribution == "int_uniform" and not self.integer:
            yield f"distribution = int_uniform needs integers, not {self.min} and {self.max}"

    def _complaints_of_exponents(self, low: float, high: float) -> Iterator[str]:
        """An exponent whose power is no number, and ends that look like values and not like exponents."""
        name = str(self.distribution)
        if max(abs(low), abs(high)) > LARGEST_EXPONENT:
            yield f"min = {low} and max = {high} are exponents of {name}; exp of one of them is no number"
        elif low > 0 and high <= 1:
            powers = sorted(math.exp(-end if name.startswith("inv") else end) for end in (low, high))
            values = f"{'q_' if self.quantized else ''}log_uniform_values"
            yield (
                f"{name} takes exponents, so min = {low} and max = {high} draw {powers[0]:.6g} .. {powers[1]:.6g}; "
                f"if they are the values, write {{distribution: {values}, min: {low}, max: {high}}}, else "
                f"{{distribution: {values}, min: {powers[0]:.6g}, max: {powers[1]:.6g}}}"
            )

    def _complaints_of_normal(self) -> Iterator[str]:
        mu, sigma = self.mu or 0.0, 1.0 if self.sigma is None else self.sigma
        if "log" in str(self.distribution) and abs(mu) + 4 * sigma > LARGEST_EXPONENT:
            yield f"mu = {mu:g} and sigma = {sigma:g} are of the logarithm; exp of some of its values is no number"

    def _complaints_of_values(self) -> Iterator[str]:
        if not self.values:
            yield "values = [] is empty; give at least one value"
        spelled = [json.dumps(_without_point(value), sort_keys=True, default=str) for value in self.values or ()]
        for text in sorted(text for text, count in Counter(spelled).items() if count > 1):
            yield f"values names {text} twice"
        if any(isinstance(value, float) and not math.isfinite(value) for value in self.values or ()):
            yield "values holds a number that is not finite"
        if self.probabilities is not None:
            yield from self._complaints_of_probabilities(self.probabilities, len(self.values or ()))
        elif self.distribution == "categorical_w_probabilities":
            yield "distribution = categorical_w_probabilities needs probabilities, one for each of values"

    def _complaints_of_probabilities(self, probabilities: Sequence[float], num_values: int) -> Iterator[str]:
        total = sum(probabilities)
        if len(probabilities) != num_values:
            yield f"probabilities has {len(probabilities)} numbers for {num_values} values; give one for each"
        elif min(probabilities) < 0 or total == 0:
            yield f"probabilities = {probabilities} must not be negative, and sum to 1"
        elif abs(total - 1) > 1e-6:
            shares = ", ".join(f"{probability / total:.6g}" for probability in probabilities)
            yield f"probabilities sum to {total:g}, not 1; write probabilities: [{shares}]"
        elif 0 in probabilities:
            yield "probabilities holds a 0: leave out the value that is never drawn"
        if self.distribution == "categorical":
            yield "distribution = categorical draws all values alike; write distribution: categorical_w_probabilities"

    def _complaints_of_other_keys(self) -> Iterator[str]:
        if self.q is not None and not self.quantized:
            own = str(self.distribution or "uniform")
            near = f"q_{own}" if f"q_{own}" in QUANTIZED else "q_uniform"
            yield f"q = {self.q} is the step of the distributions that begin with q_; write distribution: {near}"
        if self.probabilities is not None and self.given != "values":
            yield "probabilities belong to values: give values, one for each"

    def _complaints_of_steps(self) -> Iterator[str]:
        """Of a quantised distribution whose ends are valid."""
        drawn = self.continuous
        assert drawn is not None
        low, high = drawn.low, drawn.high
        steps = (high - low) / self.step
        if steps > MOST_STEPS:
            yield (
                f"q = {self.step} cuts {low:g} .. {high:g} into {steps:.3g} values; at most {MOST_STEPS:,}, "
                f"or leave q out and write distribution: {str(self.distribution).removeprefix('q_')}"
            )
        elif self.weighted is not None and len(self.weighted.values) == 1 and low < high:
            left_out = " (1 when it is left out)" if self.q is None else ""
            yield (
                f"q = {self.step}{left_out} rounds all of {low:g} .. {high:g} to {self.weighted.values[0]:g}; "
                f"give a smaller one, for example q: {_round_step(high - low):g}"
            )

    @property
    def note(self) -> str:
        """What the reader of the file may not expect of it, or the empty string."""
        if not self.between:
            return ""
        low, high = self.ends
        if self.integer and self.distribution in ("uniform", *LOGARITHMS) and not self.quantized:
            return "draws integers, since the key takes no others"
        if self.log and self.distribution != "log_uniform_values":
            return f"the same as {{distribution: log_uniform_values, min: {low:.6g}, max: {high:.6g}}}"
        if self.quantized:
            left_out = ", q left out" if self.q is None else ""
            return f"multiples of {_short(self.step)}{left_out}: {_listing(self.choices or ())}"
        if self.given in (distributions.NORMAL, distributions.BETA):
            return f"draws {low:.4g} .. {high:.4g}; the outermost {distributions.TAIL:g} on either side is left out"
        return ""


def _without_point(value: Any) -> Any:
    """1.0 as 1: for a recipe they are one value."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _round_step(width: float) -> float:
    """A power of ten that cuts the width into 10 to 100 steps."""
    return float(10.0 ** math.floor(math.log10(width) - 1))


def _listing(values: Sequence[Any]) -> str:
    shown = [_short(value) for value in values]
    return ", ".join(shown if len(shown) <= 5 else [*shown[:3], "..", shown[-1]])


def is_among(value: Any, choices: Sequence[Any]) -> bool:
    """Whether the choices hold the value; in a range of integers without counting up to it, whatever the value is."""
    if isinstance(choices, range) and not isinstance(value, int):
        return isinstance(value, float) and value.is_integer() and int(value) in choices
    return value in choices


def wanted_values(wanted: Any) -> list[Any]:
    """The values a `when` accepts: its list, or its one value."""
    return wanted if isinstance(wanted, list) else [wanted]


def _short(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else spelled(value)
