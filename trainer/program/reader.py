"""Reads numbers from the output of a program, while it grows and at its end. A process of its own, of the standard
library alone: a pattern that takes for ever hangs this process, which is ended, and nothing else.

Its input is one line of JSON (what to read), then `live` lines, answered by one line each, and `end PATHS`, whose
answer holds the metrics and the learning curve; PATHS are a JSON object, the files that metrics stand in by their name.

Lines end in a line feed or a carriage return, as progress bars write it, or where a bar of tqdm ends; colours and what
else only moves a terminal are left out. A longer piece than MOST_LINE characters is read in overlapping parts, so
memory stays bounded whatever is printed.
"""

from __future__ import annotations

import codecs
import csv
import json
import math
import re
import resource
import sys
from collections.abc import Iterator

MOST_LINE = 4096
OVERLAP = 256
MOST_JSON = 1_000_000
"""Characters of a line that is read as JSON."""
MOST_POINTS = 20_000
MOST_CPU_S = 3600
CHUNK_BYTES = 1 << 20
MOST_FILE = 16 * CHUNK_BYTES
"""Characters of a file that are read."""
NOT_JSON = (ValueError, RecursionError)
"""What `json.loads` raises; the second for brackets nested a thousand deep."""
ORDER_MARK = "\ufeff"
"""What some programs begin a text with; no part of it."""
GROUPING = re.compile("[,'\u00a0\u2009\u202f](?=\\d{3})|_(?=\\d)")
"""What groups the digits of a number."""
POWER = re.compile(" ?[x\u00d7] ?10\\^")
LINE_ENDS = re.compile(r"[\r\n]+")
TERMINAL_CODES = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]{0,1000}(?:\x07|\x1b\\)|[ -/]+[0-~]|[0-Z\\^-~])|[\x07\x0e\x0f]"
)
"""Colours, moves of the cursor, titles, bells (ECMA-48): no part of what a line says."""
BAR_END = re.compile(r"\[(?:\d+:)?\d\d:\d\d(?:<[\d:?]{1,20})?, +[\d.?]{1,20}[^\[\]/]{0,60}/[^\[\]]{0,1000}\]")
"""The end of a bar of tqdm, '[00:01<00:00, 51.2it/s]'. It stands on standard error without a line end, so what the
program prints next follows it on the same line. Every repetition is bounded or stops at the next bracket: no text takes
long."""


class Taken:
    """What counts of the numbers that one source has. One that is NaN makes a sum and a mean so, and is no extreme."""

    def __init__(self, take: str):
        self._take, self._count, self._value = take, 0, math.nan

    def add(self, value: float) -> None:
        self._count += 1
        if self._count == 1 or self._take == "last" or (math.isnan(self._value) and self._take in ("min", "max")):
            self._value = value
        elif self._take in ("sum", "mean"):
            self._value += value
        elif (self._take == "min" and value < self._value) or (self._take == "max" and value > self._value):
            self._value = value

    @property
    def number(self) -> float:
        value = self._value / self._count if self._take == "mean" else self._value
        return float(f"{value:.15g}")  # 0.288, not 0.28800000000000003


