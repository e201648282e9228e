"""Names of runs: a configuration and its seed, one to one."""

import ast
import re
from pathlib import Path

import pytest

from trainer.spec.record import run_id_of, split_run_id

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(("config", "seed"), [("a1b2c3d4e5", 42), ("tiny-s3-a1b2c3d4e5", 0), ("a", -1)])
def test_run_ids_split_into_what_they_were_made_of(config, seed):
    assert split_run_id(run_id_of(config, seed)) == (config, seed)


@pytest.mark.parametrize("name", ["a1b2c3d4e5", "a-sb", "a-s", "a-s1.5", ""])
def test_other_names_are_no_run_ids(name):
    with pytest.raises(ValueError, match=re.escape(f"run id '{name}' does not end in '-sSEED'")):
        split_run_id(name)


def test_run_ids_are_made_and_split_in_one_module():
    """An f-string with '-s' between two values, or a split at it, would be a second definition of the name."""
    spelling = {
        str(path.relative_to(ROOT))
        for package in ("trainer", "orchestrator", "results")
        for path in (ROOT / package).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.endswith("-s")
    }
    assert spelling == {"trainer/spec/record.py"}
