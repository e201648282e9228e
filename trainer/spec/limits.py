"""The `budget` section of the recipe: limits of steps, seconds and bytes. `budget` checks them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from pydantic import Field as PydanticField
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt

from trainer.spec.section import Knob, Section


class Budget(Section):
    """Hard limits: what is over them does not count."""

    train_steps: Annotated[PositiveInt | None, Knob("train", "steps")] = None
    """Optimiser steps; the same bits on every CPU of a kind."""
    train_s: Annotated[PositiveFloat | None, Knob("train export", "s")] = None
    """Wall seconds from the first step to the last, calibration added; warm-up and compilation are not counted."""
    reserve_s: Annotated[NonNegativeFloat, Knob("train", "s", unless={"budget.train_s": None}, neutral=True)] = 0.0
    """Seconds at the end of `train_s` that the training loop leaves to the export's calibration."""
    eval_s: Annotated[PositiveFloat, PydanticField(le=600), Knob("", "s")] = 600.0
    """Seconds of the scoring stage behind the headline."""
    artifact_bytes: Annotated[PositiveInt, PydanticField(le=16_000_000), Knob("", "bytes")] = 16_000_000
    """Code and compressed model together."""

    def complaints(self) -> Iterator[str]:
        if self.train_steps is None and self.train_s is None:
            yield "train_steps = null and train_s = null leave training without an end; usual: train_s = 600"
        if self.train_s is not None and self.reserve_s >= self.train_s:
            yield f"reserve_s = {self.reserve_s:g} leaves nothing of train_s = {self.train_s:g}; usual: 12"

    @property
    def loop_s(self) -> float | None:
        """Seconds of the training loop: what `train_s` leaves after the reserve; None without a wall clock."""
        return None if self.train_s is None else self.train_s - self.reserve_s
