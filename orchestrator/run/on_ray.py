"""Runs a sweep's missing runs on Ray: slots take runs from the board, Tune puts them on it."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console

from orchestrator.run.beside import Beside
from orchestrator.run.board_messages import BoardStatus, SlotStatus
from orchestrator.run.drive_options import DriveOptions
from orchestrator.run.exit_message import said_at_sudden_end
from orchestrator.run.feed import Feed
from orchestrator.run.placement import slot_size, this_machine
from orchestrator.run.ray_session import answer_before, output_to, ray_session
from orchestrator.run.signals import stop_on_signals
from orchestrator.run.slot import SlotThread
from orchestrator.run.watch import LOOK_EVERY_S, NoAnswer, Watch, looking
from orchestrator.status.progress import Overview, describe
from orchestrator.status.screen import Screen, make_screen
from orchestrator.sweep.live import SlotPicture
from orchestrator.sweep.sweep import Sweep
from results.rows.layout import RAY_LOG
from trainer.spec.console import PlainConsole
from trainer.spec.errors import StoreFull, UserError
from trainer.spec.load import expected_of
from trainer.spec.messages import Progress
from trainer.spec.recipe import Recipe
from trainer.spec.runnable import by_the_clock
from trainer.stages.run_record import RunRequest
from trainer.store.local import StageStore
from trainer.store.visible import visible_file

ANSWER_WITHIN_S = 5.0
"""For the board to answer; busy with many slots it takes milliseconds."""


CLOSE_WAIT_S = 5.0
"""For runs to write their snapshots and leave; a worker group that is still starting is not waited for."""


END_WAIT_S = 20.0
"""For the threads of slots that were ended: one that is still in a call of Ray at its shutdown ends the process."""


FEW_CPUS = 8
"""On fewer, slots that start at once slow each other down: the others, and Tune, start when the first one computes, so
that the first run begins sooner."""
FIRST_WITHIN_S = 60.0
"""For the first slot to compute, before the others start anyway."""


BOARD = {"num_cpus": 0, "max_concurrency": 1000, "max_restarts": -1, "max_task_retries": -1}
"""A board that dies starts again empty; trials and slots submit their state again."""


def run_on_ray(
    feed: Feed,
    sweep: Sweep,
    store: StageStore,
    options: DriveOptions,
    overview: Overview,
    stop: threading.Event,
    console: Console,
    check: Callable[[Console], None],
    then: Callable[[], None] | None,
) -> bool:
    """Slots take runs from the board, Tune submits them; this thread runs Tune. Returns whether no slot may go on.

    check:  must have passed before anything is run; it runs while Ray and the worker groups start
    then:   follows the check, and nothing waits for it
    """
    refuse_unshared(sweep, slot_size(options.workers, gpus_wanted(sweep) if options.address else 0))
    console.print(
        "starting Ray ..."
        if feed.runs_program
        else "starting Ray; meanwhile the recipes are checked, and a text that is missing is prepared ...",
        style="dim",
    )
    plain: dict[str, Any] = {
        "force_terminal": console.is_terminal,
        "width": console.width,
    }  # read before the descriptors are redirected
    with (
        Beside(check, console.width, then) as checking,
        output_to(sweep.folder / RAY_LOG) as terminal,
        os.fdopen(os.dup(terminal), "w") as out,
        message_if_head_is_gone(sweep, options.address, terminal),
        ray_session(options.address, options.metrics_port) as dashboard,
        stop_on_signals(stop),  # after ray.init, which they would not interrupt
        make_screen(PlainConsole(file=out, **plain)) as screen,
        visible_file(store.root) as visible,
    ):
        if dashboard:
            screen.say(f"Ray's dashboard: http://{dashboard}, on the head's own network")
        return _run_slots(feed, sweep, store, options, overview, stop, screen, visible, checking)


def message_if_head_is_gone(
    sweep: Sweep, address: str | None, terminal: int
) -> contextlib.AbstractContextManager[None]:
    """Ray ends a driver a minute after the head of its cluster has gone; then this message is what remains."""
    if address is None:
        return contextlib.nullcontext()
    return said_at_sudden_end(
        f"\nerror: --address {address}: the head of the cluster is gone, and Ray ended this process; what is finished "
        f"is kept; Ray's log: {sweep.folder / RAY_LOG}\ngo on with: {sweep.command('resume')} --address ...\n",
        terminal,
    )


def gpus_wanted(sweep: Sweep) -> int:
    """GPUs of a slot that the sweep's preset was made for; 0 if it was made for a CPU, or says nothing."""
    declared = expected_of(sweep.preset)
    return declared.gpus if declared else 0


