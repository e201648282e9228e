"""Facts of the figures that set configurations side by side."""

import math

import pytest

from results.figures.ranking_figures import gain_facts, gain_figure, ranking_facts, ranking_figure
from results.figures.style import NARROW_IN, for_a_telephone
from results.rows.ranking import Bounds, Ranking
from results.rows.tables import breaches_of
from results.verdicts.compare import compare
from results.verdicts.sweep_results import SweepResults, published_results
from results.verdicts.terms import Evidence
from tests.results.made_up import sweep_results
from tests.results.sweeps import frame, row


def of(table, baseline="base"):
    return SweepResults("demo", "?", table, Ranking(baseline=baseline, own_seeds=True), compare(table, baseline), {})


def shared(config, seed, bpb, **more):
    return row(config, seed, bpb, artifact=f"art{seed}", **more)


def test_the_ranking_keeps_the_best_and_the_baseline_and_counts_the_rest():
    table = frame(
        *(row(name, seed, bpb + seed) for name, bpb in [("a", 1), ("b", 2), ("c", 3), ("base", 4)] for seed in (1, 2))
    )
    facts = ranking_facts(of(table), most=2)
    assert list(facts["config"]) == ["a", "b", "base"]
    assert set(facts["num_left_out"]) == {1}
    assert facts["scores"].iloc[0] == pytest.approx([2, 3])


def test_what_has_no_mean_has_no_row():
    table = frame(
        row("a", 1, 2.0), row("base", 1, 2.1), row("broken", 1, math.nan), row("illegal", 1, 1.0, legal=False)
    )
    assert set(ranking_facts(of(table))["config"]) == {"a", "base"}


def test_a_gain_is_positive_when_the_score_is_lower_and_has_a_dot_for_each_pair():
    table = frame(*(shared("base", seed, 2.0 + seed) for seed in (1, 2, 3)),
                  *(shared("a", seed, 2.0 + seed - 0.1 * seed) for seed in (1, 2, 3)))  # fmt: skip
    fact = gain_facts(of(table)).iloc[0]
    assert fact["gain"] == pytest.approx(0.2)
    assert fact["pairs"] == pytest.approx([0.1, 0.2, 0.3])
    assert fact["low"] < fact["gain"] < fact["high"]


def test_runs_that_share_only_the_seed_number_have_no_pairs():
    table = frame(
        *(row(name, seed, bpb + seed / 10) for name, bpb in [("base", 2.0), ("a", 1.9)] for seed in (1, 2, 3))
    )
    assert gain_facts(of(table)).iloc[0]["pairs"] == []


def test_what_cannot_be_judged_stands_last_with_its_reason():
    table = frame(*(shared("base", s, 2.0 + s / 9) for s in (1, 2)), shared("bad", 1, math.nan), shared("bad", 2, 1.0),
                  *(shared("a", s, 1.9 + s / 7) for s in (1, 2)))  # fmt: skip
    facts = gain_facts(of(table))
    assert list(facts["config"]) == ["a", "bad"]
    assert "failed seed is never averaged" in facts["reason"].iloc[1]


def test_dollar_signs_in_names_are_names_and_no_formula():
    named = sweep_results(2, labels={"c00000": "path=$HOME/$x", "c00001": "$$", "base": "$\\frac$"})
    for figure in (ranking_figure(ranking_facts(named)), gain_figure(gain_facts(named))):
        figure.canvas.draw()
        assert "path=$HOME/$x" in [label.get_text() for label in figure.axes[0].get_yticklabels()]


def test_published_records_stand_in_for_a_sweep_each_against_its_incumbent():
    published = published_results()
    assert len(published.verdicts) == published.frame["config"].nunique() - 2  # the first of each track has none
    assert published.table["rank"].notna().all()
    last = published.verdict_of("2026-04-29_SmearGateBOSFix_3Seed_1.06141")
    assert (last.conclusion, last.n_candidate) == ("not shown", 3)
    assert not published.frame.duplicated(["config", "seed"]).any()


def test_the_ranking_figure_follows_the_metric_and_the_gains_name_who_is_infeasible():
    table = frame(*(shared(name, seed, bpb, eval_s=s) for name, bpb, s in (("base", 2.0, 1.0), ("a", 1.9, 9.0))
                    for seed in (1, 2, 3)), shared("b", 1, 1.8, eval_s=4.0))  # fmt: skip
    ranking = Ranking("eval_s", True, {"eval_s": Bounds(max=5)}, "base", own_seeds=True)
    breaches = breaches_of(table, ranking)
    made = SweepResults("demo", "?", table, ranking, compare(table, "base", evidence=Evidence(breaches=breaches)), {})
    facts = ranking_facts(made)
    assert (list(facts["config"]), list(facts["mean"])) == (["b", "base"], [4.0, 1.0])
    assert facts.attrs["axis"] == "eval_s (s, higher is better)"
    gains = gain_facts(made).set_index("config")
    assert gains["conclusion"].to_dict() == {"b": "cannot say", "a": "infeasible"}
    assert gains.loc["a", "reason"].startswith("eval_s 9 exceeds the limit 5")


def test_on_a_telephone_names_stand_above_their_rows_and_no_line_crosses_them():
    made = sweep_results(4)
    with for_a_telephone():
        figures = gain_figure(gain_facts(made)), ranking_figure(ranking_facts(made))
    for figure in figures:
        (ax,) = figure.axes
        assert figure.get_figwidth() == NARROW_IN
        names = [text.xy[1] for text in ax.texts]
        assert len(names) >= 4
        for line in ax.lines:
            low, high = min(line.get_ydata()), max(line.get_ydata())
            assert not any(low <= name <= high for name in names)
        assert not any(line.get_visible() for line in ax.get_xgridlines())
