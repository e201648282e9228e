"""Rows become pandas tables, tests of significance and figures.

from results import open_sweep
open_sweep("ttt").runs
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any


def open_sweep(name: str, store: str | Path = "runs") -> Any:
    """A sweep that was run or imported, by its name: an `orchestrator.analysis.opened.OpenedSweep`.

    store:  the folder of sweeps, or s3://BUCKET/PREFIX
    Reading a search space is the orchestrator's part, so this calls it, by name and when it is called: importing
    `results` imports nothing, and no other module of `results` knows the orchestrator.
    """
    return importlib.import_module("orchestrator.analysis.opened").open_by_name(name, store)
