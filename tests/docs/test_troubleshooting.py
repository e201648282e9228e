"""docs/troubleshooting.md quotes messages that the code still has, and most of those that a user can meet."""

import ast
import re
from collections.abc import Iterator

import pytest

from tests.docs.pages import DOCS

ROOT = DOCS.parent
PAGE = (DOCS / "troubleshooting.md").read_text(encoding="utf-8")
CELLS = re.findall(r"^\| (`.+?`) \|", PAGE, re.MULTILINE)
QUOTED = [quoted for cell in CELLS for quoted in re.findall(r"`([^`]+)`", cell)]
FAMILY = re.compile(r"\w*(Error|Exceeded|Part|Full|Unreachable|NoVerdict)$")
OURS = ("ValueError", "AssertionError", "EOFError", "ScannerError", "RuntimeError", "KeyError", "TypeError")
"""Raised for ourselves, and caught before anybody reads them."""


def words_of(node: ast.AST) -> str:
    """A string of the code with … for each value put in."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=parts):
            return "".join(words_of(part) if isinstance(part, ast.Constant) else "…" for part in parts)
        case ast.BinOp(left=left, right=right):
            return words_of(left) + words_of(right)
        case ast.List(elts=[one]):
            return words_of(one)
    return "…"


def trees() -> Iterator[ast.Module]:
    for package in ("trainer", "orchestrator", "results"):
        for path in sorted((ROOT / package).rglob("*.py")):
            yield ast.parse(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def texts() -> tuple[set[str], set[str]]:
    """All strings of the code, and those that are raised as a user's mistake."""
    known, raised = set(), set()
    for tree in trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant | ast.JoinedStr | ast.BinOp):
                known.add(words_of(node))
            if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
                name = ast.unparse(node.exc.func)
                message = words_of(node.exc.args[-1]) if node.exc.args else "…"
                if FAMILY.match(name) and name not in OURS and message.strip("…"):
                    raised.add(message)
    return known, raised


def pieces(quoted: str) -> list[str]:
    return [piece.strip() for piece in quoted.split("…") if piece.strip(" ;:,.")]


def stands_for(quoted: str, message: str) -> bool:
    """Whether the fixed words of a quoted message stand in this order in a message of the code."""
    at = 0
    for piece in pieces(quoted):
        found = message.find(piece, at)
        if found < 0:
            return False
        at = found + len(piece)
    return bool(pieces(quoted))


def test_every_quoted_message_exists(texts):
    known, _ = texts
    assert len(QUOTED) > 100
    assert [quoted for quoted in QUOTED if not any(stands_for(quoted, text) for text in known)] == []


def test_most_messages_that_are_raised_are_explained(texts):
    _, raised = texts
    missing = sorted(text for text in raised if not any(stands_for(quoted, text) for quoted in QUOTED))
    assert len(missing) < 0.1 * len(raised), "\n".join(missing)


def test_a_message_that_is_gone_is_noticed():
    assert stands_for("sweep '…' is at work; …", "…: sweep '…' is at work; wait")
    assert not stands_for("sweep '…' sleeps", "…: sweep '…' is at work; wait")
