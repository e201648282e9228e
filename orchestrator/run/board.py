"""The board: pending runs, and what each slot computes. A plain class; the driver makes it an actor.

Imports neither torch nor Ray. Every call is idempotent, so a caller that does not know whether its last call arrived
may call again. Results are not kept here: a finished run is a record on disk. A board that was restarted is empty and
is filled again: trials send their whole request with every `wait`, slots call `open_slot` when `take` returns REOPEN.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Collection
from dataclasses import dataclass, field

from orchestrator.run.board_messages import BoardStatus, RunStatus, SlotStatus
from trainer.spec.messages import Progress, SlotOrder
from trainer.stages.run_record import RunRequest

MAX_KILLS = 2
"""A run that took its worker group down this often, on nodes that are still there, is failed."""
MAX_LOST_NODES = 10
"""A run that lost this many nodes is failed: it may be what takes them down."""
MAX_STARTS_WITHOUT_RUN = 3
"""A slot that started this often without finishing a run is closed."""


@dataclass
class SlotState:
    """The run that a slot holds now, and its restarts so far."""

    generation: int = 0
    holds: str = ""
    starts_without_run: int = 0
    finished_a_run: bool = False
    """Whether it finished a run since its trainer was started."""
    closed: bool = False
    machine: str | None = None
    """What its worker group runs on; None before one has started."""
    node: str = ""
    """Ray's id of that machine."""
    lost_machine: str = ""
    """The machine that went away under its worker group; empty once another group has started."""
    refused: str = ""
    """Why its machine cannot take runs; empty for one that can."""


@dataclass
class RunState:
    """A run between its submission and its end."""

    request: RunRequest
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    progress: Progress | None = None
    cancelled: bool = False
    killed_on: list[str] = field(default_factory=list)
    """Node of each worker group that died while it held this run."""
    lost_nodes: int = 0
    """Nodes that went away while they held this run."""
    lost: str = ""
    """Why no record will be written; empty otherwise."""
    owner: str = ""
    """Id of the trial that waits for its end."""
    expelled: bool = False
    """Whether it must leave the slot it is on, and wait for another."""
    finished_on: str = ""
    """The machine that finished it, and so wrote its record; empty for one that was stopped."""


