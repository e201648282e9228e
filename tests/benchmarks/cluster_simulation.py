"""How many nodes a sweep of 10,000 runs can use: its slots, its driver and its board simulated, event by event.

    python -m tests.benchmarks.cluster_simulation     the tables of docs/clusters.md; some minutes

Stage times are those that presets declare; runs are chosen by the function that the feed uses (`next_run`), among as
many as the feed looks ahead; costs of the orchestration are measured. Not simulated: start of machines, faults, what a
search learns, a store that is slower the more nodes write to it.
"""

from __future__ import annotations

import heapq
import itertools
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.run.tuner import HEARTBEAT_S
from orchestrator.search.next_run import Stage, look_ahead, next_run
from trainer.spec.load import expected_of, load_preset
from trainer.spec.units import human_seconds
from trainer.worker_group import REPORT_EVERY_S

NODES = (1, 2, 4, 8, 16, 32, 64, 128)
NUM_RUNS = 10_000
DRIVER_CALLS_PER_S = 12.0
"""Of the driver to the board, whatever the number of slots: status, nodes, quarantine."""
GIB = 2**30
Chain = Sequence[Stage]
"""The stages that a run needs, in running order."""


@dataclass(frozen=True)
class Costs:
    """Seconds of one processor, and memory of the head, that orchestration takes. As measured on 2026-11-27, with Ray
    2.60 (`python -m tests.benchmarks.cluster_costs`), and the feed's for a sweep that has 10,000 records."""

    end_s: float = 0.006
    """The driver: a run that ended enters queue, ledger and study."""
    choose_s: float = 0.005
    """The driver: the next run is chosen, and Tune gives it to a trial."""
    result_s: float = 0.0014
    """The driver: Tune handles one report of a trial, each HEARTBEAT_S."""
    call_s: float = 0.0006
    """The board: one call."""
    trial_bytes: float = 0.25 * GIB
    """Memory on the head of the process of one trial."""
    controller_bytes: float = 0.30 * GIB
    """Memory on the head of the process that watches one slot's worker group."""

    def driver_load(self, slots: int) -> float:
        """Part of its time that the driver hears reports of trials, of which there is one more than slots."""
        return (slots + 1) / HEARTBEAT_S * self.result_s

    def board_load(self, slots: int) -> float:
        """Part of its time that the board answers trials, slots and driver."""
        return ((slots + 1) / HEARTBEAT_S + slots / REPORT_EVERY_S + DRIVER_CALLS_PER_S) * self.call_s

    def head_bytes(self, slots: int) -> float:
        """Memory on the head that grows with the slots."""
        return (slots + 1) * self.trial_bytes + slots * self.controller_bytes

    def beside_reports(self, work_s: float, slots: int) -> float:
        """Seconds that some work of the driver takes beside the reports; at most one of each trial comes in between."""
        load, all_s = self.driver_load(slots), (slots + 1) * self.result_s
        return min(work_s / (1 - load), work_s + all_s) if load < 1 else work_s + all_s


