"""Faster and still good enough: blocks of machine and time, and conditions on the mean."""

import numpy as np
import pandas as pd
import pytest

from results.verdicts.faster import Condition, Neighbours, faster
from tests.results.sweeps import frame, row
from trainer.spec.errors import UserError

GOOD = (Condition("val_bpb", mean_below=2.0),)


def turns(drift: float, gain: float, n: int = 6, machines: int = 1, loss: float = 1.9) -> tuple[pd.DataFrame, list]:
    """Runs that took turns on machines whose speed drifts; the candidate is `gain` seconds faster."""
    random, rows, keys, clock = np.random.default_rng(0), [], [], 0
    for seed in range(n):
        for config in ("base", "new") if seed % 2 == 0 else ("new", "base"):
            clock += 1
            seconds = 60 + drift * clock + 5 * (seed % machines) + 0.05 * random.normal() - gain * (config == "new")
            rows.append(row(config, seed, loss + 0.01 * random.normal(), train_s=seconds, stages_run="train evaluate"))
            keys.append((config, seed))
    return frame(*rows), keys


def judged(made, machines: int = 1, conditions=GOOD):
    table, keys = made
    machine_of = {key: f"m{key[1] % machines}" for key in keys}
    (verdict,) = faster(table, "base", "train_s", conditions, Neighbours.in_order(keys, machine_of))
    return verdict


def test_a_drift_larger_than_the_gain_cancels_between_neighbours():
    verdict = judged(turns(drift=0.1, gain=0.5))
    assert (verdict.conclusion, verdict.n) == ("faster", 6)
    assert verdict.difference == pytest.approx(-0.5, abs=0.1)


def test_machines_of_different_speed_are_blocks():
    assert judged(turns(drift=0.0, gain=0.5, machines=2), machines=2).machines == 2
    assert judged(turns(drift=0.0, gain=0.5, machines=2), machines=2).conclusion == "faster"


def test_faster_and_not_good_enough_is_not_shown():
    verdict = judged(turns(drift=0.0, gain=0.5, loss=2.1))
    assert verdict.conclusion == "not shown"
    assert verdict.p is not None
    assert verdict.p < 0.01
    assert "mean val_bpb below 2 at alpha = 0.01 is not shown" in verdict.sentence


def test_no_gain_is_not_shown():
    assert judged(turns(drift=0.1, gain=0.0)).conclusion == "not shown"


def test_runs_that_did_not_take_turns_are_not_compared():
    table, keys = turns(drift=0.0, gain=0.5)
    (verdict,) = faster(table, "base", "train_s", GOOD, Neighbours.in_order(sorted(keys), {}))
    assert verdict.conclusion == "cannot say"
    assert "interleave the runs" in verdict.sentence


def test_seconds_of_a_training_from_the_store_are_of_another_hour():
    table, keys = turns(drift=0.0, gain=0.5)
    table.loc[0, "stages_run"] = "evaluate"
    assert "found its stage train in the store" in judged((table, keys)).reason


def test_a_run_without_a_neighbour_on_its_machine_is_not_dropped_in_silence():
    table, keys = turns(drift=0.0, gain=0.5)
    (verdict,) = faster(table, "base", "train_s", GOOD, Neighbours.in_order(keys, {keys[-1]: "elsewhere"}))
    assert "have no neighbour of the other on the same machine" in verdict.reason


def test_two_runs_of_one_configuration_in_a_block_are_not_dropped_in_silence():
    table, keys = turns(drift=0.0, gain=0.5)
    blocks = {(config, seed): str(seed // 2) for config, seed in keys}
    (verdict,) = faster(table, "base", "train_s", GOOD, Neighbours({}, blocks))
    assert verdict.conclusion == "cannot say"
    assert "2 runs of new share block '0'" in verdict.reason


def test_a_column_that_no_run_has_is_named():
    table, keys = turns(drift=0.0, gain=0.5)
    with pytest.raises(UserError, match="column val_los"):
        faster(table, "base", "train_s", [Condition("val_los", mean_below=1)], Neighbours.in_order(keys, {}))
