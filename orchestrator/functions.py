"""Packages that are called like the command of their name: `from orchestrator import plan, sweep`.

`orchestrator.plan` and `orchestrator.sweep` are packages of modules and functions too. What a call does is in
`orchestrator.commands.in_python`, which is imported at the first call and by its name, since it stands on every room.
"""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any


class CalledPackage(ModuleType):
    """A package that hands a call on to the function of its name."""

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        """What the command of this name does; `inspect.signature` tells the options."""
        return self._function(*arguments, **options)

    @property
    def __signature__(self) -> inspect.Signature:
        return inspect.signature(self._function)

    @property
    def _function(self) -> Callable[..., Any]:
        functions = importlib.import_module("orchestrator.commands.in_python")
        found: Callable[..., Any] = getattr(functions, self.__name__.rpartition(".")[2])
        return found


def make_callable(package: str) -> None:
    """Makes a package that is being imported one that can be called."""
    sys.modules[package].__class__ = CalledPackage