class Board:
    """Pending runs, what each slot holds, progress and cancel flags."""

    def __init__(self, num_slots: int):
        self._slots = {slot: SlotState() for slot in range(num_slots)}
        self._runs: dict[str, RunState] = {}
        self._pending: list[str] = []
        self._changed = asyncio.Condition()
        self._closing = False
        self._halted = ""
        self._quarantined: set[str] = set()
        self._gone: set[str] = set()

    async def submit(self, request: RunRequest) -> None:
        """Puts a run on the board; a run that is already there stays as it is."""
        if request.run_id in self._runs:
            return
        self._runs[request.run_id] = RunState(request)
        self._pending.append(request.run_id)
        await self._notify_slots()

    async def open_slot(self, slot: int, machine: str = "", node: str = "", alive: Collection[str] = ()) -> int:
        """A worker group started on a machine. Returns its generation; `take` with an earlier one returns CLOSE.

        node, alive:  Ray's ids of the machine, and of all nodes that are there now
        """
        self._note_nodes(alive)
        state = self._slots[slot]
        if state.holds:
            self._give_back(state)
        state.machine, state.node, state.lost_machine = machine, node, ""
        state.generation += 1
        state.starts_without_run += 1
        if state.starts_without_run > MAX_STARTS_WITHOUT_RUN or machine in self._quarantined:
            self._close_slot(state)
        await self._notify_slots()
        return state.generation

    async def note_nodes(self, alive: Collection[str]) -> None:
        """The nodes that are there now, by Ray's ids: the run of a slot whose node is gone waits for another slot."""
        if self._note_nodes(alive):
            await self._notify_slots()

    async def refuse_slot(self, slot: int, machine: str, reason: str) -> None:
        """A worker group cannot compute anything on its machine: the slot is closed, and `status` has the reason."""
        state = self._slots[slot]
        state.machine, state.refused = machine, reason
        self._close_slot(state)
        await self._notify_slots()

    async def quarantine(self, machines: Collection[str], repeated: Collection[str] = ()) -> None:
        """Slots on these machines take no more runs; a run on one stops at its next report and goes to another slot.

        repeated:  runs that ended and may be submitted again
        """
        self._quarantined = set(machines)
        for run_id in repeated:
            self._runs.pop(run_id, None)
        for state in self._slots.values():
            if state.machine in self._quarantined:
                state.closed = True
                run = self._runs.get(state.holds)
                if run is not None and not run.cancelled:
                    run.cancelled = run.expelled = True
        await self._notify_slots()

    async def try_again(self, slot: int, alive: Collection[str] = ()) -> bool:
        """A slot's trainer ended. Whether to start another one: elsewhere, if its machine is quarantined or gone; or if
        it gave up after it had finished a run.

        alive:  Ray's ids of the nodes that are there now
        """
        self._note_nodes(alive)
        state = self._slots[slot]
        if state.machine in self._quarantined:
            self._close_slot(state)
            self._slots[slot] = SlotState(state.generation)
            await self._notify_slots()
            return not self._closing
        if state.closed:
            return False
        if state.lost_machine:
            return not self._closing
        finished_a_run, state.finished_a_run = state.finished_a_run, False
        if not finished_a_run:
            self._close_slot(state)
        return finished_a_run and not self._closing

    async def take(self, slot: int, generation: int, wait_s: float) -> RunRequest | SlotOrder:
        """The slot's next run, or what the slot does when there is none within `wait_s` seconds."""
        state = self._slots[slot]
        deadline = asyncio.get_running_loop().time() + wait_s
        async with self._changed:
            while True:
                if self._closing or state.closed or generation < state.generation:
                    return SlotOrder.CLOSE
                if generation > state.generation:
                    return SlotOrder.REOPEN
                if self._pending:
                    state.holds = self._pending.pop(0)
                    return self._runs[state.holds].request
                left_s = deadline - asyncio.get_running_loop().time()
                if left_s <= 0:
                    return SlotOrder.ASK_AGAIN
                try:
                    await asyncio.wait_for(self._changed.wait(), left_s)
                except TimeoutError:
                    return SlotOrder.ASK_AGAIN

    async def progress(self, run_id: str, newest: Progress | None) -> bool:
        """Keeps what a run is doing; returns whether it should stop."""
        run = self._runs.get(run_id)
        if run is None:
            return self._closing
        run.progress = newest or run.progress
        return run.cancelled or self._closing

    async def finish(self, slot: int, run_id: str, stopped: bool = False) -> None:
        """The slot is done with the run: its record is on disk, or it was stopped on request."""
        state = self._slots[slot]
        state.starts_without_run, state.finished_a_run = 0, True
        if state.holds == run_id:
            state.holds = ""
        run = self._runs.get(run_id)
        if run is not None and run.expelled:
            run.expelled = run.cancelled = False
            self._pending.insert(0, run_id)
            await self._notify_slots()
            return
        if run is not None:
            run.finished_on = "" if stopped else state.machine or "its machine"
            run.ended.set()
        if run_id in self._pending:
            self._pending.remove(run_id)

    async def cancel(self, run_id: str, owner: str | None = None) -> None:
        """Asks a run to stop; one that still waits ends at once. Unknown runs are ignored.

        owner:  cancel only if the run's latest `wait` came from this owner; None cancels in any case
        """
        run = self._runs.get(run_id)
        if run is None or owner not in (None, run.owner):
            return
        run.cancelled, run.expelled = True, False
        if run_id in self._pending:
            self._pending.remove(run_id)
            run.ended.set()

    async def wait(self, request: RunRequest, wait_s: float, owner: str = "") -> RunStatus:
        """Waits up to `wait_s` seconds for the end of a run, which is submitted if need be.

        owner:  id of the waiting trial, which may cancel the run with it
        """
        await self.submit(request)
        run = self._runs[request.run_id]
        run.owner = owner
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(run.ended.wait(), wait_s)
        fraction = run.progress.fraction if run.progress else 0.0
        return RunStatus(run.ended.is_set(), fraction, run.lost, run.finished_on)

    async def close(self) -> None:
        """Ends every slot: runs stop at their next progress report, `take` returns CLOSE."""
        self._closing = True
        await self._notify_slots()

    async def halt(self, reason: str) -> None:
        """The store is full, so no slot could keep what it computes: all slots end, and no run counts as failed."""
        self._halted = self._halted or reason
        await self.close()

    async def status(self) -> BoardStatus:
        """What every slot does, for the driver."""
        slots = tuple(self._slot_status(slot, state) for slot, state in self._slots.items())
        return BoardStatus(slots, tuple(self._pending), self._halted)

    def _slot_status(self, slot: int, state: SlotState) -> SlotStatus:
        run = self._runs.get(state.holds)
        return SlotStatus(
            slot=slot,
            started=state.machine is not None,
            closed=state.closed,
            machine=state.machine or "",
            quarantined=state.machine in self._quarantined,
            lost_machine=state.lost_machine,
            refused=state.refused,
            run_id=state.holds,
            progress=run.progress if run else None,
        )

    def _give_back(self, state: SlotState) -> None:
        run_id, state.holds = state.holds, ""
        run = self._runs[run_id]
        if run.ended.is_set():
            return
        if run.progress is not None and not self._halted:  # a run that never began did not cause the death
            run.killed_on.append(state.node)
        self._wait_again(run_id, run)

    def _wait_again(self, run_id: str, run: RunState) -> None:
        """Puts a run whose worker group is gone back on the board, unless it is the likely cause."""
        run.progress = None
        kills = sum(node not in self._gone for node in run.killed_on)
        if kills >= MAX_KILLS:
            self._lose(run, f"the worker group died {kills} times while it held this run")
        elif run.lost_nodes >= MAX_LOST_NODES:
            self._lose(run, f"{run.lost_nodes} nodes went away while they held this run")
        else:
            self._pending.insert(0, run_id)

    def _note_nodes(self, alive: Collection[str]) -> bool:
        """Takes the runs from nodes that are gone. That is not the fault of a run, nor of a slot.

        Returns whether a slot lost its node.
        """
        if not alive:
            return False
        known = {state.node for state in self._slots.values()}
        known |= {node for run in self._runs.values() for node in run.killed_on}
        self._gone |= {node for node in known - set(alive) if node}
        lost = [state for state in self._slots.values() if state.node in self._gone and not state.closed]
        for state in lost:
            self._lose_node(state)
        return bool(lost)

    def _lose_node(self, state: SlotState) -> None:
        run_id, state.holds = state.holds, ""
        run = self._runs.get(run_id)
        if run is not None and not run.ended.is_set():
            run.lost_nodes += 1
            self._wait_again(run_id, run)
        state.generation += 1  # a group that was only cut off takes nothing more
        state.starts_without_run = 0
        state.lost_machine, state.machine, state.node = state.machine or "", None, ""

    def _close_slot(self, state: SlotState) -> None:
        state.closed = True
        if state.holds:
            self._give_back(state)

    @staticmethod
    def _lose(run: RunState, reason: str) -> None:
        run.lost = reason
        run.ended.set()

    async def _notify_slots(self) -> None:
        async with self._changed:
            self._changed.notify_all()
