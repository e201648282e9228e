"""A program that is judged by a metric of its own, larger being better: race, margins, other baselines, its limits."""

from pathlib import Path

import pytest

from orchestrator.analysis.comparison import verdicts_of
from orchestrator.analysis.load_results import load_results
from orchestrator.analysis.sweep_table import rows_of
from orchestrator.space.load_space import load_space
from orchestrator.space.sections import SpaceError
from orchestrator.sweep.sweep import find_sweep
from results.figures.limit_use import limit_facts, use_facts
from results.report.report import write_report
from tests.orchestrator.run.test_own_program_inline import command

SCRIPT = """
import os, random
lr, seed = float(os.environ.get("LR", 0)), int(os.environ["SEED"])
reward = 50 + {0.1: 20, 0.3: -20}.get(lr, 0) + random.Random(f"{lr} {seed}").gauss(0, 0.5)
print(f"reward {reward} val_loss: 3.1 val_bpb: 1.2")
"""
SPACE = """
program: train.py
pass: env
metrics: {reward: 'reward (NUMBER)'}
metric: {name: reward, goal: maximize}
seeds: [1, 2, 3, 4, 5, 6]
compare: {margin: 5, alpha: 0.05}
stopping: {rule: race}
parameters: {LR: {values: [0.1, 0.2, 0.3]}}
"""


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    """A store in which the race has run."""
    folder = tmp_path_factory.mktemp("race")
    (folder / "train.py").write_text(SCRIPT)
    (folder / "reward.yaml").write_text(SPACE)
    status, said = command("sweep", str(folder / "reward.yaml"), "--inline", "--store", str(folder / "runs"))
    assert status == 0, said
    return folder / "runs"


def test_a_race_adds_seeds_by_the_metric_of_the_program_in_its_direction(store):
    sweep = find_sweep(store, "reward")
    race, by_lr = sweep.state().race, {item.values.get("LR"): item.id for item in sweep.asked()}
    assert race.winner == by_lr[0.1]
    assert race.statuses[by_lr[0.3]] == "eliminated"
    assert len(sweep.records()) == sum(race.seeds.values()) < 4 * 6
    verdicts = {verdict.config: verdict for verdict in verdicts_of(sweep, rows_of(sweep))}
    best = verdicts[by_lr[0.1]]
    assert (best.headline, best.unit, best.looks) == ("better", "reward", (3, 6))
    assert 15 < -best.bpb.difference < 25
    assert best.bpb.margin == 5


def test_another_threshold_than_the_race_ran_for_is_refused_in_the_unit_of_the_metric(store):
    status, said = command("compare", "reward", "--margin", "0.2", "--store", str(store))
    assert (status, "raced for a margin of 5 reward at alpha = 0.05" in said) == (2, True)


@pytest.fixture(scope="module")
def plain(store) -> Path:
    """The same store, in which a sweep without a race has run too."""
    (store.parent / "plain.yaml").write_text(SPACE.replace("stopping: {rule: race}\n", ""))
    status, said = command("sweep", str(store.parent / "plain.yaml"), "--inline", "--store", str(store))
    assert status == 0, said
    return store


@pytest.mark.parametrize("words", [(), ("--exact",)])
def test_a_baseline_without_the_metric_is_refused_by_name(plain, words):
    """It ended in a KeyError of pandas, and with --exact in a ValueError."""
    status, said = command("compare", "plain", "--baseline", "record:frontier", *words, "--store", str(plain))
    assert (status, "record:frontier has no reward, which sweep 'plain' compares" in said) == (2, True), said


def test_a_number_or_a_rerun_is_compared_with_the_metric_of_the_program(plain):
    """Both were compared with val_bpb."""
    status, said = command("compare", "plain", "--baseline", "60", "--exact", "--store", str(plain))
    assert (status, "Gain over 60 in reward" in said) == (0, True), said
    best = next(item.id for item in find_sweep(plain, "plain").asked() if item.values.get("LR") == 0.1)
    words = ("reproduce", "plain", "--original", best, "--rerun", "70.2,69.9", "--store", str(plain))
    status, said = command(*words)
    assert (status, "its mean over 2 is 70.05000 reward" in said) == (0, True), said


