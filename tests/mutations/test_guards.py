"""docs/legality.md says what is there, and its guards can be removed: `make mutations` removes each of them."""

import ast
import re
from pathlib import Path
from typing import get_args

import pytest

from tests.mutations.run import ROOT, Guard, copy_of_checkout, read_guards, unnoticed
from trainer.spec.recipe import TTT
from trainer.stages.adapt import PROCEDURES

PAGE = ROOT / "docs" / "legality.md"
LEGAL_MODES = {"plain windows", "sliding", "score_first"}
MODES = {"plain windows", "sliding", *PROCEDURES}
GUARDS = read_guards()


def rows() -> list[tuple[str, set[str], str, str, list[str]]]:
    """Condition, modes, kept by, how, names of tests: the table of docs/legality.md."""
    cells = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in PAGE.read_text(encoding="utf-8").splitlines()
        if re.match(r"\| E\d+ ", line)
    ]
    return [
        (condition.split()[0], set(modes.split(", ")), kept, how, re.findall(r"`(\w+)`", tests))
        for condition, modes, kept, how, tests in cells
    ]


def functions_of(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_every_condition_has_a_row_for_every_mode_that_exists():
    modes_of: dict[str, set[str]] = {}
    for condition, modes, *_ in rows():
        modes_of.setdefault(condition, set()).update(modes)
    assert modes_of == {f"E{n}": MODES for n in range(1, 17)}
    assert set(get_args(TTT.model_fields["mode"].annotation)) - {"off"} == set(PROCEDURES)


def test_only_the_illegal_mode_leaves_a_condition_unkept():
    assert {kept for _, _, kept, *_ in rows()} == {"interface", "check", "test", "not kept"}
    for condition, modes, kept, *_ in rows():
        assert kept != "not kept" or modes == {"pre_eval"}, condition
    for name, (kind, _) in PROCEDURES.items():
        assert kind.legal == (name in LEGAL_MODES)


def test_every_test_that_the_page_names_exists():
    known = {name for path in (ROOT / "tests").rglob("test_*.py") for name in functions_of(path)}
    for condition, _, _, how, tests in rows():
        assert tests, f"{condition}: {how}"
        assert set(tests) <= known, f"{condition}: {sorted(set(tests) - known)}"


def test_every_error_that_the_page_quotes_is_raised_somewhere():
    source = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "trainer").rglob("*.py"))
    for condition, _, kept, how, _ in rows():
        quoted = re.findall(r'(\w+) "([^"]+)"', how)
        assert bool(quoted) == (kept == "check"), f"{condition}: {how}"
        for error, words in quoted:
            assert f"class {error}(" in source, error
            assert words in source, f"{condition}: no message says {words!r}"


def test_every_condition_has_a_guard_that_can_be_removed():
    assert {condition for guard in GUARDS for condition in guard.conditions} == {f"E{n}" for n in range(1, 17)}


@pytest.mark.parametrize("guard", GUARDS, ids=lambda guard: guard.name)
def test_a_guard_stands_where_the_list_says_and_its_tests_exist(guard: Guard):
    removed = guard.removed_from((ROOT / guard.file).read_text(encoding="utf-8"))
    ast.parse(removed)
    for test in guard.tests:
        path, name = test.split("::")
        assert name in functions_of(ROOT / path)


def test_a_guard_whose_text_is_gone_is_named():
    with pytest.raises(ValueError, match="guard 'gone' stands 0 times in a.py, expected once"):
        Guard("gone", (), "a.py", "if x", "if False", ()).removed_from("pass")


def test_a_removed_guard_fails_the_test_of_it_and_no_other(tmp_path):
    final = next(guard for guard in GUARDS if guard.name == "the first score of a position is final")
    other = final.tests[0].replace("the_first_score_of_a_position_is_final", "committing_an_issue_twice_raises")
    beside = Guard(final.name, (), final.file, final.guard, final.without, (*final.tests, other))
    assert unnoticed(copy_of_checkout(tmp_path), beside) == {other}
