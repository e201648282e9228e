"""F-strings as Python 3.12 allows them, rewritten for older parsers: quotes of the same kind inside, backslashes.

Every line stays the line it was. Of a string inside a replacement field only what matters to the audit is kept.
"""

from __future__ import annotations

import re

START = re.compile(r"(?<![\w\"'])([rRbBuUfF]{0,2})(\"\"\"|'''|\"|')")
PLAIN = re.compile(r"[\w .,:;/*%<>=+\-_#@!?()\[\]]*")
MOST_DEPTH = 20


class Lost(Exception):
    """The text is no Python that this can follow."""


def rewritten(text: str) -> str:
    """The source with such f-strings rewritten. Raises Lost if a string does not end."""
    parts, at = [], 0
    while at < len(text):
        if text[at] == "#":
            end = text.find("\n", at)
            end = len(text) if end < 0 else end
            parts.append(text[at:end])
            at = end
        elif (start := _string_at(text, at)) is None:
            parts.append(text[at])
            at += 1
        elif "f" in start[1].lower():
            fields, end = _fields(text, at, start, 0)
            parts.append(_older(text[at:end], start, fields))
            at = end
        else:
            end = _end_of_plain(text, start.end(), start[2])
            parts.append(text[at:end])
            at = end
    return "".join(parts)


def _string_at(text: str, at: int) -> re.Match[str] | None:
    if text[at] not in "rRbBuUfF\"'":
        return None
    return START.match(text, at)


def _end_of_plain(text: str, at: int, quote: str) -> int:
    while at < len(text):
        if text[at] == "\\":
            at += 2
        elif text.startswith(quote, at):
            return at + len(quote)
        else:
            at += 1
    raise Lost


def _fields(text: str, at: int, start: re.Match[str], depth: int) -> tuple[list[str | tuple[str, ...]], int]:
    """The literal texts of an f-string, and its fields as 1-tuples of their expression; where it ends."""
    if depth > MOST_DEPTH:
        raise Lost
    found: list[str | tuple[str, ...]] = []
    at, literal = start.end(), start.end()
    while at < len(text):
        if text.startswith(start[2], at):
            found.append(text[literal:at])
            return found, at + len(start[2])
        if text.startswith(("{{", "}}"), at) or (text[at] == "\\" and "r" not in start[1].lower()):
            at += 2
        elif text[at] == "{":
            found.append(text[literal:at])
            expression, at = _expression(text, at + 1, depth + 1)
            found.append((expression,))
            literal = at
        else:
            at += 1
    raise Lost


def _expression(text: str, at: int, depth: int) -> tuple[str, int]:
    """The expression of a field, with simple strings; where the field ends. Conversion and format are left out."""
    parts: list[str] = []
    brackets = 0
    while at < len(text):
        sign = text[at]
        if (start := _string_at(text, at)) is not None:
            if "f" in start[1].lower():
                fields, at = _fields(text, at, start, depth)
                inner = [part[0] for part in fields if isinstance(part, tuple)]
                parts.append("(" + "".join(f"{one}," for one in inner) + ")")
            else:
                end = _end_of_plain(text, start.end(), start[2])
                content = text[start.end() : end - len(start[2])]
                parts.append(f"`{content if PLAIN.fullmatch(content) else 'x'}`")
                at = end
            continue
        if not brackets and sign == "}":
            return "".join(parts), at + 1
        if not brackets and (sign == ":" or (sign == "!" and text[at + 1 : at + 2] != "=")):
            return "".join(parts), _end_of_format(text, at, depth)
        brackets += (sign in "([{") - (sign in ")]}")
        parts.append(sign)
        at += 1
    raise Lost


def _end_of_format(text: str, at: int, depth: int) -> int:
    while at < len(text):
        if text[at] == "{":
            at = _expression(text, at + 1, depth + 1)[1]
        elif text[at] == "}":
            return at + 1
        else:
            at += 1
    raise Lost


def _older(original: str, start: re.Match[str], fields: list[str | tuple[str, ...]]) -> str:
    """The f-string with quotes of the other kind inside, and as many line ends as before."""
    inner = "'" if start[2].startswith('"') else '"'
    body = "".join(
        part if isinstance(part, str) else "{(" + " ".join(part[0].replace("`", inner).split("\n")) + ")}"
        for part in fields
    )
    made = f"{start[1]}{start[2]}{body}{start[2]}"
    lost = original.count("\n") - made.count("\n")
    return made if lost <= 0 else f"({made}{chr(10) * lost})"
