"""Verdicts as the one table that people read, of our own sweeps and of imports, with what stands below it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence

from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from results.rows.score_text import score_text
from results.verdicts.verdict import Unit, Verdict, few_seeds_warning

MOST_SHOWN = 20
"""Configurations in the table; --explain and --format json have all."""
MOST_REASONS = 5
"""Different reasons that are printed of configurations without a verdict."""
HEADS = ("configuration", "gain", "interval", "p", "verdict")
BETWEEN = 2
"""Spaces after a column."""
LEAST_NAME = 15
"""Characters of a configuration's name that are left beside the numbers; a longer one takes several lines."""
STYLES = {"BETTER": "bold green", "suggested": "green", "infeasible": "dim", "cannot say": "dim"}


def verdict_table(
    verdicts: Sequence[Verdict],
    name: Callable[[str], str] = str,
    unit: Unit = "bpb",
    declared: Mapping[str, Verdict] | None = None,
) -> VerdictTable:
    """A row per configuration, as far as a screen is long.

    unit:      of gain and interval, where a verdict has both nats and bits per byte (or the imported metric)
    declared:  by the declared terms, in a last column, where the verdicts are by others
    """
    rows = []
    for verdict in verdicts[:MOST_SHOWN]:
        word = word_of(verdict)
        cells = [*map(Text, (name(verdict.config), *_numbers(verdict, unit)))]
        cells.append(Text(word, STYLES.get(word.strip(" *"), "")))
        if declared:
            other = declared.get(verdict.config)
            cells.append(Text("" if other is None else word_of(other)))
        rows.append(cells)
    return VerdictTable([*HEADS, *(["as declared"] if declared else [])], rows)


class VerdictTable:
    """Rich draws it as a table; on a terminal that is too narrow each configuration has lines of its own, whole."""

    def __init__(self, heads: Sequence[str], rows: Sequence[Sequence[Text]]):
        self._heads, self._rows = heads, rows

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        columns = zip(*([Text(head) for head in self._heads], *self._rows), strict=True)
        widths = [max(cell.cell_len for cell in column) + BETWEEN for column in columns]
        if LEAST_NAME + sum(widths[1:]) - BETWEEN > options.max_width:
            yield from self._stacked()
            return
        table = Table(box=None, pad_edge=False, padding=(0, BETWEEN, 0, 0))
        for head in self._heads:
            right = head in HEADS[1:-1]
            table.add_column(head, justify="right" if right else "left", no_wrap=head != HEADS[0], overflow="fold")
        for row in self._rows:
            table.add_row(*row)
        yield table

    def _stacked(self) -> Iterator[Text]:
        for name, *cells in self._rows:
            yield name
            for head, cell in zip(self._heads[1:], cells, strict=True):
                if cell.plain:
                    yield Text.assemble(f"  {head} ", cell)


def word_of(verdict: Verdict) -> str:
    """The verdict in a word or two: 'suggested' is a gain that is exploratory; a star warns of few seeds."""
    word = "BETTER" if verdict.word == "better" else verdict.word
    return f"{word} *" if verdict.headline == "better" and few_seeds_warning(verdict) else word


def _numbers(verdict: Verdict, unit: Unit) -> tuple[str, str, str]:
    effect = verdict.nats if unit == "nats" and verdict.nats is not None else verdict.bpb
    if effect is None:
        return "", "", ""
    p = verdict.p if verdict.p_corrected is None else verdict.p_corrected
    gain, low, high = (
        score_text(-number, verdict.unit, signed=True, beside=effect.largest)
        for number in (effect.difference, effect.high, effect.low)
    )
    return gain, f"{low} to {high}", f"{p:.2g}"


def reason_lines(verdicts: Sequence[Verdict], named: Callable[[str], str] = str, said: str = "") -> Iterator[str]:
    """Why there is no verdict, each reason once, with how many configurations it concerns.

    named:  a reason with labels in place of identities
    said:   a reason that is printed below in full; it is left out where it concerns one configuration
    """
    reasons = Counter(verdict.reason for verdict in verdicts if verdict.reason)
    if reasons[said] == 1:
        del reasons[said]
    for reason, count in list(reasons.items())[:MOST_REASONS]:
        yield f"cannot say ({counted(count)}): {'as said below' if reason == said else named(reason)}"
    if len(reasons) > MOST_REASONS:
        yield f"cannot say for the like reasons: {counted(sum(list(reasons.values())[MOST_REASONS:]))}"


def warning_lines(verdicts: Sequence[Verdict]) -> list[str]:
    """What the stars in the table mean."""
    warnings = {few_seeds_warning(verdict) for verdict in verdicts if verdict.headline == "better"}
    return [f"* {warning}" for warning in sorted(warnings - {""})]


def counted(count: int) -> str:
    """'1 configuration', '1,200 configurations'."""
    return f"{count:,} configuration{'s' if count != 1 else ''}"
