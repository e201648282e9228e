"""Precedents of a search: only outcomes that its own search space could have produced, the same after a restart."""

import math

import pytest

from orchestrator.search.searcher import Searcher
from orchestrator.space.load_space import SpaceError
from orchestrator.sweep.open_queue import queue_of
from orchestrator.sweep.sweep import find_sweep, open_sweep
from orchestrator.sweep.warm_start import precedents_of
from tests.orchestrator.spaces import TTT, leave_runs, score, space_of
from trainer.spec.errors import StoreError
from trainer.spec.record import Record

LATER = TTT.replace("name: ttt", "name: later\nwarm_start: ttt").replace("[1, 2, 3]", "[1, 2]")


@pytest.fixture
def store(tmp_path):
    """A store with one finished sweep, `ttt`."""
    leave_runs(open_sweep(tmp_path, space_of(tmp_path, TTT)), score)
    return tmp_path


def begun(store, space):
    return open_sweep(store, space, precedents=lambda: precedents_of(store, space))


def test_finished_configurations_of_the_same_search_space_are_precedents(store):
    space = space_of(store, LATER)
    precedents, known = precedents_of(store, space), find_sweep(store, "ttt").asked()[1:]
    fits = [item for item in known if item.values["ttt.epochs"] in (1, 2)]  # 3 lies outside the later space
    assert [item.config for item in precedents] == [item.id for item in fits]
    assert all(item.values == dict(fit.values) for item, fit in zip(precedents, fits, strict=True))
    assert 2 < precedents[0].outcome.score < 3


@pytest.mark.parametrize("method", ["tpe", "cmaes"])
def test_the_journal_keeps_the_precedents_so_a_restart_proposes_the_same(store, method):
    wider = "  optimizer.muon.lr: {min: 0.001, max: 0.5}\ncompare:"
    space = space_of(store, LATER.replace("compare:", wider).replace("method: tpe", f"method: {method}"))
    sweep = begun(store, space)
    assert sweep.precedents
    searched = Searcher(space, 0, sweep.precedents).ask([], {})
    (store / "sweeps" / "ttt").rename(store / "gone")  # what becomes of an earlier sweep changes nothing
    again = begun(store, space)
    assert (again.name, again.precedents) == ("later", sweep.precedents)
    assert Searcher(space, 0, again.precedents).ask([], {}) == searched


def test_a_warm_search_begins_near_the_best_known(store):
    space = space_of(store, LATER, trials=20)
    known = precedents_of(store, space)
    best = min(known, key=lambda item: item.outcome.score).values["ttt.lr"]
    cold, warm = (
        [Searcher(space, seed, precedents).ask([], {})["ttt.lr"] for seed in range(12)]
        for precedents in ((), known * 3)
    )
    far_cold, far_warm = (sum(abs(math.log(lr / best)) for lr in proposals) / 12 for proposals in (cold, warm))
    assert far_warm < 0.7 * far_cold, (far_warm, far_cold)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (("warm_start: ttt", "warm_start: tt"), "no sweep 'tt'; did you mean 'ttt'"),
        (("preset: tiny", "preset: pr150_v21"), r"sweep 'ttt' cannot be compared: .*model.num_layers 4 there, "),
        (("min: 5e-4, max: 2e-2", "min: 0.5, max: 0.6"), "ttt.lr outside this space"),
    ],
)
def test_what_cannot_be_compared_is_refused_by_name_and_reason(store, change, complaint):
    space = space_of(store, LATER.replace(*change))
    with pytest.raises(StoreError, match=complaint):
        precedents_of(store, space)
    assert not (store / "sweeps" / "later").exists()


def test_an_unfinished_sweep_tells_nothing(tmp_path):
    queue = queue_of(open_sweep(tmp_path, space_of(tmp_path, TTT)))
    assert [queue.next_run().configuration.index for _ in range(3)] == [0, 0, 1]
    with pytest.raises(StoreError, match=r"not finished, or failed"):
        precedents_of(tmp_path, space_of(tmp_path, LATER))


def test_a_sweep_on_another_text_is_refused(store):
    for path in (store / "sweeps" / "ttt" / "runs").glob("*.json"):
        record = Record.model_validate_json(path.read_bytes())
        other = record.stages["evaluate"].model_copy(update={"stage": "val_text", "fingerprint": "another"})
        stages = {**record.stages, "train_text": other, "val_text": other}
        path.write_text(record.model_copy(update={"stages": stages}).model_dump_json())
    with pytest.raises(StoreError, match="sweep 'ttt' cannot be compared: it was measured on another text"):
        precedents_of(store, space_of(store, LATER))


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (("method: tpe", "method: random"), "method random does not use earlier results"),
        (("warm_start: ttt", "warm_start: [ttt, ttt]"), "warm_start names ttt twice"),
        (("warm_start: ttt", "warm_start: 3"), "warm_start"),
        (("warm_start: ttt", "warm_strat: ttt"), "did you mean 'warm_start'"),
    ],
)
def test_a_wrong_warm_start_is_refused(tmp_path, change, complaint):
    with pytest.raises(SpaceError, match=complaint):
        space_of(tmp_path, LATER.replace(*change))


EVERYTHING = """
name: everything
preset: tiny
run_cap: 9
seeds: [1, 2]
warm_start: ttt
parameters:
  ttt.mode: {values: [off, score_first]}
  ttt.lr: {distribution: log_uniform_values, min: 5e-4, max: 2e-2, when: {ttt.mode: score_first}}
  ttt.epochs: {values: [1, 2], when: {ttt.mode: score_first}}
  optimizer.muon.lr: {min: 0.001, max: 0.5}
  model.logit_softcap: {min: 10.0, max: 50.0}
constraints: {total_bytes: {max: 300000}, eval_s: {max: 600}}
stopping: {rule: asha, rungs: [0.5], calibrate: 4, trust: -0.9}
"""


@pytest.mark.parametrize("method", ["tpe", "cmaes", pytest.param("gp", marks=pytest.mark.slow)])
def test_limits_conditions_rungs_and_a_warm_start_go_together(store, method):
    sweep = begun(store, space_of(store, EVERYTHING + f"method: {method}"))
    leave_runs(sweep, lambda run: 2 + run.recipe.optimizer.muon.lr)
    asked = [item.values for item in sweep.asked()[1:]]
    assert sweep.precedents
    assert len({str(values) for values in asked}) == 9
    assert all(("ttt.lr" in values) == (values["ttt.mode"] == "score_first") for values in asked)
    assert sweep.state().pruning.pruned
