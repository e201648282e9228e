"""Is a configuration better than the baseline by more than a margin? One verdict per configuration.

The rules, fixed before anybody looks at the numbers:
- A configuration and seed counts once: a finished run before any other, then the first.
- A failed, missing or non-finite seed is never averaged over; nor is an illegal score compared: 'cannot say'.
- Arms that share trained artifacts (the same export fingerprint) are paired over those. Sharing a seed number pairs
  nothing: else the spread between seeds is pooled over the sweep where that has the degrees of freedom and neither arm
  is noisier, else Welch's test. Against a published mean taken as exact: the one-sample test, when asked for.
- One arm is one configuration: rows whose swept values differ are not averaged under one name.
- p-values are corrected over all configurations of the sweep (Holm); one that cannot be tested counts as p = 1.
- The test is made in the unit of the margin. Nats are per token: between tokenizers only bits per byte compare.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from statsmodels.stats.multitest import multipletests

from results.resampling import bootstrap_interval, sign_flip_p
from results.stats import NoVerdict, PooledVariance, TTest, no_worse_p, one_sample_t, paired_t, pooled_t, welch_t
from results.tables import is_finished, per_run, swept_keys_of
from results.verdict import Effect, Verdict
from trainer.spec.errors import UserError, did_you_mean
from trainer.spec.units import bits_per_byte_to_nats, nats_to_bits_per_byte

Unit = Literal["nats", "bpb"]
SCORE_IN: dict[Unit, str] = {"nats": "val_loss", "bpb": "val_bpb"}
SAME_TOKENIZER = 0.01
"""Tokens per byte may differ by this part: exports of one tokenizer do by 0.003, tokenizers by 0.05 and more."""


def compare(
    frame: pd.DataFrame,
    baseline: str | pd.DataFrame,
    margin: float = 0.0,
    unit: Unit = "bpb",
    alpha: float = 0.01,
    exploratory: bool = False,
    correction: Literal["holm", "none"] = "holm",
    seeds: Iterable[int] | None = None,
    exact_baseline: bool = False,
    objections: Mapping[str, str] = MappingProxyType({}),
    looked_at: Collection[str] = (),
) -> list[Verdict]:
    """A verdict for every configuration of the sweep but the baseline, in the order of the table.

    baseline:        a configuration of `frame`, or rows of one configuration from elsewhere (another sweep, a record)
    margin, unit:    least gain that counts, in nats per token or bits per byte
    seeds:           those of `frame` that count, and that every configuration must have finished; by default all
    exact_baseline:  test against the baseline's mean as if it were exact (the challenge's rule), which is weaker proof
    objections:      why the seeds of a configuration (or of the baseline) prove nothing, from the seed ledger
    looked_at:       configurations whose seeds were added to after a look: exploratory
    Raises UserError for an unknown baseline, or rows of several configurations.
    """
    runs = per_run(frame, seeds)
    arms = {str(config): rows for config, rows in runs.groupby("config", sort=False)}
    name, reference = _reference(arms, baseline)
    wanted = set(runs["seed"] if seeds is None else seeds)
    pooled = PooledVariance(math.nan, 0)
    if isinstance(baseline, str):
        pooled = PooledVariance.of([rows[SCORE_IN[unit]] for rows in arms.values()])
        arms.pop(name)
    plan = _Plan(unit, margin, alpha, wanted, exact_baseline, pooled)
    own_seeds = wanted if isinstance(baseline, str) else set(reference["seed"])
    flaw = objections.get(name, "") or flaw_of(reference, unit, own_seeds, "the baseline")
    verdicts = [
        _judge(config, rows, name, reference, flaw or objections.get(config, ""), plan) for config, rows in arms.items()
    ]
    verdicts = [replace(verdict, exploratory=exploratory or verdict.config in looked_at) for verdict in verdicts]
    return _corrected(verdicts, correction)


@dataclass(frozen=True)
class _Plan:
    unit: Unit
    margin: float
    alpha: float
    wanted: set[int]
    exact_baseline: bool
    pooled: PooledVariance


def _reference(arms: dict[str, pd.DataFrame], baseline: str | pd.DataFrame) -> tuple[str, pd.DataFrame]:
    if isinstance(baseline, str):
        if baseline not in arms:
            known = ", ".join(list(arms)[:5]) or "none"
            raise UserError(
                f"no configuration '{baseline}' in this sweep{did_you_mean(baseline, arms)}; known: {known}"
            )
        return baseline, arms[baseline]
    names = list(baseline["config"].unique())
    if len(names) != 1:
        raise UserError(f"a baseline is one configuration, but these rows hold {len(names)}: {', '.join(names[:5])}")
    return str(names[0]), per_run(baseline)


def _judge(
    config: str, rows: pd.DataFrame, name: str, reference: pd.DataFrame, known_flaw: str, plan: _Plan
) -> Verdict:
    sweep = str(rows["sweep"].iloc[0]) if "sweep" in rows else ""
    verdict = Verdict(config, name, "cannot say", plan.alpha, exploratory=False, sweep=sweep)
    flaw = known_flaw or flaw_of(rows, plan.unit, plan.wanted, "the configuration")
    density, baseline_density = tokens_per_byte(rows), tokens_per_byte(reference)
    same_tokens = math.isclose(density, baseline_density, rel_tol=SAME_TOKENIZER)
    if not flaw and plan.unit == "nats" and not same_tokens:
        flaw = "the arms have different tokenizers, and nats are per token; give the margin in bits per byte"
    if flaw:
        return replace(verdict, reason=flaw)
    rows, reference = (arm[is_finished(arm, SCORE_IN[plan.unit])] for arm in (rows, reference))
    try:
        arms = _Arms.of(rows, reference, plan)
        found = arms.tested(plan)
    except NoVerdict as error:
        return replace(verdict, reason=str(error))
    return replace(
        verdict,
        test=found.name,
        assumption=found.assumption,
        n_candidate=len(arms.candidate),
        n_baseline=len(arms.baseline),
        nats=_effect(found, plan, "nats", density) if same_tokens else None,
        bpb=_effect(found, plan, "bpb", density),
        t=found.t,
        df=found.df,
        p=found.p,
        correlation=found.correlation,
        p_no_worse=no_worse_p(found, plan.margin),
        sign_flip_p=arms.sign_flip_p(plan),
        bootstrap_bpb=arms.bootstrap_bpb(plan.unit, density),
    )


def flaw_of(rows: pd.DataFrame, unit: Unit, wanted: set[int], who: str) -> str:
    """Why these rows may not be compared, or the empty string."""
    finished = is_finished(rows, SCORE_IN[unit])
    broken = rows.loc[~finished & rows["status"].isin(["done", "failed"]), "seed"]
    missing = wanted - set(rows.loc[finished, "seed"])
    if len(broken):
        return f"{who} has no score for seed {_listed(broken)}, and a failed seed is never averaged over"
    if (rows["status"] == "stopped").any():
        return f"{who} was stopped early"
    if missing:
        return f"{who} has yet to finish seed {_listed(missing)}"
    if not rows.loc[finished, "legal"].fillna(False).all():
        return f"{who} was scored by an evaluation that is not known to be legal"
    mixed = [key for key in swept_keys_of(rows) if rows[key].nunique(dropna=False) > 1]
    if mixed:
        return f"{who} mixes configurations: its runs differ in {', '.join(mixed)}"
    return ""


@dataclass(frozen=True)
class _Arms:
    """The scores of two arms, in the unit of the margin; in pairs when they share artifacts."""

    candidate: NDArray[np.float64]
    baseline: NDArray[np.float64]
    paired: bool

    @classmethod
    def of(cls, rows: pd.DataFrame, reference: pd.DataFrame, plan: _Plan) -> _Arms:
        score = SCORE_IN[plan.unit]
        ours, theirs = (arm.dropna(subset="artifact").groupby("artifact")[score].mean() for arm in (rows, reference))
        shared = ours.index.intersection(theirs.index).sort_values()
        if len(shared) and not plan.exact_baseline:
            return cls(ours[shared].to_numpy(), theirs[shared].to_numpy(), True)
        return cls(rows[score].to_numpy(), reference[score].to_numpy(), False)

    def tested(self, plan: _Plan) -> TTest:
        """The test that the origin of the numbers calls for."""
        if plan.exact_baseline:
            return one_sample_t(self.candidate, float(self.baseline.mean()), plan.margin)
        if self.paired:
            return paired_t(self.candidate, self.baseline, plan.margin)
        if plan.pooled.fits(self.candidate, self.baseline):
            return pooled_t(self.candidate, self.baseline, plan.pooled, plan.margin)
        return welch_t(self.candidate, self.baseline, plan.margin)

    def sign_flip_p(self, plan: _Plan) -> float | None:
        """The exact test of the pairs, where they are enough to reach alpha."""
        if not self.paired:
            return None
        with contextlib.suppress(NoVerdict):
            return sign_flip_p(self.candidate - self.baseline, plan.margin, plan.alpha)
        return None

    def bootstrap_bpb(self, unit: Unit, density: float) -> tuple[float, float] | None:
        """Bootstrap interval of the difference in bits per byte, where the runs are enough for one."""
        scale = nats_to_bits_per_byte(1.0, density) if unit == "nats" else 1.0
        with contextlib.suppress(NoVerdict):
            if self.paired:
                low, high = bootstrap_interval(self.candidate - self.baseline)
            else:
                low, high = bootstrap_interval(self.candidate, self.baseline)
            return low * scale, high * scale
        return None


def tokens_per_byte(rows: pd.DataFrame) -> float:
    """Scored tokens per counted byte, by val_bpb = val_loss / ln 2 x this; NaN when no row has both scores."""
    return float((rows["val_bpb"] * math.log(2) / rows["val_loss"]).median())


def _effect(found: TTest, plan: _Plan, unit: Unit, density: float) -> Effect:
    numbers = (found.difference, found.low, found.high, plan.margin)
    if unit == plan.unit:
        return Effect(*numbers)
    convert = nats_to_bits_per_byte if unit == "bpb" else bits_per_byte_to_nats
    return Effect(*(convert(number, density) for number in numbers))


def _corrected(verdicts: Sequence[Verdict], correction: str) -> list[Verdict]:
    if not verdicts:
        return []
    raw = [1.0 if verdict.p is None else verdict.p for verdict in verdicts]
    corrected = multipletests(raw, method="holm")[1] if correction == "holm" else raw
    family = len(verdicts) if correction == "holm" else 1
    return [_concluded(verdict, float(p), family) for verdict, p in zip(verdicts, corrected, strict=True)]


def _concluded(verdict: Verdict, p_corrected: float, num_comparisons: int) -> Verdict:
    if verdict.p is None:
        return verdict
    conclusion: Literal["better", "not shown"] = "better" if p_corrected < verdict.alpha else "not shown"
    return replace(verdict, conclusion=conclusion, p_corrected=p_corrected, num_comparisons=num_comparisons)


def _listed(seeds: Iterable[int]) -> str:
    return ", ".join(str(seed) for seed in sorted(seeds))
