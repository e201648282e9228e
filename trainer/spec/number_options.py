"""Checks of numbers on a command line that Typer's `min` and `max` cannot express, or that would widen its help."""

from __future__ import annotations

import math

import typer

from trainer.spec.errors import UserError


def finite(option: typer.CallbackParam, value: float | None) -> float | None:
    """The value. Raises UserError for nan and inf, which float() reads too."""
    if value is not None and not math.isfinite(value):
        raise UserError(f"{option.opts[0]} {value:g} must be a finite number")
    return value


def not_negative(option: typer.CallbackParam, value: float) -> float:
    """The value. Raises UserError unless it is 0 or more."""
    if not value >= 0:
        raise UserError(f"{option.opts[0]} {value:g} must be at least 0")
    return value


def probability(option: typer.CallbackParam, value: float | None) -> float | None:
    """The value. Raises UserError unless it lies between 0 and 1, both excluded."""
    if value is not None and not 0 < value < 1:
        raise UserError(f"{option.opts[0]} {value:g} must lie between 0 and 1; usual: 0.01")
    return value
