"""Which configuration next: the same for the same input, never the same configuration twice."""

import math
import subprocess
import sys
import time

import pytest

from orchestrator.search.imputation import ranked_by_feasibility
from orchestrator.search.searcher import Searcher
from orchestrator.space.configuration import Outcome
from orchestrator.space.sections import SpaceError
from tests.orchestrator.spaces import TTT, space_of

MANY = """
preset: tiny
method: random
run_cap: 7000
seeds: [1]
parameters: {optimizer.muon.lr: {distribution: log_uniform_values, min: 1e-3, max: 1e-1}}
"""
PLANE = """
preset: tiny
run_cap: 30
seeds: [1]
parameters:
  optimizer.muon.lr: {distribution: log_uniform_values, min: 1e-3, max: 1e-1}
  optimizer.muon.weight_decay: {min: 0.0, max: 0.2}
"""
SWITCH = """
preset: tiny
run_cap: 20
seeds: [1]
parameters:
  ttt.mode: {values: [off, score_first]}
  ttt.lr: {min: 0.001, max: 0.002, when: {ttt.mode: score_first}}
"""
SIX = """
preset: tiny
method: tpe
seeds: [1]
parameters:
  averaging.swa_every: {values: [5, 10, 20]}
  model.xsa_layers: {values: [[], [2, 3]]}
"""


MIXED = """
preset: tiny
run_cap: 8
seeds: [1]
constraints: {total_bytes: {max: 10}}
parameters:
  ttt.mode: {values: [off, score_first]}
  ttt.lr: {distribution: log_uniform_values, min: 1e-4, max: 1e-1, when: {ttt.mode: score_first}}
  ttt.epochs: {min: 1, max: 3, when: {ttt.mode: score_first}}
  optimizer.muon.lr: {min: 0.01, max: 0.1}
  optimizer.muon.weight_decay: {distribution: q_uniform, min: 0.0, max: 0.2, q: 0.05}
  model.xsa_layers: {values: [[], [2, 3]]}
"""


def bowl(values) -> float:
    """Best near a corner of the plane, where a search that learns nothing does not go."""
    return (math.log(values["optimizer.muon.lr"] / 0.08) / 2) ** 2 + (
        10 * values["optimizer.muon.weight_decay"] - 1.9
    ) ** 2


def asked(space, count, outcome=lambda values: Outcome(bowl(values)), sweep_seed=0, lag=0):
    """Values that a search proposes when it gets each outcome `lag` configurations late."""
    searcher, values = Searcher(space, sweep_seed), []
    for index in range(count):
        outcomes = {known: outcome(values[known]) for known in range(max(0, index - lag))}
        values.append(searcher.ask(values, outcomes))
    return values


@pytest.mark.parametrize("method", ["random", "tpe", "cmaes"])
def test_the_same_search_asks_the_same_configurations(tmp_path, method):
    space = space_of(tmp_path, PLANE + f"method: {method}")
    assert asked(space, 8, lag=1) == asked(space, 8, lag=1)
    assert asked(space, 3, sweep_seed=1) != asked(space, 3)


@pytest.mark.parametrize("method", ["tpe", "cmaes"])
def test_a_search_that_starts_again_goes_on_as_if_it_had_not_stopped(tmp_path, method):
    space = space_of(tmp_path, PLANE + f"method: {method}")
    straight = asked(space, 14)
    outcomes = {index: Outcome(bowl(values)) for index, values in enumerate(straight[:13])}
    assert Searcher(space, 0).ask(straight[:13], outcomes) == straight[13]


OUTCOMES = {
    "bowl": lambda values: Outcome(values["optimizer.muon.lr"], {"total_bytes": 0.0}),
    "all failed": lambda values: Outcome(None),
    "all infeasible": lambda values: Outcome(1.0, {"total_bytes": 5.0}),
    "all the same": lambda values: Outcome(1.0, {"total_bytes": 0.0}),
}


