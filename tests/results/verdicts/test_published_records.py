"""Published records as baselines."""

import pytest

from results.verdicts.published_records import load_records, record_losses
from trainer.spec.errors import UserError


def test_every_run_of_the_transcript_is_there():
    table = load_records()
    assert (len(table), table["record"].nunique()) == (150, 52)
    assert set(table.loc[~table["legal"], "pr"]) == {150, 338}


@pytest.mark.parametrize("asked", ["pr549", "PR549", "549", "#549", 549, "2026-03-23_LeakyReLU_LegalTTT_ParallelMuon"])
def test_a_record_is_found_by_name_or_pull_request(asked):
    losses = record_losses(asked)
    assert dict(zip(losses["seed"], losses["val_bpb"], strict=True)) == {
        1337: 1.11922988, 2025: 1.11888882, 42: 1.12002032
    }  # fmt: skip


@pytest.mark.parametrize(
    ("record", "num_seeds", "mean_bpb"),
    [
        (77, 1, 1.1929),  # four runs of one seed are one
        (1787, 3, 1.06335),  # the re-evaluation, not the superseded score of the training log
        (1868, 3, 1.06141),  # the mean its own name states
        ("2026-03-19_MLP3x_QAT_Int6_SlidingWindow", 3, 1.15015),  # README seeds, not the earlier run
    ],
)
def test_a_repeated_seed_counts_once_and_superseded_runs_do_not(record, num_seeds, mean_bpb):
    losses = record_losses(record)
    assert (len(losses), losses["seed"].nunique()) == (num_seeds, num_seeds)
    assert losses["val_bpb"].mean() == pytest.approx(mean_bpb, abs=5e-6)


def test_illegal_scores_stay_marked():
    assert not record_losses(338)["legal"].any()
    assert record_losses("PR 150 second 10L entry")["legal"].all()


def test_a_pull_request_with_several_records_must_be_named():
    with pytest.raises(UserError, match="holds 3 records; name one: .*second 10L entry"):
        record_losses("pr150")


def test_an_unknown_record_offers_the_nearest():
    with pytest.raises(UserError, match="did you mean '2026-03-17_NaiveBaseline'"):
        record_losses("2026-03-17_NaivBaseline")
