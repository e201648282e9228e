"""The communities' own rules on the published records, figure by figure."""

import functools
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from results.stats.t_tests import one_sample_t
from results.verdicts.policies import (
    POLICIES,
    Acceptance,
    Policy,
    accept,
    acceptance_of_record,
    acceptance_of_records,
    policy_of,
)
from results.verdicts.published_records import incumbents, load_records, merged_records, record_losses
from tests.results.sweeps import LN2, TOKENS_PER_BYTE, frame, row
from trainer.spec.errors import UserError

GOLDEN = Path(__file__).parents[2] / "golden" / "record_verdicts.csv"
SECOND_ENTRY = "PR 150 second 10L entry"


@functools.cache
def answers_under(policy: Policy) -> list[Acceptance]:
    return acceptance_of_records(policy)


def verdicts() -> pd.DataFrame:
    """A line per merged record and policy, against its incumbent."""
    answers = [answer for policy in POLICIES.values() for answer in answers_under(policy)]
    return pd.DataFrame(
        {
            "policy": [answer.policy.name for answer in answers],
            "previous": [answer.incumbent for answer in answers],
            "record": [answer.candidate for answer in answers],
            "answer": [answer.answer for answer in answers],
            "p": ["" if answer.p is None else f"{answer.p:.3g}" for answer in answers],
            "gain_bpb": ["" if answer.gain_bpb is None else f"{answer.gain_bpb:.6f}" for answer in answers],
        }
    )


def test_the_verdicts_of_all_records_against_their_incumbents_stand():
    """Accept a change:
    python -c 'from tests.results.verdicts.test_policies import *; verdicts().to_csv(GOLDEN, index=False)'"""
    golden = pd.read_csv(GOLDEN, dtype=str, keep_default_na=False)
    changed = verdicts().astype(str).compare(golden)
    assert changed.empty, f"{changed}\n{test_the_verdicts_of_all_records_against_their_incumbents_stand.__doc__}"


def test_one_record_alone_is_called_unsupported_and_never_gets_a_number():
    by_name = {answer.candidate: answer for answer in answers_under(POLICIES["pg-written"])}
    single = [name for name, rows in merged_records().items() if len(rows) == 1 and name in by_name]
    unsupported = [name for name, answer in by_name.items() if answer.answer == "cannot say"]
    assert len(unsupported) == 10
    assert not any("Ternary" in name for name in by_name)
    assert set(unsupported) == set(single)
    assert {by_name[name].p for name in single} == {None}


def test_of_the_sp8192_steps_one_passes_the_written_rule():
    answers = answers_under(POLICIES["pg-written"])
    first = next(
        i for i, answer in enumerate(answers) if "1412" in str(i) or "SP8192_HessianSDClip" in answer.candidate
    )
    passed = [answer for answer in answers[first:] if answer.answer == "accepted"]
    assert [(answer.candidate, f"{answer.p:.4f}") for answer in passed] == [("2026-04-10_VarLenAttn", "0.0016")]
    assert passed[0].margin_bpb == pytest.approx(0.00194, abs=5e-6)


@pytest.mark.parametrize(("record", "previous", "p"), [(1514, 1493, 0.020), (1769, 1736, 0.106)])
def test_the_frontier_rule_gives_the_published_p_values(record, previous, p):
    answer = accept(POLICIES["pg-frontier-p25"], record_losses(record), record_losses(previous))
    assert (answer.answer, answer.p) == ("accepted", pytest.approx(p, abs=5e-4))


def test_the_best_five_of_seven_seeds_give_0_063_and_all_seven_0_106_and_the_choice_is_said():
    runs = load_records().query("pr == 1769")
    assert (len(runs), int(runs["reported"].sum())) == (7, 5)
    all_seeds = record_losses(1769)
    reported = all_seeds[all_seeds["seed"].isin(runs.loc[runs["reported"], "seed"])]
    rule = POLICIES["pg-frontier-p25"]
    p_values = [accept(rule, rows, record_losses(1736)).p for rows in (reported, all_seeds)]
    assert [f"{p:.3f}" for p in p_values] == ["0.063", "0.106"]
    assert "The record reports the best 5 of its 7 seeds; all count." in acceptance_of_record(rule, 1769).sentence


@pytest.mark.parametrize("policy", POLICIES.values(), ids=lambda policy: policy.name)
def test_the_overview_and_the_single_answer_agree_on_every_record(policy):
    for answer in answers_under(policy):
        assert acceptance_of_record(policy, answer.candidate) == answer


def test_the_incumbent_is_the_best_merged_before_on_its_track():
    before = incumbents()
    assert before["2026-03-19_TrainingOptSeq4096"] == "2026-03-19_SlidingWindowEval"  # #50 is better than #49
    assert before["2026-04-09_A2_Muon097_3Seed"] == "2026-04-09_SP8192_3LayerRecur_ParResid_QK525_LegalTTT"  # of a day
    assert before["2026-04-29_SmearGateBOSFix_3Seed_1.06141"].startswith("2026-04-27_SP8192_LQER")
    assert before["2026-03-25_ValCalib_GPTQ_XSA_BigramHash3072"] == "2026-03-23_LeakyReLU_LegalTTT_ParallelMuon"
    assert [name for name, incumbent in before.items() if incumbent is None] == [
        "2026-03-17_NaiveBaseline",
        "2026-03-24_74M_Ternary_UNet_FP8_10L_8192BPE_YaRN_NeoMuon",
    ]
    assert acceptance_of_record(POLICIES["pg-written"], 640).reason == "it is the first of its track"