@pytest.mark.parametrize("outcome", OUTCOMES)
@pytest.mark.parametrize("method", ["random", "tpe", "cmaes"])
def test_any_method_searches_a_mixed_space_whatever_the_outcomes(tmp_path, method, outcome):
    space = space_of(tmp_path, MIXED + f"method: {method}")
    values = asked(space, 9, OUTCOMES[outcome], lag=1)
    assert values[8] is None
    assert len({str(item) for item in values}) == 9
    assert all(("ttt.lr" in item) == (item["ttt.mode"] == "score_first") for item in values[:8])
    outcomes = {index: OUTCOMES[outcome](values[index]) for index in range(6)}
    assert Searcher(space, 0).ask(values[:7], outcomes) == values[7]  # a killed driver goes on alike


@pytest.mark.parametrize("method", ["tpe", "cmaes"])
def test_results_pull_an_adaptive_search_towards_the_better_values(tmp_path, method):
    adaptive = asked(space_of(tmp_path, PLANE + f"method: {method}"), 30)
    chance = asked(space_of(tmp_path, PLANE + "method: random"), 30)
    late_mean, chance_mean = (sum(map(bowl, values[20:])) / 10 for values in (adaptive, chance))
    assert late_mean < 0.5 * chance_mean, (late_mean, chance_mean)


@pytest.mark.parametrize("method", ["tpe", "cmaes"])
def test_maximising_is_minimising_the_negative(tmp_path, method):
    down = space_of(tmp_path, PLANE + f"method: {method}")
    up = space_of(tmp_path, PLANE + f"method: {method}\nmetric: {{goal: maximize}}")
    assert asked(down, 14) == asked(up, 14, lambda values: Outcome(-bowl(values)))


def test_an_infeasible_region_is_avoided_however_good_its_score(tmp_path):
    space = space_of(tmp_path, PLANE + "method: tpe\nconstraints: {eval_s: {max: 1}}")

    def outcome(values) -> Outcome:
        return Outcome(bowl(values), {"eval_s": max(0.0, values["optimizer.muon.weight_decay"] - 0.05)})

    late = asked(space, 24, outcome)[12:]
    assert sum(values["optimizer.muon.weight_decay"] < 0.06 for values in late) > 6


def test_cmaes_too_stays_within_a_limit(tmp_path):
    text = PLANE + "method: cmaes\nmetric: {goal: maximize}\nconstraints: {eval_s: {max: 1}}"

    def outcome(values) -> Outcome:
        decay = values["optimizer.muon.weight_decay"]
        return Outcome(decay, {"eval_s": max(0.0, decay - 0.1)})  # the best scores lie outside

    late = [values["optimizer.muon.weight_decay"] for values in asked(space_of(tmp_path, text), 30, outcome)[15:]]
    assert sum(0.05 <= decay <= 0.1 for decay in late) > 7, late


def test_limits_of_different_units_weigh_the_same():
    outcomes = {
        0: Outcome(1.0, {"total_bytes": 0.0, "eval_s": 0.0}),
        1: Outcome(0.1, {"total_bytes": 1000.0, "eval_s": 0.0}),
        2: Outcome(0.2, {"total_bytes": 0.0, "eval_s": 0.5}),
        3: Outcome(0.3, {"total_bytes": 500.0, "eval_s": 0.0}),
        4: Outcome(None),
    }
    ranked = ranked_by_feasibility(outcomes, "minimize")
    assert [ranked[index].score for index in range(5)] == [1.0, 2.0, 2.0, 1.5, None]


@pytest.mark.parametrize("method", ["tpe", "cmaes"])
def test_failed_configurations_are_borne(tmp_path, method):
    space = space_of(tmp_path, PLANE + f"method: {method}")
    values = asked(space, 10, lambda values: Outcome(None if values["optimizer.muon.lr"] > 0.01 else bowl(values)))
    assert None not in values


@pytest.mark.parametrize("method", ["random", "tpe"])
def test_a_finite_space_ends_when_each_configuration_was_asked_once(tmp_path, method):
    space = space_of(tmp_path, SIX.replace("tpe", method))
    values = asked(space, 7, lambda values: Outcome(float(values["averaging.swa_every"])))
    assert values[6] is None
    assert sorted(map(str, values[:6])) == sorted(map(str, space.combinations()))


def test_the_cap_ends_a_search(tmp_path):
    assert asked(space_of(tmp_path, PLANE, trials=2), 3)[2] is None


