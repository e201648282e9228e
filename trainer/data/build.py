"""Makes shards from the user's text: from plain files with a new tokenizer, or from documents with a given tokenizer.

Writes the layout of `fetch`, digests included. The tokenizer is trained without the validation documents, and duplicate
documents are removed, so train and validation text share none.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from trainer.data.fetch import Fetched, record_digest
from trainer.data.shard_files import SPLITS, Split, present_shards
from trainer.data.shards import write_split
from trainer.data.tokenizer import Tokenizer, train_tokenizer
from trainer.spec.errors import DataError
from trainer.spec.json_text import parse_json
from trainer.spec.load import override_text

VAL_ONE_IN = 20
"""One document in this many is validation text, chosen by a hash of its content."""


@dataclass(frozen=True)
class Built:
    """Shards of somebody's own text."""

    name: str
    data: Fetched
    vocab_size: int
    num_documents: int
    skipped: Mapping[Path, str]
    """Files of a folder that are no text, and why."""

    def preset(self, extends: str = "tiny") -> str:
        """A preset file that trains a preset on this text."""
        values = {
            "source": "shards",
            "folder": self.data.folder.absolute(),
            "tokenizer": self.data.tokenizer.absolute(),
        }
        lines = [override_text(key, str(value)).replace("=", ": ", 1) for key, value in values.items()]
        return "\n".join(
            [
                override_text("description", f"{extends} on the text of {self.name}").replace("=", ": ", 1),
                f"extends: {extends}",
                "data:",
                *(f"  {line}" for line in [*lines, f"vocab_size: {self.vocab_size}"]),
                "",
            ]
        )


