"""Verdicts: which test, in which unit, on which rows, and what is said when nothing can be said."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.formula import api as smf

from results.stats.resampling import sign_flip_p
from results.stats.t_tests import paired_t, welch_t
from results.verdicts.compare import compare
from results.verdicts.published_records import load_records, record_losses
from results.verdicts.terms import Evidence, Terms
from results.verdicts.verdict import selected_gain
from tests.results.sweeps import LN2, TOKENS_PER_BYTE, frame, row
from trainer.spec.errors import UserError

BASELINE = (2.0, 2.1, 2.25)


def arm(config, scores, artifacts=None, **changes):
    names = artifacts or [f"{config}-{seed}" for seed in range(1, len(scores) + 1)]
    return [
        row(config, seed, s, artifact=a, **changes) for seed, (s, a) in enumerate(zip(scores, names, strict=True), 1)
    ]


def only(frame, *args, **kwargs):
    (verdict,) = compare(frame, *args, **kwargs)
    return verdict


def test_arms_on_shared_artifacts_are_paired_whatever_their_seeds():
    rows = [*arm("base", BASELINE, ["x", "y", "z"]), *arm("new", (2.24, 1.98, 2.09), ["z", "x", "y"])]
    verdict = only(frame(*rows), "base")
    expected = paired_t([1.98, 2.09, 2.24], BASELINE)
    assert (verdict.test, verdict.n_candidate) == ("paired t-test", 3)
    assert (verdict.t, verdict.p) == (pytest.approx(expected.t), pytest.approx(expected.p))
    assert verdict.correlation == pytest.approx(expected.correlation)


def test_arms_that_share_only_seed_numbers_are_not_paired():
    new = (1.98, 2.09, 2.24)
    verdict = only(frame(*arm("base", BASELINE), *arm("new", new)), "base")
    assert (verdict.test, verdict.correlation) == ("Welch's t-test", None)
    assert verdict.p == pytest.approx(welch_t(new, BASELINE).p)


def test_arms_that_share_some_artifacts_are_compared_on_those_alone():
    rows = [*arm("base", BASELINE, ["x", "y", "z"]), *arm("new", (1.98, 2.07, 9.0), ["x", "y", "other"])]
    verdict = only(frame(*rows), "base")
    assert (verdict.test, verdict.n_candidate, verdict.n_baseline) == ("paired t-test", 2, 2)
    assert verdict.bpb.difference == pytest.approx(-0.025)


def test_pairing_by_artifact_shows_what_welch_cannot():
    """PR 1787 stored two evaluations of the same three artifacts; p-values from scipy on the published scores."""
    runs = load_records().query("pr == 1787").assign(stock=lambda table: table["notes"].str.contains("stock"))
    scores = {stock: group.set_index("seed")["val_bpb"].sort_index() for stock, group in runs.groupby("stock")}
    rows = [*arm("stock", scores[True], ["0", "42", "1234"]), *arm("tuned", scores[False], ["0", "42", "1234"])]
    apart = [*arm("stock", scores[True]), *arm("tuned", scores[False])]
    assert only(frame(*rows), "stock").p == pytest.approx(0.000687, abs=1e-6)
    assert only(frame(*apart), "stock").p == pytest.approx(0.206, abs=1e-3)


def test_beside_p_stands_how_often_a_new_run_is_better():
    rows = [row("base", s, 2.0 + 0.01 * s) for s in (1, 2, 3)] + [row("a", s, 1.99 + 0.01 * s) for s in (1, 2, 3)]
    (verdict,) = compare(frame(*rows), "base")
    assert verdict.p_new_run_better == pytest.approx(stats.t.cdf(1 / (8 / 3) ** 0.5, 4), rel=1e-6)
    assert "A new run of a beats a new run of base in 71.3 % of cases." in verdict.sentence


@pytest.mark.parametrize(("record", "previous", "p"), [(1514, 1493, 0.020), (1769, 1736, 0.106)])
def test_published_p_values_are_reproduced(record, previous, p):
    """One-sided Welch on val_bpb against the previous frontier row, PR 1902."""
    verdict = only(record_losses(record), record_losses(previous), Terms(alpha=0.25))
    assert verdict.test == "Welch's t-test"
    assert verdict.p == pytest.approx(p, abs=5e-4)
    assert verdict.conclusion == "better"


def test_the_challenges_own_test_takes_the_incumbent_as_exact():
    ours, incumbent = record_losses("PR 150 second 10L entry"), record_losses("2026-03-17_NaiveBaseline")
    assert only(ours, incumbent, Terms(0.005, "nats")).conclusion == "cannot say"  # one run has no spread
    verdict = only(ours, incumbent, Terms(0.005, "nats", exact_baseline=True))
    assert (verdict.test, f"{verdict.p:.1e}") == ("one-sample t-test", "8.3e-06")


def test_the_effect_is_given_in_both_units():
    verdict = only(frame(*arm("base", BASELINE), *arm("new", (1.9, 2.0, 2.15))), "base", Terms(0.005, "nats"))
    nats_per_bpb = LN2 / TOKENS_PER_BYTE
    assert (verdict.bpb.difference, verdict.nats.difference) == (
        pytest.approx(-0.1),
        pytest.approx(-0.1 * nats_per_bpb),
    )
    assert (verdict.nats.margin, verdict.bpb.margin) == (0.005, pytest.approx(0.005 / nats_per_bpb))
    assert verdict.bpb.low < -0.1 < verdict.bpb.high


def test_the_unit_of_the_margin_changes_no_p_value():
    rows = frame(*arm("base", BASELINE), *arm("new", (1.9, 1.97, 2.15)))
    in_nats = only(rows, "base", Terms(0.01 * LN2 / TOKENS_PER_BYTE, "nats"))
    assert in_nats.p == pytest.approx(only(rows, "base", Terms(0.01)).p)


def test_nats_of_different_tokenizers_are_not_compared():
    caseops, sp8192 = record_losses(1729), record_losses(1667)
    refused = only(caseops, sp8192, Terms(0.005, "nats"))
    assert (refused.conclusion, refused.p) == ("cannot say", None)
    assert "tokenizers" in refused.reason
    verdict = only(caseops, sp8192)
    assert (verdict.conclusion, verdict.nats) == ("better", None)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"status": "failed", "val_bpb": None, "val_loss": None}, "no result for seed 3"),
        ({"val_bpb": math.inf}, "no result for seed 3"),
        ({"val_bpb": math.nan}, "no result for seed 3"),
        ({"status": "running", "val_bpb": None}, "yet to finish seed 3"),
        ({"status": "stopped", "val_bpb": None}, "stopped early"),
        ({"legal": False}, "not known to be legal"),
    ],
)
@pytest.mark.parametrize("spoilt", ["base", "new"])
def test_a_spoilt_arm_gives_a_reason_and_no_number(change, reason, spoilt):
    arms = {"base": arm("base", BASELINE), "new": arm("new", (1.0, 1.1, 1.2))}
    arms[spoilt][2] |= change
    verdict = only(frame(*arms["base"], *arms["new"]), "base")
    assert verdict.conclusion == "cannot say"
    assert reason in verdict.reason
    assert [verdict.p, verdict.t, verdict.df, verdict.bpb, verdict.nats, verdict.p_corrected] == [None] * 6
    assert "cannot say" in verdict.sentence


@pytest.mark.parametrize("new", [(1.0,), (1.0, 1.0, 1.0)])
def test_one_run_or_no_spread_is_no_evidence(new):
    verdict = only(frame(*arm("base", BASELINE[: len(new)]), *arm("new", new)), "base")
    assert (verdict.conclusion, verdict.p) == ("cannot say", None)


def test_a_run_that_occurs_twice_counts_once():
    rows = [*arm("base", BASELINE), *arm("new", (1.9, 1.95, 2.0))]
    twice = frame(*rows, *arm("new", (1.0, 1.0, 1.0)))
    assert only(twice, "base") == only(frame(*rows), "base")


def test_p_values_are_corrected_over_the_whole_sweep():
    rows = [
        *arm("base", BASELINE),
        *arm("a", (1.0, 1.1, 1.2)),
        *arm("b", (1.9, 2.0, 2.1)),
        *arm("c", (1.0, math.nan, 1.0)),
    ]
    a, b, c = compare(frame(*rows), "base")
    assert a.p_corrected == pytest.approx(3 * a.p)  # Holm: the smallest of three, the failed one counted
    assert b.p_corrected == pytest.approx(2 * b.p)
    assert (c.p_corrected, a.num_comparisons) == (None, 3)
    assert compare(frame(*rows), "base", Terms(correction="none"))[0].p_corrected == a.p


def test_declared_seeds_alone_count():
    rows = [*arm("base", BASELINE), *arm("new", (0.1, 1.9, 2.2))]
    verdict = only(frame(*rows), "base", evidence=Evidence([2, 3]))
    assert verdict.p == pytest.approx(welch_t((1.9, 2.2), BASELINE[1:]).p)
    assert "seed 4" in only(frame(*rows), "base", evidence=Evidence([1, 2, 3, 4])).reason


def test_another_sweep_may_be_the_baseline():
    verdict = only(frame(*arm("new", (1.0, 1.1, 1.2))), frame(*arm("theirs", BASELINE)))
    assert (verdict.config, verdict.baseline, verdict.conclusion) == ("new", "theirs", "better")


def test_a_baseline_must_be_one_known_configuration():
    rows = frame(*arm("base", BASELINE), *arm("new", (1.0, 1.1, 1.2)))
    with pytest.raises(UserError, match="did you mean 'base'"):
        compare(rows, "basis")
    with pytest.raises(UserError, match="hold 2"):
        compare(rows, rows)


def test_the_sentence_tells_gain_margin_and_evidence():
    rows = frame(*arm("base", BASELINE, ["x", "y", "z"]), *arm("new", (1.9, 2.0, 2.151), ["x", "y", "z"]))
    sentence = only(rows, "base", Terms(0.01), Evidence(exploratory=True)).sentence
    assert sentence.startswith("new scores 0.09967 bits per byte (0.13817 nats per token) better than base")
    assert "a gain of more than 0.01 bits per byte (0.01386 nats) is suggested" in sentence
    assert "over 3 shared artifacts (correlation 1.00)" in sentence
    assert sentence.endswith("settle it with: orchestrator confirm demo")


def test_a_worse_configuration_is_called_worse():
    sentence = only(frame(*arm("base", BASELINE), *arm("new", (3.0, 3.1, 3.2))), "base").sentence
    assert "worse than base" in sentence
    assert "a gain is not shown" in sentence


ROWS = [*arm("base", BASELINE, ["x", "y", "z"]), *arm("new", (1.9, 2.0, 2.151), ["x", "y", "z"])]


@given(st.permutations(ROWS))
@settings(max_examples=8, deadline=None)
def test_the_order_of_rows_changes_no_verdict(shuffled):
    assert only(frame(*shuffled), "base").p == pytest.approx(only(frame(*ROWS), "base").p)


def test_ten_pairs_bring_sign_flips_and_a_bootstrap_interval():
    noise = np.random.default_rng(0).normal(0, 0.02, size=(2, 10))
    names = [str(number) for number in range(10)]
    rows = [*arm("base", 2.0 + noise[0], names), *arm("new", 1.98 + noise[1], names)]
    verdict = only(frame(*rows), "base")
    assert verdict.sign_flip_p == pytest.approx(sign_flip_p(noise[1] - noise[0] - 0.02))
    low, high = verdict.bootstrap_bpb
    assert low < verdict.bpb.difference < high
    few = only(frame(*rows[:6], *rows[10:16]), "base")
    assert (few.sign_flip_p, few.bootstrap_bpb) == (None, None)


CALM = {"base": (1.9, 1.901, 1.899)} | {f"c{i}": (2.0 + i, 2.001 + i, 1.999 + i) for i in range(4)}


def swept(arms):
    return [row for config, scores in arms.items() for row in arm(config, scores)]


def test_a_shared_variance_is_pooled_but_for_a_noisier_arm():
    terms = Terms(variance="shared")
    calm = compare(frame(*swept(CALM)), "base", terms)
    assert {(verdict.test, verdict.df) for verdict in calm} == {("t-test with pooled variance", 10)}
    *others, wild = compare(frame(*swept(CALM), *arm("wild", (2.0, 2.1, 1.9))), "base", terms)
    assert (wild.test, wild.df) == ("moderated t-test", 2)
    assert {verdict.df for verdict in others} == {10}


def test_a_shared_variance_says_what_it_costs_where_it_is_wrong():
    verdict, *_ = compare(frame(*swept(CALM)), "base", Terms(variance="shared"))
    assert "with a baseline 3 times noisier, 5 to 10 % of sweeps" in verdict.assumption


def test_by_default_each_configuration_is_judged_by_its_own_spread_and_one_borrowed_degree_of_freedom():
    calm = compare(frame(*swept(CALM)), "base")
    assert {verdict.test for verdict in calm} == {"moderated Welch's t-test"}
    assert [verdict.df for verdict in calm] == pytest.approx([5.0] * 4)
    *_, wild = compare(frame(*swept(CALM), *arm("wild", (2.0, 2.1, 1.9))), "base")
    assert wild.df == pytest.approx(2.5, abs=0.1)


SEEDS_MOVE_ALL = {
    "base": (2.0, 2.1, 2.25),
    **{f"c{i}": tuple(score + i + 0.001 * ((7 * i + 3 * n) % 5) for n, score in enumerate(BASELINE)) for i in range(5)},
}


def test_seeds_are_pairs_where_they_were_declared_as_blocks():
    unpaired, paired = (compare(frame(*swept(SEEDS_MOVE_ALL)), "base", Terms(blocks=b)) for b in ("artifact", "seed"))
    assert {verdict.block for verdict in unpaired} == {""}
    assert {(verdict.block, verdict.test) for verdict in paired} == {("seed", "moderated paired t-test")}
    assert all(verdict.correlation > 0.99 for verdict in paired)
    assert max(verdict.df for verdict in paired) == 3
    assert "over 3 shared seeds (correlation 1.00)" in paired[1].sentence


def test_arms_that_share_every_artifact_are_paired_by_it_whatever_else_is_declared():
    rows = [*arm("base", BASELINE, ["x", "y", "z"]), *arm("new", (2.24, 1.98, 2.09), ["z", "x", "y"])]
    blocks = [only(frame(*rows), "base", Terms(blocks=b)).block for b in ("artifact", "seed", "none")]
    assert blocks == ["artifact", "artifact", ""]


def test_runs_of_another_sweep_or_code_base_share_no_seed():
    ours, theirs = frame(*arm("new", (1.9, 2.0, 2.1))), frame(*arm("base", BASELINE))
    assert only(ours, theirs, Terms(blocks="seed")).block == ""


def test_in_blocks_with_a_shared_variance_the_residual_of_the_two_way_layout_is_what_chance_does():
    """Against the analysis of variance of the same table."""
    noise = np.random.default_rng(1).normal(2.0, 0.01, size=(7, 3)) + np.array([0, 1, 5])
    scores = dict(zip("abcdefg", noise, strict=True))
    rows = frame(*swept(scores))
    verdict, *_ = compare(rows, "a", Terms(variance="shared", blocks="seed"))
    fit = smf.ols("val_bpb ~ C(config) + C(seed)", rows[["config", "seed", "val_bpb"]].astype({"seed": int})).fit()
    assert (verdict.block, verdict.df) == ("seed", pytest.approx(fit.df_resid))
    assert verdict.t == pytest.approx(fit.tvalues["C(config)[T.b]"])


def test_a_single_run_or_copies_of_it_are_no_evidence_in_a_large_sweep_either():
    rows = [row for config, scores in CALM.items() for row in arm(config, scores)]
    *_, alone, copies = compare(frame(*rows, *arm("alone", (1.0,)), *arm("copies", (1.0, 1.0, 1.0))), "base")
    assert [(verdict.conclusion, verdict.p) for verdict in (alone, copies)] == [("cannot say", None)] * 2


def test_configurations_that_have_no_row_yet_count_in_the_correction():
    rows = frame(*arm("base", BASELINE), *arm("a", (1.0, 1.1, 1.2)))
    early = only(rows, "base", evidence=Evidence(family=20))
    assert (early.p_corrected, early.num_comparisons) == (pytest.approx(20 * early.p), 20)


def test_an_arm_that_mixes_configurations_is_refused():
    mixed = arm("new", (1.9, 2.0, 2.1))
    mixed[1]["ttt.lr"] = 0.02
    verdict = only(frame(*arm("base", BASELINE), *mixed), "base")
    assert (verdict.conclusion, verdict.p) == ("cannot say", None)
    assert "mixes configurations: its runs differ in ttt.lr" in verdict.reason


def test_a_loss_that_can_be_excluded_is_said():
    rows = frame(*arm("base", BASELINE, ["x", "y", "z"]), *arm("same", (2.001, 2.1, 2.249), ["x", "y", "z"]))
    verdict = only(rows, "base", Terms(0.05))
    assert (verdict.conclusion, verdict.p_no_worse < 0.01) == ("not shown", True)
    assert "It is no worse by 0.05 bits per byte" in verdict.sentence


def test_a_better_score_over_budget_is_infeasible_and_said_so_before_the_score():
    rows = frame(*arm("base", BASELINE), *arm("new", (1.0, 1.1, 1.2), within_budget=False))
    verdict = only(rows, "base")
    assert (verdict.conclusion, verdict.headline) == ("better", "infeasible")
    assert verdict.sentence.startswith("new is infeasible: a run is not known to be within its budget")
    assert "Its score alone: new scores 1.01667 bits per byte" in verdict.sentence


def test_an_infeasible_baseline_is_a_measure_all_the_same_and_that_is_said():
    rows = frame(*arm("base", BASELINE, within_budget=False), *arm("new", (1.0, 1.1, 1.2)))
    verdict = only(rows, "base")
    assert verdict.headline == "better"
    assert verdict.sentence.endswith("base is itself infeasible (a run is not known to be within its budget of bytes "
                                     "and seconds).")  # fmt: skip


@pytest.mark.parametrize("terms", [Terms(0.02), Terms(0.02, variance="shared"), Terms(0.02, blocks="seed")])
def test_no_interval_clears_the_margin_beside_not_shown(terms):
    """Sixty sweeps of six configurations whose gains are near the margin."""
    dice = np.random.default_rng(3)
    for _ in range(60):
        scores = {f"c{i}": 2.0 - 0.02 * i + 0.01 * dice.normal(size=3) for i in range(7)}
        for verdict in compare(frame(*swept(scores)), "c0", terms):
            assert (-verdict.bpb.high > 0.02) == (verdict.conclusion == "better")
            assert (verdict.bpb.at_least >= 0.02) == (verdict.conclusion == "better")


def test_a_declared_shared_variance_is_corrected_by_dunnett():
    shared, own = (compare(frame(*swept(CALM)), "base", Terms(variance=v)) for v in ("shared", "own"))
    assert [{verdict.correction for verdict in verdicts} for verdicts in (shared, own)] == [{"dunnett"}, {"holm"}]
    assert shared[0].p_corrected < 4 * shared[0].p


def test_a_sweep_that_declared_holm_is_corrected_by_holm_and_shows_less():
    scores = CALM | {"c0": (1.8971, 1.8981, 1.8961)}
    (dunnett, *_), (holm, *_) = (
        compare(frame(*swept(scores)), "base", Terms(variance="shared", correction=c)) for c in ("dunnett", "holm")
    )
    assert (holm.p, holm.correction) == (dunnett.p, "holm")
    assert holm.p_corrected == pytest.approx(holm.p * holm.num_comparisons)
    assert dunnett.p_corrected < 0.01 < holm.p_corrected
    assert (dunnett.conclusion, holm.conclusion) == ("better", "not shown")


def test_the_best_of_ten_equal_configurations_is_drawn_back_to_the_others():
    noise = np.random.default_rng(4).normal(2.0, 0.01, size=(11, 4))
    verdicts = compare(frame(*swept(dict(zip("abcdefghijk", noise, strict=True)))), "a")
    best = min(verdicts, key=lambda verdict: verdict.bpb.difference)
    others = np.mean([verdict.bpb.difference for verdict in verdicts])
    assert abs(best.bpb.shrunken - others) < 0.5 * abs(best.bpb.difference - others)
    assert "it was selected as the best of 10" in selected_gain(best)


def test_no_worse_is_corrected_over_the_sweep():
    rows = [*arm("base", BASELINE, ["x", "y", "z"])]
    for name, shift in (("a", 0.001), ("b", 0.002), ("c", 0.5)):
        rows += arm(name, [score + shift + 0.001 * n for n, score in enumerate(BASELINE)], ["x", "y", "z"])
    a, b, _ = compare(frame(*rows), "base", Terms(0.05))
    assert a.p_no_worse_corrected == pytest.approx(3 * a.p_no_worse)
    assert "after correction" in a.sentence
    assert 2 * b.p_no_worse <= b.p_no_worse_corrected


@pytest.mark.parametrize("unit", ["nats", "bpb"])
def test_scores_on_different_texts_are_not_compared(unit):
    same, other = {"val_bytes": 120_000, "val_documents": 40}, {"val_bytes": 20_000, "val_documents": 6}
    texts = frame(*arm("base", BASELINE, **same), *arm("same", BASELINE, **same), *arm("new", (1.0, 1.1, 1.2), **other))
    verdicts = {verdict.config: verdict for verdict in compare(texts, "base", Terms(0.005, unit))}
    assert verdicts["same"].conclusion == "not shown"
    assert verdicts["new"].conclusion == "cannot say"
    assert verdicts["new"].reason == (
        "scored on another text than the baseline (20,000 bytes in 6 documents, and 120,000 bytes in 40 documents); "
        "scores on different texts cannot be compared"
    )


def test_a_text_whose_size_is_not_known_is_compared():
    rows = [*arm("base", BASELINE), *arm("new", BASELINE, val_bytes=20_000)]
    assert only(frame(*rows), "base").conclusion == "not shown"
