"""Renders a table as text for a terminal, or as CSV, JSON, Markdown or Parquet.

Text is rounded and has only the columns that fit the terminal, which a note below says; CSV, JSON and Parquet have all
columns in full precision.
"""

from __future__ import annotations

import json
import math
import re
import shutil
from typing import Any, Literal, get_args

import pandas as pd

from results.rows.row import short_error
from results.rows.score_text import is_ordinary, score_text
from trainer.spec.errors import UserError, did_you_mean
from trainer.spec.printable import printable, printable_json

Format = Literal["text", "csv", "json", "md", "parquet"]
NEEDED = ("rank", "config", "seed", "status", "val_bpb", "n", "mean")
FORMULA = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""What makes a spreadsheet compute a cell instead of showing it; some read the signs of full width alike."""
STARTS_FORMULA = re.compile(rf"(\A|[;\t\n\r]['\"]?)(\s*[{re.escape(''.join(FORMULA))}])")
"""Where a cell, or what another separator makes one, begins with such a sign."""
BETWEEN = 3
"""Characters between two columns."""


def render(frame: pd.DataFrame, format: str = "text", width: int | None = None) -> str | bytes:
    """Renders the table: bytes for `parquet`, else text.

    width:  characters per line, for `text`; by default those of this terminal
    JSON is a list of rows, with null for empty, NaN and infinite cells. Raises UserError for an unknown format.
    """
    if format not in get_args(Format):
        known = ", ".join(get_args(Format))
        raise UserError(f"--format {format} is unknown{did_you_mean(format, get_args(Format))}; known: {known}")
    match format:
        case "csv":
            return printable(_csv(frame))
        case "json":
            rows = [{name: _json_cell(cell) for name, cell in row.items()} for row in frame.to_dict("records")]
            return printable_json(json.dumps(rows, indent=1, ensure_ascii=False, allow_nan=False))
        case "md":
            return printable(_markdown(frame))
        case "parquet":
            return _parquet(frame)
        case _:
            return printable(_text(frame, width or shutil.get_terminal_size().columns))


def shown(name: str, cell: Any, unit: str = "") -> str:
    """A cell as text: scores with five decimals, counts with thousands separators, empty for an empty cell.

    unit:  of the scores, as `score_text` takes it
    """
    if _is_empty(cell):
        return ""
    if isinstance(cell, bool) or pd.api.types.is_bool(cell):
        return "yes" if cell else "no"
    if name == "seed" or isinstance(cell, str):
        return str(cell)
    if pd.api.types.is_integer(cell):
        return f"{cell:,}"
    if name in {"val_loss", "mean", "sd", "ci95_low", "ci95_high", "best"} or name.endswith("_bpb"):
        return score_text(cell, unit)
    return f"{cell:,.1f}" if name.endswith(("_s", "_per_s")) else f"{cell:.4g}"


def _unit_of_means(frame: pd.DataFrame) -> str:
    """Nothing where five decimals show the means well; else a word for whatever it is."""
    means = frame["mean"] if "mean" in frame else pd.Series(dtype="float64")
    return "" if is_ordinary(float(means.abs().max())) else "unlike bits per byte"


def _is_empty(cell: Any) -> bool:
    return cell is None or bool(pd.isna(cell))


def _json_cell(cell: Any) -> Any:
    if _is_empty(cell) or (isinstance(cell, float) and not math.isfinite(cell)):
        return None
    return cell.item() if hasattr(cell, "item") else cell


def _csv(frame: pd.DataFrame) -> str:
    words = [str(name) for name in frame if not pd.api.types.is_numeric_dtype(frame[name])]
    cells = frame.assign(**{name: frame[name].map(_csv_cell, na_action="ignore") for name in words})
    return cells.rename(columns=_csv_cell).to_csv(index=False)


def _csv_cell(cell: Any) -> Any:
    """A text that a spreadsheet would compute gets an apostrophe before it, which makes it text; numbers stay. So do
    its parts where a spreadsheet of another language splits lines: at semicolons and tabs, whatever the quotes say."""
    if not isinstance(cell, str) or _is_number(cell):
        return cell
    return STARTS_FORMULA.sub(lambda found: f"{found[1]}'{found[2]}", cell)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _parquet(frame: pd.DataFrame) -> bytes:
    """Parquet columns have one type, so columns with both numbers and text are converted to text."""
    mixed = [str(name) for name in frame if pd.api.types.infer_dtype(frame[name], skipna=True).startswith("mixed")]
    words = {name: frame[name].map(str, na_action="ignore") for name in mixed}
    plain = frame.assign(**words)
    plain.attrs = {}
    return plain.to_parquet(index=False)


def _markdown(frame: pd.DataFrame) -> str:
    def line(cells: list[str]) -> str:
        return "| " + " | ".join(" ".join(cell.replace("|", "\\|").split()) for cell in cells) + " |"

    unit = _unit_of_means(frame)
    rows = [line([shown(str(name), cell, unit) for name, cell in row.items()]) for row in frame.to_dict("records")]
    return "\n".join([line([str(name) for name in frame]), line(["---"] * len(frame.columns)), *rows]) + "\n"


def _text(frame: pd.DataFrame, width: int) -> str:
    unit = _unit_of_means(frame)
    worth = [name for name in frame.columns if _worth_showing(frame[name])]
    cells = {name: [shown(name, cell, unit) for cell in frame[name]] for name in worth}
    fitting = _fitting(cells, width)
    columns = [_aligned(name, cells[name], pd.api.types.is_string_dtype(frame[name].dtype)) for name in fitting]
    lines = [(" " * BETWEEN).join(row).rstrip() for row in zip(*columns, strict=True)]
    lines[1:1] = ["─" * max(map(len, lines), default=0)]
    return "\n".join([*lines, *_below(frame, len(cells) - len(fitting))]) + "\n"


def _aligned(name: str, cells: list[str], words: bool) -> list[str]:
    """Head and cells padded to equal width: text to the left, numbers to the right."""
    width = max(len(text) for text in [name, *cells])
    return [text.ljust(width) if words else text.rjust(width) for text in [name, *cells]]


def _worth_showing(column: pd.Series[Any]) -> bool:
    """Whether the column has information: not if it is empty or the same for all rows, and not for error messages."""
    if column.name == "sweep":
        return column.nunique() > 1
    if column.name == "status":
        return bool((column != "done").any())
    if column.name == "failed":
        return bool(column.any())
    return column.name != "error" and (column.empty or bool(column.notna().any()))


def _fitting(cells: dict[str, list[str]], width: int) -> list[str]:
    """The columns that fit the width, taken in the order: those of NEEDED, swept keys, others."""
    left, fitting = width, set()
    for name in sorted(cells, key=lambda name: (name not in NEEDED, "." not in name)):  # swept keys are dotted
        needs = max(len(text) for text in [name, *cells[name]]) + BETWEEN
        if needs <= left:
            left -= needs
            fitting.add(name)
    return [name for name in cells if name in fitting]


def _below(frame: pd.DataFrame, num_hidden: int) -> list[str]:
    """Lines below the table: errors of failed runs, and how to see the columns that did not fit."""
    lines = []
    if "error" in frame:
        failed = frame[frame["error"].fillna("") != ""]
        for config, seed, error in zip(failed["config"], failed["seed"], failed["error"], strict=True):
            lines.append(f"{config} seed {seed}: {short_error(error.strip())}")
    if num_hidden:
        columns = "1 column does" if num_hidden == 1 else f"{num_hidden} columns do"
        lines.append(f"{columns} not fit; --format csv has all")
    return lines
