"""Polls the board while a sweep runs, draws its status, and stops a sweep whose board no longer answers.

Imports no Ray: `ask` is a parameter. After SAY_AFTER_S without an answer a warning is printed, after STOP_AFTER_S the
sweep stops. A status that cannot be drawn or written is reported once; the sweep goes on.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from orchestrator.run.board_messages import BoardStatus, SlotStatus
from trainer.spec.units import human_seconds

LOOK_EVERY_S = 0.25
SAY_AFTER_S = 60.0
"""Without an answer; a busy machine may take seconds, and a board that died is back within one or two."""
STOP_AFTER_S = 600.0


class NoAnswer(Exception):
    """The board did not answer in time, or cannot."""


class Watch:
    """Polls the board; `stop` is set when the trials would wait for ever.

    ask:   the board's status; raises NoAnswer
    show:  draws it; may raise OSError, as on a full disk
    say:   one line for people
    """

    def __init__(
        self,
        ask: Callable[[], BoardStatus],
        show: Callable[[BoardStatus], None],
        say: Callable[[str], None],
        stop: threading.Event,
        clock: Callable[[], float] = time.monotonic,
    ):
        self._ask, self._show, self._say, self._stop, self._clock = ask, show, say, stop, clock
        self._answered_s = clock()
        self._said_silence = self._said_unshown = False
        self._lost: dict[int, str] = {}
        self.halted = ""
        """Why the board ends every slot; empty while the store takes what they compute."""
        self.silence = ""
        """Why the sweep was stopped for want of an answer; empty while the board answers."""
        self.refused: dict[str, str] = {}
        """Machines that cannot compute runs, and why."""

    def look(self) -> None:
        """Polls the board once."""
        try:
            status = self._ask()
        except NoAnswer as fault:
            self._note_silence(str(fault))
            return
        if self._said_silence:
            self._say("the board of this sweep answers again")
        self._answered_s, self._said_silence = self._clock(), False
        for slot in status.slots:
            self._note_slot(slot)
        if status.halted:
            self.halted = status.halted
            self._stop.set()
        try:
            self._show(status)
        except OSError as fault:
            if not self._said_unshown:
                self._say(f"the picture for other terminals cannot be kept ({fault}); the sweep goes on")
            self._said_unshown = True

    def _note_slot(self, slot: SlotStatus) -> None:
        """Says once that a machine is gone, or cannot compute."""
        if slot.refused and slot.machine not in self.refused:
            self.refused[slot.machine] = slot.refused
            self._say(f"machine {slot.machine} takes no runs: {slot.refused}")
        if slot.lost_machine and self._lost.get(slot.slot) != slot.lost_machine:
            self._say(f"machine {slot.lost_machine} is gone; its run goes on elsewhere from its last snapshot")
        self._lost[slot.slot] = slot.lost_machine

    def _note_silence(self, fault: str) -> None:
        silent_s = self._clock() - self._answered_s
        message = f"the board, which hands out the runs, gave no answer for {human_seconds(silent_s)} ({fault})"
        if silent_s >= STOP_AFTER_S:
            self.silence = message
            self._stop.set()
        elif silent_s >= SAY_AFTER_S and not self._said_silence:
            self._said_silence = True
            self._say(f"{message}; the sweep stops if there is none within {human_seconds(STOP_AFTER_S)}")


@contextmanager
def looking(watch: Watch, before: Callable[[], None], stop: threading.Event) -> Iterator[None]:
    """Polls every LOOK_EVERY_S seconds in a thread of its own, for the length of the block.

    before:  called before each poll
    Raises at the end any exception of a poll other than NoAnswer; it also sets `stop`.
    """
    done = threading.Event()
    broken: list[Exception] = []

    def keep_looking() -> None:
        try:
            while not done.wait(LOOK_EVERY_S):
                before()
                watch.look()
        except Exception as fault:  # raised below: in this thread it would be lost, and the trials would wait
            broken.append(fault)
            stop.set()

    thread = threading.Thread(target=keep_looking, name="screen", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
    if broken:
        raise broken[0]