def name_of(paths: Sequence[Path]) -> str:
    """What the text is called: the first source's name, as a file name."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", paths[0].absolute().name.removesuffix(paths[0].suffix)).strip("-._")
    return name or "text"


def build_from_files(paths: Sequence[Path], vocab_size: int, out: Path, name: str = "") -> Built:
    """Tokenizer and shards of some UTF-8 files, one document each, named after the first source.

    Folders are searched for text; their hidden files, and what is no text, are skipped and listed.
    Raises DataError if a file that was named itself is missing or not UTF-8, or if either split would be empty.
    """
    name = name or name_of(paths)
    folder, tokenizer = out / f"{name}_sp{vocab_size}", out / "tokenizers" / f"{name}_{vocab_size}_bpe.model"
    if any(present_shards(folder, split) for split in SPLITS):  # before their tokenizer is replaced
        raise DataError(f"{folder} already holds shards; remove it with {tokenizer}, or choose another --name")
    skipped: dict[Path, str] = {}
    ordered = sorted(_different_texts(_texts(paths, out.absolute(), skipped), skipped), key=_content_hash)
    val = [text for text in ordered if int(_content_hash(text), 16) % VAL_ONE_IN == 0]
    train = [text for text in ordered if int(_content_hash(text), 16) % VAL_ONE_IN]
    if not val and len(train) > 1:
        val, train = train[:1], train[1:]  # with few documents, the first by hash
    if not val:
        raise DataError(
            f"{len(ordered)} document{'s' if len(ordered) != 1 else ''} with text cannot be split into training and "
            "validation text; expected at least 2 different ones: each file is one, so cut a long text into several"
            + _in_words(skipped)
        )
    trained = train_tokenizer(train, vocab_size)
    tokenizer.parent.mkdir(parents=True, exist_ok=True)
    tokenizer.write_bytes(trained)
    data = _write(out, tokenizer, train, val, name)
    return Built(name, data, vocab_size, len(ordered), skipped)


def rebuild(documents: Path, tokenizer: Path, out: Path, val_documents: int = 50_000) -> Fetched:
    """Shards of a JSON Lines file, one `{"text": ...}` a line, with a given tokenizer.

    The first `val_documents` are validation text, in the file's order; the rest is for training (docs/recipe.md 1.5).
    Raises DataError for a line without text or with a zero byte in it, and for too few documents.
    """
    copy = out / "tokenizers" / tokenizer.name
    if not tokenizer.is_file():
        raise DataError(f"{tokenizer} is no file; expected a SentencePiece model")
    copy.parent.mkdir(parents=True, exist_ok=True)
    if copy.resolve() != tokenizer.resolve():
        shutil.copyfile(tokenizer, copy)
    lines = _json_lines(documents)
    val = [text for _, text in zip(range(val_documents), lines, strict=False)]
    if len(val) < val_documents:
        raise DataError(f"{documents} has {len(val)} documents; expected more than --val-documents {val_documents}")
    return _write(out, copy, lines, val)


def _write(
    out: Path, tokenizer_path: Path, train: Iterable[str], val: Iterable[str], name: str = "fineweb10B"
) -> Fetched:
    tokenizer = Tokenizer(tokenizer_path)
    if tokenizer.bos_id < 0:
        raise DataError(f"tokenizer '{tokenizer_path}' has no BOS piece, with which documents begin")
    folder = out / f"{name}_sp{tokenizer.vocab_size}"
    splits: tuple[tuple[Split, Iterable[str]], ...] = (("val", val), ("train", train))
    for split, texts in splits:
        kept = _refuse_lost_text(texts, tokenizer, tokenizer_path) if split == "val" else texts
        encoded = (tokenizer.encode(text) for text in kept)
        for path in write_split(folder, split, encoded, tokenizer.bos_id, tokenizer.vocab_size):
            record_digest(path)
    for place in (tokenizer_path.parent, folder):
        record_digest(tokenizer_path, place)
    return Fetched(folder, tokenizer_path)


def _refuse_lost_text(texts: Iterable[str], tokenizer: Tokenizer, path: Path) -> Iterator[str]:
    """The validation texts. Raises DataError for one whose bytes its tokens would not keep."""
    for number, text in enumerate(texts):
        if lost := tokenizer.lost_text(text):
            raise DataError(
                f"document {number} of split 'val' holds {lost!r}, for which tokenizer '{path}' has no piece and no "
                "byte fallback, so this text and its bytes would be lost; train a tokenizer with byte fallback"
            )
        yield text


def _different_texts(texts: Iterable[tuple[Path, str]], skipped: dict[Path, str]) -> Iterable[str]:
    """Each text once; notes files that hold none, or that of an earlier one."""
    first: dict[str, Path] = {}
    for file, text in texts:
        if not text.strip():
            skipped[file] = "holds no text"
        elif first.setdefault(text, file) != file:
            skipped[file] = f"holds the same text as {first[text]}"
    return first


def _files_below(folder: Path, skipped: dict[Path, str]) -> list[Path]:
    """The files below a folder; notes links to folders, closed folders, and what is neither."""
    files: list[Path] = []

    def note(fault: OSError) -> None:
        skipped[Path(fault.filename)] = f"cannot be read: {fault.strerror}"

    for place, folders, names in os.walk(folder, onerror=note):
        for path in (Path(place, name) for name in (*names, *folders)):
            if path.is_file():
                files.append(path)
            elif path.is_symlink():
                skipped[path] = "is a link to a folder" if path.is_dir() else "is a link to nothing"
            elif not path.is_dir():
                skipped[path] = "is no regular file"
    return sorted(files)


def _texts(paths: Sequence[Path], out: Path, skipped: dict[Path, str]) -> Iterator[tuple[Path, str]]:
    """Each file with its text; notes those of folders that have none."""
    for path in paths:
        if not path.is_dir():
            yield path, _read_text(path)
            continue
        for file in _files_below(path, skipped):
            if out in file.absolute().parents:
                continue  # what an earlier build left
            if any(part.startswith(".") for part in file.relative_to(path).parts):
                skipped[file] = "hidden"
                continue
            try:
                yield file, _read_text(file)
            except DataError as error:
                skipped[file] = str(error).removeprefix(f"{file} ").partition(";")[0]


def _in_words(skipped: Mapping[Path, str]) -> str:
    """'; skipped a.png, which is not UTF-8 at byte 3', for a message that ends without any text."""
    return "".join(f"; skipped {path}, which {why}" for path, why in list(skipped.items())[:3])


def _read_text(path: Path) -> str:
    if path.is_fifo() and not path.is_relative_to("/dev"):  # there a shell puts `<(command)`, which does write
        raise DataError(f"{path} is no regular file, and would be waited for")
    try:
        return _without_zero_bytes(path.read_bytes().decode(), str(path))
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 at byte {error.start}; its bytes could not be counted") from error


def _json_lines(path: Path) -> Iterator[str]:
    if not path.is_file():
        raise DataError(f"{path} is no file; expected JSON Lines with a text on each")
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                text = parse_json(line)["text"]
                if not isinstance(text, str):
                    raise TypeError(f"its text is {type(text).__name__}")
                text.encode()  # an escaped half of a surrogate pair has no UTF-8 bytes
            except (ValueError, KeyError, TypeError) as error:
                raise DataError(f'{path}:{number} is no {{"text": ...}}: {error}') from error
            yield _without_zero_bytes(text, f"{path}:{number}")


def _without_zero_bytes(text: str, place: str) -> str:
    if "\0" in text:
        raise DataError(f"{place} holds zero bytes, so it is no text; leave it out")
    return text


def _content_hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
