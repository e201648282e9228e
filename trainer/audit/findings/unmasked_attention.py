"""Does attention let a position see those behind it, its target among them? Told by what it gets as mask and flag.

Followed are the methods of models that a score called, with the inputs of windows whose targets are those inputs moved
by one. Attention is accused where its queries, keys and values all come from that input, and what says mask and flag
certainly says none: a constant, a default, or a name or parameter that is one of these wherever it is given.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass

from trainer.audit.facts.tokens import ONE, Tokens, windows_of
from trainer.audit.facts.trace import Evaluation, Trace
from trainer.audit.findings.model_calls import (
    AnyFunction,
    ModelCalls,
    Visit,
    arguments_of,
    carries,
    default_of,
    name_of,
)
from trainer.audit.findings.scored import scores_of
from trainer.audit.findings.time_averages import averages

ATTENTION = {"scaled_dot_product_attention": 4, "flash_attn_func": 4}
"""Functions of attention, and how many arguments by place may say a mask."""
FLASH = ("flash_attn_func", "flash_attn_3_func", "flash_attn_varlen_func")
FLAGS, MASKS = ("is_causal", "causal"), ("attn_mask", "mask", "block_mask", "score_mod", "bias")
FUSED = {"MultiheadAttention": 3, "TransformerEncoder": 1, "TransformerEncoderLayer": 1}
"""Layers of attention, and how many arguments by place say no mask."""
OF_LAYERS = ("mask", "attn_mask", "src_mask", "is_causal")
JOINED = frozenset(["cat", "concat", "stack", "pad", "roll", "flip", "where", "gather", "index_select"])
OTHERS = re.compile(r"cache|past|prev|mem|hist|state|context|prefix|buf", re.IGNORECASE)
"""Names of what is not of the present window."""
UNCOVERED = re.compile(r"mask_?(id|tok)|diffus|denois|absorbing", re.IGNORECASE)
"""Names in scripts whose models get their targets masked."""
TURNED = frozenset(["transpose", "permute", "mT", "rearrange", "movedim", "swapaxes", "unbind"])
DETAIL = "attention is told of no mask here, so that each position sees those behind it"
Told = tuple[bool | None, int]
"""Whether a flag is set, or a mask given, if that is known; and the line that says so, or 0."""


@dataclass(frozen=True)
class Uncovered:
    """A line by which a position sees those behind it, and how."""

    line: int
    detail: str


def unmasked(tree: ast.Module) -> Iterator[int]:
    """Lines of attention that is told of no mask, so that each position may see those behind it."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = name_of(node.func)
        given = {keyword.arg: getattr(keyword.value, "value", True) for keyword in node.keywords}
        masks = [given.get(mask) for mask in ("is_causal", "causal", "attn_mask", "mask")]
        if name in ATTENTION and not any(masks) and None not in given and len(node.args) < ATTENTION[name]:
            yield node.lineno


def uncovered(tree: ast.Module, trace: Trace) -> Iterator[Uncovered]:
    """Attention of the scored models, and averages over positions, that certainly look behind each position."""
    methods = {
        method: None
        for one in scores_of(trace)
        if _are_inputs_moved(one)
        for number, other in trace.evaluations.items()
        if other is one or (other.time, other.place) == (one.time, one.place)
        for method in trace.methods.get(number, ())
    }
    if not methods or any(UNCOVERED.search(name) for name in _names(tree)):
        return
    calls = ModelCalls(tree)
    for kind, function in methods:
        parameters = [one.arg for one in function.args.args][1:2]
        calls.follow(kind, function, frozenset(parameters))
    if not calls.is_cut:
        mixed = (
            Uncovered(line, f"{average} is taken over all positions, and mixed into each")
            for line, average in averages(calls)
        )
        yield from sorted({*_in_calls(_Told(calls), calls), *mixed}, key=lambda one: one.line)


