"""The runs that the machine check has seen, with what it asks of them kept up to date: speeds, and who computed what.

Each answer costs as much as there are machines, not runs: a sweep of 10,000 runs asks after each of them.
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

from trainer.spec.record import Record

Computed = tuple[str, str, str, str]
"""A stage, its fingerprint, its host and its start: identifies one computation of the stage."""
Peers = tuple[str, int, str]
"""Hardware, ranks and workload: machines of one hardware that trained a model of the same sizes are compared."""


class SeenRuns:
    """Records by run id, of runs that ended and were not set aside."""

    def __init__(self, records: Mapping[str, Record] = {}):
        self._records: dict[str, Record] = {}
        self._speeds: defaultdict[Peers, dict[str, list[tuple[float, str]]]] = defaultdict(dict)
        self._users: defaultdict[str, dict[Computed, dict[str, None]]] = defaultdict(dict)
        self._checked: Counter[Computed] = Counter()
        for run_id, record in records.items():
            self.add(run_id, record)

    def __getitem__(self, run_id: str) -> Record:
        return self._records[run_id]

    def __iter__(self) -> Iterator[str]:
        """Run ids in the order in which they were added."""
        return iter(self._records)

    def add(self, run_id: str, record: Record) -> None:
        """A run that ended; an earlier record of it is forgotten."""
        if run_id in self._records:
            self.pop(run_id)
        self._records[run_id] = record
        for computed in computations_of(record):
            self._users[computed[2]].setdefault(computed, {})[run_id] = None
            self._checked[computed] += computed[0] in record.stages_run
        if (speed := speed_of(record)) is not None:
            insort(self._speeds[_peers(record)].setdefault(_machine(record), []), (speed, run_id))

    def pop(self, run_id: str) -> Record:
        """Forgets a run, and returns its record."""
        record = self._records.pop(run_id)
        for computed in computations_of(record):
            self._users[computed[2]][computed].pop(run_id)
            self._checked[computed] -= computed[0] in record.stages_run
        if (speed := speed_of(record)) is not None:
            measured = self._speeds[_peers(record)][_machine(record)]
            del measured[bisect_left(measured, (speed, run_id))]
        return record

    def peer_speed(self, record: Record) -> tuple[float, str] | None:
        """The fastest median among other machines of this run's hardware, ranks and workload, and which one that is."""
        return self._fastest_but(_machine(record), _peers(record))

    def slow_beside(self, record: Record, least: float) -> Iterator[str]:
        """Runs, of the machines that this one's speed is compared with, slower than so much of their peers' speed."""
        group = _peers(record)
        for machine, measured in self._speeds[group].items():
            fastest = self._fastest_but(machine, group)
            if fastest is None:
                continue
            yield from (run_id for _, run_id in measured[: bisect_left(measured, (least * fastest[0], ""))])

    def users(self, computed: Computed) -> Iterable[str]:
        """The runs whose result stands on a computation."""
        return self._users[computed[2]].get(computed, {})

    def unchecked(self, host: str) -> Iterator[Computed]:
        """Computations of a machine that seen runs used, and no seen run on that machine lists as its own."""
        for computed, users in self._users[host].items():
            if users and not self._checked[computed]:
                yield computed

    def _fastest_but(self, machine: str, group: Peers) -> tuple[float, str] | None:
        medians = {
            other: _median(measured)
            for other, measured in self._speeds[group].items()
            if other != machine and measured and measured[-1][0]
        }
        fastest = max(medians, key=medians.__getitem__, default=None)
        return None if fastest is None else (medians[fastest], f"machine {fastest}")


def computations_of(record: Record) -> list[Computed]:
    """Every stage whose result a run used, computed by it or by another run."""
    return [(stage, made.fingerprint, made.host, made.started_at) for stage, made in record.stages.items()]


def speed_of(record: Record) -> float | None:
    """Training tokens per second, if the run trained itself."""
    speed = record.metric("train", "tokens_per_s") if "train" in record.stages_run else None
    return None if speed is None else float(speed)


def _median(measured: Sequence[tuple[float, str]]) -> float:
    """Of the speeds above 0, which are sorted; one of them at least is."""
    first = bisect_left(measured, (math.ulp(0.0), ""))
    low, high = (first + len(measured) - 1) // 2, (first + len(measured)) // 2
    return (measured[low][0] + measured[high][0]) / 2


def _peers(record: Record) -> Peers:
    return record.hardware, record.num_ranks, record.stages["train"].workload


def _machine(record: Record) -> str:
    return record.machine.get("name", "")
