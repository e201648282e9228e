"""Which calls within a model are made with what was computed from its first input? Followed by syntax alone.

From a method of a model and the parameter that holds the tokens, through names, layers that the model's `__init__`
made (`self.blocks[k](x)`, `for block in self.blocks`), its own methods and functions of the script. What came in by
another parameter is not followed: a memory, or the text before.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

MOST_VISITS = 400
"""Functions entered before no more are."""
SIZES = frozenset(["shape", "device", "dtype", "ndim"])
OF_SIZE = frozenset(["size", "dim", "numel", "len", "ndimension"])
"""What says of a tensor how large it is, and nothing of what it holds."""
HANDED_ON = frozenset(["checkpoint"])
"""Functions that call their first argument with the others."""
PLAIN = (ast.Name, ast.Attribute, ast.Subscript, ast.IfExp, ast.Tuple, ast.List)
"""Expressions that may be layers as they are."""
Layers = dict[str, list[ast.Call]]
"""Names or attributes that hold layers, and the calls that made them."""
AnyFunction = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Visit:
    """A call that is given something computed from the first input, in a function and perhaps a class."""

    call: ast.Call
    function: AnyFunction
    kind: ast.ClassDef | None
    carrying: frozenset[str]
    """Names in the function that hold what was computed from it."""
    made: ast.Call | None = None
    """Of a layer that is no class of the script: where it was made."""


@dataclass
class ModelCalls:
    """The calls that a model makes, as far as they could be followed."""

    tree: ast.Module
    visits: list[Visit] = field(default_factory=list)
    callers: dict[AnyFunction, list[Visit]] = field(default_factory=dict)
    """Of each function that was entered: the calls of it."""
    is_cut: bool = False

    def __post_init__(self) -> None:
        self.kinds = {node.name: node for node in ast.walk(self.tree) if isinstance(node, ast.ClassDef)}
        methods = {part for kind in self.kinds.values() for part in kind.body}
        self.functions: dict[str, list[AnyFunction]] = {}
        for node in ast.walk(self.tree):
            if isinstance(node, AnyFunction) and node not in methods:
                self.functions.setdefault(node.name, []).append(node)
        self._seen: set[tuple[object, ...]] = set()
        self._layers: dict[ast.ClassDef, Layers] = {}

    def follow(
        self, kind: ast.ClassDef | None, function: AnyFunction, carrying: frozenset[str], given: Layers | None = None
    ) -> None:
        """Follows what these parameters hold through a function, and on.

        given:  parameters that are layers, and the calls that made them
        """
        layers = {name: [*calls] for name, calls in (given or {}).items()}
        key = (function, carrying, *((name, *map(id, calls)) for name, calls in sorted(layers.items())))
        if key in self._seen or not carrying:
            return
        if len(self._seen) >= MOST_VISITS:
            self.is_cut = True
            return
        self._seen.add(key)
        names = self._spread(kind, function, set(carrying), layers)
        for call in _own(function):
            if isinstance(call, ast.Call) and any(carries(part, names) for part in _given(call)):
                self._enter(Visit(call, function, kind, frozenset(names)), layers)

    def _spread(self, kind: ast.ClassDef | None, function: AnyFunction, names: set[str], layers: Layers) -> set[str]:
        """All names that carry the input; the layers that names stand for are added to those known."""
        for _ in range(3):  # what a loop carries into its next iteration, too
            before = len(names), sum(map(len, layers.values()))
            for node in _own(function):
                pairs: list[tuple[ast.expr, ast.expr]] = []
                if isinstance(node, ast.Assign):
                    pairs = [pair for target in node.targets for pair in _paired(target, node.value)]
                elif isinstance(node, ast.AugAssign | ast.NamedExpr | ast.AnnAssign) and node.value is not None:
                    pairs = [(node.target, node.value)]
                elif isinstance(node, ast.For | ast.comprehension):
                    pairs = [(node.target, node.iter)]
                for target, value in pairs:
                    if carries(value, names):
                        names |= _stored(target)
                    if isinstance(value, PLAIN) or isinstance(node, ast.For | ast.comprehension):
                        for found in self._of_layers(kind, value, layers):
                            for name in _stored(target):
                                known = layers.setdefault(name, [])
                                known += [found] if found not in known else []
            if before == (len(names), sum(map(len, layers.values()))):
                break
        return names

    def _of_layers(self, kind: ast.ClassDef | None, node: ast.AST, layers: Layers) -> list[ast.Call]:
        """Where the layers that an expression may be were made."""
        if isinstance(node, ast.Name):
            return layers.get(node.id, [])
        if isinstance(node, ast.Attribute):
            if getattr(node.value, "id", "") == "self" and kind is not None:
                return self.layers_of(kind).get(node.attr, [])
            bases = (self.kinds.get(name_of(made.func)) for made in self._of_layers(kind, node.value, layers))
            return [made for base in bases if base is not None for made in self.layers_of(base).get(node.attr, [])]
        return [made for part in ast.iter_child_nodes(node) for made in self._of_layers(kind, part, layers)]

    def layers_of(self, kind: ast.ClassDef) -> Layers:
        """The attributes of a model, and the calls that made what they hold."""
        if kind not in self._layers:
            made = self._layers[kind] = {}
            for base in kind.bases:
                if isinstance(base, ast.Name) and base.id in self.kinds and base.id != kind.name:
                    made |= {name: [*calls] for name, calls in self.layers_of(self.kinds[base.id]).items()}
            for node in ast.walk(kind):
                target, value = _kept(node)
                if target and value is not None:
                    made.setdefault(target, []).extend(part for part in ast.walk(value) if isinstance(part, ast.Call))
        return self._layers[kind]

    def method(self, kind: ast.ClassDef, *names: str) -> AnyFunction | None:
        """A method of a class or of its bases in the script."""
        for name in names:
            for node in kind.body:
                if isinstance(node, AnyFunction) and node.name == name:
                    return node
        for base in kind.bases:
            if isinstance(base, ast.Name) and base.id in self.kinds and base.id != kind.name:
                return self.method(self.kinds[base.id], *names)
        return None

    def _enter(self, visit: Visit, layers: Layers) -> None:
        self.visits.append(visit)
        call, called = visit.call, visit.call.func
        if name_of(called) in HANDED_ON and call.args:
            called = call.args[0]
            visit = replace(visit, call=ast.copy_location(ast.Call(called, call.args[1:], []), call))
        if isinstance(called, ast.Name):
            for function in self.functions.get(called.id, []):
                self._into(visit, None, function, 0, layers)
        if isinstance(called, ast.Attribute):
            of_self = getattr(called.value, "id", "") == "self" and visit.kind is not None
            made = [] if of_self else self._of_layers(visit.kind, called.value, layers)
            kinds = [visit.kind] if of_self else [self.kinds.get(name_of(one.func)) for one in made]
            for kind in dict.fromkeys(one for one in kinds if one is not None):
                if (own := self.method(kind, called.attr)) is not None:
                    static = any(getattr(one, "id", "") == "staticmethod" for one in own.decorator_list)
                    self._into(visit, kind, own, 0 if static else 1, layers)
        for layer in self._of_layers(visit.kind, called, layers):
            own_kind = self.kinds.get(name_of(layer.func))
            if own_kind is None:
                self.visits.append(replace(visit, made=layer))
            elif (method := self.method(own_kind, "forward", "__call__")) is not None:
                self._into(visit, own_kind, method, 1, layers)

    def _into(
        self, visit: Visit, kind: ast.ClassDef | None, function: AnyFunction, skipped: int, layers: Layers
    ) -> None:
        self.callers.setdefault(function, []).append(visit)
        bound = arguments_of(visit.call, function, skipped)
        held = frozenset(name for name, value in bound.items() if carries(value, visit.carrying))
        given = {
            name: made
            for name, value in bound.items()
            if isinstance(value, PLAIN) and (made := self._of_layers(visit.kind, value, layers))
        }
        self.follow(kind, function, held, given)


def arguments_of(call: ast.Call, function: AnyFunction, skipped: int) -> dict[str, ast.expr]:
    """What a call gives for each parameter of a function, of which the first ones are skipped."""
    names = [one.arg for one in (*function.args.posonlyargs, *function.args.args)][skipped:]
    bound = {name: value for name, value in zip(names, call.args, strict=False) if not isinstance(value, ast.Starred)}
    return bound | {one.arg: one.value for one in call.keywords if one.arg is not None}


def default_of(function: AnyFunction, name: str) -> ast.expr | None:
    """The default of a parameter."""
    every = [*function.args.posonlyargs, *function.args.args]
    pairs = [
        *zip(every[len(every) - len(function.args.defaults) :], function.args.defaults, strict=True),
        *zip(function.args.kwonlyargs, function.args.kw_defaults, strict=True),
    ]
    return next((default for one, default in pairs if one.arg == name), None)


def carries(node: ast.AST, names: frozenset[str] | set[str]) -> bool:
    """Whether an expression holds what these names hold, and not only how large it is."""
    if isinstance(node, ast.Attribute) and node.attr in SIZES:
        return False
    if isinstance(node, ast.Call) and name_of(node.func) in OF_SIZE:
        return False
    if isinstance(node, ast.Name):
        return node.id in names
    return any(carries(part, names) for part in ast.iter_child_nodes(node))


def name_of(node: ast.AST) -> str:
    """The last part of a name: `c` of `a.b.c`."""
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _given(call: ast.Call) -> Iterator[ast.expr]:
    yield from call.args
    yield from (one.value for one in call.keywords)
    if isinstance(call.func, ast.Attribute):
        yield call.func.value


def _own(function: AnyFunction) -> Iterator[ast.AST]:
    """The nodes of a function in the order of their lines, without those of functions within it."""
    waiting: list[ast.AST] = [*reversed(function.body)]
    while waiting:
        node = waiting.pop()
        yield node
        if not isinstance(node, AnyFunction | ast.ClassDef):
            waiting += reversed([*ast.iter_child_nodes(node)])


def _paired(target: ast.expr, value: ast.expr) -> Iterator[tuple[ast.expr, ast.expr]]:
    both = isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple) and len(target.elts) == len(value.elts)
    if both:
        yield from zip(target.elts, value.elts, strict=True)  # type: ignore[attr-defined]
    else:
        yield target, value


def _stored(target: ast.expr) -> set[str]:
    return {part.id for part in ast.walk(target) if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store)}


def _kept(node: ast.AST) -> tuple[str, ast.expr | None]:
    """The attribute of `self` that a statement gives a value: `self.a = ...`, `self.a.append(...)`."""
    if isinstance(node, ast.Assign) and _of_self(node.targets[0]):
        return node.targets[0].attr, node.value  # type: ignore[attr-defined]
    if isinstance(node, ast.AnnAssign) and _of_self(node.target):
        return node.target.attr, node.value  # type: ignore[union-attr]
    if isinstance(node, ast.Call) and name_of(node.func) in ("append", "add_module") and node.args:
        held = node.func.value if isinstance(node.func, ast.Attribute) else node.func
        if _of_self(held):
            return held.attr, node.args[-1]  # type: ignore[attr-defined]
    return "", None


def _of_self(node: ast.expr) -> bool:
    return isinstance(node, ast.Attribute) and getattr(node.value, "id", "") == "self"
