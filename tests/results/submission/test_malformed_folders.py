"""A folder with anything in it: a clear error or a finding, soon, and nothing of it is executed."""

from __future__ import annotations

import contextlib
import json
import math
import os
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from results.submission.acceptance_claim import acceptance_claim
from results.submission.folder_checks import NEAR
from results.submission.manifest import FILE, read_submission
from results.submission.package_folder import ScoredText, entry_of, result_of, write_package
from results.submission.packed_script import BEGIN, END, packed, unpacked
from results.submission.verify_folder import Finding, verify_folder
from tests.results.submission.made_up_package import ABOUT, made_up_runs
from tests.results.submission.nano_package import claims, write_claims
from trainer.scoring.ledger_summary import digest_of, order_complaints
from trainer.spec.errors import UserError
from trainer.spec.load import load_preset

SECONDS_EACH = 2.0
FREE = ("author", "github_id", "track")
"""Fields for people to fill in, from which nothing follows."""
PACKED = packed("x = 1\n" * 50)


@pytest.fixture(scope="module")
def package(tmp_path_factory) -> Path:
    """A folder of made-up runs, which is sound but for what only scoring would show."""
    place = tmp_path_factory.mktemp("made-up")
    shard = place / "fineweb_val_000000.bin"
    shard.write_bytes(bytes(2048))
    runs = made_up_runs()
    recipe = load_preset("tiny", {"seed": 1}).recipe
    claim = acceptance_claim("pg-written", {str(run.seed): result_of(run, 0) for run in runs}, "", ())
    write_package(place / "out", recipe, runs, ScoredText(10, 20, 1, [shard], b"model"), ABOUT, claim)
    return place / "out"


def linked_copy(package: Path, folder: Path) -> Path:
    """A copy whose files are those of the package until they are replaced."""
    for path in package.rglob("*"):
        target = folder / path.relative_to(package)
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.is_file():
            os.link(path, target)
    return folder


def replace(path: Path, content: bytes) -> None:
    path.unlink()
    path.write_bytes(content)


def verified_soon(folder: Path) -> list[Finding] | str:
    """The findings, or the error's message; neither late nor by executing anything."""
    started_s, modules = time.process_time(), set(sys.modules)
    try:
        found: list[Finding] | str = verify_folder(folder, score=False, order_of=order_complaints)
    except UserError as error:
        found = str(error)
    assert time.process_time() - started_s < SECONDS_EACH
    assert not {"sitecustomize", "train_gpt"} & (set(sys.modules) - modules)
    return found


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=6,
)


@st.composite
def changes_of_claims(draw: st.DrawFn, content: Any) -> Any:
    """The parsed JSON with one value removed, replaced or added somewhere inside."""
    copy = json.loads(json.dumps(content))
    node, parent, key = copy, None, None
    while isinstance(node, dict | list) and node and (parent is None or draw(st.booleans())):
        key = draw(st.sampled_from(sorted(node) if isinstance(node, dict) else range(len(node))))
        parent, node = node, node[key]
    match draw(st.sampled_from(["replace", "remove", "add"])):
        case "replace":
            parent[key] = draw(json_values)
        case "remove":
            del parent[key]
        case "add" if isinstance(node, dict):
            node[draw(st.text(max_size=9))] = draw(json_values)
        case _:
            parent[key] = draw(json_values)
    return copy


@st.composite
def changed_bytes(draw: st.DrawFn, content: bytes) -> bytes:
    """Cut off, overwritten somewhere, doubled, or something else."""
    at = draw(st.integers(0, max(len(content) - 1, 0)))
    kinds = [content[:at], content[:at] + draw(st.binary(max_size=9)) + content[at + 3 :], content + content[at:]]
    return draw(st.sampled_from([*kinds, draw(st.binary(max_size=200))]))


@pytest.mark.parametrize(("section", "field"), [("model", "model_dim"), ("quantization", "compressor")])
def test_a_recipe_that_lacks_a_field_has_its_default(package, tmp_path, section, field):
    linked_copy(package, tmp_path)
    changed = claims(package)
    del changed["fairway"]["recipe"][section][field]
    replace(tmp_path / FILE, json.dumps(changed).encode())
    assert isinstance(verified_soon(tmp_path), list)