class Reader:
    """The metrics, the curve and the phase that an output has told so far."""

    def __init__(self, spec: dict):
        self._lines: list[tuple[str, int, dict, re.Pattern | None]] = []
        self._files: list[tuple[str, int, dict]] = []
        for name, sources in spec["metrics"].items():
            for place, source in enumerate(sources):
                if source.get("file"):
                    self._files.append((name, place, source))
                else:
                    pattern = re.compile(source["pattern"]) if source.get("pattern") else None
                    self._lines.append((name, place, source, pattern))
        self._curve = re.compile(spec["curve"]) if spec.get("curve") else None
        self._phases = {name: re.compile(pattern) for name, pattern in spec.get("phases", {}).items()}
        self._wants_json = any(pattern is None for _, _, _, pattern in self._lines)
        self._found: dict[str, dict[int, Taken]] = {}
        self.counts: dict[str, int] = {}
        self.points: list[tuple[int, float, float | None]] = []
        self.total: int | None = None
        self.phase = ""
        self.last = ""
        self._rest = ""
        self._every = 1
        self._seen_points = 0

    def feed(self, text: str) -> None:
        """Takes more of the output; what follows its last line end waits for more."""
        *lines, self._rest = LINE_ENDS.split(self._rest + text.removeprefix(ORDER_MARK))
        for line in lines:
            self._take(line)
        if len(self._rest) > MOST_JSON:
            self._take(self._rest[:-OVERLAP])
            self._rest = self._rest[-OVERLAP:]

    def finish(self) -> None:
        """The output has ended: what follows its last line end is a line too."""
        self._take(self._rest)
        self._rest = ""

    def read_file(self, name: str, place: int, source: dict, content: str) -> None:
        """Takes a file that the program wrote."""
        content = content.removeprefix(ORDER_MARK)
        if source.get("pattern"):
            compiled = re.compile(source["pattern"])
            for line in LINE_ENDS.split(plain(content)):
                self._match(name, place, source, compiled, line)
            return
        for value in _values_at(content, source["key"]):
            self._note(name, place, value, source)

    @property
    def files(self) -> list[tuple[str, int, dict]]:
        """Metrics that stand in files: name, place among its sources, source."""
        return self._files

    @property
    def metrics(self) -> dict[str, float]:
        """Each number that was found, of the first of its sources that has one."""
        return {name: taken[min(taken)].number for name, taken in self._found.items()}

    def _take(self, piece: str) -> None:
        """Takes what stands between two line ends."""
        for line in BAR_END.sub(r"\g<0>\n", plain(piece)).split("\n"):
            self._take_line(line)

    def _take_line(self, line: str) -> None:
        if not line.strip():
            return
        self.last = line[-200:]
        if self._wants_json and line.lstrip().startswith("{") and len(line) <= MOST_JSON:
            self._take_json(line)
        for name, place, source, pattern in self._lines:
            if pattern is not None:
                self._match(name, place, source, pattern, line)
        for piece, _, _ in _pieces(line):
            if self._curve is not None and (match := self._curve.search(piece)):
                self._take_point(match.groupdict())
            for name, pattern in self._phases.items():
                if pattern.search(piece):
                    self.phase = name

    def _take_json(self, line: str) -> None:
        try:
            tree = json.loads(line)
        except NOT_JSON:
            return
        for name, place, source, pattern in self._lines:
            if pattern is None:
                self._note(name, place, _at(tree, source["key"]), source)

    def _match(self, name: str, place: int, source: dict, pattern: re.Pattern, line: str) -> None:
        """Takes the matches in a line, each once where its pieces overlap."""
        group: str | int = "value" if "value" in pattern.groupindex else 1
        told: set[int] = set()
        for piece, start, more in _pieces(line):
            for match in pattern.finditer(piece):
                begin, end = match.span(group)
                whole_in_next = more and end == len(piece) and begin >= len(piece) - OVERLAP
                if start + begin not in told and not whole_in_next:
                    told.add(start + begin)
                    self._note(name, place, match.group(group), source)

    def _note(self, name: str, place: int, value: object, source: dict) -> None:
        number = _number(value)
        if number is not None:
            taken = self._found.setdefault(name, {}).setdefault(place, Taken(source.get("take", "last")))
            taken.add(number * source.get("scale", 1.0))
            self.counts[name] = self.counts.get(name, 0) + 1

    def _take_point(self, groups: dict[str, str | None]) -> None:
        step, loss = _number(groups.get("step")), _number(groups.get("loss"))
        if step is None or loss is None or not math.isfinite(step):
            return
        total, ms, seconds = (_number(groups.get(name)) for name in ("total", "ms", "seconds"))
        elapsed_s = seconds if ms is None else ms / 1000
        self.total = int(total) if total is not None and math.isfinite(total) else self.total
        self._seen_points += 1
        if self._seen_points % self._every == 0:
            self.points.append((int(step), loss, elapsed_s))
        if len(self.points) > MOST_POINTS:
            self.points, self._every = self.points[::2], self._every * 2