def test_a_margin_in_the_unit_of_the_metric_may_have_any_size(tmp_path):
    (tmp_path / "train.py").write_text(SCRIPT)
    (tmp_path / "a.yaml").write_text(SPACE.replace("{rule: race}", "{rule: race, margin: 40}"))
    assert load_space(tmp_path / "a.yaml").race.margin == 40
    scored = SPACE.replace("name: reward, goal: maximize", "name: val_bpb").replace("reward:", "val_bpb:")
    (tmp_path / "b.yaml").write_text(scored)
    with pytest.raises(SpaceError, match=r"compare.margin = 5 bpb is more than any .* did you mean 0.005\?"):
        load_space(tmp_path / "b.yaml")


def test_a_margin_has_no_default_where_both_scores_are_told_and_another_number_is_compared(tmp_path):
    (tmp_path / "train.py").write_text(SCRIPT)
    both = "metrics: {val_bpb: 'val_bpb: (NUMBER)', val_loss: 'val_loss: (NUMBER)', reward"
    text = SPACE.replace("margin: 5, ", "").replace("metrics: {reward", both)
    (tmp_path / "a.yaml").write_text(text)
    assert load_space(tmp_path / "a.yaml").compare.margin == 0


LIMITED = """
import os, time
x = int(os.environ.get("X", 0))
open("model.bin", "wb").write(bytes(1000 + x))
time.sleep(60 if x == 3 else 0)
print(f"eval_time:{1000 + 1000 * x}ms reward {x}")
"""
LIMITS = """
program: limited.py
pass: env
seed_key: null
metrics: {reward: 'reward (NUMBER)', eval_s: {pattern: 'eval_time:(NUMBER)ms', scale: 0.001}}
metric: {name: reward, goal: maximize}
seeds: [1]
limits: {seconds: 2, eval_s: 2.5, memory_gb: 1, bytes: {file: model.bin, at_most: 4000}}
parameters: {X: {values: [1, 2, 3]}}
"""


def test_what_runs_used_of_a_program_s_limits_stands_in_the_report_and_the_notebook(tmp_path):
    (tmp_path / "limited.py").write_text(LIMITED)
    (tmp_path / "limited.yaml").write_text(LIMITS)
    command("sweep", str(tmp_path / "limited.yaml"), "--inline", "--store", str(tmp_path / "runs"))
    results = load_results(find_sweep(tmp_path / "runs", "limited"))
    facts = limit_facts(results).set_index("column")
    assert list(facts["limit"]) == [2, 2.5, 4000, 1e9]
    assert facts.loc["limited_file_bytes", ["runs", "smallest", "largest"]].tolist() == [3, 1000, 1002]
    assert facts.loc["eval_s", ["largest", "over"]].tolist() == [3.0, 1]
    assert 0 < facts.loc["program_s", "largest"] < 2
    assert facts.loc["program_s", "over"] == 1  # it was ended
    assert use_facts(results)["limited_file_bytes"].tolist() == [1000, 1001]  # done within all limits
    page = write_report(results, tmp_path / "report.html").read_text(encoding="utf-8")
    assert "No run recorded what it used" not in page
    assert "the limited file (MB)" in page


def test_scores_that_every_seed_repeats_are_said_to_be_the_same(tmp_path):
    (tmp_path / "limited.py").write_text(LIMITED)
    (tmp_path / "same.yaml").write_text(LIMITS.replace("seeds: [1]", "seeds: [1, 2]").replace("[1, 2, 3]}", "[0, 1]}"))
    store = ("--store", str(tmp_path / "runs"))
    _, said = command("sweep", str(tmp_path / "same.yaml"), "--inline", *store)
    assert "Baseline: mean reward 0.00000 over 2 seeds, all of them the same." in said
    for words in (("table", "same"), ("resume", "same", "--inline")):
        assert "all seeds gave the same score, so there is no interval: 3 configurations" in command(*words, *store)[1]
    assert "reward 1.00000: mean of 2 seeds, which all gave the same score" in command("best", "same", *store)[1]
    page = write_report(load_results(find_sweep(tmp_path / "runs", "same")), tmp_path / "report.html")
    assert "All seeds gave the same score, so there is no interval" in page.read_text(encoding="utf-8")


def test_a_metric_may_not_have_the_name_of_what_is_measured_of_every_stage(tmp_path):
    """`seconds` that a program printed were taken for its time, of which `limits.seconds` leaves a rest."""
    (tmp_path / "limited.py").write_text(LIMITED)
    (tmp_path / "a.yaml").write_text(LIMITS.replace("{reward:", "{seconds: 'took (NUMBER)', reward:"))
    with pytest.raises(SpaceError, match="metrics.seconds is measured of every stage.* call it otherwise"):
        load_space(tmp_path / "a.yaml")
