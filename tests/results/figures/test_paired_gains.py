"""Gains on the same seed, where runs are pairs."""

from dataclasses import replace

import pytest

from results.figures.paired_gains import block_of, paired_facts
from results.figures.scores import score_figure
from results.figures.seeds import scatter_facts
from results.rows.ranking import Measure, Ranking
from results.verdicts.compare import compare
from results.verdicts.sweep_results import SweepResults
from results.verdicts.terms import Terms
from tests.results.sweeps import frame, row

SEEDS = (1, 2, 3)


def of(blocks="seed", margin=0.05, compared=Measure()):  # noqa: B008  a frozen value
    """Two configurations 0.1 and 0.2 bits per byte better on each seed, while seeds differ by whole bits."""
    rows = [row("base", s, 2.0 + s, lr=0.0) for s in SEEDS]
    rows += [row(c, s, 2.0 + s - gain - 0.001 * s, lr=gain) for c, gain in (("a", 0.1), ("b", 0.2)) for s in SEEDS]
    table = frame(*rows)
    verdicts = compare(table, "base", Terms(margin, "bpb", blocks=blocks))
    return SweepResults("demo", "?", table, Ranking(baseline="base", seeds=SEEDS), verdicts, {}, swept_keys=("ttt.lr",))


def test_each_run_is_held_against_the_baseline_on_its_own_seed():
    facts = paired_facts(of())
    gains = {(f.config, f.seed): f.score for f in facts.itertuples()}
    assert gains == pytest.approx({(c, s): g + 0.001 * s for c, g in (("a", 0.1), ("b", 0.2)) for s in SEEDS})
    assert set(facts["baseline_mean"]) == {0.0}


def test_the_margin_is_drawn_and_always_in_sight():
    sweep = of(margin=0.5)
    figure = score_figure(paired_facts(sweep))
    ax = figure.axes[0]
    assert ax.get_ylim()[1] > 0.5
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert "a gain up to the margin, 0.5" in legend
    assert "its 95 % interval" not in legend


def test_without_pairs_scores_are_drawn_as_before():
    sweep = of(blocks="none")
    assert block_of(sweep) is None
    assert paired_facts(sweep).empty
    facts, _ = scatter_facts(sweep)
    assert facts["measured"].iloc[0] == "val_bpb (bits per byte)"


def test_the_report_draws_gains_where_runs_are_pairs():
    facts, _ = scatter_facts(of())
    assert facts["measured"].iloc[0] == "gain in val_bpb (bits per byte) on the same seed, up is better"


def test_where_higher_is_better_a_gain_is_still_up():
    sweep = replace(of(), compared=Measure("val_bpb", "points", higher_first=True))
    assert (paired_facts(sweep)["score"] < 0).all()
