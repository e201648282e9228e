"""The next run of several that wait: the stage that most share first, none that is being computed."""

from orchestrator.search.next_run import next_run

A, B = ("train", "a"), ("train", "b")


def chosen(needed, *busy):
    return next_run(needed, set(busy).__contains__)


def test_the_stage_that_most_runs_share_comes_first():
    assert chosen([A, B, B]) == 1


def test_of_equally_shared_stages_the_first_asked_comes_first():
    assert chosen([A, B, B, A]) == 0


def test_no_run_is_chosen_that_would_wait_for_a_stage_in_computation():
    assert chosen([A, B, B], B) == 0
    assert chosen([B, B], B) is None


def test_runs_that_have_all_their_stages_wait_for_nothing():
    assert chosen([A, None], A) == 1


def test_without_a_waiting_run_there_is_no_next_one():
    assert chosen([]) is None
