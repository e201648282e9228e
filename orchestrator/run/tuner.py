"""Ray Tune on top of the feed and the board: the only module that imports Tune.

One run is one trial. A trial computes nothing: it submits its run to the board and waits for its end; slots compute.
Tune's own files are temporary; each driver process starts a new Tuner, and what is finished is read from the records.
The process of a trial imports this module too, so what only the driver needs is imported where it is used.
"""

from __future__ import annotations

import contextlib
import os
import threading
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray
from ray import tune
from ray.tune.logger import LoggerCallback, TBXLoggerCallback
from ray.tune.search import Searcher

from orchestrator.run.nodes import own_resource
from orchestrator.run.ray_session import answer_before, ray_session
from trainer.spec.errors import UserError
from trainer.spec.record import Record
from trainer.stages.run_record import RunRequest

if TYPE_CHECKING:
    from orchestrator.run.feed import Feed
    from orchestrator.run.tracking import Trackers
    from orchestrator.sweep.sweep import Sweep

HEARTBEAT_S = 0.5
TRIAL_MEMORY_BYTES = 1_000_000
"""Tune refuses an empty request, and any share of a CPU can hang when the slots hold them all."""
SHARE_OF_NODE = 0.0001
"""Of the resource that only the driver's node has: trials wait there, where no node is lost but with the driver."""


def keep_variables_here() -> None:
    """Keeps Tune from handing variables of this process to the trials, which wait on the board and use none.

    AWS keys would stand in Ray's logs and command lines. (Slots on this machine inherit the environment, those
    elsewhere have their node's.) And Ray starts each process that is to have variables of its own by way of another
    one, half a second of a core. The lists have no public setting as of Ray 2.60; if a later one has moved them,
    `tests/ray/test_road.py` fails.
    """
    from ray.tune.execution import class_cache

    class_cache.ENV_VARS_TO_PROPAGATE = set()
    class_cache.DEFAULT_ENV_VARS = {}


class RunTrial(tune.Trainable):
    """Waits on the board for one run after another; the process is reused."""

    def setup(self, config: dict[str, Any]) -> None:
        self._board = ray.get_actor(config["board"])
        self._submit(RunRequest(**config["request"]))

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._cancel()
        self._submit(RunRequest(**new_config["request"]))
        return True

    def step(self) -> dict[str, Any]:
        status: Any = ray.get(self._board.wait.remote(self._request, HEARTBEAT_S, self._owner))
        return {
            "fraction": status.fraction,
            "lost": status.lost,
            "finished_on": status.finished_on,
            "done": status.ended,
        }

    def cleanup(self) -> None:
        self._cancel()

    def _submit(self, request: RunRequest) -> None:
        self._request, self._owner = request, uuid.uuid4().hex
        ray.get(self._board.submit.remote(request))

    def _cancel(self) -> None:
        """Stops a run whose trial Tune stopped early. The board ignores it unless this trial was the last to wait:

        Tune may start a process for a trial and then give the trial to a process that became free.
        """
        self._board.cancel.remote(self._request.run_id, self._owner)


class FeedSearcher(Searcher):
    """Hands Tune the feed's runs, and the feed the ends of Tune's trials.

    first:  a run that the feed has handed out already, and that is on the board
    """

    def __init__(self, feed: Feed, board: Any, board_name: str, stop: threading.Event, first: RunRequest | None = None):
        super().__init__(metric="fraction", mode="max")
        self._feed, self._board, self._board_name, self._stop = feed, board, board_name, stop
        self._first = first
        self._run_ids: dict[str, str] = {}

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:  # type: ignore[override]
        """The next run; none once the sweep stops: Tune would ask for ten minutes before it looks at its stopper."""
        from orchestrator.search.run_queue import FINISHED  # late: pandas

        if self._stop.is_set():
            return Searcher.FINISHED
        request = self._first or self._feed.next()
        self._first = None
        if request is FINISHED:
            return Searcher.FINISHED
        if not isinstance(request, RunRequest):
            return None
        self._run_ids[trial_id] = request.run_id
        return {"request": request.as_dict(), "board": self._board_name}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Tune may call this twice when it stops everything; the second call changes nothing.

        Every end is passed on to the board, since Tune does not call `cleanup` of a process that it uses again.
        A trial that Tune gives up, as when Ray dies, does not fail its run, which is resumed.
        """
        run_id = self._run_ids.pop(trial_id, None)
        if run_id is None:
            return
        self._board.cancel.remote(run_id)  # first: what is repeated below is a new run under the same name
        said = result or {}
        self._feed.ended(run_id, said.get("lost", ""), said.get("finished_on", ""), self._stop)
        if repeated := self._feed.take_repeated():
            answer_before(self._stop, self._board.quarantine.remote(list(self._feed.quarantined), repeated))

    def save(self, checkpoint_path: str) -> None:
        """Does nothing: the state is in the records."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: a new driver reads the records."""

    def __getstate__(self) -> dict[str, Any]:
        return {}


