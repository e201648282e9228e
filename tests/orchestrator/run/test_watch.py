"""A driver that looks at its board: what it does when nobody answers, and when what it sees cannot be drawn."""

import threading

import pytest

from orchestrator.run import watch as module
from orchestrator.run.board_messages import BoardStatus
from orchestrator.run.watch import SAY_AFTER_S, STOP_AFTER_S, NoAnswer, Watch, looking

IDLE = BoardStatus((), (), "")


class Scene:
    """A watch with a clock moved by hand, a board that answers or is dead, and all that was said."""

    def __init__(self, show=lambda status: None):
        self.now_s, self.board, self.said, self.stop = 0.0, IDLE, [], threading.Event()
        self.watch = Watch(self.ask, show, self.said.append, self.stop, clock=lambda: self.now_s)

    def ask(self) -> BoardStatus:
        if self.board is None:
            raise NoAnswer("GetTimeoutError: no answer in 5 s")
        return self.board

    def look_at(self, now_s: float) -> None:
        self.now_s = now_s
        self.watch.look()


def test_a_busy_board_is_asked_again_in_silence():
    scene = Scene()
    scene.board = None
    scene.look_at(SAY_AFTER_S - 1)
    scene.board = IDLE
    scene.look_at(SAY_AFTER_S)
    scene.board = None
    scene.look_at(2 * SAY_AFTER_S - 1)
    assert (scene.said, scene.stop.is_set()) == ([], False)


def test_a_silent_board_is_spoken_of_once_and_then_stops_the_sweep():
    scene = Scene()
    scene.board = None
    for now_s in (SAY_AFTER_S, SAY_AFTER_S + 5, STOP_AFTER_S - 1):
        scene.look_at(now_s)
    (line,) = scene.said
    assert "gave no answer for 1 min 00 s (GetTimeoutError: no answer in 5 s)" in line
    assert (scene.stop.is_set(), scene.watch.silence) == (False, "")
    scene.look_at(STOP_AFTER_S)
    assert scene.stop.is_set()
    assert "gave no answer for 10 min 00 s" in scene.watch.silence


def test_a_board_that_comes_back_is_said_to_and_its_silence_is_forgotten():
    scene = Scene()
    scene.board = None
    scene.look_at(SAY_AFTER_S)
    scene.board = IDLE
    scene.look_at(SAY_AFTER_S + 1)
    scene.board = None
    scene.look_at(STOP_AFTER_S)
    assert len(scene.said) == 3
    assert scene.said[1] == "the board of this sweep answers again"
    assert not scene.stop.is_set()


def test_a_board_that_was_halted_stops_the_sweep():
    scene = Scene()
    scene.board = BoardStatus((), (), "no room")
    scene.look_at(1)
    assert (scene.stop.is_set(), scene.watch.halted, scene.watch.silence) == (True, "no room", "")


def test_a_picture_that_cannot_be_kept_is_said_once_and_stops_nothing():
    def full(status):
        raise OSError(28, "No space left on device")

    scene = Scene(show=full)
    scene.look_at(1)
    scene.look_at(2)
    (line,) = scene.said
    assert "No space left on device" in line
    assert not scene.stop.is_set()


def test_whatever_else_breaks_a_look_stops_the_sweep_and_is_raised(monkeypatch):
    monkeypatch.setattr(module, "LOOK_EVERY_S", 0.001)

    def broken(status):
        raise KeyError("a run that nobody knows")

    scene = Scene(show=broken)
    with pytest.raises(KeyError, match="nobody knows"), looking(scene.watch, lambda: None, scene.stop):
        assert scene.stop.wait(20)
