"""Attacks on the error rate: further seeds, other names, confirmations, other terms. Each was possible once."""

import json
import random
import shutil

import pytest
from typer.testing import CliRunner

from orchestrator.analysis.comparison import verdicts_of
from orchestrator.analysis.confirm import confirmation_of, open_confirmation, winner_of
from orchestrator.analysis.next_steps import next_steps
from orchestrator.analysis.sweep_table import rows_of
from orchestrator.commands.app import app
from orchestrator.sweep.sweep import open_sweep
from tests.orchestrator.spaces import TTT, leave_runs, space_of

GRID = """
name: a
preset: tiny
seeds: [1, 2, 3]
parameters: {model.rope_base: {values: [1000.0, 50000.0]}}
"""


def noise(run) -> float:
    return random.Random(f"{run.run_id}").gauss(0, 1e-4)


def gain(run) -> float:
    """A gain beyond doubt for every configuration over the preset and over a base of 500."""
    return 2.0 - {10_000.0: 0.0, 500.0: 0.0}.get(run.recipe.model.rope_base, 0.1) + noise(run)


def better(run) -> float:
    """The same for test-time training over none."""
    return 2.0 - 0.1 * (run.recipe.ttt.mode != "off") + noise(run)


def swept(store, name, seeds, text=GRID):
    sweep = open_sweep(store, space_of(store, text, seeds=seeds), name=name)
    leave_runs(sweep, gain)
    return sweep


def claims(sweep) -> bool:
    """Whether it calls something better without a doubt."""
    return any(one.conclusion == "better" and not one.exploratory for one in verdicts_of(sweep, rows_of(sweep)))


def level(sweep) -> float:
    return verdicts_of(sweep, rows_of(sweep))[0].alpha


def test_further_seeds_and_their_union_under_new_names_claim_nothing(tmp_path):
    sweeps = [
        swept(tmp_path, name, seeds) for name, seeds in (("a", [1, 2, 3]), ("a2", [4, 5]), ("a3", [*range(1, 6)]))
    ]
    assert [claims(sweep) for sweep in sweeps] == [True, False, False]
    assert [level(sweep) for sweep in sweeps] == [0.01, 0.005, 0.0025]


def test_one_seed_tests_nothing_and_spends_nothing_but_its_outcome_is_known(tmp_path):
    first = swept(tmp_path, "one", [1])
    (step,) = [step for step in next_steps(tmp_path, [first]) if step.kind == "confirm"]
    assert (step.runs, step.exploratory) == (6, False)
    assert "is better than the baseline on one seed, which shows no spread" in step.reason
    known = swept(tmp_path, "known", [1, 2, 3])
    assert (claims(known), level(known)) == (False, 0.01)
    (tmp_path / "other").mkdir()
    assert not claims(swept(tmp_path / "other", "one", [1]))
    fresh = swept(tmp_path / "other", "fresh", [4, 5, 6])
    assert (claims(fresh), level(fresh)) == (True, 0.01)


def test_of_ten_attempts_on_fresh_seeds_one_claims_something(tmp_path):
    sweeps = [swept(tmp_path, f"try{number}", [3 * number + n for n in range(3)]) for number in range(1, 11)]
    assert [claims(sweep) for sweep in sweeps] == [True] + [False] * 9


def searched(store):
    sweep = open_sweep(store, space_of(store, TTT))
    leave_runs(sweep, better)
    return sweep


def confirmed(sweep, winner, seeds, name):
    space = confirmation_of(sweep, winner, len(seeds)).model_copy(update={"seeds": tuple(seeds)})
    made = open_sweep(sweep.store, space, name, purpose="confirm")
    leave_runs(made, better)
    return made


def test_a_second_confirmation_of_the_winner_under_another_name_claims_nothing(tmp_path):
    search = searched(tmp_path)
    winner = winner_of(search, rows_of(search))
    first, second = (confirmed(search, winner, [n, n + 1, n + 2], f"c{n}") for n in (900, 950))
    assert [claims(sweep) for sweep in (search, first, second)] == [False, True, False]


def test_the_second_best_counts_to_the_same_attempts_as_the_best(tmp_path):
    search = searched(tmp_path)
    both = [open_confirmation(search, item, 3) for item in search.asked()[1:3]]
    for sweep in both:
        leave_runs(sweep, better)
    assert [claims(sweep) for sweep in both] == [True, False]


