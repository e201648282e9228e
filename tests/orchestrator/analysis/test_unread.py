"""A knob whose values never change a score is named, since programs ignore misspelled variables without a word."""

import pytest

from orchestrator.analysis.unread import unread_lines
from orchestrator.space.load_space import load_space
from tests.results.sweeps import frame, row

SPACE = """
program: train.py
pass: env
metric: {name: val_bpb}
seeds: [1, 2]
names: {LR: LEARNING_RATE}
parameters: {LR: {values: [1, 2]}, DEPTH: {values: [3, 4]}}
"""


@pytest.fixture
def space(tmp_path):
    (tmp_path / "train.py").write_text("print('val_bpb: 1')\n")
    (tmp_path / "space.yaml").write_text(SPACE)
    return load_space(tmp_path / "space.yaml")


def runs(score):
    """All four configurations on two seeds."""
    asked = [(lr, depth, seed) for lr in (1, 2) for depth in (3, 4) for seed in (1, 2)]
    table = frame(*(row(f"c{lr}{depth}", seed, score(lr, depth, seed)) for lr, depth, seed in asked))
    return table.assign(LR=[lr for lr, _, _ in asked], DEPTH=[depth for _, depth, _ in asked])


@pytest.mark.parametrize(
    ("score", "unread"),
    [
        (lambda lr, depth, seed: 1 + depth + seed, ["LR"]),
        (lambda lr, depth, seed: 1 + seed, ["LR", "DEPTH"]),
        (lambda lr, depth, seed: 1 + lr * depth + seed, []),
        (lambda lr, depth, seed: 1 + (lr if depth == 3 else 0), []),
    ],
)
def test_what_changes_no_score_is_named(space, score, unread):
    lines = unread_lines(space, runs(score))
    assert [line.split(":")[0].removeprefix("no score changes with ") for line in lines] == unread
    assert all("LEARNING_RATE" in line for line in lines if "with LR" in line)