def _pieces(line: str) -> Iterator[tuple[str, int, bool]]:
    """Overlapping pieces of a line, each with where it begins and whether another follows."""
    for start in range(0, max(len(line), 1), MOST_LINE - OVERLAP):
        more = start + MOST_LINE < len(line)
        yield line[start : start + MOST_LINE], start, more
        if not more:
            return


def plain(text: str) -> str:
    """The text without what only moves or colours a terminal."""
    return TERMINAL_CODES.sub("", text) if "\x1b" in text or "\x07" in text else text


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        return float(_plain_number(value) if isinstance(value, str) else value)
    except (ValueError, OverflowError):
        return None


def _plain_number(text: str) -> str:
    """As `float` takes it: without what groups digits, and with e for a power of ten."""
    return POWER.sub("e", GROUPING.sub("", text).replace("\u2212", "-"))


def _at(tree: object, key: str) -> object:
    """The value at a key, or at dotted ones; a key may have dots itself: the longest that leads to a value."""
    if not isinstance(tree, dict):
        return None
    parts = key.split(".")
    for count in range(len(parts), 0, -1):
        first, rest = ".".join(parts[:count]), ".".join(parts[count:])
        if first in tree and (value := _at(tree[first], rest) if rest else tree[first]) is not None:
            return value
    return None


def _values_at(content: str, key: str) -> list[object]:
    """The value at a key of a JSON file, of each line of a JSON Lines file, or of each row of a CSV file in order."""
    try:
        return [_at(json.loads(content), key)]
    except NOT_JSON:
        lines = [line for line in LINE_ENDS.split(content) if line.strip()]
    values = []
    for line in lines:
        try:
            values.append(_at(json.loads(line), key))
        except NOT_JSON:
            continue
    try:
        rows = list(csv.reader(lines, delimiter="\t" if lines and "\t" in lines[0] else ","))
    except csv.Error:
        return values
    names = [name.strip() for name in rows[0]] if rows else []
    if key in names:
        values += [row[names.index(key)].strip() for row in rows[1:] if len(row) == len(names)]
    return values


def encoding_of(head: bytes) -> str:
    """UTF-16 where a text begins with its byte order mark, as PowerShell writes it; else UTF-8."""
    if head.startswith(codecs.BOM_UTF16_LE):
        return "utf-16-le"
    return "utf-16-be" if head.startswith(codecs.BOM_UTF16_BE) else "utf-8"


def main() -> None:
    order = json.loads(sys.stdin.buffer.readline())
    resource.setrlimit(resource.RLIMIT_CPU, (MOST_CPU_S, MOST_CPU_S))  # for a pattern that hangs when nobody is left
    reader = Reader(order)
    with open(order["log"], "rb") as log:  # noqa: PTH123  no pathlib: this starts in milliseconds
        decoder = None
        for line in sys.stdin.buffer:
            while chunk := log.read(CHUNK_BYTES):
                decoder = decoder or codecs.getincrementaldecoder(encoding_of(chunk))("replace")
                reader.feed(decoder.decode(chunk))
            if line.startswith(b"end "):
                _finish(reader, json.loads(line[4:]))
                return
            newest = reader.points[-1] if reader.points else None
            answer = {"phase": reader.phase, "point": newest, "total": reader.total, "last": reader.last}
            print(json.dumps(answer | {"metrics": reader.metrics}), flush=True)


def _finish(reader: Reader, paths: dict[str, str]) -> None:
    reader.finish()
    for name, place, source in reader.files:
        try:
            path = paths[source["file"]]
            with open(path, "rb") as file:  # noqa: PTH123
                encoding = encoding_of(file.peek(2))
            with open(path, encoding=encoding, errors="replace") as file:  # noqa: PTH123
                reader.read_file(name, place, source, file.read(MOST_FILE))
        except (OSError, KeyError):  # not written, or not kept
            continue
    answer = {"metrics": reader.metrics, "counts": reader.counts, "curve": reader.points, "phase": reader.phase}
    print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