def test_the_winner_of_a_search_swept_again_on_the_seeds_that_chose_it_claims_nothing(tmp_path):
    search = searched(tmp_path)
    again = open_sweep(tmp_path, confirmation_of(search, winner_of(search, rows_of(search)), 2).model_copy(
        update={"seeds": (1, 2), "compare": search.space.compare.changed(None, None, 0.2)}), "again")  # fmt: skip
    leave_runs(again, better)
    assert not claims(again)


@pytest.mark.parametrize(
    "changed",
    [
        GRID.replace("[1000.0, 50000.0]", "[1000.0, 50000.0, 2000.0]"),
        GRID + "compare: {baseline: {model.rope_base: 500.0}}\n",
        GRID + "compare: {margin: 0.0}\n",
        GRID + "constraints: {total_bytes: {max: 15999999}}\n",
        GRID + "compare: {attempts: 9}\n",
    ],
    ids=["one value more", "another baseline", "another margin", "a limit", "more attempts declared too late"],
)
def test_a_small_change_of_the_file_is_a_further_attempt_all_the_same(tmp_path, changed):
    swept(tmp_path, "a", [1, 2, 3])
    assert not claims(swept(tmp_path, "b", [4, 5, 6], changed))


def test_a_sweep_whose_folder_was_deleted_is_still_an_attempt(tmp_path):
    shutil.rmtree(swept(tmp_path, "a", [1, 2, 3]).folder)
    assert not claims(swept(tmp_path, "b", [4, 5, 6]))


def test_other_configurations_against_the_same_baseline_are_no_further_attempt(tmp_path):
    swept(tmp_path, "a", [1, 2, 3])
    assert claims(swept(tmp_path, "b", [1, 2, 3], GRID.replace("[1000.0, 50000.0]", "[2000.0, 3000.0]")))


def test_declared_attempts_divide_alpha_and_the_one_too_many_claims_nothing(tmp_path):
    text = GRID + "compare: {attempts: 3}\n"
    sweeps = [swept(tmp_path, f"a{n}", [10 * n + 1, 10 * n + 2, 10 * n + 3], text) for n in range(4)]
    assert [level(sweep) for sweep in sweeps] == [0.005, 0.0025, 0.0025, 0.00125]
    assert [claims(sweep) for sweep in sweeps] == [True, True, True, False]


def test_a_later_attempt_cannot_raise_alpha(tmp_path):
    text = GRID + "compare: {attempts: 2, alpha: 0.02}\n"
    sweeps = [swept(tmp_path, "a", [1, 2, 3], text), swept(tmp_path, "b", [4, 5, 6], text.replace("0.02", "0.9"))]
    assert [level(sweep) for sweep in sweeps] == [0.01, 0.01]


def run(store, *words) -> str:
    result = CliRunner().invoke(app, [*words, "--store", str(store)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.mark.parametrize("words", [("--margin", "0.001"), ("--alpha", "0.05"), ("--baseline", "{worst}")])
def test_terms_chosen_after_the_results_are_exploratory_and_stand_beside_the_declared_ones(tmp_path, words):
    sweep = swept(tmp_path, "a", [1, 2, 3])
    worst = sweep.asked()[1].id
    asked = [word.format(worst=worst) for word in words]
    rows = json.loads(run(tmp_path, "compare", "a", *asked, "--format", "json"))
    assert all(row["exploratory"] for row in rows)
    declared = {verdict.config: verdict for verdict in verdicts_of(sweep, rows_of(sweep))}
    for row in rows:
        if row["config"] in declared:
            assert row["declared"]["p_corrected"] == pytest.approx(declared[row["config"]].p_corrected)
    assert "chosen after the results were known" in run(tmp_path, "compare", "a", *asked)


def test_a_policy_named_after_the_results_is_exploratory_and_the_declared_answer_stands_beside_it(tmp_path):
    swept(tmp_path, "a", [1, 2, 3])
    text = run(tmp_path, "compare", "a", "--policy", "pg-frontier-p25")
    assert text.count("Exploratory: its terms were chosen after the results were known") == 1
    assert text.count("By the declared terms: BETTER") == 2


def test_report_and_comparison_list_all_attempts(tmp_path):
    swept(tmp_path, "a", [1, 2, 3])
    swept(tmp_path, "a2", [4, 5, 6])
    text = run(tmp_path, "compare", "a2")
    assert "attempt 1: a, seeds 1, 2, 3, tested at alpha\n" in text
    assert "attempt 2: a2 (this one), seeds 4, 5, 6, tested at alpha / 2, which only suggests" in text
    page = tmp_path / "page.html"
    run(tmp_path, "report", "a", "--out", str(page))
    assert "Every test of this search space" in page.read_text(encoding="utf-8")
