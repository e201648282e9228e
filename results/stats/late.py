"""SciPy's special functions, imported when the first of them is called, and without the package around them.

They are compiled functions of one module, `scipy.special._ufuncs`. `import scipy.special` also writes a note into the
docstring of each and imports all of NumPy for it, which takes five times as long as the functions; most commands (help,
status, list, table) call none.
"""

from __future__ import annotations

import importlib
import sys
import threading
from importlib.util import find_spec, module_from_spec
from types import ModuleType
from typing import Any

PACKAGE, COMPILED = "scipy.special", "scipy.special._ufuncs"


class LateFunctions:
    """The functions of `scipy.special`, each found at its first use."""

    def __getattr__(self, item: str) -> Any:
        found = getattr(compiled_alone(), item, None)
        if found is None:  # written in Python, or compiled elsewhere in another SciPy
            found = getattr(importlib.import_module(PACKAGE), item)
        setattr(self, item, found)  # the next use does not come here
        return found


def compiled_alone() -> ModuleType | None:
    """The module of compiled functions; None where this SciPy has none of the name.

    Python imports a package before a module in it, so an empty package stands in its place meanwhile: where another
    thread could see that one, the package itself is imported. It finds the same functions when it is imported later.
    """
    spec = None if PACKAGE in sys.modules or threading.active_count() > 1 else find_spec(PACKAGE)
    if spec is not None:
        sys.modules[PACKAGE] = module_from_spec(spec)
    try:
        return importlib.import_module(COMPILED)
    except ModuleNotFoundError:
        return None
    finally:
        if spec is not None:
            del sys.modules[PACKAGE]


special: Any = LateFunctions()
