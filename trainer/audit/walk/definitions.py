"""Definitions and imports: functions, classes, modules beside the script."""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Sequence

from trainer.audit.facts.known_names import PACKAGES
from trainer.audit.facts.machine import (
    Class,
    Frame,
    Function,
    Machine,
    Namespace,
)
from trainer.audit.facts.values import (
    UNKNOWN,
    External,
    Value,
    changed,
    constant,
)

NO_GRADIENT = ("no_grad", "inference_mode")
PLAIN_DECORATORS = frozenset(
    [
        "no_grad",
        "inference_mode",
        "compile",
        "staticmethod",
        "classmethod",
        "property",
        "dataclass",
        "cache",
        "lru_cache",
        "contextmanager",
        "wraps",
        "abstractmethod",
        "jit",
        "script",
        "disable",
        "enable_grad",
        "custom_op",
        "register_fake",
        "autotune",
        "heuristics",
        "setter",
    ]
)
Helpers = Callable[[str], "tuple[str, ast.Module] | None"]
"""The helper module of a name beside the script: its file and syntax."""


class Definitions(Machine):
    """The part of a walk that defines names."""

    def __init__(self, helpers: Helpers = lambda name: None) -> None:
        super().__init__()
        self._helpers = helpers
        self._modules: dict[str, Namespace | None] = {}

    def _FunctionDef(self, node: ast.FunctionDef, frame: Frame) -> None:
        outer = frame.outer if frame.function == "<class>" and frame.outer is not None else frame
        defaults = [self.evaluate(value, frame) for value in node.args.defaults]
        by_name = {
            parameter.arg: self.evaluate(default, frame)
            for parameter, default in zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True)
            if default is not None
        }
        named = {
            getattr(part, "attr", getattr(part, "id", "")) for item_ in node.decorator_list for part in ast.walk(item_)
        }
        made = Value(refs=(Function(node, outer, defaults, by_name, without_gradient=bool(named & set(NO_GRADIENT))),))
        for decorator in reversed(node.decorator_list):
            if (whole := _registered_with(decorator)) and (known := frame.find(whole)) is not None and known.refs:
                frame.assign(whole, changed(known, refs=(*made.refs, *known.refs)))  # the one for a type, of several
            names = {getattr(part, "attr", getattr(part, "id", "")) for part in ast.walk(decorator)}
            if not names & PLAIN_DECORATORS:
                around = self.evaluate(decorator, frame)
                if any(isinstance(ref, Function) for ref in around.refs):
                    wrapped = self.call(around, [made], {})
                    made = wrapped if wrapped.refs else made
        frame.assign(node.name, made)

    _AsyncFunctionDef = _FunctionDef

    def _ClassDef(self, node: ast.ClassDef, frame: Frame) -> None:
        bases = [self.evaluate(base, frame) for base in node.bases]
        body = Frame(outer=frame, module=frame.module, file=frame.file, function="<class>")
        self.run_body(node.body, body)
        frame.assign(node.name, Value(refs=(Class(node, body, bases, _kind(node, bases)),)))

    def _Import(self, node: ast.Import, frame: Frame) -> None:
        for name in node.names:
            module = self.import_module(name.name, frame)
            if module is not None:
                frame.assign(name.asname or name.name.partition(".")[0], Value(refs=(module,)))
            else:
                path = name.name if name.asname else name.name.partition(".")[0]
                self._is_absent(path)
                frame.assign(name.asname or path, Value(refs=(External(path),)))

    def _ImportFrom(self, node: ast.ImportFrom, frame: Frame) -> None:
        path = node.module or ""
        module = self.import_module(path, frame)
        if module is None:
            self._is_absent(path)
        for name in node.names:
            if name.name == "*":
                frame.names |= module.frame.names if module else {}
                continue
            inner = None if path else self.import_module(name.name, frame)
            if module is not None:
                value = module.frame.names.get(name.name, UNKNOWN)
            else:
                value = Value(refs=(inner or External(f"{path}.{name.name}" if path else name.name),))
            frame.assign(name.asname or name.name, value)

    def _is_absent(self, path: str) -> None:
        root = path.partition(".")[0]
        if root and root not in PACKAGES and root not in sys.stdlib_module_names:
            self.absent.add(root)

    def import_module(self, name: str, frame: Frame) -> Namespace | None:
        if name not in self._modules:
            self._modules[name] = None
            found = self._helpers(name)
            if found is not None:
                file, tree = found
                place = self.place
                inner = Frame(file=file)
                inner.module = inner
                inner.names |= {"__name__": constant(name), "__file__": Value(text=frozenset(["__file__"]))}
                self._modules[name] = Namespace(inner)
                self.run_body(tree.body, inner)
                self.place = place
        return self._modules[name]


def _registered_with(decorator: ast.expr) -> str:
    """`f` of `@f.register` and `@f.register(type)`, of functools.singledispatch."""
    func = decorator.func if isinstance(decorator, ast.Call) else decorator
    if isinstance(func, ast.Attribute) and func.attr == "register" and isinstance(func.value, ast.Name):
        return func.value.id
    return ""


def _keeps_sums(node: ast.ClassDef) -> bool:
    """Whether a class adds up numbers in its own attributes, and makes no layers or weights: no model, if a module."""
    calls = [part for part in ast.walk(node) if isinstance(part, ast.Call)]
    names = [getattr(call.func, "attr", getattr(call.func, "id", "")) for call in calls]
    made = [name for name in names if name[:1].isupper() or name in ("register_parameter", "randn", "empty")]
    return not made and any(
        isinstance(part, ast.AugAssign) and isinstance(part.op, ast.Add) and _is_own(part.target)
        for part in ast.walk(node)
    )


def _is_own(target: ast.expr) -> bool:
    """Whether it is an attribute of `self`, or an element of one."""
    inner = target.value if isinstance(target, ast.Subscript) else target
    return isinstance(inner, ast.Attribute) and isinstance(inner.value, ast.Name) and inner.value.id == "self"


def _kind(node: ast.ClassDef, bases: Sequence[Value]) -> str:
    for base in bases:
        for ref in base.refs:
            if isinstance(ref, Class) and ref.kind != "plain":
                return ref.kind
            if isinstance(ref, External) and ref.name == "Module":
                return "plain" if _keeps_sums(node) else "module"
            if isinstance(ref, External) and ref.name in (
                "ModuleList",
                "ModuleDict",
                "Sequential",
                "Linear",
                "Embedding",
            ):
                return "module"
            if isinstance(ref, External) and ref.name == "Optimizer":
                return "optimizer"
    return "plain"
