"""Parts of an HTML page and how they become one file: no network, no script, light and dark, ready for print.

A page is chapters, a chapter is parts; the template renders each part. Every text is escaped but the SVG of our
own figures, whose words were escaped when they were drawn.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import ClassVar, Literal

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure

from results.figures.style import as_svg, for_a_telephone
from results.rows.render import shown

MOST_TABLE_ROWS = 30
READS_AS_NUMBER = re.compile(r"(≤ )?[+-]?[\d.,]+( (s|B|kB|MB|%)| min.*| h .*|%|e-?\d+)?$|\?$|$")


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    kind: ClassVar[str] = "text"
    words: str


@dataclass(frozen=True)
class Callout:
    """What a reader in a hurry must see."""

    kind: ClassVar[str] = "callout"
    tone: Literal["good", "plain", "bad"]
    title: str
    words: str


@dataclass(frozen=True)
class Table:
    """Rows under heads; `folded` ones open on a click."""

    kind: ClassVar[str] = "table"
    caption: str
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    numeric: Sequence[bool]
    folded: bool = False


@dataclass(frozen=True)
class Plot:
    """A figure, what it shows in words, and the numbers it was drawn from."""

    kind: ClassVar[str] = "plot"
    svg: Markup
    caption: str
    facts: Table | None = None
    narrow: Markup | None = None
    """The same for a telephone, where the wide one would have to be scrolled sideways."""


@dataclass(frozen=True)
class Code:
    """Text to be copied as it stands."""

    kind: ClassVar[str] = "code"
    caption: str
    text: str
    folded: bool = False


Part = Text | Callout | Table | Plot | Code


@dataclass(frozen=True)
class Chapter:
    """A heading and what stands below it."""

    id: str
    title: str
    parts: Sequence[Part]


@dataclass(frozen=True)
class Answer:
    """The first screen: what a reader who reads nothing else must know."""

    headline: Callout
    plot: Plot | None = None
    table: Table | None = None
    next_command: Code | None = None

    @property
    def parts(self) -> Sequence[Part]:
        """What there is of it, in the order of reading."""
        parts = (self.headline, self.plot, self.table, self.next_command)
        return [part for part in parts if part is not None]


@dataclass(frozen=True)
class Page:
    """A whole page."""

    title: str
    lead: str
    standing: str
    chapters: Sequence[Chapter]
    made_at: str
    answer: Answer | None = None


def table_of(
    frame: pd.DataFrame, heads: Mapping[str, str], caption: str, most: int = MOST_TABLE_ROWS, folded: bool = False
) -> Table:
    """The columns of `heads` under those names, but empty ones; the caption says when there are more rows than `most`.

    Columns whose cells all read as numbers, '≤ 18' and '1.2 s' among them, are set to the right.
    """
    columns = [name for name in heads if name in frame and (frame.empty or frame[name].map(_filled).any())]
    full_caption = (
        f"{caption} The first {most} of {len(frame):,} rows; `orchestrator table` has all."
        if len(frame) > most
        else caption
    )
    kept = frame.head(most)
    cells = [[_cell(name, value) for value in kept[name]] for name in columns]
    numeric = [all(READS_AS_NUMBER.match(cell) for cell in column) for column in cells]
    return Table(full_caption, [heads[name] for name in columns], list(zip(*cells, strict=True)), numeric, folded)


def _filled(value: object) -> bool:
    return value is not None and value is not pd.NA and value == value and value != ""


def _cell(name: str, value: object) -> str:
    return ", ".join(shown(name, item) for item in value) if isinstance(value, list) else shown(name, value)


def page_html(page: Page) -> str:
    """The page as one HTML document."""
    return _environment().get_template("page.html.j2").render(page=page)


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("results.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def plot(
    name: str, title: str, draw: Callable[[], Figure], caption: str, facts: Table | None = None, words: str = ""
) -> Plot:
    """A figure of ours as a part of the page, drawn for a screen and for a telephone.

    words:  what it shows, for whoever cannot see it; usually its caption
    """
    wide = as_svg(draw(), name, title, words or caption)
    with for_a_telephone():
        narrow = as_svg(draw(), f"{name}-narrow", title, words or caption)
    return Plot(Markup(wide), caption, facts, Markup(narrow))  # noqa: S704  their words are escaped


def left_out(facts: pd.DataFrame) -> str:
    """' 12 others are not drawn.', or nothing."""
    count = int(facts["num_left_out"].iloc[0]) if len(facts) else 0
    return f" {count:,} others are not drawn." if count else ""
