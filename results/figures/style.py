"""One look for every figure, on paper and inside a page.

Matplotlib's object API without a window or global state. Colours are Okabe and Ito's, and shapes differ as well.
Inside a page a figure is SVG whose colours are the page's own, so that it follows light and dark. What is drawn is
decided elsewhere, in the figures' facts.
"""

from __future__ import annotations

import io
import re
import textwrap
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from trainer.spec.errors import UserError

OKABE_ITO = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKERS = ("o", "s", "^", "D", "v", "P")
INK, GREY, RULE = "#1A1A1A", "#595959", "#E5E5E5"
"""Ink is not quite black, which SVG leaves unsaid and a dark page would then swallow."""
PAGE_COLOURS = {INK: "--ink", "#000000": "--ink", GREY: "--muted", RULE: "--rule"}
PAGE_COLOURS |= {colour: f"--series-{number}" for number, colour in enumerate(OKABE_ITO)}
"""What each colour is called in a page, which has a value for light and one for dark."""

POINT: dict[str, Any] = {"s": 34, "alpha": 0.9, "linewidths": 0}
BASELINE: dict[str, Any] = {"color": GREY, "linewidth": 1.4, "linestyle": "--"}
BAND: dict[str, Any] = {"color": GREY, "alpha": 0.16, "linewidth": 0}
WIDTH_IN, NARROW_IN, DPI = 12.0, 4.6, 100
LONGEST_WORDS = 44
"""Characters of a label beside an axis; longer ones are cut in the middle."""
LONGEST_AXIS = 46
"""Characters of a line below an axis of a narrow figure."""
MOST_NARROW_TICKS = 4
ABOVE, BELOW = 0.14, 0.46
"""How far what is drawn in a narrow row reaches up, below its name, and down."""
_narrow = ContextVar("narrow", default=False)


@contextmanager
def for_a_telephone() -> Iterator[None]:
    """Figures drawn inside are as wide as a telephone: names stand above their rows, panels below each other."""
    before = _narrow.set(True)
    try:
        yield
    finally:
        _narrow.reset(before)


def is_narrow() -> bool:
    """Whether what is drawn now is for a telephone."""
    return _narrow.get()


class ShownFigure(Figure):
    """A figure that a notebook shows as a picture, also where no window of Matplotlib was ever asked for."""

    def _repr_png_(self) -> bytes:
        content = io.BytesIO()
        with _any_letters():
            self.savefig(content, format="png")
        return content.getvalue()


def new_figure(height_in: float) -> Figure:
    """An empty figure, 1200 pixels wide as PNG unless it is for a telephone."""
    figure = ShownFigure(figsize=(NARROW_IN if is_narrow() else WIDTH_IN, height_in), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def rows_in(num_rows: int, row_in: float) -> float:
    """Height of so many named rows; twice as high where the names stand above them."""
    return num_rows * row_in * (2 if is_narrow() else 1)


def bar_height() -> float:
    """Of a bar in a named row."""
    return 0.24 if is_narrow() else 0.6


def axis_words(words: str) -> str:
    """What is written below an axis, over several lines where the figure is narrow."""
    return textwrap.fill(words, LONGEST_AXIS) if is_narrow() else words


def line_at(ax: Axes, x: float, num_rows: int, **style: Any) -> None:
    """A line across the rows at `x`; in a narrow figure it leaves out their names."""
    if not is_narrow():
        ax.axvline(x, **style)
        return
    for place in range(num_rows):
        ax.plot([x, x], [place - ABOVE, place + BELOW], **style)


def band_between(ax: Axes, low: float, high: float, num_rows: int) -> None:
    """A grey band across the rows, as `line_at`."""
    if not is_narrow():
        ax.axvspan(low, high, **BAND)
        return
    for place in range(num_rows):
        ax.fill_betweenx([place - ABOVE, place + BELOW], low, high, **BAND)


def tidy(ax: Axes, grid: str = "y") -> None:
    """What all axes share: a quiet grid behind the data along `grid`, and no frame."""
    ax.set_facecolor("none")
    ax.grid(axis=grid, color=RULE, linewidth=0.8)  # type: ignore[arg-type]
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)


def name_rows(ax: Axes, names: list[str]) -> None:
    """Names the rows 0, 1, ... of a horizontal figure, the first on top; in a narrow one above what they hold."""
    if is_narrow():
        _name_rows_above(ax, names)
        return
    ax.set_yticks(range(len(names)), [shortened(name) for name in names], parse_math=False)
    ax.set_ylim(len(names) - 0.5, -0.5)


def _name_rows_above(ax: Axes, names: list[str]) -> None:
    ax.set_yticks([])
    ax.grid(visible=False)  # its lines would cross the names
    ax.xaxis.set_major_locator(MaxNLocator(MOST_NARROW_TICKS))
    ax.spines["left"].set_visible(False)
    for place, name in enumerate(names):
        ax.annotate(
            shortened(name), (0, place - 0.32), xycoords=("axes fraction", "data"), va="center", parse_math=False
        )
    ax.set_ylim(len(names) - 0.5, -0.6)


def shortened(words: str) -> str:
    """The words, their middle left out when they are too long to stand beside an axis."""
    half = LONGEST_WORDS // 2 - 1
    return words if len(words) <= LONGEST_WORDS else f"{words[:half]} … {words[-half:]}"


def as_svg(figure: Figure, name: str, title: str, description: str) -> str:
    """The figure for a page: an `svg` element with the page's fonts and colours, a title and a description.

    name:  unique in the page; every id inside starts with it
    """
    text = io.StringIO()
    figure.patch.set_alpha(0)  # the page is the paper
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": name}), _any_letters():
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    svg = text.getvalue()
    svg = svg[svg.index("<svg") :]
    box = re.search(r'viewBox="[^"]*"', svg)
    assert box is not None
    head = f'<svg class="figure" {box[0]} role="img" aria-labelledby="{name}-title {name}-words">'
    labels = f'<title id="{name}-title">{escape(title)}</title><desc id="{name}-words">{escape(description)}</desc>'
    body = re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index(">") + 1 :], flags=re.DOTALL)
    return head + labels + _in_page_style(body, name)


def _in_page_style(body: str, name: str) -> str:
    body = re.sub(r"<!--.*?-->\n?|<style.*?</style>", "", body, flags=re.DOTALL)
    body = re.sub(r'(?<= id=")|(?<=href="#)|(?<=url\(#)', f"{name}-", body)
    body = body.replace("xlink:href", "href")  # the prefix is declared on the element that is left out
    body = re.sub(r"; font-family: [^;\"]*", "", body)
    for colour, variable in PAGE_COLOURS.items():
        body = re.sub(rf"(?<=: ){colour}\b", f"var({variable})", body, flags=re.IGNORECASE)
    return re.sub(r"\n\s*", "\n", body)


def save(figure: Figure, path: Path) -> None:
    """The figure as a file of the kind that `path` ends in, on white. Raises UserError for an ending of no kind."""
    known = figure.canvas.get_supported_filetypes()
    if path.suffix.lower().removeprefix(".") not in known:
        listed = ", ".join(f".{kind}" for kind in sorted(known))
        raise UserError(f"{path}: a figure cannot have the ending '{path.suffix}'; known: {listed}; usual: .png")
    with _any_letters():
        figure.savefig(path)


@contextmanager
def _any_letters() -> Iterator[None]:
    """No warnings of letters that the font lacks: they repeat control characters raw; a page has other fonts."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Glyph \d+ ", UserWarning)
        yield
