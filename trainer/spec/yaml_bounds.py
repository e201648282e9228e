"""What YAML may hold at most, checked while it is composed: nothing larger is ever made.

An alias counts what it stands for wherever it is used, so that ten nested ones cannot stand for a billion values.
"""

from __future__ import annotations

import math
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.composer import Composer, ComposerError
from ruamel.yaml.constructor import RoundTripConstructor
from ruamel.yaml.events import AliasEvent
from ruamel.yaml.nodes import MappingNode, ScalarNode
from ruamel.yaml.scanner import RoundTripScanner, ScannerError

MOST_DEPTH = 40
"""Sections within sections."""
TOO_DEEP = f"nested deeper than {MOST_DEPTH} levels"
MOST_NODES = 10_000
"""Keys and values."""
LARGEST_INTEGER = 2**53
"""Beyond it a double does not hold every integer."""
MOST_DIGITS = 80
"""Longer integers are not converted."""


class BoundedScanner(RoundTripScanner):
    """ruamel's scanner, which looks ahead of the composer: it stops at brackets that are nested too deep."""

    def fetch_flow_collection_start(self, TokenClass: Any, to_push: str) -> None:
        """Begins a list or mapping in brackets."""
        if len(self.flow_context) > MOST_DEPTH:
            raise ScannerError(None, None, TOO_DEEP, self.reader.get_mark())
        super().fetch_flow_collection_start(TokenClass, to_push)


class BoundedComposer(Composer):
    """ruamel's composer, which stops at the first thing that is too large; its error has line and column."""

    def __init__(self, loader: Any = None) -> None:
        super().__init__(loader=loader)
        self._level = self._total = 0
        self._sizes: dict[int, int] = {}
        """Nodes below and including each finished node, by its id; the tree keeps all of them alive."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Composes one node, and counts what it holds."""
        begins, is_alias, before = self.parser.peek_event().start_mark, self.parser.check_event(AliasEvent), self._total
        self._level += 1
        if self._level > MOST_DEPTH:
            raise _refusal(TOO_DEEP, begins)
        node = super().compose_node(parent, index)
        self._level -= 1
        if is_alias and id(node) not in self._sizes:
            raise _refusal("an alias contains itself; write the value out", begins)
        self._total += self._sizes[id(node)] if is_alias else 1
        if self._total > MOST_NODES:
            raise _refusal(f"more than {MOST_NODES:,} keys and values, those of each alias wherever it is used", begins)
        self._sizes[id(node)] = self._total - before
        if isinstance(node, ScalarNode):
            _refuse_number(node)
        elif isinstance(node, MappingNode):
            _refuse_keys(node)
        return node


class PlainConstructor(RoundTripConstructor):
    """Takes dates for the texts that they are in YAML 1.2, which has none."""


PlainConstructor.add_constructor("tag:yaml.org,2002:timestamp", RoundTripConstructor.construct_scalar)


def bounded_loader() -> YAML:
    """Reads one document of YAML 1.2 in pure Python, keeping where each key stands, within the bounds above."""
    loader = YAML(typ="rt", pure=True)
    loader.version = (1, 2)  # type: ignore[assignment]
    loader.Composer, loader.Scanner, loader.Constructor = BoundedComposer, BoundedScanner, PlainConstructor
    return loader


def _refuse_number(node: ScalarNode) -> None:
    """Raises ComposerError for a number that neither a double nor a 64-bit integer holds."""
    digits = node.value.replace("_", "").lower()
    if str(node.tag).endswith(":int") and _is_too_large(digits):
        raise _refusal(f"{_shortened(node.value)} is an integer beyond 2**53", node.start_mark)
    if str(node.tag).endswith(":float") and "inf" not in digits and _is_infinite(digits):
        raise _refusal(f"{_shortened(node.value)} is a number beyond 1.8e308", node.start_mark)


def _is_too_large(digits: str) -> bool:
    if len(digits) > MOST_DIGITS:
        return True
    try:
        return abs(int(digits, 0 if digits.lstrip("+-")[:2] in ("0x", "0o", "0b") else 10)) > LARGEST_INTEGER
    except ValueError:
        return False


def _is_infinite(digits: str) -> bool:
    try:
        return math.isinf(float(digits))
    except ValueError:
        return False


def _refuse_keys(node: MappingNode) -> None:
    for key, _ in node.value:
        if not isinstance(key, ScalarNode):
            kind = "mapping" if isinstance(key, MappingNode) else "list"
            raise _refusal(f"a {kind} cannot be a key: keys are words", key.start_mark)


def _shortened(text: str) -> str:
    return text if len(text) <= 20 else f"{text[:8]}... ({len(text):,} characters)"


def _refusal(problem: str, mark: Any) -> ComposerError:
    return ComposerError(None, None, problem, mark)
