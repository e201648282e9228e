"""GPU-hours until a question about 20 configurations is answered with 80 % power at alpha = 1 %.

One configuration is better than the baseline, the other 19 equal it. Two questions: settings of test-time training,
which share one training per seed, and learning rates, each trained anew. Seeds are chosen by the product's planning, or
the fewest by simulation where the row says so; power and false 'better' of every row are then simulated with the
product's own tests. Spreads: medians of the published records. Stage times: preset `pr549`, 8 GPUs. Normal scores.
`docs/statistics.md` keeps the tables.
"""

from __future__ import annotations

import bisect
import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import pytest
from scipy import stats

from results.stats.power import design_of
from results.stats.race_rule import RaceBatch, RaceRule
from results.stats.sequential import FIRST_LOOK, Looks, p_less
from results.stats.t_tests import Block
from results.verdicts.published_records import (
    incumbents,
    merged_records,
    record_losses,
    seed_sd_bpb,
    shared_artifact_sd_bpb,
)
from tests.benchmarks.test_statistics import own, own_in_blocks
from trainer.spec.load import expected_of

pytestmark = pytest.mark.bench
NUM_CONFIGURATIONS, ALPHA, POWER = 20, 0.01, 0.8
SWEEPS, CHUNK = 4_000, 500
EMPTY_TIMES = 5
"""So many times as many sweeps count the false 'better' of designs other than races, which take longest."""
MARGIN_NATS = 0.005
MOST_SEEDS, MOST_SEARCHED = 80, 24
CLOSE_CORRELATION = 0.6
"""Between seeds of neighbouring learning rates, measured on `tiny` at 120 steps; 0 between far ones."""


@functools.cache
def sd_between_seeds() -> float:
    return seed_sd_bpb()


@dataclass(frozen=True)
class Costs:
    """Seconds on all GPUs."""

    artifact_s: float
    """Once per seed, for all configurations."""
    baseline_s: float
    """Per run of the baseline, beside its artifact."""
    configuration_s: float

    def gpu_hours(self, seeds_SA: np.ndarray, gpus: int) -> float:
        """Mean over sweeps; seeds that each arm ran, the baseline first."""
        seconds_S = self.artifact_s * seeds_SA.max(1) + self.baseline_s * seeds_SA[:, 0]
        return float((seconds_S + self.configuration_s * seeds_SA[:, 1:].sum(1)).mean() * gpus / 3600)


