"""Names in a sweep's folder: which files machines share, and that one module spells them all."""

import ast
import re
from pathlib import Path

import pytest

from results.rows import layout
from results.rows.layout import is_shared, set_aside_file, set_aside_run
from trainer.spec.stage_table import CURVE_FILE

ROOT = Path(__file__).parents[3]
NAMES = {value for name, value in vars(layout).items() if name.isupper() and re.fullmatch(r"[a-z.-]+", str(value))}
FILES = {name for name in NAMES if "." in name}
FOLDERS = {name for name in NAMES if "." not in name}
SPELLED = re.compile(
    rf"(?<![\w.-])(?:{'|'.join(re.escape(name) for name in sorted({*FILES, CURVE_FILE}))})(?![\w-])"
    rf"|(?:^|/)(?:{'|'.join(sorted(FOLDERS))})/"
)


@pytest.mark.parametrize(
    ("name", "shared"),
    [
        ("journal.jsonl", True),
        ("machines.jsonl", True),
        ("space.yaml", True),
        ("plan.json", True),
        ("import.jsonl", True),
        ("runs/a-s1.json", True),
        ("short/a-s1.json", True),
        ("failed/a-s1-17.json", True),
        ("drifted/a-s1-17.json", True),
        ("drifted-short/a-s1-17.json", True),
        ("live.json", False),
        ("preflight.json", False),
        ("ray.log", False),
        ("optuna.journal", False),
        ("journalxjsonl", False),
        ("figures/scores.png", False),
        ("runs/.a-s1.json-17", False),
        ("runs/deeper/a-s1.json", False),
    ],
)
def test_machines_share_what_a_restart_needs_and_nothing_else(name, shared):
    assert is_shared(f"sweeps/ttt/{name}") is shared


def test_a_record_that_was_set_aside_names_its_run():
    assert set_aside_run(f"sweeps/ttt/failed/{set_aside_file('a-1-s42')}") == ("ttt", "a-1-s42")
    assert set_aside_run("sweeps/ttt/runs/a-s42.json") is None
    assert set_aside_run("sweeps/ttt/runs/a-s42-17.json") is None


def test_one_module_spells_the_names_in_a_sweep_s_folder():
    spelling = {
        f"{path.relative_to(ROOT)}: {text}"
        for package in ("orchestrator", "results")
        for path in (ROOT / package).rglob("*.py")
        if path != Path(layout.__file__)
        for text in texts_of(ast.parse(path.read_text(encoding="utf-8")))
        if SPELLED.search(text)
    }
    assert not spelling


def texts_of(tree: ast.AST) -> set[str]:
    """Literal strings of a module, docstrings apart; a part of a path as 'NAME/'."""
    alone = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    names = {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in alone
    }
    parts = (node.right for node in ast.walk(tree) if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div))
    return names | {f"{part.value}/" for part in parts if isinstance(part, ast.Constant)}
