"""Packages that are called like the command of their name: `from orchestrator import plan, sweep`.

`orchestrator.plan` and `orchestrator.sweep` are packages of modules and functions too. What a call does is in
`orchestrator.commands.in_python`, which is imported at the first call and by its name, since it stands on every room.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any


class CalledPackage(ModuleType):
    """A package that hands a call on to the function of its name."""

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        functions = importlib.import_module("orchestrator.commands.in_python")
        return getattr(functions, self.__name__.rpartition(".")[2])(*arguments, **options)


def make_callable(package: str) -> None:
    """Makes a package that is being imported one that can be called."""
    sys.modules[package].__class__ = CalledPackage