def test_a_grid_is_asked_in_order_and_up_to_the_cap(tmp_path):
    space = space_of(tmp_path, SIX.replace("tpe", "grid"), trials=4)
    assert asked(space, 5, lambda values: Outcome(None)) == [*list(space.combinations())[:4], None]


def test_a_conditional_parameter_is_drawn_only_where_it_exists(tmp_path):
    values = asked(space_of(tmp_path, SWITCH + "method: tpe"), 20, lambda values: Outcome(values.get("ttt.lr", 0.5)))
    assert values.count({"ttt.mode": "off"}) == 1
    assert all(0.001 <= item["ttt.lr"] <= 0.002 for item in values if item["ttt.mode"] == "score_first")


def test_constants_integers_and_steps_keep_their_kind(tmp_path):
    text = TTT.replace("[1, 2, 3]", "0").replace("values: 0", "min: 1, max: 3") + "constraints: {}\n"
    text = text.replace("compare:", "  ttt.momentum: {distribution: q_uniform, min: 0.1, max: 0.9, q: 0.2}\ncompare:")
    for values in asked(space_of(tmp_path, text), 5, lambda values: Outcome(values["ttt.lr"])):
        assert values["ttt.mode"] == "score_first"
        assert values["ttt.epochs"] in (1, 2, 3)
        assert isinstance(values["ttt.epochs"], int)
        assert values["ttt.momentum"] in (0.2, 0.4, 0.6, 0.8)


def test_values_the_recipe_refuses_are_never_proposed(tmp_path):
    text = PLANE.replace("  optimizer.muon.w", "  model.rope_dims: {min: 2, max: 16}\n  optimizer.muon.w")
    dims = [values["model.rope_dims"] for values in asked(space_of(tmp_path, text + "method: random"), 12)]
    assert all(dim % 2 == 0 for dim in dims)


def test_gp_asks_the_same_configurations_too(tmp_path):
    space = space_of(tmp_path, MIXED + "method: gp", trials=6)  # of which two are chance
    straight = asked(space, 4, OUTCOMES["bowl"])
    outcomes = {index: OUTCOMES["bowl"](straight[index]) for index in range(3)}
    assert Searcher(space, 0).ask(straight[:3], outcomes) == straight[3]


def test_the_other_methods_start_no_torch():
    code = "import sys, orchestrator.search.searcher; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "False"


def test_chance_asks_for_the_6000th_configuration_at_once(tmp_path):
    searcher = Searcher(space_of(tmp_path, MANY), 0)
    earlier = [{"optimizer.muon.lr": 1e-3 + 1e-6 * index} for index in range(6000)]
    assert searcher.ask([], {}) is not None  # what the first call loads is not counted
    started_s = time.process_time()
    assert searcher.ask(earlier, {}) is not None
    assert time.process_time() - started_s < 0.5


def test_a_search_asks_no_configuration_whose_run_is_certain_to_fail(tmp_path):
    text = """
preset: tiny
method: random
run_cap: 17
seeds: [1]
parameters:
  averaging.swa_every: {min: 4, max: 20}
  budget.train_steps: {value: 20}
"""
    space = space_of(tmp_path, text)
    every = [values["averaging.swa_every"] for values in asked(space, 17, lambda values: Outcome(1.0)) if values]
    assert sorted(every) == [4, 5, 10, 20]


def test_a_baseline_or_a_short_run_that_is_certain_to_fail_is_refused(tmp_path):
    text = "preset: tiny\nseeds: [1]\nrun_cap: 20\nparameters: {averaging.use: {value: none}, model.rope_base: RANGE}\n"
    text = text.replace("RANGE", "{min: 1e4, max: 2e4}")
    with pytest.raises(SpaceError, match="compare.baseline: averaging.swa_every = 70 takes no snapshot"):
        space_of(tmp_path, text + "compare: {baseline: {averaging.swa_every: 70}}")
    text = text.replace("averaging.use: {value: none}", "averaging.swa_below: {value: 0.02}")
    with pytest.raises(SpaceError, match=r"stopping.rungs = 0.25: .* takes no snapshot in budget.train_steps = 30"):
        space_of(tmp_path, text + "stopping: {rule: asha, rungs: [0.25], calibrate: 4}")
