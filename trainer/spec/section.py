"""What every part of a recipe is made of: sections that refuse what they do not know, and what a field declares.

Which sections and fields there are is said in `recipe`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, model_validator
from pydantic import Field as PydanticField

Fraction = Annotated[float, PydanticField(ge=0, le=1)]


@dataclass(frozen=True)
class Knob:
    """What a field declares beside its type: the stages that read it, its unit, and what makes it irrelevant."""

    stages: str
    """Names of the stages that read the field, separated by spaces."""
    unit: str = ""
    """Unit for people and column heads; empty for switches and counts."""
    unless: Mapping[str, Any] = field(default_factory=dict)
    """Dotted switches and the value, or values, at each of which alone this field has no effect."""
    unless_all: Mapping[str, Any] = field(default_factory=dict)
    """Dotted switches and the values at which this field has no effect if all of them have theirs."""
    neutral: bool = False
    """Whether the field came later with a default that changes nothing: at that default it enters no fingerprint, so
    stages computed before the field existed keep theirs."""


class Section(BaseModel):
    """A part of a recipe: frozen, strict, unknown keys refused."""

    model_config = ConfigDict(
        frozen=True, strict=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False
    )

    def complaints(self) -> Iterator[str]:
        """What fields say together that they may not; 'KEY = VALUE ...' relative to this section."""
        return iter(())

    @model_validator(mode="after")
    def _hold_together(self) -> Section:
        found = list(self.complaints())
        if found:
            raise ValueError("\n".join(found))
        return self
