"""Which definitions of the trainer a script needs: those that `main` refers to, directly or not.

A method is needed if its name is an attribute anywhere in what is needed; names in annotations need nothing but short
aliases, since annotations are not evaluated.
"""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass, field
from pathlib import Path

from results.submission.frozen_recipe import SECTION_MODULES
from results.submission.module_text import Definition, Function, Module, Target, read_module

SUBSTITUTES = {("pydantic", "ValidationError"): "ValueError"}
"""Names of packages that the script does without, and what stands for them."""
TOO_NEW = {("typing", "Self")}
"""Names that Python 3.10 lacks; they stand in annotations alone."""
ROOMS = ("spec", "nn", "optim", "data", "quant", "scoring", "stages")
"""In the order in which a reader meets them, as far as what stands on what allows it."""
Choices = Mapping[tuple[str, str], Set[str]]
"""Of tables, by module and name, the entries that are needed."""


@dataclass
class Needed:
    """What a script needs so far."""

    package: Path
    choices: Choices
    modules: dict[str, Module] = field(default_factory=dict)
    definitions: dict[str, list[Definition]] = field(default_factory=dict)
    """By module."""
    attributes: set[str] = field(default_factory=set)
    """Every attribute that is named: the methods that may be called."""
    imports: dict[str, set[str]] = field(default_factory=dict)
    """Import statements of other packages, by the name they bind."""
    _followed: set[int] = field(default_factory=set)

    @classmethod
    def by(cls, root: Target, package: Path, choices: Choices) -> Needed:
        """All that `root` needs."""
        needed = cls(package, choices)
        needed.take(root)
        while needed._follow_all():
            pass
        return needed

    def module(self, name: str) -> Module:
        """A module, read once."""
        if name not in self.modules:
            wanted = [(table, frozenset(kept)) for (module, table), kept in self.choices.items() if module == name]
            self.modules[name] = _parsed(self.package, name, tuple(wanted))
        return self.modules[name]

    def has(self, target: Target) -> bool:
        """Whether a definition is needed."""
        return any(target.name in one.names for one in self.definitions.get(target.module, ()))

    def origin(self, target: Target) -> Target:
        """Where a name is defined, which a module may have imported itself."""
        if target.module in SECTION_MODULES:
            return target
        found = self.module(target.module).targets.get(target.name)
        assert found is not None, f"{target.module} has no {target.name}"
        return target if found.module == target.module else self.origin(found)

    def take(self, target: Target) -> None:
        """Adds a definition, and the functions that are registered with it."""
        target = self.origin(target)
        if target.module in SECTION_MODULES or self.has(target):
            return
        module, taken = self.module(target.module), self.definitions.setdefault(target.module, [])
        taken.append(next(one for one in module.definitions if target.name in one.names))
        taken += [one for one in module.definitions if _is_registered_with(one, target.name) and one not in taken]

    def keeps(self, method: Function) -> bool:
        """Whether a method may be called."""
        return method.name == "forward" or method.name.startswith("__") or method.name in self.attributes

    def in_order(self) -> Iterator[tuple[Module, list[Definition]]]:
        """Each module after those it refers to, room by room; its definitions as they stand there."""
        ordered: dict[str, None] = {}

        def add(name: str) -> None:
            for below in sorted(self._stands_on(name), key=_place):
                if below not in ordered:
                    add(below)
            ordered.setdefault(name)

        for name in sorted(self.definitions, key=_place):
            add(name)
        for name in ordered:
            yield self.modules[name], sorted(self.definitions[name], key=lambda one: one.node.lineno)

    def _stands_on(self, name: str) -> set[str]:
        module = self.modules[name]
        used = [self.origin(one) for one in module.targets.values() if one.kind == "own"]
        return {one.module for one in used if one.module in self.definitions} - {name}

    def _follow_all(self) -> bool:
        before = len(self._followed)
        for name in list(self.definitions):
            for definition in list(self.definitions[name]):
                for part in (definition.core, *filter(self.keeps, definition.methods)):
                    if id(part) not in self._followed:
                        self._followed.add(id(part))
                        self._follow(self.module(name), part)
        return len(self._followed) > before

    def _follow(self, module: Module, part: ast.AST) -> None:
        self.attributes |= {node.attr for node in ast.walk(part) if isinstance(node, ast.Attribute)}
        for reference in module.references(part):
            target = reference.target
            if target.kind == "own":
                if not reference.is_annotation or self._is_alias(target):
                    self.take(target)
            elif (target.module, target.name) not in {*SUBSTITUTES, *TOO_NEW}:
                assert isinstance(reference.node, ast.Name)
                self.imports.setdefault(reference.node.id, set()).update(module.imported[reference.node.id])

    def _is_alias(self, target: Target) -> bool:
        target = self.origin(target)
        if target.module in SECTION_MODULES:
            return False
        found = next(one for one in self.module(target.module).definitions if target.name in one.names)
        return isinstance(found.node, ast.Assign)


@functools.cache
def _parsed(package: Path, name: str, wanted: tuple[tuple[str, frozenset[str]], ...]) -> Module:
    """A module with only some entries of its tables; the sources of a running program do not change."""
    return Module(name, with_entries(read_module(package, name), dict(wanted)), package)


def _place(name: str) -> tuple[int, str]:
    room = name.split(".")[1]
    return (ROOMS.index(room) if room in ROOMS else 0, name)


def _is_registered_with(definition: Definition, name: str) -> bool:
    """Whether it is a function `_` that a decorator of `name` registers, as `@name.register_fake` does."""
    node = definition.node
    if not isinstance(node, Function) or node.name != "_":
        return False
    return any(
        isinstance(inner, ast.Name) and inner.id == name for one in node.decorator_list for inner in ast.walk(one)
    )


def with_entries(text: str, wanted: Mapping[str, Set[str]]) -> str:
    """The text of a module with only some entries of the tables at its top."""
    lines = [line.encode() for line in text.splitlines(keepends=True)]
    for statement in reversed(ast.parse(text).body):
        target = next(iter(getattr(statement, "targets", [getattr(statement, "target", None)])), None)
        table = getattr(statement, "value", None)
        if not isinstance(target, ast.Name) or target.id not in wanted or not isinstance(table, ast.Dict):
            continue
        pairs = [
            f"{ast.get_source_segment(text, key)}: {ast.get_source_segment(text, value)}"
            for key, value in zip(table.keys, table.values, strict=True)
            if isinstance(key, ast.Constant) and key.value in wanted[target.id]
        ]
        assert pairs, f"{target.id} has none of {sorted(wanted[target.id])}"
        replace_span(lines, table, f"{{{', '.join(pairs)}}}")
    return b"".join(lines).decode()


def replace_span(lines: list[bytes], node: ast.expr | ast.stmt, text: str) -> None:
    """Replaces the text of a node; all edits of one text go from its end to its beginning."""
    assert node.end_lineno is not None
    assert node.end_col_offset is not None
    first, last = node.lineno - 1, node.end_lineno - 1
    joined = lines[first][: node.col_offset] + text.encode() + lines[last][node.end_col_offset :]
    lines[first : last + 1] = [joined, *[b""] * (last - first)]