@dataclass(frozen=True)
class Case:
    """A true gain, a design's costs, and how far runs of one seed correlate in it."""

    gain: float
    margin: float
    costs: Costs
    correlation: float
    block: Block | None

    @property
    def beyond(self) -> float:
        return self.gain - self.margin

    def scores(self, gains_A: np.ndarray, n: int, random: np.random.Generator) -> Iterator[np.ndarray]:
        """Of SWEEPS sweeps in chunks, arms by n seeds."""
        own_part, seeds_part = (1 - self.correlation) ** 0.5, self.correlation**0.5
        for _ in range(SWEEPS // CHUNK):
            noise = own_part * random.normal(size=(CHUNK, len(gains_A), n))
            noise += seeds_part * random.normal(size=(CHUNK, 1, n))
            yield sd_between_seeds() * noise - gains_A[:, None]

    @property
    def one_better(self) -> np.ndarray:
        return np.array([0.0, self.gain] + [0.0] * (NUM_CONFIGURATIONS - 1))

    @property
    def all_at_the_margin(self) -> np.ndarray:
        """None is better by more than the margin, and all come as close as they can."""
        return np.array([0.0] + [self.margin] * NUM_CONFIGURATIONS)

    @property
    def sd(self) -> float:
        """What the plan's test takes: between seeds, or between pairs."""
        return sd_between_seeds() * ((2 * (1 - self.correlation)) ** 0.5 if self.block else 1.0)

    def planned_seeds(self, power: float = POWER, *, adaptive: bool = False, race: bool = False) -> int | None:
        """The fewest that the product's planning finds enough."""
        first_look = FIRST_LOOK if race else None

        def enough(n: int) -> bool:
            design = design_of(self.block, NUM_CONFIGURATIONS, n, self.sd, ALPHA, adaptive, first_look)
            return design.power(self.beyond) >= power

        numbers = range(FIRST_LOOK if race else 2, MOST_SEEDS)
        place = bisect.bisect_left(numbers, True, key=enough)
        return numbers[place] if place < len(numbers) else None


@dataclass(frozen=True)
class Answer:
    seeds: str
    gpu_hours: float
    gpu_hours_without_a_gain: float
    power: float
    false_better: float
    empty_sweeps: int
    """In which it was counted."""


def fixed_shown(case: Case, gains_A: np.ndarray, n: int, random: np.random.Generator) -> np.ndarray:
    """Which configurations are shown better, by Holm's first step; sweeps by configurations."""
    test, level, shown = own_in_blocks if case.block else own, ALPHA / NUM_CONFIGURATIONS, []
    for scores in case.scores(gains_A, n, random):
        scores[:, 1:] += case.margin
        shown.append(test(scores).p < level)
    return np.concatenate(shown)


def fixed(case: Case, gpus: int, random: np.random.Generator, n: int | None = None) -> Answer:
    """The same seeds for every configuration."""
    n = n or case.planned_seeds()
    assert n
    hours = case.costs.gpu_hours(np.full((1, NUM_CONFIGURATIONS + 1), n), gpus)
    power = fixed_shown(case, case.one_better, n, random)[:, 0].mean()
    errors = [fixed_shown(case, case.all_at_the_margin, n, random).any(1).mean() for _ in range(EMPTY_TIMES)]
    return Answer(f"{n}", hours, hours, float(power), float(np.mean(errors)), EMPTY_TIMES * SWEEPS)


def fewest(case: Case, gpus: int, random: np.random.Generator) -> Answer:
    """The fewest seeds by simulation: the plan for runs that share nothing does not know that errors cancel."""
    for n in range(2, MOST_SEEDS):
        if fixed_shown(case, case.one_better, n, random)[:, 0].mean() >= POWER:
            return fixed(case, gpus, random, n)
    raise AssertionError("no number of seeds is enough")


def races(case: Case, gains_A: np.ndarray, last: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Which configurations are shown better, and the seeds that each arm ran."""
    better, seeds = [], []
    for scores in case.scores(gains_A, last, random):
        rule = RaceRule(case.margin, ALPHA, Looks(last), paired=case.block is not None)
        batch = RaceBatch.start(rule, *scores.shape[:2])
        for n in range(FIRST_LOOK, last + 1):
            batch.look(scores[..., :n])
        better.append(batch.better_SA[:, 1:])
        seeds.append(batch.seeds_SA)
    return np.concatenate(better), np.concatenate(seeds)


def race(case: Case, gpus: int, random: np.random.Generator) -> Answer:
    last = case.planned_seeds(race=True)
    assert last
    better, seeds = races(case, case.one_better, last, random)
    false, _ = races(case, case.all_at_the_margin, last, random)
    _, empty = races(case, np.zeros(NUM_CONFIGURATIONS + 1), last, random)
    hours, without = (case.costs.gpu_hours(counts, gpus) for counts in (seeds, empty))
    return Answer(f"at most {last}", hours, without, float(better[:, 0].mean()), float(false.any(1).mean()), len(false))


def found_and_confirmed(
    case: Case, gains_A: np.ndarray, searched: int, confirmed: int, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """The arm with the best mean of the search, and whether fresh seeds show it better than the baseline."""
    winners, shown = [], []
    fresh = case.scores(gains_A, confirmed, random)
    for scores, again in zip(case.scores(gains_A, searched, random), fresh, strict=True):
        winner = scores[:, 1:].mean(-1).argmin(1) + 1
        ours = again[np.arange(len(again)), winner]
        p = p_less(ours, again[:, 0], case.margin, paired=case.block is not None)
        winners.append(winner)
        shown.append(p < ALPHA)
    return np.concatenate(winners), np.concatenate(shown)


def search_then_confirm(case: Case, gpus: int, random: np.random.Generator) -> Answer:
    """A few seeds choose the best; it and the baseline run on fresh ones. The cheapest split of both that suffices."""
    best: tuple[float, int, int] | None = None
    for searched in range(1, MOST_SEARCHED):
        right = float((found_and_confirmed(case, case.one_better, searched, 2, random)[0] == 1).mean())
        confirmed = case.planned_seeds(POWER / right, adaptive=True) if right > POWER else None
        if confirmed:
            hours = _search_hours(case.costs, searched, confirmed, gpus)
            best = min(best or (hours, searched, confirmed), (hours, searched, confirmed))
    assert best
    hours, searched, confirmed = best
    winner, shown = found_and_confirmed(case, case.one_better, searched, confirmed, random)
    empty = [found_and_confirmed(case, case.all_at_the_margin, searched, confirmed, random) for _ in range(EMPTY_TIMES)]
    false = float(np.mean([shown_then for _, shown_then in empty]))
    power = float((shown & (winner == 1)).mean())
    return Answer(f"{searched}, then {confirmed} of 2", hours, hours, power, false, EMPTY_TIMES * SWEEPS)


def _search_hours(costs: Costs, searched: int, confirmed: int, gpus: int) -> float:
    search = np.full((1, NUM_CONFIGURATIONS + 1), searched)
    confirmation = np.array([[confirmed, confirmed] + [0] * (NUM_CONFIGURATIONS - 1)])
    return costs.gpu_hours(search, gpus) + costs.gpu_hours(confirmation, gpus)


def stage_seconds() -> tuple[int, dict[str, float]]:
    expected = expected_of("pr549")
    assert expected
    names = ("train", "export", "evaluate", "adapt")
    return expected.gpus, {name: expected.stage_s(expected.own, name) or 0.0 for name in names}


def margin_bpb() -> float:
    """0.005 nats per token on the tokenizer of `pr549`."""
    rows = record_losses("pr549")
    return float((rows["val_bpb"] / rows["val_loss"]).mean() * MARGIN_NATS)


def median_gain_bpb() -> float:
    """Of a merged record over the one it had to beat, those that did not beat it included."""
    means = {name: rows["val_bpb"].mean() for name, rows in merged_records().items()}
    return float(np.median([means[old] - means[new] for new, old in incumbents().items() if old]))


ASSUMED: dict[str, Callable[[], tuple[float, float]]] = {
    "margin 0.005 nats, gain one sd between seeds beyond it": lambda: (margin_bpb() + sd_between_seeds(), margin_bpb()),
    "no margin, gain the median of the records": lambda: (median_gain_bpb(), 0.0),
    "no margin, gain one sd between seeds": lambda: (sd_between_seeds(), 0.0),
}
Row = tuple[str, Case, Callable[..., Answer]]


def ttt_rows(gain: float, margin: float, second: dict[str, float]) -> list[Row]:
    trained = second["train"] + second["export"]
    apart = Costs(0.0, trained + second["evaluate"], trained + second["adapt"])
    shared = Costs(trained + second["evaluate"], 0.0, second["adapt"])
    correlation = 1 - (shared_artifact_sd_bpb() / sd_between_seeds()) ** 2 / 2
    stock = Case(gain, margin, apart, 0.0, None)
    pairs = Case(gain, margin, shared, correlation, "artifact")
    return [
        ("stock Tune, or without shared stages: a training per run, fixed seeds", stock, fixed),
        ("the same, search, then confirmation by hand", stock, search_then_confirm),
        ("a training per run, in blocks as if it repeated to the bit", replace(pairs, costs=apart), fixed),
        ("shared stages, no blocks (fewest seeds by simulation)", replace(pairs, block=None), fewest),
        ("shared stages, blocks", pairs, fixed),
        ("shared stages, blocks, race", pairs, race),
        ("shared stages, blocks, search, then confirmation", pairs, search_then_confirm),
    ]


def learning_rate_rows(gain: float, margin: float, second: dict[str, float]) -> list[Row]:
    run_s = second["train"] + second["export"] + second["evaluate"]
    stock = Case(gain, margin, Costs(0.0, run_s, run_s), 0.0, None)
    close = replace(stock, correlation=CLOSE_CORRELATION, block="seed")
    return [
        ("stock Tune: fixed seeds (no stage to share: the same here)", stock, fixed),
        ("search, then confirmation (by hand with stock Tune)", stock, search_then_confirm),
        ("race", stock, race),
        ("blocks by seed, correlation 0", replace(stock, block="seed"), fixed),
        (f"blocks by seed, correlation {CLOSE_CORRELATION:g}", close, fixed),
        (f"blocks by seed, correlation {CLOSE_CORRELATION:g}, race", close, race),
        (f"blocks by seed, correlation {CLOSE_CORRELATION:g}, search, then confirmation", close, search_then_confirm),
    ]


QUESTIONS = {"settings of test-time training": ttt_rows, "learning rates": learning_rate_rows}


@pytest.mark.parametrize("assumed", ASSUMED)
@pytest.mark.parametrize("question", QUESTIONS)
def test_gpu_hours_until_a_question_is_answered(question, assumed):
    random = np.random.default_rng(8)
    gpus, second = stage_seconds()
    gain, margin = ASSUMED[assumed]()
    print(
        f"\n{question}; {assumed}: margin {margin:.5f}, true gain {gain:.5f}, sd {sd_between_seeds():.5f} bits per byte"
    )
    print("\n| design | seeds | GPU-hours | of the first | if nothing is better | power | false 'better' |")
    print("|---|---|---|---|---|---|---|")
    first = 0.0
    for name, case, design in QUESTIONS[question](gain, margin, second):
        answer = design(case, gpus, random)
        first = first or answer.gpu_hours
        print(
            f"| {name} | {answer.seeds} | {answer.gpu_hours:,.0f} | {answer.gpu_hours / first:.0%} | "
            f"{answer.gpu_hours_without_a_gain:,.0f} | {answer.power:.1%} | {answer.false_better:.2%} |"
        )
        assert answer.power >= POWER - 0.03
        assert answer.false_better * answer.empty_sweeps <= stats.binom.ppf(0.999, answer.empty_sweeps, ALPHA)