class StopOnRequest(tune.Stopper):
    """Ends all trials once the flag is up."""

    def __init__(self, flag: threading.Event):
        self._flag = flag

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return self._flag.is_set()

    def __getstate__(self) -> dict[str, Any]:
        return {}


class Tracking(tune.Callback):
    """Passes each run to Ray's own logger callbacks once it has its record, and nothing else."""

    def __init__(self, feed: Feed | None, sweep: Sweep, loggers: Sequence[LoggerCallback]):
        self._feed, self._sweep, self._loggers = feed, sweep, loggers

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        for record in self._feed.take_recorded() if self._feed else ():
            self.log(record)

    def on_experiment_end(self, trials: list[Any], **info: Any) -> None:
        self.on_step_end(0, trials)
        self.close()

    def close(self) -> None:
        """Ends the trackers once the last run was logged."""
        for logger in self._loggers:
            logger.on_experiment_end([])

    def log(self, record: Record) -> None:
        """One run that has its record: its curve, then its row."""
        from orchestrator.run.tracking import tracked_run  # late: as above

        run: Any = tracked_run(self._sweep, record)
        run.init_local_path()
        for logger in self._loggers:
            logger.log_trial_start(run)
            for point in run.points:
                logger.log_trial_result(point["training_iteration"], run, dict(point))
            logger.log_trial_end(run, failed=record.status == "failed")

    def __getstate__(self) -> dict[str, Any]:
        return {}


def export_runs(trackers: Trackers, sweep: Sweep, records: Sequence[Record]) -> None:
    """Logs runs that have their record, without a sweep running. W&B's writer needs a Ray, which is started for it."""
    with ray_session(None) if trackers.wandb else contextlib.nullcontext():
        tracking = Tracking(None, sweep, loggers_of(trackers, sweep))
        for record in records:
            tracking.log(record)
        tracking.close()


def loggers_of(trackers: Trackers, sweep: Sweep) -> list[LoggerCallback]:
    """Ray's logger callbacks for the trackers that were asked for, set up. Raises UserError when one cannot be reached.

    The late imports load the trackers themselves, which no trial's process should pay for.
    """
    made: list[LoggerCallback] = [TBXLoggerCallback()] if trackers.tensorboard else []
    if trackers.mlflow:
        from ray.air.integrations.mlflow import MLflowLoggerCallback

        made.append(MLflowLoggerCallback(trackers.mlflow_uri, experiment_name=sweep.name))
    if trackers.wandb:
        from ray.air.integrations.wandb import WandbLoggerCallback

        from orchestrator.run.tracking import is_offline

        os.environ.setdefault("WANDB_MODE", "offline" if is_offline() else "online")  # else Ray asks for a key
        made.append(WandbLoggerCallback(trackers.wandb, group=sweep.name, mode=os.environ["WANDB_MODE"]))
    for logger in made:
        try:
            logger.setup()
        except Exception as fault:
            from orchestrator.run.tracking import CREDENTIALS  # late: as above

            name = type(logger).__name__.removesuffix("LoggerCallback")
            reason = (str(fault).splitlines() or [type(fault).__name__])[0]
            raise UserError(f"{name} cannot be reached: {CREDENTIALS.sub('//', reason)}") from fault
    return made


def tracking_of(trackers: Trackers, feed: Feed, sweep: Sweep) -> list[tune.Callback]:
    """The callback that logs to the trackers; empty without any. May raise UserError, so call it before slots start."""
    return [Tracking(feed, sweep, loggers)] if (loggers := loggers_of(trackers, sweep)) else []


def run_trials(
    feed: Feed,
    tracking: Sequence[tune.Callback],
    board: Any,
    board_name: str,
    in_flight: int,
    scratch: Path,
    stop: threading.Event,
    first: RunRequest | None,
) -> None:
    """Runs the whole feed through Tune; returns when it is finished or `stop` is set.

    first:  as in `FeedSearcher`
    """
    keep_variables_here()
    tune.Tuner(
        tune.with_resources(RunTrial, {"memory": TRIAL_MEMORY_BYTES, own_resource(): SHARE_OF_NODE}),
        tune_config=tune.TuneConfig(
            search_alg=FeedSearcher(feed, board, board_name, stop, first),
            num_samples=-1,
            max_concurrent_trials=in_flight,
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=str(scratch),
            stop=StopOnRequest(stop),
            callbacks=[*tracking] or None,  # given any, Tune loads every tracker that is installed, to count its use
            verbose=0,
            failure_config=tune.FailureConfig(max_failures=-1),  # a dead trial lost nothing: its run is on the board
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
        ),
    ).fit()
