"""SciPy's special functions, imported when the first of them is called.

They take a quarter of a second to import, and most commands (help, status, list, table) call none.
"""

from __future__ import annotations

import importlib
from typing import Any


class LateModule:
    """A module that is imported at the first use of one of its names."""

    def __init__(self, name: str):
        self._name = name

    def __getattr__(self, item: str) -> Any:
        found = getattr(importlib.import_module(self._name), item)
        setattr(self, item, found)  # the next use does not come here
        return found


special: Any = LateModule("scipy.special")
