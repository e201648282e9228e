"""'Would this be accepted?' by the rules that the field's communities apply, with the numbers behind the answer.

A policy is a community's own rule, applied as they apply it; our own verdicts are made by `compare`. Scores are
compared in bits per byte, so tokenizers do not matter; a margin in nats per token is converted by the candidate's own
tokens per byte. A rule that needs a spread answers 'cannot say' for a single run.
Source: challenge README, "Submission Process", and its pull requests 1900, 1902 and 1967; modded-nanogpt README, rule
2, and records/track_3_optimization/README.md.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import pandas as pd

from results.rows.tables import is_finished, per_run
from results.stats.late import special
from results.stats.t_tests import NoVerdict, one_sample_t, welch_t
from results.verdicts.arms import arms_of, flaws_of, other_text
from results.verdicts.published_records import choice_of_seeds, incumbent_of, incumbents, name_of, record_losses
from trainer.spec.errors import UserError, did_you_mean
from trainer.spec.units import bits_per_byte_to_nats, nats_to_bits_per_byte

SIGMA_NATS = 0.0013
"""Seed-to-seed standard deviation that mng-track3 takes as known."""
CONTRADICTED = 0.05
"""p-value below which runs contradict that standard deviation, so that the rule does not apply to them."""
TARGET_NATS = 3.28
"""Validation loss that both tracks of modded-nanogpt must reach when there is no incumbent."""


@dataclass(frozen=True)
class Policy:
    """One community's rule of acceptance."""

    name: str
    rule: str
    """In words, as a reader of the table needs it."""
    alpha: float
    test: Literal["welch or exact", "welch", "exact", "known sigma"]
    """'exact' takes the incumbent's mean as if it had no error; 'welch or exact' does so where it has one run alone."""
    margin_nats: float = 0.0
    target_nats: float | None = None
    """Threshold when there is no incumbent."""

    @property
    def test_in_words(self) -> str:
        """Which test gives its p; none of them pairs runs, also where two share a seed."""
        return {
            "welch or exact": "Welch's t-test, or against one run a one-sample t-test; runs are not paired",
            "welch": "Welch's t-test; runs are not paired",
            "exact": "a one-sample t-test against the incumbent's mean; runs are not paired",
            "known sigma": "a z-test with a known sd; runs are not paired",
        }[self.test]

    @property
    def about_single_runs(self) -> str:
        """What one run alone can say under this rule, as the candidate and as the incumbent."""
        alone = "From one run of a record nothing can be said, since a spread needs 2"
        return {
            "welch or exact": f"{alone}; an incumbent of one run is taken as exact.",
            "welch": f"{alone}; nor of a record whose incumbent has one.",
            "exact": f"{alone}; an incumbent's mean is always taken as exact, of however many runs.",
            "known sigma": f"{alone}, and the sd that is taken as known is held against the runs.",
        }[self.test]


POLICIES: Mapping[str, Policy] = {
    policy.name: policy
    for policy in (
        Policy(
            "pg-written",
            "beats the incumbent by at least 0.005 nats per token at p < 0.01",
            alpha=0.01,
            test="welch or exact",
            margin_nats=0.005,
        ),
        Policy("pg-frontier-p25", "better than the incumbent at p < 0.25, Welch's test", alpha=0.25, test="welch"),
        Policy(
            "mng-track1",
            "mean below the incumbent's (or below 3.28 nats) at p < 0.01, one-sample test",
            alpha=0.01,
            test="exact",
            target_nats=TARGET_NATS,
        ),
        Policy(
            "mng-track3",
            "gain / sqrt(1/n + 1/n of the incumbent) of at least 0.004 nats: p < 0.001 for a known sd of 0.0013",
            alpha=0.001,
            test="known sigma",
            target_nats=TARGET_NATS,
        ),
    )
}
LEAST_SCALED_GAIN_NATS = 0.004
"""What mng-track3 asks of the gain times the square root of n; its printed p < 0.001 is this rule rounded."""


