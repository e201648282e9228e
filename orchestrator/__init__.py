"""Schedules sweeps: asks Optuna for configurations, runs them over seeds on warm Ray Train worker groups.

from orchestrator import plan, sweep
plan("search_spaces/ttt.yaml").seconds
sweep("search_spaces/ttt.yaml").table()
"""

import importlib
from typing import Any


def __getattr__(name: str) -> Any:
    """`orchestrator.plan` and `orchestrator.sweep` without an import of their own; nothing else is imported."""
    if name in ("plan", "sweep"):
        return importlib.import_module(f"orchestrator.{name}")
    raise AttributeError(f"module 'orchestrator' has no attribute '{name}'")
