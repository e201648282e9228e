"""SciPy's special functions, imported when the first of them is called.

They take a quarter of a second to import, and most commands (help, status, list, table) call none. A third of that is
for `numpy.f2py` and `numpy.testing`: SciPy copies every name of NumPy, those two among them, and calls neither. They
are loaded when somebody does (`importlib.util.LazyLoader`).
"""

from __future__ import annotations

import importlib
import sys
from importlib.util import LazyLoader, find_spec, module_from_spec
from typing import Any

COPIED_UNUSED = ("numpy.f2py", "numpy.testing")


class LateModule:
    """A module that is imported at the first use of one of its names."""

    def __init__(self, name: str, without: tuple[str, ...] = ()):
        """
        without:  modules that it imports and does not use
        """
        self._name = name
        self._without = without

    def __getattr__(self, item: str) -> Any:
        for name in self._without:
            postpone(name)
        found = getattr(importlib.import_module(self._name), item)
        setattr(self, item, found)  # the next use does not come here
        return found


def postpone(name: str) -> None:
    """Has a module of a package loaded at the first use of one of its names, though it is imported before."""
    spec = None if name in sys.modules else find_spec(name)
    if spec is None or spec.loader is None:
        return
    spec.loader = LazyLoader(spec.loader)
    module = module_from_spec(spec)
    sys.modules[name] = module
    package, _, own_name = name.rpartition(".")
    setattr(sys.modules[package], own_name, module)  # as an import does; else NumPy would import it when it is listed
    spec.loader.exec_module(module)


special: Any = LateModule("scipy.special", without=COPIED_UNUSED)
