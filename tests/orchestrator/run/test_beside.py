"""A check beside a start: its lines and its fault reach the thread that waits; one that is left is ended."""

import threading

import pytest

from orchestrator.run.beside import Beside
from orchestrator.run.board_messages import BoardStatus, SlotStatus
from orchestrator.run.on_ray import is_under_way, wait_for_first
from orchestrator.run.trainer_process import run_trainer
from trainer.spec.errors import UserError
from trainer.spec.messages import Progress

NEVER = threading.Event()
SLEEP = ("timeit", "-n1", "-r1", "import time; time.sleep(60)")


def test_what_a_check_printed_is_handed_on_when_it_has_ended():
    with Beside(lambda console: console.print("every switch acts", style="dim"), 80) as checking:
        assert checking.wait(NEVER) == ["every switch acts"]


def test_what_a_check_raises_is_raised_where_it_is_waited_for():
    def refuse(console):
        raise UserError("dead part")

    with Beside(refuse, 80) as checking:
        with pytest.raises(UserError, match="dead part"):
            checking.wait(NEVER)
        with pytest.raises(UserError, match="dead part"):
            checking.raise_known()


def test_what_follows_a_check_is_not_waited_for_and_ends_with_it():
    began, ends = threading.Event(), []

    def follow():
        began.set()
        ends.append(run_trainer(*SLEEP).returncode)

    with Beside(lambda console: None, 80, follow) as checking:
        assert checking.wait(NEVER) == []
        assert began.wait(10)
    assert ends in ([], [-9])


def test_nothing_follows_a_check_that_failed():
    def refuse(console):
        raise UserError("dead part")

    with Beside(refuse, 80, lambda: pytest.fail("followed")) as checking, pytest.raises(UserError):
        checking.wait(NEVER)


def test_whoever_leaves_earlier_ends_the_process_of_the_check():
    ends = []
    with Beside(lambda console: ends.append(run_trainer(*SLEEP).returncode), 80) as checking:
        stop = threading.Event()
        threading.Timer(0.3, stop.set).start()
        assert checking.wait(stop) == []
    assert ends == [-9]


@pytest.mark.parametrize(
    ("run_id", "fraction", "pending", "expected"),
    [
        ("", None, ("waits",), False),  # about to take it
        ("held", None, (), False),
        ("held", 0.0, (), False),
        ("held", 0.01, (), True),
        ("", None, (), True),
    ],
)
def test_a_slot_is_under_way_once_it_computed_a_part_of_its_run_or_has_none_to_take(
    run_id, fraction, pending, expected
):
    progress = None if fraction is None else Progress("held", "train", fraction)
    opened = SlotStatus(0, True, False, "here", False, "", "", run_id, progress)
    starting = SlotStatus(1, False, False, "", False, "", "", "", None)
    assert is_under_way(BoardStatus((opened, starting), pending, "")) is expected
    assert not is_under_way(BoardStatus((starting,), pending, ""))


def test_a_slot_that_waits_for_the_first_goes_on_without_it_and_leaves_when_slots_are_ended():
    opened, ended, gone = threading.Event(), threading.Event(), threading.Thread()
    first = threading.current_thread()
    assert wait_for_first(opened, ended, first, 0.01)  # it has waited long enough
    assert wait_for_first(opened, ended, gone, 60)
    opened.set()
    assert wait_for_first(opened, ended, first, 60)
    ended.set()
    assert not wait_for_first(opened, ended, first, 60)
