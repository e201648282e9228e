"""The trainer's modules as text: their top-level definitions, and which names in them refer to what.

Reads files and syntax trees; imports and executes nothing of what it reads. `flatten` makes one file of it.
"""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal, TypeAlias

Function: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef
Scoped: TypeAlias = Function | ast.Lambda | ast.ClassDef
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


@dataclass(frozen=True)
class Target:
    """What a module's name refers to."""

    kind: Literal["own", "module", "external"]
    module: str
    """Of our definition; our module; or the module of another package."""
    name: str = ""
    """The name there; empty for a whole module."""


@dataclass(frozen=True)
class Reference:
    """A name in the text that refers to something outside the function it stands in."""

    node: ast.expr
    """The name, or `module.name`."""
    target: Target
    is_annotation: bool


@dataclass(frozen=True, eq=False)
class Definition:
    """A statement that binds names at the top of a module, and the string that describes it."""

    names: tuple[str, ...]
    node: ast.stmt
    description: ast.Expr | None = None

    @cached_property
    def methods(self) -> tuple[Function, ...]:
        """Of a class, each a part of its own; a protocol is whole."""
        if not isinstance(self.node, ast.ClassDef) or any(ast.unparse(base) == "Protocol" for base in self.node.bases):
            return ()
        return tuple(part for part in self.node.body if isinstance(part, Function))

    @cached_property
    def core(self) -> ast.stmt:
        """The statement without its methods."""
        if not self.methods:
            return self.node
        assert isinstance(self.node, ast.ClassDef)
        core = ast.parse("class _:\n    pass").body[0]
        assert isinstance(core, ast.ClassDef)
        core.bases, core.keywords, core.decorator_list = self.node.bases, self.node.keywords, self.node.decorator_list
        core.body = [part for part in self.node.body if part not in self.methods]
        return core


@dataclass
class Module:
    """One module of the trainer."""

    name: str
    text: str
    package: Path
    definitions: list[Definition] = field(default_factory=list)
    targets: dict[str, Target] = field(default_factory=dict)
    imported: dict[str, list[str]] = field(default_factory=dict)
    """Import statements of other packages, by the name they bind."""
    _references: dict[ast.AST, Sequence[Reference]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for statement in self.tree.body:
            if isinstance(statement, ast.Import | ast.ImportFrom):
                self._add_import(statement)
            elif isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
                if self.definitions:
                    last = self.definitions[-1]
                    self.definitions[-1] = Definition(last.names, last.node, statement)
            elif names := tuple(bound_by(statement)):
                self.definitions.append(Definition(names, statement))
                self.targets |= {name: Target("own", self.name, name) for name in names}

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)

    @cached_property
    def lines(self) -> list[bytes]:
        """As bytes, since columns of a syntax tree count bytes."""
        return [line.encode() for line in self.text.splitlines(keepends=True)]

    def _add_import(self, statement: ast.Import | ast.ImportFrom) -> None:
        for alias in statement.names:
            bound = alias.asname or (alias.name if isinstance(statement, ast.ImportFrom) else alias.name.split(".")[0])
            source = statement.module or "" if isinstance(statement, ast.ImportFrom) else ""
            if source.split(".")[0] == self.package.name:
                inside = self.package.parent.joinpath(*source.split("."), f"{alias.name}.py")
                is_module = inside.is_file()
                self.targets[bound] = (
                    Target("module", f"{source}.{alias.name}") if is_module else Target("own", source, alias.name)
                )
            elif source != "__future__":
                self.targets[bound] = Target("external", source or alias.name, alias.name if source else "")
                as_name = f" as {alias.asname}" if alias.asname else ""
                begin = f"from {source} import " if source else "import "
                self.imported.setdefault(bound, []).append(f"{begin}{alias.name}{as_name}")

    def references(self, node: ast.AST) -> Sequence[Reference]:
        """The names in a statement of this module that refer to something outside the function they stand in."""
        if node not in self._references:
            self._references[node] = [*self._find_references(node)]
        return self._references[node]

    def _find_references(self, node: ast.AST) -> Iterator[Reference]:
        for expression, is_annotation in global_names(node):
            name = expression.value if isinstance(expression, ast.Attribute) else expression
            assert isinstance(name, ast.Name)
            target = self.targets.get(name.id)
            if target is None:
                continue
            if target.kind == "module" and isinstance(expression, ast.Attribute):
                yield Reference(expression, Target("own", target.module, expression.attr), is_annotation)
            elif target.kind != "module":
                yield Reference(name, target, is_annotation)