def _are_inputs_moved(one: Evaluation) -> bool:
    """Whether the targets of a score are its inputs, moved by one."""
    sides = {mark[6:] for mark in one.marks if mark.startswith("input:")}
    if sides & {mark[7:] for mark in one.marks if mark.startswith("target:")}:
        return True
    own = [part for part in one.tokens if part.via == "tokens" and part not in one.targets]
    return any(_is_next(part, other) for part in own for other in one.targets)


def _is_next(part: Tokens, other: Tokens) -> bool:
    """Whether a slice begins certainly one behind another one of the same piece."""
    same = windows_of(part.at) == windows_of(other.at) and part.piece == other.piece
    return same and part.low is not None and other.low is not None and part.low.plus(ONE) == other.low


def _names(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Name | ast.Attribute):
            yield name_of(node)
        elif isinstance(node, AnyFunction | ast.ClassDef):
            yield node.name


def _in_calls(told: _Told, calls: ModelCalls) -> Iterator[Uncovered]:
    of_function: dict[AnyFunction, list[Uncovered | None]] = {}
    for visit in calls.visits:
        if visit.made is not None and name_of(visit.made.func) in FUSED:
            found = _of_layer(visit, told)
        elif visit.made is None and told.is_attention(visit.call):
            found = _of_function(visit, told)
        else:
            continue
        of_function.setdefault(visit.function, []).append(found)
    for each in of_function.values():  # where one call is masked, the other may be of one position
        kept = [one for one in each if one is not None]
        if len(kept) == len(each):
            yield from kept


def _of_function(visit: Visit, told: _Told) -> Uncovered | None:
    call = visit.call
    name, keywords = told.name(call), {one.arg: one.value for one in call.keywords}
    if None in keywords or any(isinstance(one, ast.Starred) for one in call.args):
        return None
    given = [*call.args[:3], *(keywords[one] for one in ("query", "q", "key", "k", "value", "v") if one in keywords)][
        :3
    ]
    if len(given) < 3 or not all(carries(one, visit.carrying) for one in given) or not _is_of_window(visit, given):
        return None
    if name == "scaled_dot_product_attention":
        by_place = dict(zip(("attn_mask", "dropout_p", "is_causal"), call.args[3:], strict=False))
    elif len(call.args) > (7 if name == "flash_attn_varlen_func" else 3):
        return None
    else:
        by_place = {}
    said = by_place | {str(word): value for word, value in keywords.items()}
    lines = []
    for word in (*FLAGS, *MASKS, "window_size"):
        is_set, line = told.of(said[word], visit.function, visit.kind) if word in said else (False, 0)
        if word == "attn_mask" and word in said and is_set is None and (way := told.way_of(said[word], visit)):
            return Uncovered(way[1], way[0])
        if is_set is not False:
            return None
        lines += [line] if word in FLAGS and line else []
    return Uncovered(min(lines, default=call.lineno), DETAIL)


def _is_of_window(visit: Visit, given: list[ast.expr]) -> bool:
    """Whether queries, keys and values are of the positions of the window, none of them moved or put together."""
    parts = [part for one in given for part in _comes_from(visit, one)]
    nodes = [node for part in parts for node in ast.walk(part)]
    if any(OTHERS.search(name_of(node)) for node in nodes):
        return False
    for node in nodes:
        if isinstance(node, ast.Call):
            name = name_of(node.func)
            if name in JOINED and not _is_of_last(node):
                return False
            if name == "flatten" and [ast.unparse(one) for one in node.args[:1]] == ["0"]:
                return False
            if name in ("view", "reshape") and node.args and isinstance(node.args[0], ast.BinOp):
                return False  # positions of several windows in one dimension, or heads of one position
        if isinstance(node, ast.Slice) and (
            ast.unparse(node.lower or node) == "1" or ast.unparse(node.upper or node) == "-1"
        ):
            return False
    shaped = any(isinstance(node, ast.Call) and name_of(node.func) in ("view", "reshape") for node in nodes)
    is_flash = name_of(visit.call.func) != "scaled_dot_product_attention"
    return is_flash or not shaped or any(name_of(node) in TURNED for node in nodes)


