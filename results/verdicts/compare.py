"""Is a configuration better than the baseline by more than a margin? One verdict per configuration.

The rules, fixed before any score is known:
- A configuration and seed counts once: a finished run before any other, then the first.
- A failed, missing or non-finite seed is never averaged over; nor is an illegal score compared: 'cannot say'.
- Arms that share trained artifacts (the same export fingerprint) are paired over those; else over the sweep's seeds,
  where these were declared to be blocks; else not at all (Welch's test). Runs of another code base share no block.
  Every configuration is judged by its own variance, with one degree of freedom borrowed from the sweep, or, where that
  was declared, by a variance that the sweep shares. Against a published mean taken as exact: the one-sample test, when
  asked for.
- Whether a configuration is feasible is no matter of statistics: the conclusion is about scores alone, and the verdict
  says beside it which limit is broken, so that nobody announces it as better (`Verdict.headline`).
- One arm is one configuration: rows whose swept values differ are not averaged under one name.
- p-values are corrected over all configurations of the sweep (Holm); one that cannot be tested counts as p = 1.
- The test is made in the unit of the margin. Nats are per token: between tokenizers only bits per byte compare.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

import pandas as pd

from results.rows.ranking import Ranking
from results.rows.tables import breaches_of, per_run
from results.stats.prediction import p_new_run_better
from results.stats.t_tests import NoVerdict, TTest, holm, no_worse_p
from results.verdicts.arms import Arm, arms_of, flaws_of
from results.verdicts.matching import NOTHING_SHARED, Match, Spreads, spreads_of
from results.verdicts.terms import Evidence, Terms
from results.verdicts.verdict import Effect, Unit, Verdict
from trainer.spec.errors import UserError, did_you_mean
from trainer.spec.units import bits_per_byte_to_nats, nats_to_bits_per_byte

SAME_TOKENIZER = 0.01
"""Tokens per byte may differ by this part: exports of one tokenizer do by 0.003, tokenizers by 0.05 and more."""


ANY_GAIN = Terms()
"""Bits per byte, no margin."""
ALL_SEEDS = Evidence()
"""Every row counts, and nothing is known against any."""


def compare(
    frame: pd.DataFrame, baseline: str | pd.DataFrame, terms: Terms = ANY_GAIN, evidence: Evidence = ALL_SEEDS
) -> list[Verdict]:
    """A verdict for every configuration of the sweep but the baseline, in the order of the table.

    baseline:  a configuration of `frame`, or rows of one configuration from elsewhere (another sweep, a record)
    terms:     which gain counts, and how it is tested
    evidence:  which seeds of `frame` count, and what is known against them
    Raises UserError for an unknown baseline, or rows of several configurations.
    """
    runs = per_run(frame, evidence.seeds)
    declared = set(runs["seed"] if evidence.seeds is None else evidence.seeds)
    wanted = set() if evidence.own_seeds else declared
    flaws, arms = flaws_of(runs, terms.unit, wanted, "the configuration"), arms_of(runs, terms.unit)
    one_sweep = isinstance(baseline, str)
    if isinstance(baseline, str):
        name, reference, flaw = _own_baseline(baseline, arms, flaws)
    else:
        name, reference, flaw = _other_baseline(baseline, terms.unit)
    flaw = evidence.objections.get(name, "") or flaw
    whys = {config: flaw or evidence.objections.get(config, "") or flaws[config] for config in arms}
    matches = {
        config: Match.of(arm, reference, terms, one_sweep)
        for config, arm in arms.items()
        if arm is not reference and not whys[config]
    }
    spreads = spreads_of(runs, matches.values(), terms) if one_sweep else NOTHING_SHARED
    sweeps = dict(zip(runs["config"], runs["sweep"], strict=True)) if "sweep" in runs else {}
    breaches = breaches_of(runs, Ranking()) if evidence.breaches is None else evidence.breaches
    verdicts = []
    for config, arm in arms.items():
        if arm is reference:
            continue
        asked = Verdict(
            config=config,
            baseline=name,
            conclusion="cannot say",
            alpha=terms.alpha,
            exploratory=evidence.is_exploratory(config),
            sweep=str(sweeps.get(config, "")),
            reason=whys[config],
            breaches=tuple(breaches.get(config, ())),
            baseline_breaches=tuple(breaches.get(name, ())),
        )
        match = matches.get(config)
        verdicts.append(asked if match is None else _judged(asked, (arm, reference), match, terms, spreads))
    return _corrected(verdicts, terms.correction, evidence.family)


def _own_baseline(name: str, arms: Mapping[str, Arm], flaws: Mapping[str, str]) -> tuple[str, Arm, str]:
    if name not in arms:
        known = ", ".join(list(arms)[:5]) or "none"
        raise UserError(f"no configuration '{name}' in this sweep{did_you_mean(name, arms)}; known: {known}")
    return name, arms[name], flaws[name].replace("the configuration", "the baseline", 1)


def _other_baseline(rows: pd.DataFrame, unit: Unit) -> tuple[str, Arm, str]:
    names = list(rows["config"].unique())
    if len(names) != 1:
        raise UserError(f"a baseline is one configuration, but these rows hold {len(names)}: {', '.join(names[:5])}")
    runs, name = per_run(rows), str(names[0])
    return name, arms_of(runs, unit)[name], flaws_of(runs, unit, set(runs["seed"]), "the baseline")[name]


def _judged(asked: Verdict, arms: tuple[Arm, Arm], match: Match, terms: Terms, spreads: Spreads) -> Verdict:
    """The verdict on two arms that may be compared, before correction."""
    density, other = (arm.tokens_per_byte for arm in arms)
    same_tokens = math.isclose(density, other, rel_tol=SAME_TOKENIZER)
    if terms.unit == "nats" and not same_tokens:
        reason = "the arms have different tokenizers, and nats are per token; give the margin in bits per byte"
        return replace(asked, reason=reason)
    try:
        test = spreads.tested(match, terms)
    except NoVerdict as error:
        return replace(asked, reason=str(error))
    return replace(
        asked,
        test=test.name,
        assumption=test.assumption,
        block=match.block or "",
        variance=terms.variance,
        n_candidate=len(match.candidate),
        n_baseline=len(match.baseline),
        nats=_effect(test, terms, "nats", density) if same_tokens else None,
        bpb=_effect(test, terms, "bpb", density),
        t=test.t,
        df=test.df,
        p=test.p,
        correlation=test.correlation,
        p_new_run_better=_p_new_run_better(arms, terms),
        p_no_worse=no_worse_p(test, terms.margin),
        sign_flip_p=match.sign_flip_p(terms),
        bootstrap_bpb=_in_bpb(match.bootstrap(), terms.unit, density),
    )


def _p_new_run_better(arms: tuple[Arm, Arm], terms: Terms) -> float | None:
    """Of runs on seeds of their own, whatever paired those that were compared."""
    arm, reference = arms
    exact = terms.exact_baseline and len(reference.scores)
    return p_new_run_better(arm.scores, float(reference.scores.mean()) if exact else reference.scores)


def _in_bpb(interval: tuple[float, float] | None, unit: Unit, density: float) -> tuple[float, float] | None:
    if interval is None or unit == "bpb":
        return interval
    low, high = (nats_to_bits_per_byte(end, density) for end in interval)
    return low, high


def _effect(test: TTest, terms: Terms, unit: Unit, density: float) -> Effect:
    numbers = (test.difference, test.low, test.high, terms.margin)
    if unit == terms.unit:
        return Effect(*numbers)
    convert = nats_to_bits_per_byte if unit == "bpb" else bits_per_byte_to_nats
    return Effect(*(convert(number, density) for number in numbers))


def _corrected(verdicts: Sequence[Verdict], correction: str, family: int) -> list[Verdict]:
    raw = [1.0 if verdict.p is None else verdict.p for verdict in verdicts]
    if correction == "none" or not verdicts:
        return [_concluded(verdict, p, 1) for verdict, p in zip(verdicts, raw, strict=True)]
    raw += [1.0] * (family - len(raw))
    corrected = holm(raw)
    return [_concluded(verdict, float(p), len(raw)) for verdict, p in zip(verdicts, corrected, strict=False)]


def _concluded(verdict: Verdict, p_corrected: float, num_comparisons: int) -> Verdict:
    if verdict.p is None:
        return verdict
    conclusion: Literal["better", "not shown"] = "better" if p_corrected < verdict.alpha else "not shown"
    return replace(verdict, conclusion=conclusion, p_corrected=p_corrected, num_comparisons=num_comparisons)
