"""Chooses configurations: a grid in order, or Optuna by ask and tell.

Configuration k is a pure function of the space, the sweep's seed, the warm-start configurations, the k values chosen
before it and their outcomes. Every call builds an Optuna study in memory from these; no state is kept between calls, so
a crash loses none. Limits reach every method: tpe and gp as Optuna constraints, cmaes by scores that rank infeasible
configurations behind all feasible ones. So do configurations that were pruned after short runs, or failed: tpe ranks
them last, gp and cmaes use an imputed score (`orchestrator.search.imputation`). Method gp imports torch into this
process, the others do not.
"""

from __future__ import annotations

import itertools
import random
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import optuna
from optuna.trial import TrialState

from orchestrator.search.imputation import imputed, ranked_by_feasibility
from orchestrator.space.configuration import Outcome, Precedent
from orchestrator.space.parameter import Parameter
from orchestrator.space.search_space import SearchSpace
from trainer.spec.certain_failures import certain_failures
from trainer.spec.errors import RecipeError
from trainer.spec.fingerprint import digest

ATTEMPTS = 10
"""Proposals of the method before random values are used: some methods repeat earlier values."""
RANDOM_ATTEMPTS = 1000


class Searcher:
    """Chooses the next configuration of one space.

    precedents:  finished configurations of earlier sweeps that an adaptive method starts from
    """

    def __init__(self, space: SearchSpace, sweep_seed: int, precedents: Sequence[Precedent] = ()):
        self._space = space
        self._sweep_seed = sweep_seed
        self._precedents = precedents
        self._digests: list[tuple[Mapping[str, Any], str]] = []

    def ask(self, earlier: Sequence[Mapping[str, Any]], outcomes: Mapping[int, Outcome]) -> dict[str, Any] | None:
        """Values of the next configuration, or None when the cap is reached or the space is exhausted.

        earlier:  the values chosen so far, in order; their number is the index of the next
        outcomes: by index into `earlier`; missing for configurations that still run
        Never returns the same values twice, nor values that the recipe refuses, or whose runs are certain to fail.
        """
        index, end = len(earlier), self._space.num_configurations
        if end is not None and index >= end:
            return None
        if self._space.method == "grid":
            return next(itertools.islice(self._space.combinations(), index, None), None)
        seen = self._digests_of(earlier)
        for values in self._proposals(earlier, outcomes):
            if digest(values) not in seen and self._is_valid(values):
                return values
        return None

    def _digests_of(self, earlier: Sequence[Mapping[str, Any]]) -> set[str]:
        """Kept from call to call for the same values: else a long list would be hashed again for each that is added."""
        for index, values in enumerate(earlier):
            if index == len(self._digests):
                self._digests.append((values, digest(values)))
            elif self._digests[index][0] is not values:
                self._digests[index] = values, digest(values)
        return {known for _, known in self._digests[: len(earlier)]}

    def _proposals(
        self, earlier: Sequence[Mapping[str, Any]], outcomes: Mapping[int, Outcome]
    ) -> Iterator[dict[str, Any]]:
        """Proposals of the method, then random ones: of a finite space every combination, in random order."""
        seeds = (self._seed(len(earlier), attempt) for attempt in itertools.count())
        for seed in itertools.islice(seeds, ATTEMPTS):
            yield self._propose(earlier, outcomes, self._space.method, seed)
        if self._space.size is None:
            for seed in itertools.islice(seeds, RANDOM_ATTEMPTS):
                yield self._propose((), {}, "random", seed)
        else:
            left = list(self._space.combinations())
            random.Random(next(seeds)).shuffle(left)  # noqa: S311 - not a secret
            yield from left

    def _seed(self, index: int, attempt: int) -> int:
        return int(digest([self._sweep_seed, index, attempt])[:8], 16)

    def _is_valid(self, values: Mapping[str, Any]) -> bool:
        try:
            return not certain_failures(self._space.recipe(values))
        except RecipeError:
            return False

    def _propose(
        self, earlier: Sequence[Mapping[str, Any]], outcomes: Mapping[int, Outcome], method: str, seed: int
    ) -> dict[str, Any]:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        if method == "random":  # it uses no results, so earlier configurations need not be replayed
            earlier = ()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Optuna warns of its experimental features, which are used on purpose
            study = self._study_of_precedents()
            known = study.get_trials(deepcopy=False)
            if method in ("cmaes", "gp"):
                outcomes = imputed(outcomes, self._space.metric.goal)
            if (
                method == "cmaes"
            ):  # its sampler takes known trials as an argument, and keeps its state in its own trials
                study = optuna.create_study(direction=self._space.metric.goal)
                outcomes = ranked_by_feasibility(outcomes, self._space.metric.goal)
            # tpe ignores FAIL and ranks PRUNED last; without any score, a pruned trial would count among the best
            failed = TrialState.PRUNED if any(item.score is not None for item in outcomes.values()) else TrialState.FAIL
            for index, values in enumerate(earlier):
                study.sampler = self._sampler(method if method == "cmaes" else "random", self._seed(index, 0), known)
                self._replay(study, values, outcomes.get(index), failed)
            study.sampler = self._sampler(method, seed, known)
            return self._suggest(study.ask())

    def _study_of_precedents(self) -> optuna.Study:
        study = optuna.create_study(direction=self._space.metric.goal)
        study.sampler = self._sampler("random", self._sweep_seed)
        for precedent in self._precedents:
            self._replay(study, precedent.values, precedent.outcome)
        return study

    def _sampler(
        self, method: str, seed: int, known: Sequence[optuna.trial.FrozenTrial] = ()
    ) -> optuna.samplers.BaseSampler:
        cap = self._space.num_configurations or RANDOM_ATTEMPTS
        num_random = max(2, min(10, cap // 3))  # Optuna's default of 10 would make a small sweep entirely random
        if method == "tpe":
            joint = not any(item.when for item in self._space.parameters.values())
            return optuna.samplers.TPESampler(seed=seed, n_startup_trials=num_random, multivariate=joint)
        if method == "cmaes":
            source = [self._only_ranges(trial) for trial in known if not any(trial.constraints.values())]
            return optuna.samplers.CmaEsSampler(
                seed=seed, warn_independent_sampling=False, source_trials=source or None
            )
        if method == "gp":
            return optuna.samplers.GPSampler(seed=seed, n_startup_trials=num_random, warn_independent_sampling=False)
        return optuna.samplers.RandomSampler(seed=seed)

    def _only_ranges(self, trial: optuna.trial.FrozenTrial) -> optuna.trial.FrozenTrial:
        """The trial with the ranges that every configuration has: CMA-ES refuses trials with other parameters."""
        ranges = {key for key, item in self._space.parameters.items() if item.between and item.varies and not item.when}
        return optuna.trial.create_trial(
            value=trial.value,
            params={key: value for key, value in trial.params.items() if key in ranges},
            distributions={key: kind for key, kind in trial.distributions.items() if key in ranges},
        )

    def _replay(
        self,
        study: optuna.Study,
        values: Mapping[str, Any],
        outcome: Outcome | None,
        failed: TrialState = TrialState.FAIL,
    ) -> None:
        encoded = {key: _encoded(self._space.parameters[key], value) for key, value in values.items()}
        study.enqueue_trial(encoded)
        trial = study.ask()
        _ = trial.relative_params  # calls the sampler, which Optuna does not do for enqueued values
        self._suggest(trial)
        if outcome is None:
            return
        if outcome.score is None:
            for rung, mean in outcome.short:
                trial.report(mean, round(100 * rung))
            study.tell(trial, state=TrialState.PRUNED if outcome.short else failed)
            return
        for name, violation in outcome.violations.items():
            trial.set_constraint(name, violation)
        study.tell(trial, outcome.score)

    def _suggest(self, trial: optuna.Trial) -> dict[str, Any]:
        """Suggests a value for each parameter in order; one whose `when` does not hold is skipped."""
        values: dict[str, Any] = {}
        for key, item in self._space.ordered:
            if self._space.active(item, values):
                values[key] = _suggest_one(trial, key, item)
        return values


def _suggest_one(trial: optuna.Trial, key: str, item: Parameter) -> Any:
    if item.choices is not None and len(item.choices) == 1:
        return item.choices[0]
    if item.by_share:
        return item.at(trial.suggest_float(key, 0.0, 1.0))
    if item.choices is not None and not item.between:
        return item.choices[trial.suggest_categorical(key, list(range(len(item.choices))))]
    low, high = item.ends
    if item.choices is None:
        return trial.suggest_float(key, low, high, log=item.log)
    if item.log:
        return trial.suggest_int(key, low, high, log=True)
    return item.choices[trial.suggest_int(key, 0, len(item.choices) - 1)]


def _encoded(item: Parameter, value: Any) -> Any:
    """The value as Optuna stores it: a share of what is drawn for the distributions that Optuna does not have, else its
    position among the choices, or itself for continuous and logarithmic ranges."""
    if item.by_share:
        return item.share_of(value)
    return value if item.choices is None or item.log else item.choices.index(value)
