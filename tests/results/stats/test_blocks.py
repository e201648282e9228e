"""How alike seeds move configurations, and whether pairs by seed then pay."""

import numpy as np
import pytest

from results.stats.blocks import sd_between_pairs, seed_correlation, smallest_gains


def table(correlation, arms=40, seeds=60):
    dice = np.random.default_rng(0)
    noise = correlation**0.5 * dice.normal(size=(1, seeds)) + (1 - correlation) ** 0.5 * dice.normal(size=(arms, seeds))
    return noise + np.arange(arms)[:, None]


@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.95])
def test_the_correlation_of_seeds_is_found_whatever_the_means_of_the_configurations(correlation):
    estimate = seed_correlation([table(correlation), table(correlation, arms=5)])
    assert estimate.value == pytest.approx(correlation, abs=0.12)
    assert (estimate.num_configurations, estimate.num_sweeps) == (45, 2)


def test_one_configuration_or_one_seed_shows_no_correlation():
    assert seed_correlation([np.ones((1, 5)), np.ones((5, 1))]) is None


def test_configurations_that_agree_to_the_last_bit_correlate_as_far_as_can_be_believed():
    assert seed_correlation([np.tile([1.0, 2.0, 3.0], (4, 1))]).value == 0.9999


def test_pairs_by_seed_pay_where_seeds_correlate_and_cost_where_they_do_not():
    by_seed, apart = smallest_gains(0.95, 10, 5, 0.01)
    assert by_seed < apart / 2
    by_seed, apart = smallest_gains(0.0, 10, 3, 0.01)
    assert by_seed > apart


def test_a_difference_of_uncorrelated_runs_has_twice_the_variance():
    assert sd_between_pairs(1.0, 0.0) == pytest.approx(2**0.5)
