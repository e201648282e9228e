"""Where a sweep stands, from its queue and records: for the screen, and for `status` in another terminal."""

from __future__ import annotations

import contextlib
import statistics
import time
from collections import deque

from orchestrator.search.run_queue import RunQueue
from orchestrator.search.state import SweepState
from orchestrator.space.configuration import Configuration, label
from orchestrator.status.screen import Screen
from orchestrator.sweep.live import SlotPicture, SweepPicture, driven_s, write_live
from orchestrator.sweep.notes import read_plan
from orchestrator.sweep.sweep import Sweep
from trainer.spec.messages import Progress
from trainer.spec.record import split_run_id


def describe(slot: int, progress: Progress, overview: Overview) -> SlotPicture:
    """'train  ttt.lr=0.003  seed 42  step 120  loss 3.214', with its bar."""
    parts = [f"{progress.stage:<8}", overview.name(progress.run_id), progress.detail]
    return SlotPicture(slot, "  ".join(part for part in parts if part), progress.fraction)


WRITE_EVERY_S = 1.0


class Overview:
    """Counts, best so far and time left of one sweep while it runs."""

    def __init__(self, sweep: Sweep, queue: RunQueue):
        self._sweep, self._queue = sweep, queue
        self._started_s = time.monotonic()
        self._planned_s = next((row["wall_s"] for row in read_plan(sweep.folder) or () if "wall_s" in row), None)
        self._driven_before_s = driven_s(sweep.folder) or 0.0
        self._done_before = len(queue.records)
        self._ends_s: deque[float] = deque(maxlen=12)
        self._seen = self._done_before
        self._written_s = 0.0

    @property
    def runs_left(self) -> int:
        return self._queue.total_runs - len(self._queue.records)

    def show(self, screen: Screen, slots: tuple[SlotPicture, ...]) -> None:
        """Draws the sweep as it stands, and leaves the same picture for other terminals."""
        picture = self.picture(slots)
        screen.show(picture)
        if time.monotonic() - self._written_s > WRITE_EVERY_S:
            self._written_s = time.monotonic()
            self._write(picture)

    def close(self) -> None:
        """Leaves the last picture, with all the time this driver took."""
        with contextlib.suppress(OSError):  # a full disk was told of by whoever computed; this hides no other fault
            self._write(self.picture(()))

    def _write(self, picture: SweepPicture) -> None:
        write_live(self._sweep.folder, picture, self._driven_before_s + picture.elapsed_s)

    def picture(self, slots: tuple[SlotPicture, ...]) -> SweepPicture:
        records = dict(self._queue.records)
        now_s = time.monotonic()
        if len(records) != self._seen:
            self._ends_s.extend([now_s] * (len(records) - self._seen))
            self._seen = len(records)
        run_s = self._run_s(now_s)
        comparable = self._comparable()
        baseline = next((spread(scores) for scores, which in comparable if which.is_baseline), "not complete yet")
        best = min(comparable, key=lambda item: statistics.mean(item[0]), default=None)
        return SweepPicture(
            name=self._sweep.name,
            runs_done=len(records),
            runs_total=self._queue.total_runs,
            runs_failed=sum(record.status == "failed" for record in records.values()),
            best=f"{spread(best[0])}  {label(best[1], self._sweep.space)}" if best else "no configuration complete yet",
            baseline=baseline,
            slots=slots,
            elapsed_s=now_s - self._started_s,
            left_s=self._left_s(now_s, run_s),
            runs_per_min=60 / run_s if run_s else None,
        )

    def name(self, run_id: str) -> str:
        """A run as people know it: its values and its seed."""
        run = self._queue.configuration_of(run_id)
        if run is None:
            return run_id
        asked = self._queue.configurations[run.index]
        short = f"  {run.rung:g} of the schedule" if run.rung < 1 else ""
        return f"{label(asked, self._sweep.space)}{short}  seed {split_run_id(run_id)[1]}"

    def _comparable(self) -> list[tuple[list[float], Configuration]]:
        """Configurations with the scores of all their seeds; in a race, of the seeds that all still in it have."""
        state = self._queue.state
        scored = [(_scores(state, which), which) for which in self._queue.configurations]
        race = self._sweep.space.race is not None
        shared = [len(scores) for scores, which in scored if race and state.outcome(which) is None]
        if shared:
            return [(scores[: min(shared)], which) for scores, which in scored if len(scores) >= min(shared) > 0]
        return [(scores, which) for scores, which in scored if len(scores) == len(state.seeds_of(which))]

    def _run_s(self, now_s: float) -> float | None:
        """Seconds from one run's end to the next, over the newest ones; None before two runs ended."""
        return None if len(self._ends_s) < 2 else (now_s - self._ends_s[0]) / len(self._ends_s)

    def _left_s(self, now_s: float, run_s: float | None) -> float | None:
        """Pace times what is left; before there is a pace, what the plan expected."""
        if run_s is not None:
            return run_s * self.runs_left
        if self._planned_s is None or self._done_before:
            return None
        return max(self._planned_s - (now_s - self._started_s), 0.0) or None


def _scores(state: SweepState, configuration: Configuration) -> list[float]:
    """The headline of its seeds in order, up to the first that is missing or failed."""
    scores: list[float] = []
    for seed in state.seeds_of(configuration):
        record = state.records.get(configuration.run_id(seed))
        value = record.metric(record.headline, "val_bpb") if record and record.status == "done" else None
        if value is None:
            break
        scores.append(float(value))
    return scores


def spread(scores: list[float]) -> str:
    """'2.3456 ± 0.0012 bits per byte (n = 3)': mean and standard deviation over seeds."""
    sd = f" ± {statistics.stdev(scores):.4f}" if len(scores) > 1 else ""
    return f"{statistics.mean(scores):.4f}{sd} bits per byte (n = {len(scores)})"
