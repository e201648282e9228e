"""Facts of the learning curves."""

from dataclasses import replace

import pandas as pd
import pytest

from results.figures.curves import MOST_POINTS, curve_facts
from results.rows.read import OUTCOME_COLUMNS
from tests.results.made_up import SEEDS, sweep_results


def test_a_training_that_all_share_is_drawn_once_for_each_seed(tmp_path):
    facts = curve_facts(sweep_results(4, folder=tmp_path))
    assert set(facts["group"]) == {"every configuration"}
    assert facts.groupby("seed")["fingerprint"].nunique().to_dict() == dict.fromkeys(SEEDS, 1)


def test_long_curves_are_averaged_not_sampled(tmp_path):
    made = sweep_results(1, folder=tmp_path)
    full = pd.read_csv(tmp_path / "train" / "t42" / "curve.csv")
    thin = curve_facts(made).query("seed == 42")
    assert len(thin) <= MOST_POINTS
    assert (thin["train_loss"] * thin["num_steps"]).sum() == pytest.approx(full["train_loss"].sum())
    assert thin["num_steps"].sum() == len(full)


def test_a_training_gone_from_the_store_is_counted(tmp_path):
    made = sweep_results(1, folder=tmp_path)
    (tmp_path / "train" / "t42" / "curve.csv").unlink()
    facts = curve_facts(made)
    assert 42 not in set(facts["seed"])
    assert facts.attrs == {"num_left_out": 0, "num_missing": 1, "loss": "training loss (nats per token)"}


def test_the_baseline_and_the_best_are_drawn_and_the_rest_counted(tmp_path):
    made = sweep_results(9, folder=tmp_path)
    own = [(f"{c}-s42", c, 42, "train", f"own-{c}", 9.0, True, 0) for c in made.frame["config"].unique()]
    made = replace(made, outcomes=pd.DataFrame(own, columns=list(OUTCOME_COLUMNS)))
    for config in made.frame["config"].unique():
        (tmp_path / "train" / f"own-{config}").mkdir()
        (tmp_path / "train" / f"own-{config}" / "curve.csv").write_text(
            "step,train_loss,multiplier,elapsed_s\n0,3,1,1\n"
        )
    facts = curve_facts(made)
    assert list(facts["group"])[:2] == ["baseline", made.label(made.best)]
    assert facts.attrs["num_left_out"] == 4
