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
- Both arms are scored on the same text, as far as its bytes and documents tell.
- p-values are corrected over all configurations of the sweep (Holm; Dunnett where one variance was declared); one that
  cannot be tested counts as p = 1. Intervals have the level of the decision, so both say the same.
- The test is made in the unit of the margin. Nats are per token: between tokenizers only bits per byte compare.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pandas as pd

from results.rows.ranking import Ranking
from results.rows.tables import breaches_of, per_run
from results.stats.late import special
from results.stats.many_against_one import Correction, Decision, decide, is_dunnetts_case
from results.stats.prediction import p_new_run_better
from results.stats.t_tests import NoVerdict, TTest, no_worse_p
from results.verdicts.arms import Arm, arms_of, flaws_of, other_text
from results.verdicts.matching import NOTHING_SHARED, Match, Spreads, moved_by_shrinkage, spreads_of
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
    whys = {
        config: flaw or evidence.objections.get(config, "") or flaws[config] or other_text(arm, reference)
        for config, arm in arms.items()
    }
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
            exploratory=bool(evidence.why_exploratory(config)),
            exploratory_because=evidence.why_exploratory(config),
            declared_alpha=evidence.declared_alpha,
            sweep=str(sweeps.get(config, "")),
            reason=whys[config],
            breaches=tuple(breaches.get(config, ())),
            baseline_breaches=tuple(breaches.get(name, ())),
        )
        match = matches.get(config)
        verdicts.append(asked if match is None else _judged(asked, (arm, reference), match, terms, spreads))
    return with_shrunken(_decided(verdicts, terms, evidence.family), matches, arms, terms.unit)


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
        reason = (
            "the arms have different tokenizers, and nats are per token; give the margin in bits per byte: "
            "--margin 0.003 --unit bpb"
        )
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
    if interval is None:
        return None
    low, high = (_in_unit(end, unit, "bpb", density) for end in interval)
    return low, high


def _effect(test: TTest, terms: Terms, unit: Unit, density: float) -> Effect:
    numbers = (test.difference, test.low, test.high, terms.margin, test.standard_error)
    return Effect(*(_in_unit(number, terms.unit, unit, density) for number in numbers))


def _in_unit(number: float, unit: Unit, into: Unit, density: float) -> float:
    """A difference in another unit, by the scored tokens per byte."""
    if unit == into:
        return number
    return nats_to_bits_per_byte(number, density) if into == "bpb" else bits_per_byte_to_nats(number, density)


def _decided(verdicts: Sequence[Verdict], terms: Terms, family: int) -> list[Verdict]:
    """Conclusions, corrected p-values and the intervals that go with them, over all configurations together."""
    tested = [verdict for verdict in verdicts if verdict.p is not None]
    correction = _correction(tested, terms)
    num = 1 if correction == "none" else max(family, len(verdicts))
    dfs = [verdict.df or math.nan for verdict in tested]
    decisions = decide([verdict.p or 0.0 for verdict in tested], dfs, terms.alpha, correction, num)
    no_worse = [1.0 if verdict.p_no_worse is None else verdict.p_no_worse for verdict in tested]
    holm = decide(no_worse, dfs, terms.alpha, "none" if correction == "none" else "holm", num)
    by_config = {
        verdict.config: replace(_concluded(verdict, decision), correction=correction, num_comparisons=num,
                                p_no_worse_corrected=other.p_corrected)
        for verdict, decision, other in zip(tested, decisions, holm, strict=True)
    }  # fmt: skip
    return [by_config.get(verdict.config, verdict) for verdict in verdicts]


def _correction(tested: Sequence[Verdict], terms: Terms) -> Correction:
    """Dunnett's where its assumption is declared and it is the case; else Holm's."""
    if terms.correction == "dunnett" and terms.variance == "shared":
        errors = [verdict.bpb.error for verdict in tested if verdict.bpb is not None]
        return "dunnett" if is_dunnetts_case(errors, [verdict.df or math.nan for verdict in tested]) else "holm"
    return "none" if terms.correction == "none" else "holm"


def _concluded(verdict: Verdict, decision: Decision) -> Verdict:
    return replace(
        verdict,
        conclusion="better" if decision.better else "not shown",
        p_corrected=decision.p_corrected,
        interval_level=1 - 2 * float(special.stdtr(verdict.df, -decision.critical)),
        bpb=_with_ends(verdict.bpb, decision),
        nats=_with_ends(verdict.nats, decision),
    )


def _with_ends(effect: Effect | None, decision: Decision) -> Effect | None:
    """Of one that is better at least the margin; more than that where all of the sweep are."""
    if effect is None:
        return None
    bound = -math.inf if decision.single_step is None else -effect.difference - decision.single_step * effect.error
    return effect.with_ends(decision.critical, max(bound, effect.margin) if decision.better else bound)


def with_shrunken(
    verdicts: Sequence[Verdict], matches: Mapping[str, Match], arms: Mapping[str, Arm], unit: Unit
) -> list[Verdict]:
    """With the means of all tested candidates drawn together; one alone was not selected.

    matches, arms:  of each tested candidate, by configuration
    """
    tested = [verdict.config for verdict in verdicts if verdict.p is not None]
    moved = dict(zip(tested, moved_by_shrinkage([matches[config] for config in tested]), strict=True))

    def shrunken(verdict: Verdict, effect: Effect | None, into: Unit) -> Effect | None:
        if effect is None or verdict.config not in moved:
            return effect
        shift = _in_unit(moved[verdict.config], unit, into, arms[verdict.config].tokens_per_byte)
        return replace(effect, shrunken=effect.difference + shift)

    return [
        replace(verdict, bpb=shrunken(verdict, verdict.bpb, "bpb"), nats=shrunken(verdict, verdict.nats, "nats"))
        for verdict in verdicts
    ]
