"""What pairs the runs of a sweep: chosen before its first run from earlier sweeps, kept with it, and said."""

import json

import numpy as np
import pytest

from orchestrator.analysis.comparison import verdicts_of
from orchestrator.analysis.sweep_table import rows_of
from orchestrator.space.search_space import SearchSpace
from orchestrator.sweep.seed_blocks import choose_blocks
from orchestrator.sweep.sweep import find_sweep, list_sweeps, open_sweep
from tests.orchestrator.spaces import leave_runs, space_of

RATES = """
name: rates
preset: tiny
seeds: [1, 2, 3]
parameters: {optimizer.muon.lr: {values: [0.01, 0.02, 0.03, 0.04, 0.05]}}
compare: {margin: 0.0}
"""


def scores(correlation: float):
    """Scores whose seeds move all configurations alike to this degree."""
    dice = np.random.default_rng(0)
    shared, own = dice.normal(size=9), dice.normal(size=(9, 9))

    def score(run):
        noise = correlation**0.5 * shared[run.seed] + (1 - correlation) ** 0.5 * own[run.configuration.index, run.seed]
        return 2.0 + 0.001 * noise - 0.001 * run.configuration.index

    return score


@pytest.mark.parametrize(("correlation", "blocks"), [(0.99, "seed"), (0.0, "artifact")])
def test_earlier_sweeps_of_the_preset_choose_between_pairs_by_seed_and_none(tmp_path, correlation, blocks):
    space = space_of(tmp_path, RATES)
    leave_runs(open_sweep(tmp_path, space), scores(correlation))
    later = open_sweep(tmp_path, space.model_copy(update={"name": "later"}))
    assert later.blocks == blocks
    assert "over 6 configurations of an earlier sweep" in later.blocks_because


def test_a_choice_once_made_is_kept_whatever_the_sweep_shows(tmp_path):
    space = space_of(tmp_path, RATES)
    made = open_sweep(tmp_path, space)
    assert (made.blocks, "nothing was known" in made.blocks_because) == ("seed", True)
    leave_runs(made, scores(0.0))
    assert find_sweep(tmp_path, "rates").blocks == open_sweep(tmp_path, space).blocks == "seed"
    assert choose_blocks(space, list_sweeps(tmp_path)).blocks == "artifact"
    assert {verdict.block for verdict in verdicts_of(made, rows_of(made))} == {"seed"}


def test_another_preset_or_other_overrides_say_nothing(tmp_path):
    leave_runs(open_sweep(tmp_path, space_of(tmp_path, RATES)), scores(0.99))
    other = space_of(tmp_path, RATES, overrides={"budget.train_steps": 150})
    assert "nothing was known" in choose_blocks(other, list_sweeps(tmp_path)).reason


def test_of_two_programs_of_one_file_name_neither_says_anything_of_the_other(tmp_path):
    def space(place: str, code: str = "", more: str = "") -> SearchSpace:
        (tmp_path / place).mkdir(exist_ok=True)
        (tmp_path / place / "train.py").write_text(f"print('val_bpb: 1'){code}")
        return space_of(tmp_path / place, f"program: train.py\nparameters: {{LR: {{values: [1, 2]}}}}\n{more}")

    leave_runs(open_sweep(tmp_path, space("one")), lambda run: 2.0 + 0.001 * (run.seed % 7))
    earlier = list_sweeps(tmp_path)
    assert "over 3 configurations of an earlier sweep" in choose_blocks(space("one", "# edited"), earlier).reason
    assert "nothing was known of this program when that was decided" in choose_blocks(space("other"), earlier).reason
    assert "nothing was known" in choose_blocks(space("one", more="set: {STEPS: 9}"), earlier).reason


@pytest.mark.parametrize(("seeds", "blocks"), [("[1, 2]", "artifact"), ("[1, 2, 3, 4, 5, 6]", "seed")])
def test_where_nothing_is_known_pairs_by_seed_wait_for_seeds_that_carry_them(tmp_path, seeds, blocks):
    assert choose_blocks(space_of(tmp_path, RATES.replace("[1, 2, 3]", seeds)), []).blocks == blocks


@pytest.mark.parametrize("blocks", ["artifact", "seed", "none"])
def test_declared_blocks_are_taken_as_declared(tmp_path, blocks):
    space = space_of(tmp_path, RATES.replace("margin: 0.0", f"margin: 0.0, blocks: {blocks}"))
    made = open_sweep(tmp_path, space)
    assert (made.blocks, made.blocks_because) == (blocks, f"declared: compare: {{blocks: {blocks}}}")
    leave_runs(made, scores(0.9))
    assert {verdict.block for verdict in verdicts_of(made, rows_of(made))} == {"seed" if blocks == "seed" else ""}


def test_a_sweep_without_these_keys_keeps_the_test_it_was_declared_with(tmp_path):
    made = open_sweep(tmp_path, space_of(tmp_path, RATES))
    leave_runs(made, scores(0.99))
    journal = made.folder / "journal.jsonl"
    header, *others = (json.loads(line) for line in journal.read_text().splitlines())
    for line in (header, *others):
        line.pop("checksum")  # versions of then wrote none
    del header["blocks"], header["blocks_because"], header["space"]["compare"]["blocks"]
    del header["space"]["compare"]["variance"]
    journal.write_text("".join(json.dumps(line) + "\n" for line in (header, *others)))
    old = find_sweep(tmp_path, "rates")
    assert (old.blocks, old.space.compare.variance) == ("artifact", "shared")
    assert {verdict.test for verdict in verdicts_of(old, rows_of(old))} == {"t-test with pooled variance"}
    again = open_sweep(tmp_path, space_of(tmp_path, RATES))
    assert (again.name, "variance shared, blocks artifact" in again.note) == ("rates", True)
