"""Rules that drop configurations after short runs, and when short runs are believed."""

import math
import random

import optuna
import pytest

from results.stats.pruning_rules import asha_keeps, median_keeps, rank_correlation


def kept_by_optuna(values, eta) -> list[bool]:
    """One trial after another through Optuna's own pruner, at its first rung."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(pruner=optuna.pruners.SuccessiveHalvingPruner(1, eta, 0))
    kept = []
    for value in values:
        trial = study.ask()
        trial.report(value, 1)
        kept.append(not trial.should_prune())
        study.tell(trial, value)
    return kept


@pytest.mark.parametrize("eta", [2, 3, 4])
def test_asha_decides_as_optunas_pruner_does(eta):
    dice = random.Random(eta)
    values = [dice.random() for _ in range(40)]
    assert [asha_keeps(value, values[:place], eta) for place, value in enumerate(values)] == kept_by_optuna(values, eta)


def test_the_median_keeps_the_better_half():
    assert median_keeps(2.0, [1.0, 2.0, 3.0])
    assert not median_keeps(2.1, [1.0, 2.0, 3.0])
    assert median_keeps(5.0, [])


def test_a_failed_configuration_is_never_kept():
    assert not asha_keeps(math.inf, [], 3)
    assert not median_keeps(math.inf, [math.inf, math.inf])


def test_agreement_and_disagreement_by_hand():
    same = rank_correlation([1, 2, 3, 4, 5, 6, 7, 8], [2, 4, 6, 8, 10, 12, 14, 16])
    assert (same.spearman, same.kendall) == pytest.approx((1, 1))
    assert 0.5 < same.low < 1
    assert same.trusted(0.5)
    opposite = rank_correlation([1, 2, 3, 4, 5, 6, 7, 8], [8, 7, 6, 5, 4, 3, 2, 1])
    assert opposite.spearman == pytest.approx(-1)
    assert not opposite.trusted(-0.5)


@pytest.mark.parametrize("short", [[1.0, 2.0, 3.0], [1.0] * 8])
def test_too_few_or_all_the_same_say_nothing(short):
    correlation = rank_correlation(short, [float(place) for place in range(len(short))])
    assert not correlation.trusted(-0.99)
    assert "no rank correlation" in str(correlation)


def test_the_interval_holds_the_true_rank_correlation_as_often_as_it_says():
    dice, hits = random.Random(0), 0
    true = 6 / math.pi * math.asin(0.8 / 2)  # Spearman's of a bivariate normal with correlation 0.8
    for _ in range(600):
        pairs = [(x := dice.gauss(0, 1), 0.8 * x + 0.6 * dice.gauss(0, 1)) for _ in range(12)]
        correlation = rank_correlation([x for x, _ in pairs], [y for _, y in pairs])
        hits += correlation.low <= true <= correlation.high
    assert hits / 600 > 0.87, hits / 600