@dataclass(frozen=True)
class Acceptance:
    """The answer of a policy for one candidate."""

    policy: Policy
    candidate: str
    incumbent: str
    answer: Literal["accepted", "not accepted", "cannot say"]
    reason: str = ""
    """Why there is no answer; then the numbers below are empty."""
    n_candidate: int | None = None
    n_incumbent: int | None = None
    gain_bpb: float | None = None
    """Positive is better."""
    gain_nats: float | None = None
    """Per token of the candidate; None when its tokens per byte are not known."""
    margin_bpb: float | None = None
    statistic: float | None = None
    p: float | None = None
    note: str = ""

    @property
    def sentence(self) -> str:
        """The answer in words."""
        against = f" against {self.incumbent}" if self.incumbent else ""
        answer = f"{self.candidate}{against}: {self.answer} under {self.policy.name}"
        if self.gain_bpb is None:
            return f"{answer}, {self.reason}."
        nats = "" if self.gain_nats is None else f" ({self.gain_nats:+.5f} nats per token)"
        margin = f", {self.margin_bpb:.5f} of it are required" if self.margin_bpb else ""
        runs = f"{self.n_candidate} against {self.n_incumbent} runs" if self.n_incumbent else f"{self.n_candidate} runs"
        numbers = f"gain {self.gain_bpb:+.5f} bits per byte{nats}{margin}; {runs}, p = {self.p:.2g}"
        return f"{answer} ({self.policy.rule}): {numbers}.{' ' + self.note if self.note else ''}"


def policy_of(name: str) -> Policy:
    """The policy of this name. Raises UserError offering the nearest."""
    if name not in POLICIES:
        raise UserError(f"--policy {name} is unknown{did_you_mean(name, POLICIES)}; known: {', '.join(POLICIES)}")
    return POLICIES[name]


def accept(
    policy: Policy,
    candidate: pd.DataFrame,
    incumbent: pd.DataFrame | None = None,
    seeds: Collection[int] | None = None,
) -> Acceptance:
    """The answer of the policy for these runs.

    candidate, incumbent:  rows of one configuration each; without an incumbent the policy's own target counts
    seeds:                 those the candidate must have finished; by default those it has
    Raises UserError when there is neither.
    """
    rows = per_run(candidate, seeds)
    if rows.empty:
        raise UserError("there is no run to judge yet")
    other = None if incumbent is None else per_run(incumbent)
    if other is None and policy.target_nats is None:
        raise UserError(f"policy {policy.name} compares with an incumbent; name one, for example record:549")
    incumbent_name = f"{policy.target_nats:g} nats" if other is None else str(other["config"].iloc[0])
    asked = Acceptance(policy, str(rows["config"].iloc[0]), incumbent_name, "cannot say")
    wanted = set(rows["seed"] if seeds is None else seeds)
    (flaw,) = flaws_of(rows, "bpb", wanted, "the candidate").values()
    if not flaw and other is not None:
        (flaw,) = flaws_of(other, "bpb", set(other["seed"]), "the incumbent").values()
    (arm,) = arms_of(rows, "bpb").values()
    if not flaw and other is not None:
        (reference_arm,) = arms_of(other, "bpb").values()
        flaw = other_text(arm, reference_arm)
    if flaw:
        return replace(asked, reason=flaw)
    scores, tokens = pd.Series(arm.scores), arm.tokens_per_byte
    if math.isnan(tokens) and (policy.margin_nats or policy.test == "known sigma" or other is None):
        return replace(
            asked, reason="the candidate's val_loss is not known, so nats cannot be converted to bits per byte"
        )
    margin = nats_to_bits_per_byte(policy.margin_nats, tokens) if policy.margin_nats else 0.0
    try:
        reference = _scores_to_beat(policy, other, tokens)
        statistic, p, passed, note = _judged(policy, scores, reference, margin, tokens, other is None)
    except NoVerdict as error:
        return replace(asked, reason=str(error))
    gain = float(reference.mean() - scores.mean())
    return replace(
        asked,
        answer="accepted" if passed else "not accepted",
        n_candidate=len(scores),
        n_incumbent=None if other is None else len(reference),
        gain_bpb=gain,
        gain_nats=None if math.isnan(tokens) else bits_per_byte_to_nats(gain, tokens),
        margin_bpb=margin,
        statistic=statistic,
        p=p,
        note=note,
    )


