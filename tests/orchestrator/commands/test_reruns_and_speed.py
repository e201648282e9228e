"""Questions that the field asks: does a rerun reproduce, is it faster, from which step on does it pass?"""

import json

import pytest

from orchestrator.search.run_queue import Run
from orchestrator.sweep.sweep import open_sweep
from tests.orchestrator.commands.test_import import CASES, call  # noqa: F401 - a fixture
from tests.orchestrator.spaces import leave_runs, space_of
from trainer.spec.errors import UserError


def rows(out: str) -> list[dict]:
    return json.loads(out)


def test_the_rerun_of_pr_1120_does_not_reproduce_from_its_summary_and_from_its_runs(call):  # noqa: F811
    _, out, _ = call("reproduce", "--original", "1.10979,0.00021,3", "--rerun", "1.11350", "--format", "json")
    (told,) = rows(out)
    assert (f"{told['t']:.1f}", f"{told['p']:.4f}", told["reproduces"]) == ("15.3", "0.0042", False)
    call("import", CASES / "pr1120_and_its_rerun.csv", "--name", "x")
    status, out, _ = call("reproduce", "x", "--original", "pr1120", "--rerun", "pr1177")
    assert status == 0
    assert "DOES NOT REPRODUCE" in out
    assert "t = 14.88" in out


def test_the_pool_of_pr_1967_gives_4_06_and_says_that_a_seed_counts_twice(call):  # noqa: F811
    call("import", CASES / "pr1967_and_its_reproduction.csv", "--name", "x")
    asked = ("reproduce", "x", "--original", "pr1967", "--rerun", "reproduction", "--against", "1.060755,0.000933,6")
    status, out, _ = call(*asked)
    assert status == 0
    assert "Welch's t = 4.056 with 5.84 degrees of freedom, one-sided p = 0.00353" in out
    assert "Seed 42 counts twice" in out
    (told,) = rows(call(*asked, "--format", "json")[1])
    assert (told["pooled"]["n"], told["pooled_each_seed_once"]["n"], told["shared_seeds"]) == (4, 3, [42])
    assert told["pooled_each_seed_once"]["p"] > told["pooled"]["p"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--original", "1.1,0.1,3"), "--rerun 1.11350"),
        (("--original", "1.1,0.1", "--rerun", "1.2"), "MEAN,SD,N"),
        (("--original", "1.1,0.1,1", "--rerun", "1.2"), "at least 2 runs"),
        (("--original", "pr1", "--rerun", "1.2"), "no sweep is named"),
        (("--original", "record:999999", "--rerun", "1.2"), "is no published record"),
    ],
)
def test_a_wrong_request_for_a_rerun_ends_in_status_2(call, words, expected):  # noqa: F811
    status, out, err = call("reproduce", *words)
    assert (status, out) == (2, "")
    assert expected in err


def test_pr_366_is_faster_and_still_good_enough(call):  # noqa: F811
    call("import", CASES / "modded_nanogpt_pr366.csv", "--name", "x")
    asked = ("compare", "x", "--metric", "train_s", "--subject-to", "val_loss<3.28@0.01")
    status, out, _ = call(*asked)
    assert status == 0
    text = " ".join(out.split())
    assert "FASTER pr366" in text
    assert "train_s 67.8687 s against 74.0273 s" in text
    assert "over 12 pairs of neighbouring runs on 1 machine" in text
    assert "mean val_loss below 3.28 at alpha = 0.01 is shown: 3.27851 over 12 runs, p = 0.0047" in text
    assert "the baseline: mean val_loss below 3.28 at alpha = 0.01 is shown: 3.27765 over 12 runs, p = 0.001" in text
    (told,) = rows(call(*asked, "--format", "json")[1])
    assert (told["conclusion"], told["n"]) == ("faster", 12)
    (strict,) = rows(call(*asked[:-1], "val_loss<3.28@0.001", "--format", "json")[1])
    assert strict["conclusion"] == "not shown"


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("val_loss<1.2.3", "--subject-to val_loss<1.2.3 is no condition"),
        ("val_loss<3.28@1-1", "--subject-to val_loss<3.28@1-1 is no condition"),
        ("val_loss<3.28@3", "--subject-to val_loss<3.28@3: alpha = 3 must lie between 0 and 1"),
    ],
)
def test_a_condition_that_cannot_be_tested_is_refused(call, condition, expected):  # noqa: F811
    call("import", CASES / "modded_nanogpt_pr366.csv", "--name", "x")
    status, _, err = call("compare", "x", "--metric", "train_s", "--subject-to", condition)
    assert status == 2
    assert expected in err


SPELLED = {
    "seconds": ["250", "500", "750", "1000", "1250", "1500"],
    "end of summer time": [f"2026-10-25T0{time}:00" for time in
                           ("1:50:00+02", "2:20:00+02", "2:50:00+02", "2:10:00+01", "2:40:00+01", "3:10:00+01")],
    "one time zone": [f"2026-03-29 0{turn}:30" for turn in range(6)],
}  # fmt: skip


