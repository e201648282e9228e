"""Reads YAML 1.2 into plain values with line numbers: `1e-4` is a number, `on` is no boolean, no code is executed."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trainer.spec.errors import ProblemsError, UserError

MOST_CHARACTERS = 200_000
"""Of one text."""


NOTHING = "{}"
"""The text of a document that nobody wrote, which stands in where values come from elsewhere."""


def _hint(text: str, line: int) -> str:
    """What is wrong with a line as people see it, where YAML's own words do not say."""
    shown = next(iter(text.splitlines()[line : line + 1]), "")
    if "\u00a0" in shown:
        return "; the line holds a no-break space, which looks like a space and is none"
    if re.match(r"\s*[\w.-]+:[\[{'\"]", shown):
        return "; a space is missing after ':'"
    if re.match(r" *\t", shown):
        return "; indent with spaces, not with a tab"
    return ""


class YamlText:
    """A parsed document with the position of each key.

    value:   plain dicts, lists and scalars
    where:   `where(('parameters', 'ttt.lr'))` → 'FILE:12:3'; for a path that is not written, the nearest enclosing key
    """

    def __init__(self, text: str, source: str):
        self.source = source
        self._tree = {} if text == NOTHING else _tree_of(text, source)
        self.value = _plain_of(self._tree, source)

    def where(self, path: tuple[str | int, ...]) -> str:
        """File, line and column of the key at `path`, both counted from 1."""
        node: Any = self._tree
        place = self.source
        for part in path:
            try:
                marks: Any = node.lc
                position = marks.key(part) if isinstance(node, Mapping) else marks.item(part)
                place = f"{self.source}:{position[0] + 1}:{position[1] + 1}"
                node = node[part]
            except (AttributeError, KeyError, IndexError, TypeError):
                break
        return place


def _tree_of(text: str, source: str) -> Any:
    # late: commands that look at finished runs read no YAML, and ruamel takes 10 ms to import
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    from trainer.spec.yaml_bounds import bounded_loader

    if len(text) > MOST_CHARACTERS:
        raise ProblemsError(source, [f"holds more than {MOST_CHARACTERS:,} characters"])
    try:
        return bounded_loader().load(io.StringIO(text))
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{source}:{mark.line + 1}:{mark.column + 1}" if mark else source
        problem = str(error.problem or error.context or "not readable")
        what = " ".join(f"{error.context}, {problem}".split() if problem.startswith("but ") else problem.split())
        hint = _hint(text, mark.line) if mark else ""
        raise ProblemsError(source, [f"{place}: not valid YAML: {what}{hint}"]) from None
    except (YAMLError, ValueError) as error:
        raise _not_valid(error, source) from None


def _not_valid(error: Exception, source: str) -> ProblemsError:
    return ProblemsError(source, [f"not valid YAML: {' '.join(str(error).split())}"])


def _plain_of(tree: Any, source: str) -> Any:
    try:
        return _plain(tree)
    except ValueError as error:
        raise _not_valid(error, source) from None


def _plain(node: Any) -> Any:
    if isinstance(node, Mapping):
        return {_plain(key): _plain(value) for key, value in node.items()}
    if isinstance(node, list | tuple):
        return [_plain(item) for item in node]
    if isinstance(node, bool) or node is None:
        return node
    for kind in (int, float):
        if isinstance(node, kind):
            return kind(node)
    return _whole_characters(str(node)) if isinstance(node, str) else node


def _whole_characters(text: str) -> str:
    r"""The text with halves of characters joined, as JSON spells those beyond 16 bits (`\ud83d\ude00`).

    Raises ValueError for a half alone, which no file and no terminal takes.
    """
    try:
        return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16")
    except UnicodeDecodeError:
        raise ValueError(f"{text!a} holds half of a character; write the character itself") from None


def read_text(path: Path) -> str:
    """Content of a text file. Raises ProblemsError if it is not UTF-8, or larger than any that is written by hand."""
    try:
        if path.stat().st_size > 4 * MOST_CHARACTERS:  # UTF-8 takes at most four bytes for one
            raise ProblemsError(str(path), [f"holds more than {MOST_CHARACTERS:,} characters"])
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        byte = f"byte {error.start} is {error.object[error.start]:#04x}"
        raise ProblemsError(str(path), [f"is no UTF-8 text: {byte}"]) from None


def parse_value(text: str, source: str) -> Any:
    """One YAML 1.2 value, as written behind `--set key=`."""
    value = YamlText(text, source).value
    if isinstance(value, Mapping):
        raise UserError(f"{source}: a mapping cannot be a value; set its dotted keys one by one")
    return value
