"""Statements and calls that are walked in the plainer form that they stand for."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from functools import lru_cache

REMEMBERED = 1024
"""Nodes whose other form is kept, so that each walk over a node finds the same one."""


@lru_cache(REMEMBERED)
def as_branches(node: ast.Expr) -> ast.If | None:
    """`(a if test else b).append(x)` and `a.append(x) if test else b.append(x)` as the condition that they are."""
    value = node.value
    if isinstance(value, ast.IfExp):
        return _condition(node, value, value.body, value.orelse)
    if not (isinstance(value, ast.Call) and isinstance(value.func, ast.Attribute)):
        return None
    chosen, name = value.func.value, value.func.attr
    if not isinstance(chosen, ast.IfExp):
        return None
    body, orelse = (
        ast.Call(ast.Attribute(one, name, ast.Load()), value.args, value.keywords)
        for one in (chosen.body, chosen.orelse)
    )
    return _condition(node, chosen, body, orelse)


@lru_cache(REMEMBERED)
def as_loops(node: ast.For) -> ast.For | None:
    """A loop over pairs, `for a, b in ((p, q) for p in x for q in y)` or over `product(x, y)`, as loops in a loop."""
    if node.orelse or leaves(node.body):
        return None
    body, over = node.body, node.iter
    if isinstance(over, ast.GeneratorExp | ast.ListComp) and len(over.generators) > 1:
        body = [ast.Assign([node.target], over.elt), *body]
        for one in reversed(over.generators):
            for test in reversed(one.ifs):
                body = [ast.If(test, body, [])]
            body = [ast.For(one.target, one.iter, body, [])]
    elif isinstance(over, ast.Call) and _name(over.func) == "product" and isinstance(node.target, ast.Tuple):
        if over.keywords or len(over.args) != len(node.target.elts) or len(over.args) < 2:
            return None
        for target, each in zip(reversed(node.target.elts), reversed(over.args), strict=True):
            body = [ast.For(target, each, body, [])]
    else:
        return None
    made = ast.copy_location(body[0], node)
    assert isinstance(made, ast.For)
    return ast.fix_missing_locations(made)


@lru_cache(REMEMBERED)
def as_comprehension(node: ast.Call) -> ast.GeneratorExp | None:
    """`filter(test, values)` as the generator expression that it is."""
    if _name(node.func) != "filter" or len(node.args) != 2 or node.keywords or not isinstance(node.func, ast.Name):
        return None
    asked, values = node.args
    if isinstance(asked, ast.Lambda) and len(asked.args.args) == 1:
        name, test = asked.args.args[0].arg, asked.body
    else:
        name = "each"
        each = ast.Name(name, ast.Load())
        is_true = isinstance(asked, ast.Constant) and asked.value is None
        test = each if is_true else ast.Call(asked, [each], [])
    loop = ast.comprehension(ast.Name(name, ast.Store()), values, [test], 0)
    return ast.fix_missing_locations(ast.copy_location(ast.GeneratorExp(ast.Name(name, ast.Load()), [loop]), node))


def _condition(node: ast.Expr, chosen: ast.IfExp, body: ast.expr, orelse: ast.expr) -> ast.If:
    each: list[list[ast.stmt]] = [[ast.copy_location(ast.Expr(one), node)] for one in (body, orelse)]
    return ast.fix_missing_locations(ast.copy_location(ast.If(chosen.test, *each), node))


def leaves(body: Sequence[ast.stmt]) -> bool:
    """Whether a `break` in the body of a loop ends that loop."""
    waiting: list[ast.AST] = [*body]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Break):
            return True
        if isinstance(node, ast.For | ast.AsyncFor | ast.While):
            waiting.extend(node.orelse)  # a `break` in their bodies ends themselves
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef):
            waiting.extend(ast.iter_child_nodes(node))
    return False


def _name(func: ast.expr) -> str:
    return getattr(func, "attr", getattr(func, "id", ""))