def read_module(package: Path, name: str) -> str:
    """The text of a module of a package by its dotted name."""
    path = package.parent.joinpath(*name.split("."))
    return (path / "__init__.py" if path.is_dir() else path.with_suffix(".py")).read_text(encoding="utf-8")


def bound_by(statement: ast.stmt) -> Iterator[str]:
    """Names that a statement binds where it stands."""
    if isinstance(statement, Function | ast.ClassDef):
        yield statement.name
    elif isinstance(statement, ast.Assign | ast.AnnAssign | ast.AugAssign):
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        yield from (name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name))


def global_names(
    node: ast.AST, scopes: tuple[Set[str], ...] = (), annotation: bool = False
) -> Iterator[tuple[ast.expr, bool]]:
    """Each name that no scope around it binds, or `name.attribute` as a whole, and whether it is in an annotation."""
    if isinstance(node, ast.Name):
        known = any(node.id in scope for scope in scopes) or hasattr(builtins, node.id)
        if not known:
            yield node, annotation
    elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        yield from ((node, flag) for _, flag in global_names(node.value, scopes, annotation))
    elif isinstance(node, Function | ast.Lambda):
        yield from _of_function(node, scopes)
    elif isinstance(node, ast.ClassDef):
        yield from _of_class(node, scopes)
    elif isinstance(node, COMPREHENSIONS):
        bound = {name.id for part in node.generators for name in ast.walk(part.target) if isinstance(name, ast.Name)}
        yield from _of_children(node, (*scopes, bound), annotation)
    elif isinstance(node, ast.AnnAssign):
        yield from global_names(node.annotation, scopes, True)
        for child in (node.target, node.value):
            if child is not None:
                yield from global_names(child, scopes, annotation)
    else:
        yield from _of_children(node, scopes, annotation)


def _of_children(
    node: ast.AST, scopes: tuple[Set[str], ...], annotation: bool = False
) -> Iterator[tuple[ast.expr, bool]]:
    for child in ast.iter_child_nodes(node):
        yield from global_names(child, scopes, annotation)


def _of_function(node: Function | ast.Lambda, scopes: tuple[Set[str], ...]) -> Iterator[tuple[ast.expr, bool]]:
    arguments = node.args
    every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
    present = [argument for argument in every if argument is not None]
    outside: list[ast.expr | None] = [*arguments.defaults, *arguments.kw_defaults]
    if not isinstance(node, ast.Lambda):
        outside += node.decorator_list
        for annotated in (*(argument.annotation for argument in present), node.returns):
            if annotated is not None:
                yield from global_names(annotated, scopes, True)
    for expression in outside:
        if expression is not None:
            yield from global_names(expression, scopes)
    body: Sequence[ast.AST] = [node.body] if isinstance(node, ast.Lambda) else node.body
    inner = (*scopes, {argument.arg for argument in present} | {name for part in body for name in _locals(part)})
    for part in body:
        yield from global_names(part, inner)


def _of_class(node: ast.ClassDef, scopes: tuple[Set[str], ...]) -> Iterator[tuple[ast.expr, bool]]:
    for expression in (*node.decorator_list, *node.bases, *(keyword.value for keyword in node.keywords)):
        yield from global_names(expression, scopes)
    for statement in node.body:  # a method does not see the names of its class
        own = set() if isinstance(statement, Function) else {name for part in node.body for name in bound_by(part)}
        yield from global_names(statement, (*scopes, own))


def _locals(node: ast.AST) -> Iterator[str]:
    """Names that a part of a function's body binds in the function."""
    if isinstance(node, Function | ast.ClassDef):
        yield node.name
        return
    if isinstance(node, ast.Lambda):
        return
    if isinstance(node, COMPREHENSIONS):
        walruses = (inner.target for inner in ast.walk(node) if isinstance(inner, ast.NamedExpr))
        yield from (target.id for target in walruses if isinstance(target, ast.Name))
        return
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
        yield node.id
    if isinstance(node, ast.ExceptHandler) and node.name:
        yield node.name
    if isinstance(node, ast.Import | ast.ImportFrom):
        yield from (alias.asname or alias.name.split(".")[0] for alias in node.names)
    for child in ast.iter_child_nodes(node):
        yield from _locals(child)