def _is_of_last(call: ast.Call) -> bool:
    """Whether tensors are put together along the features."""
    dims = [ast.unparse(one.value) for one in call.keywords if one.arg in ("dim", "axis")]
    return name_of(call.func) in ("cat", "concat") and (dims or [ast.unparse(one) for one in call.args[1:2]]) == ["-1"]


def _comes_from(visit: Visit, given: ast.expr) -> list[ast.AST]:
    """An expression, and what its names were given in the function before the call."""
    found, names, waiting = [given], set[str](), [given]
    while waiting:
        node = waiting.pop()
        fresh = {part.id for part in ast.walk(node) if isinstance(part, ast.Name)} - names
        names |= fresh
        for one in ast.walk(visit.function):
            before = getattr(one, "lineno", 0) < visit.call.lineno
            if isinstance(one, ast.Assign | ast.AugAssign) and before and one.value not in found:
                targets = one.targets if isinstance(one, ast.Assign) else [one.target]
                if any(isinstance(part, ast.Name) and part.id in fresh for to in targets for part in ast.walk(to)):
                    found.append(one.value)
                    waiting.append(one.value)
    return [*found]


def _of_layer(visit: Visit, told: _Told) -> Uncovered | None:
    """A layer of torch that mixes positions; those of other kinds say nothing."""
    assert visit.made is not None
    name, call = name_of(visit.made.func), visit.call
    keywords = {one.arg: one.value for one in call.keywords}
    if None in keywords or len(call.args) > FUSED[name]:
        return None
    if not all(carries(one, visit.carrying) for one in call.args) or not _is_of_window(visit, [*call.args]):
        return None
    for word in OF_LAYERS:
        if word in keywords and told.of(keywords[word], visit.function, visit.kind)[0] is not False:
            return None
    return Uncovered(call.lineno, DETAIL)


