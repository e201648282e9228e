"""`python -m trainer data fetch|build|rebuild|check`: makes and checks shards in the challenge's format."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from trainer.spec.console import PlainConsole
from trainer.spec.errors import DataError
from trainer.spec.exit_status import EXIT_FAILED
from trainer.store.mirror import store_folder

if TYPE_CHECKING:
    from trainer.data.data_report import DataReport
    from trainer.data.fetch import Fetched

SHIPPED_SPACE = "search_spaces/rope.yaml"
"""A search space to try a text with, where the checkout is the working folder."""
MOST_SKIPPED = 20
"""Skipped files that are named; the others are counted."""
data_app = typer.Typer(no_args_is_help=True, help="Text to train on, in the challenge's format.")
OutOption = Annotated[Path, typer.Option("--out", help="Folder to leave shards and tokenizer in.")]


@data_app.command(epilog="Example: python -m trainer data fetch --variant sp1024 --train-shards 80")
def fetch(
    variant: Annotated[str, typer.Option(help="Tokenizer family: sp1024, sp8192, ...")] = "sp1024",
    train_shards: Annotated[int, typer.Option(min=1, help="Train shards of 100 million tokens each.")] = 80,
    out: OutOption = Path("data"),
    mirror: Annotated[Path | None, typer.Option(help="A folder of the same layout instead of the hub.")] = None,
) -> None:
    """Download FineWeb shards and their tokenizer; intact files that exist already are kept."""
    from trainer.data.fetch import Hub, Mirror, fetch_variant  # late: `--help` does not import numpy

    console = PlainConsole(stderr=True, soft_wrap=True)
    source = Mirror(mirror) if mirror else Hub()
    fetched = fetch_variant(
        variant, train_shards, out, source, lambda name, done, total: console.print(f"{done + 1:>4} of {total}  {name}")
    )
    _print_places(fetched)


@data_app.command(epilog="Example: python -m trainer data build --from notes/ --from book.txt --vocab-size 1024")
def build(
    sources: Annotated[list[Path], typer.Option("--from", help="A UTF-8 file, or a folder of them.")],
    vocab_size: Annotated[int, typer.Option(min=300, max=65_536, help="Pieces of the tokenizer to train.")] = 1024,
    name: Annotated[str, typer.Option(help="What the text is called; default: after its first source.")] = "",
    out: OutOption = Path("data"),
) -> None:
    """Make a tokenizer and shards from your own text, each file a document, and a preset that trains on them.

    What is no text in a folder is skipped and listed.
    """
    from trainer.data.build import build_from_files
    from trainer.spec.record import NAME_PATTERN  # late: `--help` does not import pydantic

    if name and not re.fullmatch(NAME_PATTERN, name):
        raise DataError(f"--name {name} must be letters, digits, '.', '_' or '-': it names a folder")
    built = build_from_files(sources, vocab_size, out, name)
    _print_checked(built.data)
    preset = out / f"{built.name}.yaml"
    preset.write_text(built.preset(), encoding="utf-8")
    console = PlainConsole(soft_wrap=True)
    for path, why in list(built.skipped.items())[:MOST_SKIPPED]:
        console.print(Text.assemble(("skipped", "yellow"), f" {path}: {why}"))
    if (more := len(built.skipped) - MOST_SKIPPED) > 0:
        console.print(f"skipped {more:,} more")
    console.print(f"{built.num_documents:,} documents; preset {preset}. Train on them, or sweep:")
    console.print(f"  python -m trainer run {shlex.quote(str(preset))}")
    space = SHIPPED_SPACE if Path(SHIPPED_SPACE).is_file() else "SPACE.yaml"
    console.print(f"  orchestrator sweep {space} --preset {shlex.quote(str(preset))}")


@data_app.command(epilog="Example: python -m trainer data rebuild docs_selected.jsonl --tokenizer my.model")
def rebuild(
    documents: Annotated[Path, typer.Argument(help='JSON Lines, one {"text": ...} a line, in published order.')],
    tokenizer: Annotated[Path, typer.Option(help="SentencePiece model to tokenize with.")],
    out: OutOption = Path("data"),
    val_documents: Annotated[int, typer.Option(min=1, help="First documents, kept for validation.")] = 50_000,
) -> None:
    """Tokenize documents again under another tokenizer."""
    from trainer.data.build import rebuild as rebuild_shards

    fetched = rebuild_shards(documents, tokenizer, out, val_documents)
    _print_checked(fetched)


@data_app.command(epilog="Example: python -m trainer data check data/fineweb10B_sp1024 --tokenizer data/tokenizers/...")
def check(
    folder: Annotated[Path, typer.Argument(help="Folder of shards.")],
    tokenizer: Annotated[Path, typer.Option(help="Their SentencePiece model.")],
    store: Annotated[
        Path | None, typer.Option(parser=store_folder, metavar="PLACE", help="Keep a report without problems for runs.")
    ] = None,
) -> None:
    """Check files, tokens, documents and splits; runs and sweeps refuse data with a problem.

    Are the files what they were, does every token have a piece, is the text of every token known, and are train and
    validation apart?
    """
    from trainer.data.check_data import check_data
    from trainer.stages.checked_data import keep_report, report_path

    kept_at = report_path(folder, tokenizer, store) if store else None  # of the files as they were before the check
    report = check_data(folder, tokenizer)
    _print_report(report)
    if report.problems:
        raise typer.Exit(EXIT_FAILED)
    if kept_at:
        keep_report(report, kept_at)


def _print_checked(fetched: Fetched) -> None:
    """Where new shards are, and what a check of them finds."""
    from trainer.data.check_data import check_data

    _print_places(fetched)
    _print_report(check_data(fetched.folder, fetched.tokenizer))


def _print_places(fetched: Fetched) -> None:
    out = PlainConsole(soft_wrap=True)
    out.print(f"data.folder     {fetched.folder}")
    out.print(f"data.tokenizer  {fetched.tokenizer}")


def _print_report(report: DataReport) -> None:
    out = PlainConsole(soft_wrap=True)
    for line in report.counted():
        out.print(line)
    for style, kind, lines in (("yellow", "note", report.notes), ("red", "problem", report.problems)):
        for line in lines:
            out.print(Text.assemble((kind, style), f" {line}"))
    if not report.problems:
        out.print("sound: no problem was found")
