"""`python -m trainer data fetch|build|rebuild|check`: makes and checks shards in the challenge's format."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

EXIT_FAILED = 1
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

    console = Console(stderr=True, highlight=False, soft_wrap=True)
    source = Mirror(mirror) if mirror else Hub()
    fetched = fetch_variant(
        variant, train_shards, out, source, lambda name, done, total: console.print(f"{done + 1:>4} of {total}  {name}")
    )
    _tell(fetched.folder, fetched.tokenizer)


@data_app.command(epilog="Example: python -m trainer data build --from notes/ --from book.txt --vocab-size 1024")
def build(
    sources: Annotated[list[Path], typer.Option("--from", help="A UTF-8 file, or a folder of them.")],
    vocab_size: Annotated[int, typer.Option(min=300, max=65_536, help="Pieces of the tokenizer to train.")] = 1024,
    out: OutOption = Path("data"),
) -> None:
    """Make a tokenizer and shards from your own text, each file a document."""
    from trainer.data.build import build_from_files

    fetched = build_from_files(sources, vocab_size, out)
    _tell(fetched.folder, fetched.tokenizer)


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
    _tell(fetched.folder, fetched.tokenizer)


@data_app.command(epilog="Example: python -m trainer data check data/fineweb10B_sp1024 --tokenizer data/tokenizers/...")
def check(
    folder: Annotated[Path, typer.Argument(help="Folder of shards.")],
    tokenizer: Annotated[Path, typer.Option(help="Their SentencePiece model.")],
) -> None:
    """Are the files what they were, how many documents are there, and are train and validation apart?"""
    from trainer.data.check_data import changed_files, check_splits
    from trainer.data.shards import read_shard, split_files
    from trainer.data.tokenizer import Tokenizer

    out = Console(highlight=False, soft_wrap=True)
    changed = changed_files(folder)
    for name in changed:
        out.print(f"[red]changed[/red] {name}: its digest is not the one noted when it came")
    if changed:
        raise typer.Exit(EXIT_FAILED)
    pieces = Tokenizer(tokenizer)
    train, val = (
        [read_shard(path, pieces.vocab_size) for path in split_files(folder, split)] for split in ("train", "val")
    )
    report = check_splits(train, val, pieces.bos_id)
    out.print(f"train       {report.train_documents:,} documents, {report.train_tokens:,} tokens")
    out.print(f"validation  {report.val_documents:,} documents, {report.val_tokens:,} tokens")
    if report.shared_documents:
        out.print(f"[red]leak[/red] {report.shared_documents:,} validation documents are in the train shards too")
        raise typer.Exit(EXIT_FAILED)
    out.print("apart       no validation document is in the train shards")


def _tell(folder: Path, tokenizer: Path) -> None:
    out = Console(highlight=False, soft_wrap=True)
    out.print(f"data.folder     {folder}")
    out.print(f"data.tokenizer  {tokenizer}")