class _Told:
    """What flags and masks say, as far as it is known."""

    def __init__(self, calls: ModelCalls) -> None:
        self.calls = calls
        self.imported: dict[str, str] = {}
        for node in ast.walk(calls.tree):
            if isinstance(node, ast.ImportFrom):
                self.imported |= {one.asname or one.name: one.name for one in node.names}
            elif isinstance(node, ast.Assign) and name_of(node.value) in (*ATTENTION, *FLASH, "flex_attention"):
                self.imported |= {name_of(target): name_of(node.value) for target in node.targets}

    def name(self, call: ast.Call) -> str:
        """The name of a function as its module has it."""
        own = name_of(call.func)
        return self.imported.get(own, own) if isinstance(call.func, ast.Name) else own

    def is_attention(self, call: ast.Call) -> bool:
        """Whether it is a function of attention that is not the script's own."""
        if self.name(call) not in (*ATTENTION, *FLASH, "flex_attention"):
            return False
        own = name_of(call.func)
        if not isinstance(call.func, ast.Name) or own not in self.calls.functions:
            return True
        return own in self.imported and any(one.arg in FLAGS for one in call.keywords)

    def of(
        self, node: ast.expr | None, function: AnyFunction | None, kind: ast.ClassDef | None, depth: int = 5
    ) -> Told:
        """Whether an expression is true, or a mask; None where that is not known."""
        if node is None or depth == 0:
            return None, 0
        if isinstance(node, ast.Constant):
            return bool(node.value), node.lineno
        if isinstance(node, ast.Tuple):
            return (False if all(ast.unparse(one) == "-1" for one in node.elts) else None), node.lineno
        if isinstance(node, ast.Name):
            return self._of_name(node.id, function, kind, depth)
        if isinstance(node, ast.Attribute) and getattr(node.value, "id", "") == "self" and kind is not None:
            stores = [
                one
                for one in ast.walk(self.calls.tree)
                if isinstance(one, ast.Attribute) and one.attr == node.attr and isinstance(one.ctx, ast.Store)
            ]
            given = [
                (one, method)
                for method in kind.body
                if isinstance(method, AnyFunction)
                for one in ast.walk(method)
                if isinstance(one, ast.Assign) and stores and one.targets == stores
            ]
            if len(stores) == len(given) == 1:
                return self.of(given[0][0].value, given[0][1], kind, depth - 1)
        return None, 0

    def _of_name(self, name: str, function: AnyFunction | None, kind: ast.ClassDef | None, depth: int) -> Told:
        body = function if function is not None else self.calls.tree
        parameters = {one.arg for one in ast.walk(body) if isinstance(one, ast.arg)} if function is not None else set()
        values = self._stored(name, body)
        if name in parameters and not values:
            assert function is not None
            return self._of_parameter(name, function, kind, depth)
        if name not in parameters and len(values) == 1 and values[0] is not None:
            return self.of(values[0], function, kind, depth - 1)
        if values or name in parameters or function is None:
            return None, 0
        return (
            self._of_name(name, None, None, depth - 1) if len(self._stored(name, self.calls.tree)) == 1 else (None, 0)
        )

    def _stored(self, name: str, body: ast.AST) -> list[ast.expr | None]:
        """What a name is given; None for what is not a plain assignment."""
        plain: dict[int, ast.expr] = {}
        for node in ast.walk(body):
            if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
                plain[id(node.targets[0])] = node.value
        return [
            plain.get(id(node))
            for node in ast.walk(body)
            if isinstance(node, ast.Name) and node.id == name and isinstance(node.ctx, ast.Store)
        ]

    def _of_parameter(self, name: str, function: AnyFunction, kind: ast.ClassDef | None, depth: int) -> Told:
        """What a parameter is at each call: certain only where all of them say it."""
        if function.name == "__init__" and kind is not None:
            if any(name_of(base) == kind.name for other in self.calls.kinds.values() for base in other.bases):
                return None, 0
            made = [
                node
                for node in ast.walk(self.calls.tree)
                if isinstance(node, ast.Call) and name_of(node.func) == kind.name
            ]
            calls = [(call, None, None) for call in made]
            skipped = 1
        else:
            calls = [(one.call, one.function, one.kind) for one in self.calls.callers.get(function, ())]  # type: ignore[misc]
            skipped = 1 if kind is not None else 0
        found: list[Told] = []
        for call, around, of_kind in calls:
            if any(one.arg is None for one in call.keywords) or any(isinstance(one, ast.Starred) for one in call.args):
                return None, 0
            given = arguments_of(call, function, skipped).get(name)
            if given is not None and not isinstance(given, ast.Constant) and around is None:
                return None, 0
            default = default_of(function, name)
            is_set, line = self.of(given if given is not None else default, around, of_kind, depth - 1)
            found.append((is_set, call.lineno if given is None and is_set is False and len(calls) > 1 else line))
        if found and all(is_set is False for is_set, _ in found):
            return found[0]
        return (True, 0) if found and all(is_set for is_set, _ in found) else (None, 0)

    def way_of(self, node: ast.expr, visit: Visit) -> tuple[str, int] | None:
        """What a mask that is true where a position is seen lets it see, if that is more than those before it."""
        values = [node]
        if isinstance(node, ast.Name):
            values = [one for one in self._stored(node.id, visit.function) if one is not None]
        if len(values) != 1 or not isinstance(values[0], ast.Call):
            return None
        made = values[0]
        while (
            isinstance(made.func, ast.Attribute)
            and made.func.attr in ("bool", "to")
            and isinstance(made.func.value, ast.Call)
        ):
            made = made.func.value
        is_bool = "bool" in ast.unparse(values[0])
        inner = made.args[0] if made.args else made
        if is_bool and name_of(made.func) == "triu" and name_of(getattr(inner, "func", inner)) == "ones":
            return "the mask lets each position see itself and those behind it", made.lineno
        if is_bool and name_of(made.func) == "ones":
            return "the mask lets each position see all others", made.lineno
        return None
