"""What finished runs say about the spread: scores of each configuration, and differences of pairs."""

from results.rows.finished import Finished
from results.verdicts.arms import independent_scores, paired_differences, scores_in_blocks


def lists(arrays):
    return [array.tolist() for array in arrays]


ON_ONE_ARTIFACT = [
    Finished("base", 1, "one", 5.0), Finished("base", 2, "two", 6.0),
    Finished("c", 1, "one", 4.5), Finished("c", 2, "two", 5.75),
    Finished("b", 2, "two", 5.0),
]  # fmt: skip
APART = [Finished(run.config, run.seed, f"{run.config}{run.seed}", run.score) for run in ON_ONE_ARTIFACT]


def test_scores_of_one_artifact_count_once():
    assert lists(independent_scores(ON_ONE_ARTIFACT)) == [[5.0, 6.0]]
    assert lists(independent_scores(APART)) == [[5.0, 6.0], [4.5, 5.75], [5.0]]


def test_pairs_share_an_artifact_or_a_seed_and_follow_the_names_of_configurations():
    assert lists(paired_differences(ON_ONE_ARTIFACT, ["base"], "artifact")) == [[-1.0], [-0.5, -0.25]]
    assert lists(paired_differences(APART, ["base"], "seed")) == [[-1.0], [-0.5, -0.25]]
    assert lists(paired_differences(APART, ["base"], "artifact")) == [[], []]


def test_runs_of_one_artifact_are_no_pairs_by_seed():
    assert lists(paired_differences(ON_ONE_ARTIFACT, ["base"], "seed")) == []


def test_a_run_without_an_artifact_is_in_no_pair_by_artifact_and_counts_by_itself():
    runs = [Finished(config, 1, None, score) for config, score in (("base", 2.0), ("b", 1.0))]
    assert lists(paired_differences(runs, ["base"], "artifact")) == []
    assert lists(independent_scores(runs)) == [[2.0], [1.0]]


def test_runs_of_the_baseline_that_share_an_artifact_are_each_paired():
    runs = [Finished("base", 1, "one", 5.0), Finished("base", 2, "one", 6.0), Finished("b", 1, "one", 4.0)]
    assert lists(paired_differences(runs, ["base"], "artifact")) == [[-1.0, -2.0]]
    like_it = [*runs, Finished("b", 2, "one", 4.5)]
    assert lists(paired_differences(like_it, ["base"], "artifact")) == [[-1.0, -1.5]]


def test_the_table_in_blocks_holds_the_configurations_with_every_seed():
    assert scores_in_blocks(APART).tolist() == [[5.0, 6.0], [4.5, 5.75]]
    assert scores_in_blocks([]).shape == (0, 0)