FREE = Costs(0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
"""An orchestration that costs nothing."""


@dataclass(frozen=True)
class Outcome:
    """What a simulated sweep took."""

    whole_s: float
    computed_s: float
    """Over all slots."""
    slots: int

    @property
    def busy(self) -> float:
        """Part of the slots' time in which they computed."""
        return self.computed_s / (self.whole_s * self.slots)


class Simulation:
    """One sweep on so many slots, event by event: ends of stages and of the driver's pieces of work."""

    def __init__(self, chains: Sequence[Chain], seconds: Mapping[str, float], slots: int, costs: Costs, ahead: int):
        self._waiting, self._seconds, self._slots, self._costs, self._ahead = chains, seconds, slots, costs, ahead
        self._num_seen = 0
        self._window: list[Chain] = []
        self._stored: set[Stage] = set()
        self._blocked: dict[Stage, list[Chain]] = {}
        """Stages that a slot computes, and the runs on other slots that wait for them."""
        self._out: Counter[Stage] = Counter()
        self._num_out = 0
        self._on_board: deque[Chain] = deque()
        self._idle = slots
        self._driver_free_s = 0.0
        self._events: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._ticket = itertools.count()
        self._now_s = self._computed_s = self._last_s = 0.0

    def run(self) -> Outcome:
        """Simulates until the last run has ended."""
        self._choose()
        while self._events:
            self._now_s, _, act, arguments = heapq.heappop(self._events)
            act(*arguments)
        assert (self._num_seen, self._window) == (len(self._waiting), []), "a run was never chosen"
        return Outcome(self._last_s, self._computed_s, self._slots)

    def _after(self, seconds: float, act: Callable[..., None], *arguments: Any) -> None:
        heapq.heappush(self._events, (self._now_s + seconds, next(self._ticket), act, arguments))

    def _by_driver(self, work_s: float, act: Callable[..., None], *arguments: Any) -> None:
        """The driver does one thing after another."""
        began_s = max(self._now_s, self._driver_free_s)
        self._driver_free_s = began_s + self._costs.beside_reports(work_s, self._slots)
        self._after(self._driver_free_s - self._now_s, act, *arguments)

    def _choose(self) -> None:
        """As the feed, while Tune asks: one run more than there are slots is under way."""
        while self._num_out <= self._slots:
            new = self._waiting[self._num_seen : self._num_seen + self._ahead - len(self._window)]
            self._window += new
            self._num_seen += len(new)
            position = next_run([self._next_stage(chain) for chain in self._window], self._out.__contains__)
            if position is None:
                return
            chain = self._window.pop(position)
            self._num_out += 1
            self._out.update(stage for stage in chain if stage not in self._stored)
            self._by_driver(self._costs.choose_s, self._place, chain)

    def _next_stage(self, chain: Chain) -> Stage | None:
        return next((stage for stage in chain if stage not in self._stored), None)

    def _place(self, chain: Chain) -> None:
        self._on_board.append(chain)
        self._take()

    def _take(self) -> None:
        while self._idle and self._on_board:
            self._idle -= 1
            self._go_on(self._on_board.popleft())

    def _go_on(self, chain: Chain) -> None:
        """A slot takes what the store has, waits for what another slot computes, computes the rest."""
        stage = self._next_stage(chain)
        if stage is None:
            self._last_s = self._now_s
            self._idle += 1
            self._take()
            self._by_driver(self._costs.end_s, self._note_end)
        elif stage in self._blocked:
            self._blocked[stage].append(chain)
        else:
            self._blocked[stage] = []
            self._computed_s += self._seconds[stage[0]]
            self._after(self._seconds[stage[0]], self._store, stage, chain)

    def _store(self, stage: Stage, chain: Chain) -> None:
        self._stored.add(stage)
        self._out.pop(stage, None)
        for other in [chain, *self._blocked.pop(stage)]:
            self._go_on(other)
        self._choose()

    def _note_end(self) -> None:
        self._num_out -= 1
        self._choose()


def simulated(
    chains: Sequence[Chain], seconds: Mapping[str, float], slots: int, costs: Costs, ahead: int | None = None
) -> Outcome:
    """What a sweep of these runs takes on so many slots.

    ahead:  runs among which the next one is chosen; None for as many as the feed looks at
    """
    return Simulation(chains, seconds, slots, costs, ahead or look_ahead(slots)).run()


def seconds_of(preset: str) -> dict[str, float]:
    """What the preset declares for each stage."""
    recipe, declared = load_preset(preset).recipe, expected_of(preset)
    assert declared is not None
    named = {stage: declared.stage_s(recipe, stage) for stage in ("train_text", "val_text", *STAGES)}
    return {stage: seconds for stage, seconds in named.items() if seconds is not None}


STAGES = ("train", "export", "evaluate", "adapt")


def chains_of(trainings: int, seeds: int, settings: int) -> list[Chain]:
    """Runs in the order of a queue: configurations one after another, each on every seed.

    Settings of test-time training share the training of their configuration and seed, as in a grid whose last parameter
    is the setting.
    """
    text = [("train_text", ""), ("val_text", "")]
    chains: list[Chain] = []
    for training, setting, seed in itertools.product(range(trainings), range(settings), range(seeds)):
        trained = f"{training} {seed}"
        shared = [(stage, trained) for stage in STAGES if stage != "adapt"]
        chains.append([*text, *shared, ("adapt", f"{trained} {setting}")])
    return chains


SWEEPS = {
    "every run trains (2,000 configurations x 5 seeds)": (2000, 5, 1),
    "10 settings of TTT for each training (200 x 10 x 5 seeds)": (200, 5, 10),
    "all settings on the trainings of 50 seeds (200 settings)": (1, 50, 200),
}


def print_tables(costs: Costs) -> None:
    """The tables of docs/clusters.md."""
    for preset in ("pr549", "tiny"):
        seconds = seconds_of(preset)
        for name, shape in SWEEPS.items():
            chains = chains_of(*shape)
            print(f"\n{preset}, {name}: {', '.join(f'{stage} {s:.0f} s' for stage, s in seconds.items())}")
            print("| nodes | the sweep takes | slots busy | orchestration's share | driver | board | head |")
            for nodes in NODES:
                free, real = (simulated(chains, seconds, nodes, used) for used in (FREE, costs))
                share = 1 - free.whole_s / real.whole_s
                print(
                    f"| {nodes} | {human_seconds(real.whole_s)} | {real.busy:.1%} | {share:.2%} "
                    f"| {costs.driver_load(nodes):.0%} | {costs.board_load(nodes):.0%} "
                    f"| {costs.head_bytes(nodes) / GIB:.1f} GiB |"
                )


if __name__ == "__main__":
    print_tables(Costs())
