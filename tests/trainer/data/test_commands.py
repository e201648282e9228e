"""`data fetch|build|rebuild|check`, against a local mirror of the published layout."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.trainer.cli import trainer
from tests.trainer.data.conftest import TEXTS
from trainer.data import fetch as fetching
from trainer.data.fetch import Mirror, fetch_variant
from trainer.data.shards import read_shard
from trainer.data.tokenizer import Tokenizer
from trainer.spec.errors import DataError
from trainer.spec.load import load_preset


def fetched(mirror: Path, out: Path, train_shards: int = 1) -> list[str]:
    names: list[str] = []
    fetch_variant("sp320", train_shards, out, Mirror(mirror), lambda name, done, total: names.append(name))
    return names


def paths(data: Path) -> tuple[Path, Path]:
    folder = data / "tokenizers"
    tokenizer = next(folder.glob("*_320_bpe.model"), folder / "fineweb_320_bpe.model")
    return data / "fineweb10B_sp320", tokenizer


def test_built_shards_hold_every_document_once(built):
    folder, tokenizer = paths(built)
    tokens = np.concatenate([read_shard(path, 320) for path in sorted(folder.glob("*.bin"))])
    texts = [Tokenizer(tokenizer).decode(ids) for ids in np.split(tokens, np.flatnonzero(tokens == 1))[1:]]
    assert sorted(texts) == sorted(TEXTS)


def test_the_command_fetches_what_a_mirror_holds(mirror, tmp_path):
    done = trainer(
        "data", "fetch", "--variant", "sp320", "--train-shards", 1, "--out", tmp_path / "d", "--mirror", mirror
    )
    assert done.exit_code == 0, done.output
    folder, tokenizer = paths(tmp_path / "d")
    assert f"data.folder     {folder}" in done.output
    assert tokenizer.read_bytes() == (mirror / "tokenizers" / tokenizer.name).read_bytes()


def test_what_is_here_and_sound_is_not_fetched_again_and_a_damaged_file_is(mirror, tmp_path):
    out = tmp_path / "d"
    assert fetched(mirror, out) == ["fineweb_320_bpe.model", "fineweb_val_000000.bin", "fineweb_train_000000.bin"]
    assert fetched(mirror, out) == []
    shard = paths(out)[0] / "fineweb_val_000000.bin"
    shard.write_bytes(shard.read_bytes()[:-2] + b"\0\0")
    assert fetched(mirror, out) == ["fineweb_val_000000.bin"]


def test_a_changed_tokenizer_is_fetched_again_and_its_digest_recorded_with_the_shards(mirror, tmp_path):
    out = tmp_path / "d"
    fetched(mirror, out)
    folder, tokenizer = paths(out)
    recorded = fetching.recorded_digests(folder)
    assert recorded[tokenizer.name] == fetching.file_digest(tokenizer)
    tokenizer.write_bytes(b"changed")
    assert fetched(mirror, out) == [tokenizer.name]
    assert fetching.recorded_digests(folder) == recorded


def test_an_interrupted_file_goes_on_where_it_stopped(mirror, tmp_path):
    origin = paths(mirror / "datasets")[0] / "fineweb_train_000000.bin"
    half = origin.stat().st_size // 2
    target = tmp_path / origin.name
    target.with_suffix(".bin.part").write_bytes(b"#" * half)  # marked, to see that it is kept
    Mirror(mirror).fetch(f"datasets/fineweb10B_sp320/{origin.name}", target)
    assert target.read_bytes() == b"#" * half + origin.read_bytes()[half:]


def test_a_damaged_shard_of_the_source_is_refused_by_name(mirror, tmp_path):
    path = paths(mirror / "datasets")[0] / "fineweb_train_000000.bin"
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(DataError, match=r"fineweb_train_000000\.bin has \d+ bytes; expected"):
        fetched(mirror, tmp_path / "d")


@pytest.mark.parametrize(
    ("variant", "shards", "complaint"),
    [
        ("bytes", 1, "variant 'bytes' is unknown"),
        ("sp999", 1, "the manifest has no fineweb10B_sp999; it has fineweb10B_sp320"),
        ("sp320", 2, "--train-shards 2 exceeds the 1"),
    ],
)
def test_what_the_manifest_does_not_have_is_refused(mirror, tmp_path, variant, shards, complaint):
    with pytest.raises(DataError, match=complaint):
        fetch_variant(variant, shards, tmp_path, Mirror(mirror), lambda *_: None)


@pytest.mark.parametrize("text", ["[]", "{", "[" * 100_000, '{"datasets": [{"name": "a", "stats": {}}, 5]}'])
def test_a_manifest_of_another_form_is_refused_by_file(mirror, tmp_path, text):
    (mirror / "manifest.json").write_text(text)
    with pytest.raises(DataError, match="manifest.json is no manifest of data sets"):
        fetch_variant("sp320", 1, tmp_path, Mirror(mirror), lambda *_: None)


def test_too_small_a_disk_is_reported_before_anything_is_fetched(mirror, tmp_path, monkeypatch):
    monkeypatch.setattr(fetching, "FULL_SHARD_BYTES", 2**60)
    with pytest.raises(DataError, match="lower --train-shards or choose another --out"):
        fetched(mirror, tmp_path / "d")
    assert not list((tmp_path / "d").rglob("*.bin"))


def test_check_counts_documents_and_finds_nothing_wrong_with_built_shards(built):
    folder, tokenizer = paths(built)
    done = trainer("data", "check", folder, "--tokenizer", tokenizer)
    assert done.exit_code == 0, done.output
    assert "sound: no problem was found" in done.output
    counts = [int(line.split()[1]) for line in done.output.splitlines() if "documents," in line]
    assert sum(counts) == len(TEXTS)


def test_check_finds_a_changed_file(mirror):
    folder, tokenizer = mirror / "datasets" / "fineweb10B_sp320", paths(mirror)[1]
    (folder / "fineweb_train_000000.bin").write_bytes(b"something else")
    done = trainer("data", "check", folder, "--tokenizer", tokenizer)
    assert done.exit_code == 1
    assert "fineweb_train_000000.bin has SHA-256" in done.output


def rebuilt(tmp_path: Path, built: Path, texts: list[str], val_documents: int) -> Path:
    documents = tmp_path / "docs.jsonl"
    documents.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    arguments = ("--tokenizer", paths(built)[1], "--out", tmp_path / "d", "--val-documents", val_documents)
    done = trainer("data", "rebuild", documents, *arguments)
    assert done.exit_code == 0, done.output
    return tmp_path / "d"


def test_build_and_rebuild_end_with_what_a_check_of_the_new_shards_finds(built, tmp_path):
    documents = tmp_path / "docs.jsonl"
    documents.write_text("".join(json.dumps({"text": text}) + "\n" for text in [*TEXTS[:9], "", *TEXTS[20:]]))
    done = trainer(
        "data", "rebuild", documents, "--tokenizer", paths(built)[1], "--out", tmp_path / "d", "--val-documents", 10
    )
    assert "validation  9 documents" in done.output
    assert "note the validation split holds 1 empty documents (BOS after BOS) beside 9 with text" in done.output


def test_rebuild_keeps_the_first_documents_for_validation_in_order(built, tmp_path):
    folder, tokenizer = paths(rebuilt(tmp_path, built, TEXTS, 7))
    tokens = read_shard(folder / "fineweb_val_000000.bin", 320)
    texts = [Tokenizer(tokenizer).decode(ids) for ids in np.split(tokens, np.flatnonzero(tokens == 1))[1:]]
    assert texts == TEXTS[:7]


def test_e10_a_validation_document_among_the_train_shards_is_found(built, tmp_path):
    folder, tokenizer = paths(rebuilt(tmp_path, built, [*TEXTS[:10], *TEXTS[20:], TEXTS[3]], 10))
    done = trainer("data", "check", folder, "--tokenizer", tokenizer)
    assert done.exit_code == 1
    assert "1 of 10 validation documents are in the train shards" in done.output


def test_text_that_cannot_be_counted_or_split_is_refused(tmp_path):
    latin = tmp_path / "a.txt"
    latin.write_bytes(b"caf\xe9")
    for source in (tmp_path, latin):
        done = trainer("data", "build", "--from", source, "--out", tmp_path / "d")
        assert "not UTF-8 at byte 3" in str(done.exception)
    (tmp_path / "a.txt").write_text("only one")
    assert "cannot be split" in str(trainer("data", "build", "--from", tmp_path, "--out", tmp_path / "d").exception)


def test_a_second_build_of_a_name_changes_no_file_of_the_first(built, tmp_path):
    shutil.copytree(built, tmp_path / "d")
    before = {path: path.read_bytes() for path in (tmp_path / "d").rglob("*") if path.is_file()}
    for name in ("a", "b"):
        (tmp_path / f"{name}.txt").write_text(f"another text {name}\n" * 50)
    folder, tokenizer = paths(tmp_path / "d")
    name, size = folder.name.rsplit("_sp", 1)
    done = trainer(
        *("data", "build", "--from", tmp_path / "a.txt", "--from", tmp_path / "b.txt"),
        *("--name", name, "--vocab-size", size, "--out", tmp_path / "d"),
    )
    assert f"{folder} already holds shards; remove it with {tokenizer}, or choose another --name" in str(done.exception)
    assert before == {path: path.read_bytes() for path in (tmp_path / "d").rglob("*") if path.is_file()}


def test_own_text_is_named_after_its_folder_skips_what_is_no_text_and_ends_in_a_preset(tmp_path, monkeypatch):
    notes = tmp_path / "my notes"
    (notes / ".git").mkdir(parents=True)
    for number, text in enumerate(TEXTS):
        (notes / f"{number}.txt").write_text(text)
    (notes / ".git" / "HEAD").write_text("ref")
    (notes / "a.png").write_bytes(b"\x89PNG")
    (notes / "b.bin").write_bytes(b"a\0b")
    (notes / "empty.txt").write_text(" \n")
    (notes / "twice.txt").write_text(TEXTS[0])
    (notes / "loop").symlink_to(notes)
    (notes / "gone").symlink_to(tmp_path / "nowhere")
    os.mkfifo(notes / "pipe")
    done = trainer("data", "build", "--from", notes, "--vocab-size", 320, "--out", tmp_path / "data")
    assert done.exit_code == 0, done.output
    assert f"skipped {notes}/a.png: is not UTF-8 at byte 0" in done.output
    assert f"skipped {notes}/b.bin: holds zero bytes, so it is no text" in done.output
    assert f"skipped {notes}/.git/HEAD: hidden" in done.output
    assert f"skipped {notes}/empty.txt: holds no text" in done.output
    assert f"skipped {notes}/twice.txt: holds the same text as {notes}/0.txt" in done.output
    assert f"skipped {notes}/loop: is a link to a folder" in done.output
    assert f"skipped {notes}/gone: is a link to nothing" in done.output
    assert f"skipped {notes}/pipe: is no regular file" in done.output
    preset = tmp_path / "data" / "my-notes.yaml"
    assert f"python -m trainer run {preset}" in done.output
    monkeypatch.chdir("/")
    data = load_preset(str(preset)).recipe.data
    assert (data.source, data.vocab_size, Path(data.folder).name) == ("shards", 320, "my-notes_sp320")
    assert Path(data.tokenizer).is_file()


def test_a_pipe_that_nobody_writes_to_is_refused_and_a_shell_s_is_read(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    done = trainer("data", "build", "--from", tmp_path / "pipe", "--out", tmp_path / "d")
    assert "pipe is no regular file, and would be waited for" in str(done.exception)
    reading, writing = os.pipe()
    os.write(writing, b"one text")
    os.close(writing)
    done = trainer("data", "build", "--from", f"/dev/fd/{reading}", "--out", tmp_path / "d")
    assert "1 document with text cannot be split" in str(done.exception)


def test_what_cannot_be_built_leaves_no_folder(tmp_path):
    for name in ("a", "b"):
        (tmp_path / f"{name}.txt").write_text(f"short {name}")
    sources = ("--from", tmp_path / "a.txt", "--from", tmp_path / "b.txt")
    done = trainer("data", "build", *sources, "--out", tmp_path / "d")
    assert "cannot be trained" in str(done.exception)
    trainer("data", "rebuild", tmp_path / "a.txt", "--tokenizer", tmp_path / "none.model", "--out", tmp_path / "d")
    assert not (tmp_path / "d").exists()
