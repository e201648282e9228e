"""A sweep as an Optuna study on disk, for `optuna-dashboard` and other readers, live while the sweep runs.

    optuna-dashboard runs/sweeps/NAME/optuna.journal

Trial k is the k-th configuration, the baseline first; its value is the aggregate over seeds, beside its constraints and
the means of its short runs. Derived from the records and never read for a decision: it may be deleted, a driver writes
it anew, and on a full disk only this file is given up.
"""

from __future__ import annotations

import contextlib
import json
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.trial import FrozenTrial, TrialState, create_trial

from orchestrator.search.run_queue import RunQueue
from orchestrator.space.configuration import Configuration, Outcome, label
from orchestrator.space.parameter import Parameter
from orchestrator.space.search_space import SearchSpace
from orchestrator.sweep.sweep import Sweep
from results.rows.layout import STUDY_FILE
from results.rows.lines import cut_torn_line


class StudyFile:
    """The study file of one sweep, updated from its queue by the one driver that holds the sweep."""

    def __init__(self, sweep: Sweep, queue: RunQueue):
        self._sweep, self._queue = sweep, queue
        self._path = sweep.folder / STUDY_FILE
        self._study: optuna.Study | None = None
        self._num_shown = 0
        self._running: list[int] = []
        with contextlib.suppress(OSError):
            self._study = self._continued() or self._begun()

    def update(self) -> None:
        """Adds what the queue has chosen and recorded since the last call."""
        if self._study is None:
            return
        try:
            self._show(self._study)
        except OSError:
            self._study = None

    def _show(self, study: optuna.Study) -> None:
        configurations = self._queue.configurations
        for configuration in configurations[self._num_shown :]:
            study.add_trial(_trial(self._sweep.space, configuration))
            self._running.append(configuration.index)
        self._num_shown = len(configurations)
        ended = {index: self._queue.state.outcome(configurations[index]) for index in self._running}
        for index, outcome in ended.items():
            if outcome is not None:
                _end(study, index, outcome)
        self._running = [index for index, outcome in ended.items() if outcome is None]

    def _continued(self) -> optuna.Study | None:
        """The study an earlier driver left, if every trial in it still holds; a dashboard that watches it goes on."""
        if not self._path.exists():
            return None
        cut_torn_line(self._path)
        try:
            study = self._open()
            trials = study.get_trials(deepcopy=False)
        except Exception:  # a damaged file raises errors of many types in Optuna's reader
            return None
        chosen = self._queue.configurations[: len(trials)]
        if [trial.user_attrs.get("config") for trial in trials] != [item.id for item in chosen]:
            return None
        for trial, item in zip(trials, chosen, strict=True):
            outcome = self._queue.state.outcome(item)
            if trial.state.is_finished() and (outcome is None or trial.state != _state(outcome)):
                return None
        self._num_shown = len(trials)
        self._running = [trial.number for trial in trials if not trial.state.is_finished()]
        return study

    def _begun(self) -> optuna.Study:
        for path in self._path.parent.glob(f"{STUDY_FILE}*"):
            path.unlink()
        self._num_shown, self._running = 0, []
        return self._open()

    def _open(self) -> optuna.Study:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        path = str(self._path.absolute())
        return optuna.create_study(
            storage=JournalStorage(JournalFileBackend(path, JournalFileOpenLock(path))),
            study_name=self._sweep.name,
            direction=self._sweep.space.metric.goal,
            load_if_exists=True,
        )


def _trial(space: SearchSpace, configuration: Configuration) -> FrozenTrial:
    shown = {
        key: (space.parameters[key], value)
        for key, value in configuration.values.items()
        if key in space.parameters and space.parameters[key].varies and space.parameters[key].takes(value)
    }
    return create_trial(
        state=TrialState.RUNNING,
        params={key: _plain(item, value) for key, (item, value) in shown.items()},
        distributions={key: _distribution(item) for key, (item, _) in shown.items()},
        user_attrs={"config": configuration.id, "label": label(configuration, space)},
    )


def _distribution(item: Parameter) -> BaseDistribution:
    if item.between and item.integer:
        low, high = item.ends
        return IntDistribution(low, high, log=item.log, step=int(item.step) if item.quantized else 1)
    if item.between:
        low, high = item.ends
        return FloatDistribution(low, high, log=item.log, step=item.step if item.quantized else None)
    return CategoricalDistribution([_plain(item, value) for value in item.choices or ()])


def _plain(item: Parameter, value: Any) -> Any:
    """Optuna's choices are single values; a list stands as its JSON text."""
    return value if item.between or isinstance(value, str | int | float | None) else json.dumps(value)


def _end(study: optuna.Study, number: int, outcome: Outcome) -> None:
    trial = optuna.trial.Trial(study, study.get_trials(deepcopy=False)[number]._trial_id)
    for name, violation in outcome.violations.items():
        trial.set_constraint(name, violation)
        trial.set_user_attr(f"outside {name} by", violation)
    if outcome.violations:  # the dashboard of these days reads the list that Optuna wrote before limits had names
        study._storage.set_trial_system_attr(trial._trial_id, "constraints", list(outcome.violations.values()))
    for rung, mean in outcome.short:
        trial.report(mean, round(100 * rung))
    state = _state(outcome)
    study.tell(number, outcome.score if state == TrialState.COMPLETE else None, state=state)


def _state(outcome: Outcome) -> TrialState:
    if outcome.score is not None:
        return TrialState.COMPLETE
    return TrialState.PRUNED if outcome.short else TrialState.FAIL
