"""What a walk holds beside values: frames of names, functions, classes, instances, gradients that wait."""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from trainer.audit.facts.tokens import Tokens
from trainer.audit.facts.values import UNKNOWN, Mapping, Value

Keywords = dict[str, Value]
Resume = Callable[[Value], None]


@dataclass(eq=False)
class Frame:
    """Names and their values: of a module, a class body or a function."""

    names: dict[str, Value] = field(default_factory=dict)
    outer: Frame | None = None
    """The frame a nested function was defined in."""
    module: Frame | None = None
    file: str = ""
    elsewhere: dict[str, Frame] = field(default_factory=dict)
    """Names declared global or nonlocal, and the frame they live in."""
    returned: list[Value] = field(default_factory=list)
    yielded: list[Value] = field(default_factory=list)
    at_yield: Resume | None = None
    """What goes on where a context manager yields: the body of the `with`."""
    consumer: Resume | None = None
    """What goes on at each yield of a generator: the body of the `for`."""
    yields: Any = None
    """Which of its yields are parts of one thing, where it is a generator."""
    depth: int = 0
    """How many loops are around its call."""
    function: str = ""
    choosing: int = 0
    """How many conditions on scores stand around its call."""

    def find(self, name: str) -> Value | None:
        """The value of a name, looked up from the inside."""
        frame: Frame | None = self.elsewhere.get(name, self)
        while frame is not None:
            if name in frame.names:
                return frame.names[name]
            frame = frame.outer
        return None

    def assign(self, name: str, value: Value) -> None:
        """Gives a name another value."""
        self.elsewhere.get(name, self).names[name] = value


@dataclass(eq=False)
class Function:
    """A function of the script, where it was defined, and what is bound already."""

    node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
    frame: Frame
    defaults: list[Value] = field(default_factory=list)
    keyword_defaults: dict[str, Value] = field(default_factory=dict)
    bound: Value | None = None
    """The instance, for a method."""
    arguments: tuple[Value, ...] = ()
    keywords: dict[str, Value] = field(default_factory=dict)
    without_gradient: bool = False

    @property
    def name(self) -> str:
        """Its name."""
        return getattr(self.node, "name", "lambda")


@dataclass(eq=False)
class Class:
    """A class of the script."""

    node: ast.ClassDef
    frame: Frame
    """Its body's names."""
    bases: list[Value]
    kind: str
    """'module' for a part of a model, 'optimizer', or 'plain'."""

    @property
    def name(self) -> str:
        """Its name."""
        return self.node.name

    def find(self, name: str) -> Value | None:
        """An attribute of the class or of its bases."""
        if name in self.frame.names:
            return self.frame.names[name]
        for base in self.bases:
            for ref in base.refs:
                if isinstance(ref, Class) and (found := ref.find(name)) is not None:
                    return found
        return None


@dataclass(eq=False)
class Instance:
    """An object of a class of the script, or the settings that a parser returns."""

    id: int
    kind: Class | None
    attributes: dict[str, Value] = field(default_factory=dict)
    given: Value = UNKNOWN
    """What a model was built from, besides sizes."""
    held: tuple[Mapping, ...] = ()
    """Of an object of a kind of `dict`: what it holds as one."""


@dataclass(eq=False)
class Namespace:
    """A helper module of the script, walked."""

    frame: Frame


@dataclass(frozen=True)
class Gradient:
    """Gradients of a loss that wait for an optimiser step."""

    tokens: frozenset[Tokens]
    objects: frozenset[int]
    scores: frozenset[int]