def _scores_to_beat(policy: Policy, incumbent: pd.DataFrame | None, tokens: float) -> pd.Series[float]:
    if incumbent is None:
        return pd.Series([nats_to_bits_per_byte(policy.target_nats or math.nan, tokens)])
    return incumbent.loc[is_finished(incumbent), "val_bpb"]


def _judged(
    policy: Policy,
    scores: pd.Series[float],
    reference: pd.Series[float],
    margin: float,
    tokens: float,
    is_target: bool,
) -> tuple[float, float, bool, str]:
    """Statistic, p, whether it passes, and what a reader should know."""
    if policy.test == "known sigma":
        return _known_sigma(scores, reference, tokens, is_target)
    exact = policy.test == "exact" or (policy.test == "welch or exact" and len(reference) == 1)
    if exact:
        result = one_sample_t(scores.to_numpy(), float(reference.mean()), margin)
    else:
        result = welch_t(scores.to_numpy(), reference.to_numpy(), margin)
    note = "The incumbent has one run, whose score is taken as exact." if exact and policy.test != "exact" else ""
    return result.t, result.p, result.p < policy.alpha, note


def _known_sigma(
    scores: pd.Series[float], reference: pd.Series[float], tokens: float, is_target: bool
) -> tuple[float, float, bool, str]:
    """The z-test of mng-track3, where the runs do not contradict the sd that it takes as known."""
    if len(scores) < 2:
        raise NoVerdict("one run shows no spread, so the sd taken as known cannot be checked here")
    nats_per_bpb = bits_per_byte_to_nats(1.0, tokens)
    sigma = check_sigma([arm * nats_per_bpb for arm in ([scores] if is_target else [scores, reference])])
    if sigma.p < CONTRADICTED:
        raise NoVerdict(
            f"the rule takes an sd of {SIGMA_NATS:g} nats as known, and these runs spread with {sigma.sd_nats:.4f} "
            f"({sigma.df} degrees of freedom), which contradicts it: p = {sigma.p:.2g}, chi-squared test"
        )
    gain_nats = bits_per_byte_to_nats(float(reference.mean() - scores.mean()), tokens)
    scaled = gain_nats / math.sqrt(1 / len(scores) + (0.0 if is_target else 1 / len(reference)))
    p = float(special.ndtr(-scaled / SIGMA_NATS))
    note = (
        f"The sd of {SIGMA_NATS:g} nats is taken as known; these runs show {sigma.sd_nats:.4f} ({sigma.df} degrees of "
        "freedom), which does not contradict it."
    )
    return scaled, p, scaled >= LEAST_SCALED_GAIN_NATS, note


@dataclass(frozen=True)
class SigmaCheck:
    """Whether runs spread more widely than a rule takes as known."""

    sd_nats: float
    """Pooled over the arms."""
    df: int
    p: float
    """Of a spread at least this wide, if the sd were the known one."""


def check_sigma(arms: Sequence[pd.Series[float]]) -> SigmaCheck:
    """The chi-squared test of the known sd against runs of which at least one arm has two, in nats per token."""
    samples = [arm for arm in arms if len(arm) > 1]
    df = sum(len(arm) - 1 for arm in samples)
    sd_nats = math.sqrt(sum(float(arm.var()) * (len(arm) - 1) for arm in samples) / df)
    return SigmaCheck(sd_nats, df, float(special.chdtrc(df, df * (sd_nats / SIGMA_NATS) ** 2)))


def acceptance_of_record(policy: Policy, record: str | int) -> Acceptance:
    """The answer of the policy for a record against its incumbent, with all seeds that were run."""
    name = name_of(record)
    return _of_record(policy, name, incumbent_of(name))


def acceptance_of_records(policy: Policy) -> list[Acceptance]:
    """The same for every merged record that has an incumbent, in the order they came."""
    return [_of_record(policy, name, before) for name, before in incumbents().items() if before is not None]


def _of_record(policy: Policy, name: str, incumbent: str | None) -> Acceptance:
    if incumbent is None:
        return Acceptance(policy, name, "no incumbent", "cannot say", "it is the first of its track")
    answer = accept(policy, record_losses(name), record_losses(incumbent))
    chosen = choice_of_seeds(name)
    return replace(answer, note=f"{answer.note} {chosen[:1].upper()}{chosen[1:]}.".strip()) if chosen else answer
