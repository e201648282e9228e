"""Where a sweep stands, from its queue and records: for the screen, and for `status` in another terminal."""

from __future__ import annotations

import contextlib
import math
import operator
import statistics
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.search.run_queue import RunQueue
from orchestrator.search.state import SweepState
from orchestrator.space.configuration import Configuration, label
from orchestrator.status.screen import Screen
from orchestrator.sweep.live import SlotPicture, SweepPicture, driven_s, write_live
from orchestrator.sweep.notes import read_plan
from orchestrator.sweep.sweep import Sweep
from results.rows.ranking import Breach, Ranking
from results.rows.row import Row, kind_of_error, row_of, short_error
from results.rows.score_text import short_text
from trainer.spec.messages import Progress
from trainer.spec.record import Record, split_run_id


def describe(slot: int, progress: Progress, overview: Overview, machine: str = "") -> SlotPicture:
    """'train  ttt.lr=0.003  seed 42  step 120  loss 3.214  12,345 tokens/s', with its bar."""
    parts = [f"{progress.stage:<8}", overview.name(progress.run_id), progress.detail, *_speeds(progress)]
    return SlotPicture(
        slot,
        "  ".join(part for part in parts if part),
        progress.fraction,
        progress.stage,
        machine,
        progress.tokens_per_s,
        progress.mfu,
        progress.gpu_use,
    )


def _speeds(progress: Progress) -> list[str]:
    """Speed and use of the device, as far as they are known."""
    speed = "" if progress.tokens_per_s is None else f"{progress.tokens_per_s:,.0f} tokens/s"
    mfu = "" if progress.mfu is None else f"MFU {progress.mfu:.0%}"
    return [speed, mfu, "" if progress.gpu_use is None else f"GPUs {progress.gpu_use:.0%}"]


WRITE_EVERY_S = 1.0


class Overview:
    """Counts, best so far and time left of one sweep while it runs."""

    def __init__(self, sweep: Sweep, queue: RunQueue):
        self._sweep, self._queue = sweep, queue
        self._ranking, self._arms = sweep.space.ranking(), dict[str, _Arm]()
        self._started_s = time.monotonic()
        self._planned_s = next((row["wall_s"] for row in read_plan(sweep.folder) or () if "wall_s" in row), None)
        self._driven_before_s = driven_s(sweep.folder) or 0.0
        self._done_before = len(queue.records)
        self._ends_s: deque[float] = deque(maxlen=12)
        self._seen = self._done_before
        self._failures = {kind_of_error(record.error) for record in queue.records.values() if record.status == "failed"}
        self._written_s = 0.0

    @property
    def runs_left(self) -> int:
        return self._queue.total_runs - len(self._queue.records)

    def show(self, screen: Screen, slots: tuple[SlotPicture, ...]) -> SweepPicture:
        """Draws the state of the sweep, and writes the same picture for other terminals; returns it. The first failure
        of each kind is said at once: a mistake in the search space fails every run, and most can be stopped."""
        for line in self._new_failures():
            screen.say(line, "red")
        picture = self.picture(slots)
        screen.show(picture)
        if time.monotonic() - self._written_s > WRITE_EVERY_S:
            self._written_s = time.monotonic()
            self._write(picture)
        return picture

    def close(self) -> None:
        """Writes the last picture, with all the time this driver took."""
        with contextlib.suppress(OSError):  # a full disk was reported by the run that hit it; other errors are raised
            self._write(self.picture(()))

    def _write(self, picture: SweepPicture) -> None:
        write_live(self._sweep.folder, picture, self._driven_before_s + picture.elapsed_s)

    def _new_failures(self) -> list[str]:
        lines = []
        for run_id, record in dict(self._queue.records).items():
            if record.status == "failed" and (kind := kind_of_error(record.error)) not in self._failures:
                self._failures.add(kind)
                lines.append(f"failed: {self.name(run_id)}: {short_error(record.error)}")
        return lines

    def picture(self, slots: tuple[SlotPicture, ...]) -> SweepPicture:
        records = dict(self._queue.records)
        now_s = time.monotonic()
        if len(records) != self._seen:
            self._ends_s.extend([now_s] * (len(records) - self._seen))
            self._seen = len(records)
        run_s = self._run_s(now_s)
        comparable = self._comparable()
        baseline = next((self._spread(arm) for arm in comparable if arm.configuration.is_baseline), "not complete yet")
        return SweepPicture(
            name=self._sweep.name,
            runs_done=len(records),
            runs_total=self._queue.total_runs,
            runs_failed=sum(record.status == "failed" for record in records.values()),
            best=self._best(comparable),
            baseline=baseline,
            slots=slots,
            elapsed_s=now_s - self._started_s,
            left_s=self._left_s(now_s, run_s),
            runs_per_min=60 / run_s if run_s else None,
        )

    def name(self, run_id: str) -> str:
        """The label of a run: its values and its seed."""
        run = self._queue.configuration_of(run_id)
        if run is None:
            return run_id
        configuration = self._queue.configurations[run.index]
        short = f"  {run.rung:g} of the schedule" if run.rung < 1 else ""
        return f"{label(configuration, self._sweep.space)}{short}  seed {split_run_id(run_id)[1]}"

    def _best(self, comparable: Sequence[_Arm]) -> str:
        """The best ranked configuration with its spread, or why there is none: one that is infeasible is never best."""
        if not comparable:
            return "not known yet"
        infeasible = [arm for arm in comparable if arm.breaches]
        if len(infeasible) == len(comparable):
            return f"none of {len(infeasible)} is feasible; the newest: {'; '.join(map(str, infeasible[-1].breaches))}"
        best = min((a for a in comparable if not a.breaches), key=lambda arm: self._ranking.ascending(arm.mean))
        beside = f"  ({len(infeasible)} infeasible left out)" if infeasible else ""
        return f"{self._spread(best)}  {label(best.configuration, self._sweep.space)}{beside}"

    def _spread(self, arm: _Arm) -> str:
        return f"{self._ranking.metric} {spread(arm.scores, self._ranking.unit)}"

    def _comparable(self) -> list[_Arm]:
        """Configurations with the scores of all their seeds; in a race, of the seeds that all still in it have."""
        state = self._queue.state
        arms = [self._arm(state, which) for which in self._queue.configurations]
        race = self._sweep.space.race is not None
        shared = [len(arm.scores) for arm in arms if race and state.outcome(arm.configuration) is None]
        if shared:
            fewest = min(shared)
            return [arm.shortened(fewest, self._ranking) for arm in arms if len(arm.scores) >= fewest > 0]
        return [arm for arm in arms if len(arm.scores) == len(state.seeds_of(arm.configuration))]

    def _arm(self, state: SweepState, configuration: Configuration) -> _Arm:
        """The finished runs of a configuration in the order of its seeds; read again only when it has other records."""
        run_ids = [configuration.run_id(seed) for seed in state.seeds_of(configuration)]
        records = [state.records.get(run_id) for run_id in run_ids]
        known = self._arms.get(configuration.id)
        if known is None or not _same(known.records, records):
            known = self._arms[configuration.id] = _Arm.of(configuration, records, self._ranking)
        return known

    def _run_s(self, now_s: float) -> float | None:
        """Seconds from one run's end to the next, over the newest ones; None before two runs ended."""
        return None if len(self._ends_s) < 2 else (now_s - self._ends_s[0]) / len(self._ends_s)

    def _left_s(self, now_s: float, run_s: float | None) -> float | None:
        """Seconds per run times the runs left; before two runs ended, the estimate of the plan."""
        if run_s is not None:
            return run_s * self.runs_left
        if self._planned_s is None or self._done_before:
            return None
        return max(self._planned_s - (now_s - self._started_s), 0.0) or None


