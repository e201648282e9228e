"""The embedded corpus and the content identity of texts."""

import itertools
import subprocess
import sys

import pytest

from trainer.data.corpus import Document, read_corpus, read_stdlib, text_digests, val_documents
from trainer.spec.errors import DataError
from trainer.spec.recipe import Data

SIBLINGS = ("asyncio/__init__.py", "asyncio/events.py", "asyncio/tasks.py")


def write_tree(folder, files):
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())


def names(documents):
    return [document.name for document in documents]


def test_siblings_of_a_validation_module_are_all_validation(tmp_path):
    write_tree(tmp_path, dict.fromkeys((*SIBLINGS, "os.py", "json/decoder.py"), "x = 1\n"))
    corpus = read_corpus(tmp_path)
    assert sorted(names(corpus.val)) == sorted(SIBLINGS)
    assert sorted(names(corpus.train)) == ["json/decoder.py", "os.py"]


def test_tests_installed_packages_other_encodings_and_empty_files_are_no_documents(tmp_path):
    kept = {"os.py": "os", "logging/__init__.py": "log", "json/protest.py": "kept"}
    dropped = ("test/a.py", "json/tests/a.py", "idlelib/idle_test/a.py", "site-packages/a/b.py", "_sysconfigdata_x.py")
    write_tree(tmp_path, kept | dict.fromkeys(dropped, "x") | {"latin.py": b"\xe9", "empty.py": "", "notes.txt": "x"})
    corpus = read_corpus(tmp_path)
    assert sorted(names(corpus.train + corpus.val)) == sorted(kept)


def test_line_ends_and_non_ascii_text_arrive_unchanged(tmp_path):
    write_tree(tmp_path, {"os.py": "a\r\nb\tc\u2028\n\n", "asyncio/a.py": "\ufeffé漢😀"})
    corpus = read_corpus(tmp_path)
    assert [document.text for document in corpus.train + corpus.val] == ["a\r\nb\tc\u2028\n\n", "\ufeffé漢😀"]


def test_folder_without_python_text_is_refused_by_name(tmp_path):
    with pytest.raises(DataError, match="found 0 train and 0 validation documents"):
        read_corpus(tmp_path)


def test_standard_library_splits_into_disjoint_texts_of_the_promised_sizes():
    corpus = read_stdlib()
    train, val = set(names(corpus.train)), set(names(corpus.val))
    assert not train & val
    assert {"argparse.py", "encodings/utf_8.py"} <= train
    assert "asyncio/tasks.py" in val
    sizes = [sum(len(document.text.encode()) for document in part) for part in (corpus.train, corpus.val)]
    assert 1 / 16 < sizes[1] / sum(sizes) < 1 / 8
    assert sizes[0] > 5_000_000


def test_documents_do_not_come_in_alphabetical_order():
    order = names(read_stdlib().train)
    ascending = sum(first < second for first, second in itertools.pairwise(order))
    assert 0.4 < ascending / len(order) < 0.6


@pytest.mark.parametrize(("limit", "kept"), [(0, 3), (1, 1), (4, 1), (6, 1), (7, 2), (8, 2), (9, 3), (99, 3)])
def test_validation_text_is_cut_where_the_next_document_would_pass_the_limit(limit, kept):
    documents = (Document("a", "é漢"[:2]), Document("b", "xy"), Document("c", "zz"))  # 5, 2 and 2 bytes
    assert val_documents(documents, limit) == documents[:kept]


def make_shards(folder, train=b"train", val=b"val", tokenizer=b"model"):
    folder.mkdir()
    write_tree(folder, {"fineweb_train_000000.bin": train, "fineweb_val_000000.bin": val, "x.model": tokenizer})
    return Data(source="shards", folder=str(folder), tokenizer=str(folder / "x.model"))


def test_identity_of_shards_does_not_depend_on_where_they_lie(tmp_path):
    assert text_digests(make_shards(tmp_path / "a")) == text_digests(make_shards(tmp_path / "b"))


@pytest.mark.parametrize("part", ["train", "tokenizer", "val"])
def test_identity_of_shards_changes_with_the_content_of_its_own_split_alone(tmp_path, part):
    before = text_digests(make_shards(tmp_path / "a"))
    after = text_digests(make_shards(tmp_path / "b", **{part: b"other"}))
    assert (before.train == after.train) == (part == "val")
    assert (before.val == after.val) == (part != "val")


def test_identity_of_a_long_shard_sees_its_size_and_both_ends(tmp_path):
    long = bytes(300_000)
    variants = (long, b"x" + long[1:], long[1:] + b"x", long[1:])
    digests = {text_digests(make_shards(tmp_path / str(i), train=text)).train for i, text in enumerate(variants)}
    assert len(digests) == len(variants)


def test_identity_of_the_standard_library_ignores_how_it_is_cut_and_tokenized():
    assert text_digests(Data()) == text_digests(Data(val_bytes=1000, vocab_size=2048))
    assert text_digests(Data()).train != text_digests(Data()).val


@pytest.mark.parametrize("missing", ["folder", "train", "val", "tokenizer"])
def test_missing_shards_or_tokenizer_are_named(tmp_path, missing):
    data = make_shards(tmp_path / "a")
    if missing == "folder":
        data = data.model_copy(update={"folder": str(tmp_path / "gone")})
    else:
        (tmp_path / "a" / {"tokenizer": "x.model"}.get(missing, f"fineweb_{missing}_000000.bin")).unlink()
    expected = {"folder": "gone' is no folder", "tokenizer": "x.model' is no file"}
    with pytest.raises(DataError, match=expected.get(missing, f"fineweb_{missing}_000000.bin")):
        text_digests(data)


def test_fingerprinting_text_starts_neither_torch_nor_numpy():
    code = "import sys, trainer.data.corpus; print(sorted({'torch', 'numpy', 'sentencepiece'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