def test_what_is_said_of_single_runs_holds_under_each_policy():
    one, three = record_losses("2026-03-17_NaiveBaseline"), record_losses("2026-03-18_LongContextSeq2048")
    for policy in POLICIES.values():
        assert accept(policy, one, three).answer == "cannot say"
        taken_as_exact = accept(policy, three, one).answer != "cannot say"
        assert taken_as_exact == ("nor of a record whose incumbent has one" not in policy.about_single_runs)


def test_the_seed_documents_entry_beats_the_naive_baseline_and_not_the_record_of_the_day_before():
    losses = record_losses(SECOND_ENTRY)
    test = one_sample_t(losses["val_loss"].to_numpy(), 2.0727, 0.005)
    assert f"{losses['val_loss'].mean():.8f} {losses['val_loss'].std():.8f}" == "1.95473431 0.00079629"
    assert f"{test.t:.3f} {test.t:.1f} {test.p:.1e}" == "-245.717 -245.7 8.3e-06"
    naive = accept(POLICIES["pg-written"], losses, record_losses("2026-03-17_NaiveBaseline"))
    assert (naive.answer, naive.n_incumbent) == ("accepted", 1)
    best_before = acceptance_of_record(POLICIES["pg-written"], SECOND_ENTRY)
    assert (best_before.incumbent, best_before.answer) == ("2026-03-19_MLP3x_QAT_Int6_SlidingWindow", "not accepted")


def test_the_first_entrys_published_test_is_on_rounded_figures():
    """Published as t = -286.2 from mean 1.9574 and sd 0.00067."""
    losses = load_records().query("record == 'unmerged: PR 150 first 10L entry'")["val_loss"]
    assert (losses.mean(), losses.std()) == (pytest.approx(1.9574, abs=5e-5), pytest.approx(0.00067, abs=5e-6))


def test_track_one_is_scipys_one_sample_test_against_its_target():
    losses = [3.2781, 3.2772, 3.2790, 3.2784]
    rows = frame(*(row("ours", seed, loss * TOKENS_PER_BYTE / LN2) for seed, loss in enumerate(losses)))
    answer = accept(POLICIES["mng-track1"], rows)
    assert answer.p == pytest.approx(stats.ttest_1samp(losses, 3.28, alternative="less").pvalue, rel=1e-9)
    assert answer.answer == ("accepted" if answer.p < 0.01 else "not accepted")


@pytest.mark.parametrize(("loss", "n", "answer"), [(3.2781, 4, "not accepted"), (3.2779, 4, "accepted")])
def test_track_three_asks_gain_times_root_n(loss, n, answer):
    noise = (-1e-4, 1e-4, -1e-4, 1e-4)
    rows = frame(*(row("ours", i, (loss + noise[i]) * TOKENS_PER_BYTE / LN2) for i in range(n)))
    assert accept(POLICIES["mng-track3"], rows).answer == answer  # 0.004 / sqrt(4) = 0.002 below 3.28


def test_track_three_does_not_apply_to_runs_that_spread_far_more_than_the_sd_it_assumes():
    """On `tiny`, whose seeds spread with 0.02 nats and more, the bare rule accepts 44 % of equal arms."""
    random, accepted = np.random.default_rng(0), 0
    for _ in range(100):
        arms = [
            frame(*(row(name, i, (3.0 + 0.02 * random.normal()) * TOKENS_PER_BYTE / LN2) for i in range(3)))
            for name in ("ours", "theirs")
        ]
        accepted += accept(POLICIES["mng-track3"], *arms).answer == "accepted"
    assert accepted <= 1
    assert "contradicts it" in accept(POLICIES["mng-track3"], *arms).reason


def test_an_illegal_score_or_an_unknown_unit_is_not_judged():
    assert "not known to be legal" in accept(POLICIES["pg-written"], record_losses(338), record_losses(315)).reason
    answer = accept(POLICIES["pg-written"], record_losses(1797), record_losses(1787))
    assert (answer.answer, answer.p) == ("cannot say", None)
    assert "val_loss is not known" in answer.reason


def test_an_unknown_policy_offers_the_nearest():
    with pytest.raises(UserError, match="did you mean 'pg-written'"):
        policy_of("pg-writen")
    with pytest.raises(UserError, match="compares with an incumbent"):
        accept(POLICIES["pg-written"], record_losses(549))


def test_an_answer_without_an_incumbent_names_none():
    answer = Acceptance(policy_of("pg-written"), "this submission", "", "cannot say", "it has no incumbent")
    assert answer.sentence == "this submission: cannot say under pg-written, it has no incumbent."
