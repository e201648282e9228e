"""Scores as text: five decimals where they show a score well, else digits that tell values apart."""

import io
import math

import pandas as pd
import pytest
from rich.console import Console

from orchestrator.analysis.verdict_table import verdict_table
from results.rows.render import render
from results.rows.score_text import score_text
from results.verdicts.verdict import Effect, Verdict

BITS = "bits per byte"


@pytest.mark.parametrize(
    ("number", "unit", "signed", "text"),
    [
        (1.203124, BITS, False, "1.20312"),
        (0.00000312, BITS, False, "0.00000"),
        (-0.0, BITS, True, "+0.00000"),
        (-0.000001, BITS, True, "-0.00000"),
        (0.0000031244, "mse", True, "+3.124e-06"),
        (0.9312345, "accuracy", False, "0.93123"),
        (-2_121_932_572.6, "cost", True, "-2,121,932,573"),
        (-math.inf, "mse", True, "-inf"),
        (math.nan, "mse", True, "+nan"),
    ],
)
def test_a_score_has_the_digits_that_its_unit_needs(number, unit, signed, text):
    assert score_text(number, unit, signed) == text


def test_a_small_gain_has_as_many_decimals_as_the_interval_that_it_stands_beside():
    assert score_text(0.00004592, "accuracy", True, beside=0.01627) == "+0.00005"
    assert score_text(12.3, "cost", True, beside=2e6) == "+12"
    assert score_text(0.00004592, "accuracy", beside=math.inf) == "4.592e-05"
    effect = Effect(-5e-5, -0.02, 0.02, 0.0, 0.01)
    verdict = Verdict("new", "base", "not shown", 0.01, False, bpb=effect, unit="acc", p=0.5)
    console = Console(width=80, file=io.StringIO(), record=True)
    console.print(verdict_table([verdict]))
    assert "+0.00005" in console.export_text()


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e9])
def test_configurations_that_differ_do_so_in_the_table_at_any_scale(scale):
    table = pd.DataFrame({"config": ["a", "b"], "mean": [1.1 * scale, 1.2 * scale], "sd": [0.01 * scale, 0.02 * scale]})
    first, second = render(table, "text", 80).splitlines()[2:]
    assert len({*first.split()[1:], *second.split()[1:]}) == 4
    assert len(first) < 40


def test_a_verdict_on_small_numbers_prints_no_zeros():
    effect = Effect(-8.9e-7, -1.02e-6, -7.7e-7, 0.0, 3e-8)
    sentence = Verdict("new", "base", "better", 0.01, False, bpb=effect, unit="mse", p=1e-6, n_candidate=5).sentence
    assert "new scores 8.9e-07 mse better than base" in sentence
    assert "gain 7.7e-07 to 1.02e-06 mse" in sentence
