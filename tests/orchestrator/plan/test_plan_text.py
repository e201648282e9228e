"""A plan as people read it: bounds, unknowns, the test, and every number on a narrow terminal."""

import pytest
from rich.console import Console

from orchestrator.plan.estimate import make_plan
from orchestrator.plan.table import plan_text
from tests.orchestrator.spaces import TEXTS, TTT, space_of
from trainer.store.local import StageStore


@pytest.mark.parametrize("columns", [40, 60, 79])
def test_a_narrow_terminal_reads_every_number_of_a_stage(tmp_path, columns):
    console = Console(width=columns, record=True)
    console.print(plan_text(make_plan(space_of(tmp_path, TTT), StageStore(tmp_path / "runs"), TEXTS, "")))
    text = console.export_text()
    assert "…" not in text
    assert "adapt" in text
    assert "≤ 10" in text


def test_people_read_bounds_unknowns_and_the_test(tmp_path):
    console = Console(width=100, record=True)
    console.print(plan_text(make_plan(space_of(tmp_path, TTT), StageStore(tmp_path / "runs"), TEXTS, "")))
    text = console.export_text()
    assert "≤ 10" in text
    assert "12 runs, 0 of them recorded already" in text
    assert "comparison: paired; every configuration scores the same trained artifact of each seed" in text