def check_a_changed_folder(package: Path, folder: Path, data: st.DataObject) -> None:
    linked_copy(package, folder)
    name = data.draw(st.sampled_from([FILE, FILE, *sorted(claims(package)["fairway"]["files"])]))
    content = (package / name).read_bytes()
    as_json = name == FILE and data.draw(st.booleans())
    if as_json:
        changed = json.dumps(data.draw(changes_of_claims(claims(package)))).encode()
    else:
        changed = data.draw(changed_bytes(content))
    replace(folder / name, changed)
    found = verified_soon(folder)
    if isinstance(found, str):
        return
    same = alike(without_free(changed), without_free(content)) if name == FILE else changed == content
    assert same or any(finding.status != "ok" for finding in found if finding.check != "scores"), changed[:200]


def alike(one: Any, other: Any) -> bool:
    """Whether two values of JSON are the same but for the last digits of a number, which are computed again."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(alike(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(alike, one, other))
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=NEAR)
    return type(one) is type(other) and bool(one == other)


def without_free(claim: bytes) -> Any:
    content = json.loads(claim)
    return {key: value for key, value in content.items() if key not in FREE} if isinstance(content, dict) else content


def examples(count: int):  # type: ignore[no-untyped-def]
    return settings(max_examples=count, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)


@examples(40)
@given(data=st.data())
def test_a_changed_folder_is_named_soon(package, tmp_path_factory, data):
    check_a_changed_folder(package, tmp_path_factory.mktemp("changed"), data)


@pytest.mark.slow
@examples(3000)
@given(data=st.data())
def test_thousands_of_changed_folders_are_named_soon(package, tmp_path_factory, data):
    check_a_changed_folder(package, tmp_path_factory.mktemp("changed"), data)


@examples(100)
@given(data=st.data())
def test_any_packed_script_is_unpacked_or_refused(data):
    made_up = st.binary(max_size=90).map(lambda some: BEGIN + some + END)
    with contextlib.suppress(UserError):
        assert isinstance(unpacked(data.draw(changed_bytes(PACKED) | made_up)), bytes)


HOSTILE = {
    "no object": b"[]",
    "no JSON": b"\xff\xfe",
    "empty": b"",
    "nested": b"[" * 100_000,
    "a number of a million digits": b'{"val_bpb": ' + b"9" * 1_000_000 + b"}",
    "not finite": b'{"val_bpb": NaN}',
    "half a character": b'{"name": "\\ud800"}',
    "five megabytes": b" " * 5_000_000,
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_submission_json_is_refused_soon(package, tmp_path, kind):
    folder = linked_copy(package, tmp_path / "copy")
    replace(folder / FILE, HOSTILE[kind])
    found = verified_soon(folder)
    assert isinstance(found, str)
    assert FILE in found


@examples(60)
@given(data=st.data())
def test_any_ledger_is_named_soon_also_where_its_digest_is_right(package, tmp_path_factory, data):
    folder = linked_copy(package, tmp_path_factory.mktemp("ledger"))
    summary = data.draw(changes_of_claims(json.loads((package / "ledger_seed1.json").read_text())))
    content, claim = json.dumps(summary).encode(), claims(package)
    replace(folder / "ledger_seed1.json", content)
    claim["fairway"]["files"]["ledger_seed1.json"] = entry_of(content).model_dump()
    claim["fairway"]["runs"]["1"]["ledger_digest"] = digest_of(summary)
    (folder / FILE).unlink()
    write_claims(folder, claim)
    assert not isinstance(verified_soon(folder), str)


@pytest.mark.parametrize("name", ["../outside", "/etc/passwd", "data/../../outside", "a\nb", "", "data/a/b"])
def test_a_file_outside_the_folder_cannot_be_listed(package, tmp_path, name):
    folder = linked_copy(package, tmp_path / "copy")
    claim = claims(package)
    claim["fairway"]["files"][name] = claim["fairway"]["files"]["README.md"]
    (folder / FILE).unlink()
    write_claims(folder, claim)
    with pytest.raises(UserError, match=r"fairway\.files"):
        read_submission(folder)


@pytest.mark.parametrize("kind", ["pipe", "folder", "loop", "missing"])
def test_a_file_that_is_no_file_is_named_and_never_waited_for(package, tmp_path, kind):
    folder = linked_copy(package, tmp_path / "copy")
    for name in (FILE, "train_gpt.py", "train_seed1.log"):
        path = folder / name
        path.unlink()
        if kind == "pipe":
            os.mkfifo(path)
        elif kind == "folder":
            path.mkdir()
        elif kind == "loop":
            path.symlink_to(path)
        found = verified_soon(folder)
        assert isinstance(found, str) or any(finding.status == "failed" for finding in found)
        if name == FILE:
            assert isinstance(found, str)
            path.rmdir() if kind == "folder" else path.unlink(missing_ok=True)
            os.link(package / FILE, path)