@pytest.mark.parametrize("spelled", SPELLED)
def test_neighbours_follow_from_when_runs_started_however_it_is_spelled(call, tmp_path, spelled):  # noqa: F811
    turns = ["base", "new", "new", "base", "base", "new"]
    lines = [f"{config},{turn},{10 + turn - (config == 'new')},{SPELLED[spelled][turn]}"
             for turn, config in enumerate(turns)]  # fmt: skip
    (tmp_path / "runs.csv").write_text("\n".join(["config,seed,train_s,started_at", *lines]) + "\n")
    call("import", tmp_path / "runs.csv", "--name", "x", "--metric", "train_s", "--baseline", "base")
    (told,) = rows(call("compare", "x", "--metric", "train_s", "--format", "json")[1])
    assert (told["n"], told["difference"]) == (3, pytest.approx((0 - 2 + 0) / 3))
    assert told["p"] == pytest.approx(0.211, abs=0.001)


def test_a_start_that_is_no_time_says_nothing_of_neighbours(call, tmp_path):  # noqa: F811
    lines = [f"{config},{seed},1{seed},Jan {seed + 9}" for seed in range(3) for config in ("base", "new")]
    (tmp_path / "runs.csv").write_text("\n".join(["config,seed,train_s,started_at", *lines]) + "\n")
    call("import", tmp_path / "runs.csv", "--name", "x", "--metric", "train_s", "--baseline", "base")
    (told,) = rows(call("compare", "x", "--metric", "train_s", "--format", "json")[1])
    assert told["conclusion"] == "cannot say"
    assert "started_at = 'Jan 9'" in told["reason"]


def test_pr_321_passes_from_step_2750_on_by_its_own_rule(call):  # noqa: F811
    call("import", CASES / "modded_nanogpt_pr321.csv", "--name", "x")
    (told,) = rows(call("first-step", "x", "--rule", "mng-track3", "--format", "json")[1])
    assert told["first_step"] == 2750
    scaled = {point["step"]: f"{point['statistic']:.5f}" for point in told["points"]}
    assert (scaled[2745], scaled[2750]) == ("0.00333", "0.00511")
    assert "no look is paid for" in told["sentence"]
    status, out, _ = call("first-step", "x", "--below", "3.28", "--alpha", "0.01")
    assert status == 0
    assert "looks together err in at most 0.01" in " ".join(out.split())


TIMED = """
name: timed
preset: tiny
method: grid
seeds: [1, 2, 3, 4]
parameters:
  schedule.warmdown_steps: {values: [20, 40]}
compare: {metric: train_s, subject_to: {val_loss: {mean_below: 9.0, alpha: 0.01}}}
"""


def test_configurations_take_turns_where_seconds_are_compared(tmp_path):
    made, order = open_sweep(tmp_path, space_of(tmp_path, TIMED)), []

    def seen(run: Run) -> float:
        order.append((run.seed, run.configuration.index))
        return 2.0 + 1e-3 * run.seed

    leave_runs(made, seen)
    assert list(dict.fromkeys(seed for seed, _ in order)) == [1, 2, 3, 4]
    rounds = [list(dict.fromkeys(index for seed, index in order if seed == one)) for one in (1, 2, 3, 4)]
    assert rounds[0] == rounds[1][::-1] == rounds[2]
    assert len(rounds[0]) > 1


def test_the_plan_lists_the_runs_in_turns(call, tmp_path):  # noqa: F811
    (tmp_path / "timed.yaml").write_text(TIMED)
    status, out, err = call("plan", "timed.yaml", "--per", "run", "--format", "json")
    assert status == 0, err
    assert [row["seed"] for row in rows(out)] == sorted(row["seed"] for row in rows(out))
    assert "take turns" in " ".join(call("plan", "timed.yaml")[1].split())


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("mean_below: 9.0", "mean_bellow: 9.0", "did you mean 'mean_below'"),
        ("mean_below: 9.0", "mean_below: 9.0, mean_above: 1.0", "needs one of mean_below and mean_above"),
        ("val_loss:", "val_los:", "did you mean 'val_loss'"),
        ("metric: train_s, ", "", "subject_to is a condition on a claim of speed"),
        ("metric: train_s", "metric: trains", "compare.metric = 'trains' is unknown"),
        ("method: grid", "method: tpe\nrun_cap: 2", "method tpe chooses configurations by results"),
        ("seeds:", "stopping: {rule: race}\nseeds:", "leave it out"),
    ],
)
def test_a_wrong_claim_of_speed_is_refused_with_its_key(tmp_path, old, new, expected):
    assert old in TIMED
    with pytest.raises(UserError, match=expected):
        space_of(tmp_path, TIMED.replace(old, new))
