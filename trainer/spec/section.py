"""Base class of the recipe's sections, and the declaration of a field (unit, stages, switches that disable it).

The sections themselves are in `recipe`.
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
    """Declared for each field besides its type: the stages that read it, its unit, and what disables it."""

    stages: str
    """Names of the stages that read the field, separated by spaces."""
    unit: str = ""
    """Unit, for documentation and column heads; empty for switches and counts."""
    unless: Mapping[str, Any] = field(default_factory=dict)
    """Dotted switches and the value, or values, at each of which alone this field has no effect."""
    unless_all: Mapping[str, Any] = field(default_factory=dict)
    """Dotted switches and the values at which this field has no effect if all of them have theirs."""
    neutral: bool = False
    """Whether the field was added later with a default that changes nothing: at its default it enters no fingerprint,
    so stages that were computed before the field existed stay valid."""


class Section(BaseModel):
    """A part of a recipe: frozen, strict, unknown keys refused. Its validator is built when it is first used."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", defer_build=True, allow_inf_nan=False)

    def complaints(self) -> Iterator[str]:
        """Contradictions between fields, each as 'KEY = VALUE ...' with the key relative to this section."""
        return iter(())

    @model_validator(mode="after")
    def _hold_together(self) -> Section:
        if complaints := list(self.complaints()):
            raise ValueError("\n".join(complaints))
        return self
