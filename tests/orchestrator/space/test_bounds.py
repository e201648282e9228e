"""Search spaces that ask for more than a sweep can have: refused by their numbers, before anything is listed."""

import pytest
from typer.testing import CliRunner

from orchestrator.commands.app import app
from orchestrator.commands.options import parse_seeds
from orchestrator.space.sections import SpaceError
from tests.orchestrator.spaces import space_of
from trainer.spec.errors import UserError

CUBE = "preset: tiny\nparameters:\n" + "".join(
    f"  {key}: {{min: 1, max: 1000, distribution: int_uniform}}\n"
    for key in ("budget.train_steps", "ttt.epochs", "model.num_layers")
)


def refusal(folder, text: str, **said) -> str:
    with pytest.raises(SpaceError) as caught:
        space_of(folder, text, **said)
    return str(caught.value)


def test_a_grid_of_a_thousand_cubed_is_refused_by_its_count(tmp_path):
    text = refusal(tmp_path, CUBE)
    assert "parameters make more than 100,000 configurations (budget.train_steps: 1,000 x ttt.epochs: 1,000" in text
    assert "at most 10,000: give fewer values, or run_cap with method: random or tpe" in text


@pytest.mark.parametrize("method", ["grid", "random", "tpe"])
def test_a_range_of_a_trillion_integers_is_not_made(tmp_path, method):
    text = f"preset: tiny\nmethod: {method}\nparameters: {{budget.train_steps: {{min: 1, max: 1000000000000}}}}"
    assert "more than 100,000 configurations (budget.train_steps: 1,000,000,000,000)" in refusal(tmp_path, text)


@pytest.mark.parametrize("wanted", [0, "x", 0.5, [-1, "y"]])
def test_a_when_over_a_trillion_integers_lists_a_few_of_them(tmp_path, wanted):
    text = (
        "preset: tiny\nmethod: random\nrun_cap: 3\nparameters:\n"
        "  budget.train_steps: {min: 1, max: 1000000000000}\n"
        f"  ttt.lr: {{values: [0.1, 0.2], when: {{budget.train_steps: {wanted}}}}}"
    )
    assert "it takes: 1, 2, 3, " in refusal(tmp_path, text)
    assert "19, 20 and 999,999,999,980 others" in refusal(tmp_path, text)


def test_twenty_thousand_seeds_are_refused(tmp_path):
    text = "preset: tiny\nparameters: {ttt.lr: {values: [0.1, 0.2]}}"
    assert "seeds names 20,000 seeds; at most 1,000 of each" in refusal(tmp_path, text, seeds=range(20_000))
    assert "seeds: a number of 400 digits must be less than" in refusal(tmp_path, text, seeds=[10**400 - 1])


def test_more_runs_than_a_sweep_has_are_refused_although_neither_number_is_too_large(tmp_path):
    text = "preset: tiny\nmethod: random\nrun_cap: 2000\nparameters: {ttt.lr: {min: 0.1, max: 0.2}}"
    assert "2,000 configurations on 100 seeds are 200,000 runs; at most 100,000" in refusal(
        tmp_path, text, seeds=range(100)
    )
    assert "run_cap = 1e+300 is too large: at most 10,000 configurations (--trials)" in refusal(
        tmp_path, text, trials=10**300
    )


@pytest.mark.parametrize("seeds", ["9" * 5000, "1,x" * 5000])
def test_seeds_that_are_no_numbers_are_not_repeated_whole(seeds):
    with pytest.raises(UserError, match=r"\.\.\. is not a list") as caught:
        parse_seeds(seeds)
    assert len(str(caught.value)) < 200


def test_the_command_ends_with_status_2_and_says_why(tmp_path):
    path = tmp_path / "cube.yaml"
    path.write_text(CUBE)
    result = CliRunner().invoke(app, ["plan", str(path), "--store", str(tmp_path / "store")])
    assert "more than 100,000 configurations" in str(result.exception)
