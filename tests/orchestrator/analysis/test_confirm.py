"""The winner once more, on seeds that had no part in choosing it."""

import pytest

from orchestrator.analysis.answer import answer_lines
from orchestrator.analysis.confirm import confirmation_of, fresh_seeds, num_seeds_for, winner_of
from orchestrator.analysis.explanation import seed_line
from orchestrator.analysis.sweep_table import rows_of, table_of
from orchestrator.sweep.open_queue import queue_of
from orchestrator.sweep.sweep import open_sweep
from tests.orchestrator.spaces import TTT, leave_runs, score, space_of
from trainer.spec.errors import UserError

AGAIN = """
name: again
preset: tiny
method: grid
seeds: [1, 2]
parameters: {ttt.mode: {value: score_first}, ttt.lr: {values: [0.001, 0.002]}}
compare: {baseline: {ttt.mode: score_first, ttt.lr: 0.001}}
"""


@pytest.fixture
def sweep(tmp_path):
    """A finished adaptive search whose baseline scores 3 and whose candidates score about 2."""
    made = open_sweep(tmp_path, space_of(tmp_path, TTT))
    leave_runs(made, lambda run: 3.0 + 1e-3 * run.seed if run.configuration.is_baseline else score(run))
    return made


def confirmed(sweep, num_seeds=4):
    winner = winner_of(sweep, rows_of(sweep))
    made = open_sweep(sweep.store, confirmation_of(sweep, winner, num_seeds), purpose="confirm")
    noise = {seed: 1e-3 * place for place, seed in enumerate(made.space.seeds)}
    leave_runs(made, lambda run: 3.0 + 2 * noise[run.seed] if run.configuration.is_baseline else 2.0 + noise[run.seed])
    return made


def verdict_of(sweep) -> str:
    frame = rows_of(sweep)
    return "\n".join(answer_lines(sweep, frame))


def test_the_best_configuration_and_the_baseline_run_on_declared_fresh_seeds(sweep):
    again = confirmed(sweep)
    table = table_of(sweep, rows_of(sweep))
    assert [item.id for item in again.asked()] == [sweep.asked()[0].id, table.iloc[0]["config"]]
    assert len(set(again.space.seeds) - set(sweep.space.seeds)) == 4
    assert "in sweep ttt: 1 done, 2 done" in seed_line(again, again.asked()[1].id)


def test_only_the_confirmation_is_no_longer_exploratory(sweep):
    first = verdict_of(sweep)
    assert "that only suggests it: the choice was made on these very seeds" in first
    assert "next:    orchestrator confirm ttt --num-seeds" in first
    sentence = verdict_of(confirmed(sweep))
    assert "is shown" in sentence
    assert "suggests" not in sentence


def test_asking_again_is_the_same_confirmation_and_other_seeds_are_refused(sweep):
    again = confirmed(sweep)
    winner = winner_of(sweep, rows_of(sweep))
    num_seeds = num_seeds_for(sweep, rows_of(sweep), winner)
    assert open_sweep(sweep.store, confirmation_of(sweep, winner, num_seeds)).name == again.name
    more = open_sweep(sweep.store, confirmation_of(sweep, winner, 6), purpose="confirm")
    with pytest.raises(UserError, match="are not fresh"):
        leave_runs(more, lambda run: 2.0)


def test_a_named_configuration_can_be_confirmed_and_an_unknown_one_offers_the_nearest(sweep):
    second = sweep.asked()[2]
    assert winner_of(sweep, rows_of(sweep), second.id) == second
    with pytest.raises(UserError, match=f"did you mean '{second.id}'"):
        winner_of(sweep, rows_of(sweep), second.id[:-1])


def test_the_recipe_of_the_baseline_is_no_winner_even_where_the_grid_holds_it_again(tmp_path):
    space = space_of(tmp_path, AGAIN)
    sweep = open_sweep(tmp_path, space)
    leave_runs(sweep, lambda run: (2.0 if run.configuration.id == sweep.asked()[0].id else 3.0) + 1e-3 * run.seed)
    assert winner_of(sweep, rows_of(sweep)).values["ttt.lr"] == 0.002


def test_nothing_is_confirmed_before_something_is_complete(tmp_path):
    sweep = open_sweep(tmp_path, space_of(tmp_path, TTT))
    with pytest.raises(UserError, match="orchestrator resume ttt"):
        winner_of(sweep, rows_of(sweep))


def test_fresh_seeds_follow_from_their_source_and_avoid_the_used_ones():
    few, more = fresh_seeds(["ttt", "q"], 3, ()), fresh_seeds(["ttt", "q"], 5, ())
    assert more[:3] == few
    assert len(set(more)) == 5
    assert fresh_seeds(["muon", "q"], 3, ()) != few
    assert few[0] not in fresh_seeds(["ttt", "q"], 3, {few[0]})


def test_the_best_seeds_of_an_earlier_sweep_are_refused_as_evidence(sweep):
    subset = space_of(sweep.store, TTT, seeds=[2])
    again = open_sweep(sweep.store, subset, name="cherries")
    leave_runs(again, lambda run: 2.0)
    assert "chosen after their outcomes were known: it had run on 1, 2, of which only 2 are counted" in verdict_of(
        again
    )


TIGHT = """
name: race
preset: tiny
seeds: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]
parameters: {model.rope_base: {values: [1000.0, 50000.0]}}
compare: {margin: 0.01, unit: bpb, alpha: 0.05}
stopping: {rule: race}
"""


@pytest.fixture
def raced(tmp_path):
    """A race whose winner is named after three of ten seeds, with a gain that three fresh seeds would show again."""
    made = open_sweep(tmp_path, space_of(tmp_path, TIGHT))
    means = {1000.0: 1.5, 10_000.0: 2.0, 50_000.0: 2.5}
    leave_runs(made, lambda run: means[run.recipe.model.rope_base] + 1e-3 * (run.seed % 2))
    return made


def test_after_a_race_the_gain_on_the_seeds_that_the_winner_ran_sets_the_number_of_fresh_ones(raced):
    winner = winner_of(raced, rows_of(raced))
    assert raced.state().race.seeds[winner.id] == 3
    assert num_seeds_for(raced, rows_of(raced), winner) == 3


def test_a_begun_confirmation_keeps_its_number_whatever_its_folder_is_called(sweep):
    confirmed(sweep)  # of the best, as ttt-confirm
    second = next(item for item in sweep.asked()[1:] if item != winner_of(sweep, rows_of(sweep)))
    begun = open_sweep(sweep.store, confirmation_of(sweep, second, 7), purpose="confirm")
    queue_of(begun).next_run()
    assert begun.name == "ttt-confirm-2"
    assert num_seeds_for(sweep, rows_of(sweep), second) == 7


def test_the_confirmation_of_a_race_is_judged_by_the_margin_and_alpha_of_the_race(tmp_path):
    space = space_of(tmp_path, TIGHT.replace("{rule: race}", "{rule: race, margin: 0.02, alpha: 0.1}"))
    sweep = open_sweep(tmp_path, space)
    queue_of(sweep).next_run()
    terms = confirmation_of(sweep, sweep.asked()[1], 3).compare
    assert (terms.margin, terms.alpha, terms.baseline) == (0.02, 0.1, space.compare.baseline)


def test_a_configuration_without_a_run_gets_as_many_seeds_as_it_has_in_the_sweep(sweep):
    frame, unrun = rows_of(sweep), sweep.asked()[2]
    assert num_seeds_for(sweep, frame[frame["config"] != unrun.id], unrun) == 3