def spread(scores: Sequence[float], unit: str = "bits per byte") -> str:
    """'2.3456 bits per byte (sd 0.0012, n = 3)': mean and standard deviation over seeds."""
    kind = unit or "of a program's own"
    sd = f"sd {short_text(statistics.stdev(scores), kind)}, " if len(scores) > 1 else ""
    sd = "all the same, " if len(scores) > 1 and len(set(scores)) == 1 else sd
    return f"{short_text(statistics.mean(scores), kind)}{f' {unit}' if unit else ''} ({sd}n = {len(scores)})"


@dataclass(frozen=True)
class _Arm:
    """The scores of one configuration, as the screen shows them."""

    configuration: Configuration
    records: Sequence[Record | None]
    """Of the seeds it needs, as they were when this was worked out."""
    rows: Sequence[Row]
    """Of its finished runs in the order of its seeds, up to the first that is missing or has no score."""
    scores: Sequence[float]
    mean: float
    """NaN without a score."""
    breaches: Sequence[Breach]
    """Why it may not be ranked."""

    @classmethod
    def of(cls, configuration: Configuration, records: Sequence[Record | None], ranking: Ranking) -> _Arm:
        rows: list[Row] = []
        for record in records:
            row = None if record is None else row_of(record.model_dump(mode="json"), "", ())
            if row is None or ranking.score(row) is None:
                break
            rows.append(row)
        return cls._from(configuration, records, rows, ranking)

    @classmethod
    def _from(
        cls, configuration: Configuration, records: Sequence[Record | None], rows: Sequence[Row], ranking: Ranking
    ) -> _Arm:
        scores = [score for row in rows if (score := ranking.score(row)) is not None]
        mean = statistics.fmean(scores) if scores else math.nan
        return cls(configuration, records, rows, scores, mean, ranking.breaches(rows))

    def shortened(self, num_seeds: int, ranking: Ranking) -> _Arm:
        """The same for its first seeds alone."""
        if len(self.rows) == num_seeds:
            return self
        return self._from(self.configuration, self.records, self.rows[:num_seeds], ranking)


def _same(before: Sequence[Record | None], after: Sequence[Record | None]) -> bool:
    """Whether these are the same records: the very objects, for comparing their contents would take longer."""
    return len(before) == len(after) and all(map(operator.is_, before, after))