def refuse_unshared(sweep: Sweep, num_ranks: int) -> None:
    """Raises UserError if so many ranks cannot share a training of the sweep's recipe: every run would fail."""
    recipe, varies = sweep.space.base, "data.micro_batches" in sweep.space.parameters
    if isinstance(recipe, Recipe) and not varies and (complaint := recipe.data.unshared_by(num_ranks)):
        raise UserError(f"a slot of {num_ranks} workers: {complaint}")


def _run_slots(
    feed: Feed,
    sweep: Sweep,
    store: StageStore,
    options: DriveOptions,
    overview: Overview,
    stop: threading.Event,
    screen: Screen,
    visible: Path,
    checking: Beside,
) -> bool:
    import ray  # late: only a sweep that computes something pays for Ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    from orchestrator.run.board import Board
    from orchestrator.run.nodes import has_room, ids_alive, nodes_without, selector_without
    from orchestrator.run.slot_room import find_room
    from orchestrator.run.tuner import run_trials, tracking_of
    from trainer.worker_group import PipelineWork, ProgramWork, Work, serve, worker_resources

    checking.raise_known()
    tracking = tracking_of(options.trackers, feed, sweep)
    if feed.quarantined and not nodes_without(feed.quarantined):
        return True
    wanted, one_kind = gpus_wanted(sweep), by_the_clock(sweep.space.base) or sweep.space.takes_turns
    room = find_room(options, overview.runs_left, wanted, one_kind, feed.quarantined, visible, stop, screen.say)
    if room is None:
        return False
    plan = room.plan
    refuse_unshared(sweep, plan.workers_per_slot)
    feed.serve(plan.num_slots)
    if room.place:
        feed.compute_on(plan.workers_per_slot, room.place)
    work: Work = PipelineWork(store, options.snapshot_every_s)
    workers, each = plan.workers_per_slot, 1
    if feed.runs_program:  # one worker that holds all of the slot: a program starts its own ranks
        work, workers, each = ProgramWork(store, plan.workers_per_slot), 1, plan.workers_per_slot
    board_name = f"fairway-{os.getpid()}-{time.time_ns()}"
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)  # lost with it alone
    make_board = ray.remote(Board).options(**BOARD, name=board_name, scheduling_strategy=here)
    board: Any = make_board.remote(plan.num_slots)
    answer_before(stop, board.quarantine.remote(list(feed.quarantined)))
    scratch = Path(tempfile.mkdtemp(prefix="fairway-"))
    ended = threading.Event()  # from then on a slot's thread must not touch Ray: it would end the process
    first_works = threading.Event()
    if options.address is not None or this_machine().cpus >= FEW_CPUS:
        first_works.set()

    def serve_slot(slot: int) -> None:
        if slot > 0 and not wait_for_first(first_works, ended, slots[0], FIRST_WITHIN_S):
            return
        nodes = selector_without(feed.quarantined, room.left_out)
        if not feed.quarantined or has_room(worker_resources(plan.use_gpu, each), workers, nodes):
            serve(board, slot, work, scratch, workers, plan.use_gpu, nodes, visible, each, feed.runs_program, ended)

    def try_again(slot: int) -> bool:
        return not ended.is_set() and bool(answer_before(ended, board.try_again.remote(slot, ids_alive())))

    slots = [SlotThread(slot, serve_slot, try_again) for slot in range(plan.num_slots)]

    try:
        for thread in slots:
            thread.start()
        with watching(board, feed, overview, screen, slots, stop, first_works) as watch:
            for line in checking.wait(stop):
                screen.say(line, "dim")
            first = submit_first(feed, board, stop)
            if first is not None:
                wait_for_first(first_works, stop, slots[0], FIRST_WITHIN_S)
            run_trials(feed, tracking, board, board_name, plan.in_flight, scratch, stop, first)
        watch.look()  # the store may have filled up since the last look
        gone = not any(thread.is_alive() for thread in slots)  # after Ctrl-C too, but then without a fault
        dead = gone and (bool(feed.quarantined) or all(thread.fault for thread in slots))
        close_slots(board, slots, ended)
    except Exception:
        close_slots(board, slots, ended)  # else Ray's shutdown ends the process, and the error is lost
        raise
    finally:
        ended.set()
        shutil.rmtree(scratch, ignore_errors=True)
    if watch.silence:
        raise UserError(
            f"{watch.silence}; what is finished is kept; Ray's log: {sweep.folder / RAY_LOG}\n"
            f"go on with: {sweep.command('resume')}"
        )
    if watch.halted:
        raise StoreFull(watch.halted)
    if feed.unseen:
        raise UserError(f"{feed.unseen}\ngo on with: {sweep.command('resume')}")
    if dead and watch.refused:
        raise UserError(
            "\n".join(f"machine {machine} takes no runs: {reason}" for machine, reason in watch.refused.items())
        )
    fault = next((thread.fault for thread in slots if thread.fault), "")
    if dead and (fault or not feed.quarantined):
        raise UserError(
            f"every worker group died; what is finished is kept; go on with: {sweep.command('resume')}. "
            "Error of the first one:\n" + "\n".join(fault.splitlines()[-5:])
        )
    return dead


