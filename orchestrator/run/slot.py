"""A slot's thread in the driver, which keeps its worker group alive."""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable


class SlotThread(threading.Thread):
    """Keeps one slot alive until the board closes it; keeps the reason of its end.

    serve:      runs worker groups until the slot is closed; raises when too many of them died
    try_again:  whether a slot whose trainer ended deserves another one
    """

    def __init__(self, slot: int, serve: Callable[[int], None], try_again: Callable[[int], bool]):
        super().__init__(name=f"slot-{slot}", daemon=True)
        self._slot, self._serve, self._try_again = slot, serve, try_again
        self.fault = ""

    def run(self) -> None:
        while True:
            try:
                self._serve(self._slot)
                self.fault = ""
            except Exception:
                self.fault = traceback.format_exc()
                traceback.print_exc()  # into Ray's log: the board may start the slot again, or others go on without it
            if not self._try_again(self._slot):
                return
