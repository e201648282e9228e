"""Every preset's nano sibling runs every stage of its full-sized one, in seconds."""

from pathlib import Path

import pytest

from tests.trainer.stages.conftest import run
from trainer.spec.load import load_preset, preset_names
from trainer.spec.stage_table import stages_of


@pytest.fixture(scope="module")
def nano_store(tmp_path_factory) -> Path:
    """One store for all: presets of one vocabulary share their text."""
    return tmp_path_factory.mktemp("nano")


@pytest.mark.parametrize("name", [name for name in preset_names() if name != "tiny"])
def test_a_nano_sibling_ends_in_a_legal_score_better_than_guessing(nano_store, name):
    recipe = load_preset(f"{name}_nano").recipe
    record = run(nano_store, recipe, name)
    assert record.status == "done", record.error
    assert list(record.stages) == stages_of(recipe)
    assert record.metric(record.headline, "legal") is True
    assert record.metric(record.headline, "val_bpb") < record.metric("val_text", "uniform_bpb")


def test_the_published_evaluation_of_pr_150_runs_and_is_illegal(nano_store):
    record = run(nano_store, load_preset("pr150_v12_nano", {"ttt.mode": "pre_eval"}).recipe, "illegal")
    assert record.status == "done", record.error
    assert record.metric("adapt", "legal") is False
    assert record.metric("evaluate", "legal") is True
    assert record.metric("adapt", "val_bpb") < record.metric("evaluate", "val_bpb")
