"""A check that runs while something else starts: the driver waits for its end before it begins what depends on it."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable

from rich.console import Console

from orchestrator.run.trainer_process import end_running

LOOK_S = 0.05
END_WAIT_S = 5.0
"""For the thread, once its process was ended."""


class Beside:
    """Runs a check in a thread; `wait` gives what it printed, or raises what it raised. A context manager: whoever
    leaves earlier ends the check's process.

    then:  called in the thread after a check that raised nothing; nobody waits for it
    """

    def __init__(self, check: Callable[[Console], None], width: int, then: Callable[[], None] | None = None):
        self._printed = io.StringIO()
        self._console = Console(file=self._printed, width=width)
        self._check, self._then = check, then
        self._checked, self._left = threading.Event(), threading.Event()
        self._fault: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="check", daemon=True)

    def __enter__(self) -> Beside:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._left.set()
        end_running()  # also of what a check left running for `then`
        self._thread.join(END_WAIT_S)

    def wait(self, stop: threading.Event) -> list[str]:
        """The lines that it printed, once it has ended; those so far where `stop` is raised before."""
        while not self._checked.is_set() and not stop.is_set():
            self._checked.wait(LOOK_S)
        if not stop.is_set():
            self.raise_known()
        return self._printed.getvalue().splitlines()

    def raise_known(self) -> None:
        """Raises what the check has raised by now."""
        if self._fault is not None:
            raise self._fault

    def _run(self) -> None:
        try:
            self._check(self._console)
        except BaseException as fault:  # raised in the thread that waits
            self._fault = fault
        finally:
            self._checked.set()
        if self._then is not None and self._fault is None and not self._left.is_set():
            self._then()