def submit_first(feed: Feed, board: Any, stop: threading.Event) -> RunRequest | None:
    """Puts the first run on the board, ahead of its trial, whose process two seconds of a core start; none if it stops,
    or if nothing may be run yet."""
    request = None if stop.is_set() else feed.next()
    if not isinstance(request, RunRequest):
        return None
    answer_before(stop, board.submit.remote(request))
    return request


def wait_for_first(works: threading.Event, ended: threading.Event, first: threading.Thread, within_s: float) -> bool:
    """Waits until the first slot computes or is gone, at most so long; false where slots are ended before."""
    deadline = time.monotonic() + within_s
    while not ended.is_set() and first.is_alive() and not works.wait(LOOK_EVERY_S) and time.monotonic() < deadline:
        pass
    return not ended.is_set()


def is_under_way(status: BoardStatus) -> bool:
    """Whether a slot has computed a part of its run, or is open while no run waits."""
    return any(
        state.started
        and (state.progress is not None and state.progress.fraction > 0 if state.run_id else not status.pending)
        for state in status.slots
    )


def close_slots(board: Any, slots: list[SlotThread], ended: threading.Event) -> None:
    """Lets the slots at work finish, for a while, and ends the others; raises `ended` before it does.

    Those of a board that does not answer are ended at once.
    """
    import ray

    from trainer.worker_group import end_controllers

    opened: list[int] = []
    with contextlib.suppress(ray.exceptions.RayError):
        ray.get(board.close.remote(), timeout=ANSWER_WITHIN_S)
        status: BoardStatus = ray.get(board.status.remote(), timeout=ANSWER_WITHIN_S)
        opened = [state.slot for state in status.slots if state.started]
    deadline = time.monotonic() + CLOSE_WAIT_S
    for slot in opened:
        slots[slot].join(max(deadline - time.monotonic(), 0))
    ended.set()
    deadline = time.monotonic() + END_WAIT_S
    while any(thread.is_alive() for thread in slots) and time.monotonic() < deadline:
        end_controllers()  # again and again: a thread may be just about to start one
        time.sleep(LOOK_EVERY_S)


@contextmanager
def watching(
    board: Any,
    feed: Feed,
    overview: Overview,
    screen: Screen,
    slots: list[SlotThread],
    stop: threading.Event,
    first_works: threading.Event,
) -> Iterator[Watch]:
    """Polls the board a few times a second, in a thread of its own, and draws its status.

    first_works:  raised when a slot computes

    Sets the flag when no slot is left, or the board was halted, or does not answer: trials would wait for ever. Once
    the flag is set the board closes, so that runs stop while Tune still ends its trials.
    """
    import ray

    from orchestrator.run.nodes import ids_alive  # late: as above
    from orchestrator.run.sweep_metrics import SweepMetrics

    metrics = SweepMetrics()

    def before_a_look() -> None:
        if not any(thread.is_alive() for thread in slots):
            stop.set()
        if stop.is_set():
            board.close.remote()
        board.note_nodes.remote(ids_alive())
        if feed.quarantined:
            board.quarantine.remote(list(feed.quarantined))  # a restarted board has no list of them

    def ask() -> BoardStatus:
        try:
            status: BoardStatus = ray.get(board.status.remote(), timeout=ANSWER_WITHIN_S)
        except ray.exceptions.RayError as fault:
            raise NoAnswer(f"{type(fault).__name__}: {str(fault).strip().partition('.')[0]}") from fault
        return status

    def show(status: BoardStatus) -> None:
        if is_under_way(status):
            first_works.set()
        metrics.show(overview.show(screen, tuple(_slot_picture(state, overview) for state in status.slots)))

    watch = Watch(ask, show, screen.say, stop)
    with looking(watch, before_a_look, stop):
        yield watch


def _slot_picture(state: SlotStatus, overview: Overview) -> SlotPicture:
    if state.quarantined:
        return SlotPicture(state.slot, f"machine {state.machine} is quarantined: no more runs")
    if state.refused:
        return SlotPicture(state.slot, f"closed: machine {state.machine} cannot compute")
    if state.closed:
        return SlotPicture(state.slot, f"closed: its worker group kept dying, the cause is in {RAY_LOG}")
    if state.lost_machine:
        return SlotPicture(state.slot, f"machine {state.lost_machine} is gone: waiting for another")
    if not state.started:
        return SlotPicture(state.slot, "starting a worker group (about 20 s)")
    if not state.run_id:
        return SlotPicture(state.slot, "waiting for a run")
    return describe(state.slot, state.progress or Progress(state.run_id, "begin", 0.0), overview, state.machine)
