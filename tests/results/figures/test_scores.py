"""Facts of the score figure; the drawing is only asked to exist and to be wide enough."""

import math
import struct

import pytest

from results.figures.scores import draw_scores, score_facts
from results.rows.ranking import Bounds, Ranking
from results.rows.read import frame_of
from results.rows.row import unfinished_row
from results.rows.tables import per_configuration
from tests.results.sweeps import scored


def run(config, seed, val_bpb, artifact=None, legal=True, **values):
    made = unfinished_row(
        "demo", config, seed, "done", {key.replace("__", "."): value for key, value in values.items()}
    )
    made |= {"legal": legal, "within_budget": True, "artifact": artifact or f"{config}-{seed}"}
    return made | scored(val_bpb)


def table(*rows):
    return frame_of(rows, [key for key in rows[0] if "." in key])


def sweep(lrs, **more):
    rows = [run(f"c{i}", seed, 2 + lr + seed, f"art{seed}", ttt__lr=lr) for i, lr in enumerate(lrs) for seed in (1, 2)]
    return table(*rows)


@pytest.mark.parametrize(
    ("values", "scale", "places"),
    [
        ([0.001, 0.003, 0.02], "log", [0.001, 0.003, 0.02]),
        ([0.001, 0.01], "linear", [0.001, 0.01]),  # a decade exactly
        ([0.0, 0.5, 100.0], "linear", [0.0, 0.5, 100.0]),
        ([1, 2, 3], "linear", [1, 2, 3]),
        (["sgd", "muon"], "categorical", [0, 1]),
        ([True, False], "categorical", [0, 1]),
        ([7, "lineage"], "categorical", [0, 1]),
    ],
)
def test_the_axis_follows_the_values(values, scale, places):
    facts = score_facts(table(*(run(f"c{i}", 1, 2.0 + i, k__v=value) for i, value in enumerate(values))), ["k.v"])
    assert set(facts["scale"]) == {scale}
    assert list(facts["x"]) == places


def test_each_key_that_varies_has_a_panel_with_every_run():
    rows = [run(f"c{i}", seed, 2.0, a__lr=i, a__mode="on", a__epochs=i % 2) for i in range(4) for seed in (1, 2)]
    facts = score_facts(table(*rows), ["a.lr", "a.mode", "a.epochs"])
    assert facts.groupby("key", sort=False).size().to_dict() == {"a.lr": 8, "a.epochs": 8}


def test_configurations_of_one_value_stand_side_by_side():
    facts = score_facts(table(*(run(f"c{i}", 1, 2.0, a__lr=i, a__epochs=i % 2) for i in range(4))), ["a.epochs"])
    assert sorted(facts["place"]) == [-0.125, 0.125, 0.875, 1.125]


def test_a_line_follows_an_artifact_only_where_it_has_one_run_at_each_x():
    rows = [run(f"c{i}", 1, 2.0, "shared", a__lr=i, a__epochs=i % 2) for i in range(4)]
    facts = score_facts(table(*rows), ["a.lr", "a.epochs"])
    assert facts.groupby("key")["connected"].all().to_dict() == {"a.lr": True, "a.epochs": False}
    alone = [row | {"artifact": f"own{i}"} for i, row in enumerate(rows)]
    assert not score_facts(table(*alone), ["a.lr"])["connected"].any()


def test_the_baseline_is_a_band_and_not_a_point():
    rows = sweep([0.001, 0.002])
    facts = score_facts(rows, ["ttt.lr"], Ranking(baseline="c0"))
    known = per_configuration(rows).set_index("config").loc["c0"]
    assert set(facts["config"]) == {"c1"}
    assert facts["baseline_mean"].iloc[0] == known["mean"]
    assert (facts["baseline_low"].iloc[0], facts["baseline_high"].iloc[0]) == (known["ci95_low"], known["ci95_high"])
    assert math.isnan(score_facts(rows, ["ttt.lr"])["baseline_mean"].iloc[0])


def test_what_has_no_mean_or_is_illegal_is_counted_and_not_drawn():
    rows = [run("ok", 1, 2.0, a__lr=1), run("also", 1, 2.0, a__lr=2), run("peeks", 1, 1.0, legal=False, a__lr=3)]
    broken = run("broken", 1, math.nan, a__lr=4)
    facts = score_facts(table(*rows, broken), ["a.lr"])
    assert set(facts["config"]) == {"ok", "also"}
    assert set(facts["num_left_out"]) == {2}


@pytest.mark.parametrize("num_keys", [0, 1, 4])
@pytest.mark.parametrize("num_seeds", [1, 9])
def test_the_drawing_is_1200_pixels_wide(tmp_path, num_keys, num_seeds):
    keys = {f"a__k{i}": None for i in range(num_keys)}
    rows = [
        run(f"c{c}", s, 2.0 + c, a__one=1, **dict.fromkeys(keys, 10.0**c)) for c in range(4) for s in range(num_seeds)
    ]
    draw_scores(
        score_facts(table(*rows), [f"a.k{i}" for i in range(num_keys)], Ranking(baseline="c0")), tmp_path / "scores.png"
    )
    width, _height = struct.unpack(">II", (tmp_path / "scores.png").read_bytes()[16:24])
    assert width == 1200


def test_a_sweep_without_results_draws_a_figure_that_says_so(tmp_path):
    draw_scores(score_facts(sweep([0.1]).head(0), ["ttt.lr"]), tmp_path / "scores.svg")
    assert "<svg" in (tmp_path / "scores.svg").read_text()


def test_the_figure_shows_the_metric_of_the_ranking_and_no_infeasible_configuration():
    rows = [run(name, 1, 2.0, a__lr=lr) | {"eval_s": s} for name, lr, s in (("quick", 1, 3.0), ("slow", 2, 9.0))]
    facts = score_facts(table(*rows), ["a.lr"], Ranking("eval_s", limits={"eval_s": Bounds(max=5)}))
    assert (list(facts["config"]), list(facts["score"])) == (["quick"], [3.0])
    assert set(facts["measured"]) == {"eval_s (s)"}
