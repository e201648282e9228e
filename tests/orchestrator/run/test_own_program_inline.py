"""A whole sweep over a program without torch, in this process: rows, verdicts, what is not run again, report."""

import contextlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.analysis.comparison import verdicts_of
from orchestrator.analysis.confirm import FEWEST, num_seeds_for, spread_for, winner_of
from orchestrator.analysis.load_results import load_results
from orchestrator.analysis.next_steps import _cost
from orchestrator.analysis.sweep_table import rows_of, table_of
from orchestrator.cli import main
from orchestrator.plan.estimate import plan_here
from orchestrator.sweep.sweep import Sweep, find_sweep
from results.figures.curves import curve_facts
from results.report.report import write_report
from results.rows.read import read_outcomes
from trainer.program.take_home import changed_code, shell_script

SCRIPT = """
import json, os, sys
LR, WARMTH, SEED = float(os.environ["LR"]), float(os.environ.get("WARMTH", 0)), int(os.environ["SEED"])
if os.environ["MODE"] == "train":
    for step in range(1, 4):
        sys.stdout.write(f"\\rbar {step}")
        print(f"\\nstep {step}/3 loss {3 - step + LR}", file=sys.stderr)
    with open("model.json", "w") as file:
        json.dump({"loss": (LR - 0.2) ** 2 + SEED * 1e-3, "trained": 1}, file)
else:
    with open("model.json") as file:
        model = json.load(file)
    if WARMTH == 3:
        raise RuntimeError("too warm")
    print(json.dumps({"eval": {"reward": 10 - model["loss"] + WARMTH + SEED * 1e-4 * WARMTH}}))
"""
SPACE = """
program: train.py
pass: env
metrics: {reward: {key: eval.reward}, bytes_left: '(NUMBER) bytes left'}
metric: {name: reward, goal: maximize}
curve: '^step (?P<step>\\d+)/(?P<total>\\d+) loss (?P<loss>NUMBER)'
set: {LR: 0.1}
stages:
  - {name: train, reads: LR, leaves: model.json, env: {MODE: train}}
  - {name: evaluate, reads: [LR, WARMTH], env: {MODE: evaluate}}
seeds: [1, 2, 3]
parameters: {WARMTH: {values: [1, 2, 3]}}
"""


def command(*words: str) -> tuple[int, str]:
    """Status and output of a command."""
    out = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        patch.setattr("sys.argv", ["orchestrator", *words])
        try:
            main()
        except SystemExit as end:
            return int(end.code or 0), out.getvalue()
    return 0, out.getvalue()


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A folder with the script, its search space, and a store in which the sweep has run."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "train.py").write_text(SCRIPT)
    (folder / "warmth.yaml").write_text(SPACE)
    status, said = command("sweep", str(folder / "warmth.yaml"), "--inline", "--store", str(folder / "runs"))
    assert status == 1, said  # one configuration fails
    assert "failed (3x" in said
    assert "stage evaluate ended with exit status 1: RuntimeError: too warm" in said
    assert "Gain in reward, positive is better" in said
    assert "bits per byte" not in said
    assert "without a finite score" not in said  # it has no val_bpb, and needs none
    assert "orchestrator sweep FILE" in said  # resume would run the code that failed
    return folder


@pytest.fixture(scope="module")
def sweep(place) -> Sweep:
    return find_sweep(place / "runs", "warmth")


def test_its_evaluations_share_a_training_for_each_seed(place, sweep):
    trained = [path for path in (place / "runs/stages/train").iterdir() if path.is_dir()]
    assert len(trained) == 3
    assert len(sweep.records()) == 12
    assert sum("train" in record.stages_run for record in sweep.records().values()) == 3


def test_a_metric_of_its_own_is_ranked_compared_and_reported(sweep, tmp_path):
    frame = rows_of(sweep)
    assert "bytes_left" in frame
    best = table_of(sweep, frame).iloc[0]
    assert (best["WARMTH"], best["n"], best["status"]) == (2, 3, "done")
    by_warmth = dict(zip(frame["config"], frame["WARMTH"], strict=True))
    verdicts = {by_warmth[verdict.config]: verdict for verdict in verdicts_of(sweep, frame)}
    assert (verdicts[2].headline, verdicts[2].block, verdicts[2].unit) == ("better", "artifact", "reward")
    assert verdicts[3].headline == "cannot say"
    page = write_report(load_results(sweep), tmp_path / "report.html").read_text(encoding="utf-8")
    assert "too warm" in page


def test_its_learning_curve_is_that_of_the_lines_it_printed(sweep):
    facts = curve_facts(load_results(sweep))
    assert facts.attrs["loss"] == "loss, as the program prints it"  # of what and in which unit nobody knows
    assert sorted(set(facts["step"])) == [1, 2, 3]
    assert len(facts) == 9


def test_a_corrected_pattern_reads_the_kept_output_and_runs_nothing(place):
    text = SPACE.replace("eval.reward}", "reward}")
    (place / "wrong.yaml").write_text(text.replace("values: [1, 2, 3]", "values: [1, 2]"))
    status, said = command("sweep", str(place / "wrong.yaml"), "--inline", "--store", str(place / "runs"))
    assert status == 1, said
    assert "no reward was found in what the program printed" in said
    (place / "right.yaml").write_text((place / "wrong.yaml").read_text().replace("key: reward", "key: eval.reward"))
    status, said = command("sweep", str(place / "right.yaml"), "--inline", "--store", str(place / "runs"))
    assert status == 0, said
    records = find_sweep(place / "runs", "right").records().values()
    assert all(record.stages_run == () for record in records)


def test_a_sweep_without_any_score_spends_nothing_of_alpha(tmp_path):
    (tmp_path / "flat.py").write_text("import os; print('loss:', float(os.environ.get('X', 0)))\n")
    space = (
        "{program: flat.py, pass: env, metric: {name: loss}, metrics: {loss: 'LOSS: (NUMBER)'}, seeds: [1, 2], "
        "parameters: {X: {values: [1, 2]}}}\n"
    )
    for name, pattern in (("wrong", "LOSS"), ("right", "loss"), ("again", "loss")):
        (tmp_path / f"{name}.yaml").write_text(space.replace("LOSS", pattern))
        command("sweep", str(tmp_path / f"{name}.yaml"), "--inline", "--store", str(tmp_path / "runs"))
    _, said = command("compare", "wrong", "--store", str(tmp_path / "runs"))
    assert f"next:    orchestrator sweep FILE --store {tmp_path}/runs\n" in said  # resumed, it would read the same
    assert "are corrected: reads what the 6 failed runs printed, and runs nothing; once the script is mended" in said
    _, said = command("status", "wrong", "--store", str(tmp_path / "runs"))
    assert "once the search space is corrected, what they printed is read again and nothing is run: orch" in said
    assert "once the script is mended, the same command runs it" in said  # its score may be NaN
    assert "--retry-failed" not in said
    (tmp_path / "flat.py").write_text("raise ValueError('mend me')")
    command("sweep", str(tmp_path / "again.yaml"), "--inline", "--store", str(tmp_path / "other"))
    _, said = command("compare", "again", "--store", str(tmp_path / "other"))
    assert f"next:    orchestrator sweep FILE --store {tmp_path}/other\n" in said  # the sweep keeps its broken script
    assert f"lay elsewhere: orchestrator resume again --retry-failed --store {tmp_path}/other" in said
    made = [find_sweep(tmp_path / "runs", name) for name in ("right", "again")]
    verdicts = [verdicts_of(sweep, rows_of(sweep))[0] for sweep in made]
    assert [(one.alpha, one.exploratory) for one in verdicts] == [(0.01, False), (0.005, True)]


def test_the_first_step_of_a_program_is_asked_of_curves_that_are_imported(place):
    status, said = command("first-step", "warmth", "--below", "1", "--store", str(place / "runs"))
    assert (status, "import curves of the validation loss" in said, "budget.train_steps" in said) == (2, True, False)


def test_a_sweep_goes_on_with_the_code_it_began_with(place, tmp_path):
    for name in ("train.py", "warmth.yaml"):
        shutil.copy(place / name, tmp_path / name)
    words = (str(tmp_path / "warmth.yaml"), "--inline", "--store", str(tmp_path / "runs"), "--set", "LR=0.3")
    command("sweep", *words)
    before = rows_of(find_sweep(tmp_path / "runs", "warmth"))
    (tmp_path / "train.py").write_text("raise SystemExit(9)")
    for record in (tmp_path / "runs/sweeps/warmth/runs").glob("*-s1.json"):
        record.unlink()
    shutil.rmtree(tmp_path / "runs/stages/evaluate")
    command("resume", "warmth", "--inline", "--store", str(tmp_path / "runs"))
    after = rows_of(find_sweep(tmp_path / "runs", "warmth"))
    assert after["reward"].fillna(0).tolist() == before["reward"].fillna(0).tolist()


def test_more_runs_of_a_program_cost_what_its_runs_took_where_nothing_of_the_like_has_run(sweep):
    changed = sweep.space.base.model_copy(update={"values": {"LR": 1}})
    space = sweep.space.model_copy(update={"base": changed, "seeds": (7, 8)})
    spent = read_outcomes(sweep.folder).groupby("run_id")["seconds"].sum().mean()
    assert _cost(sweep, space)["seconds"] == pytest.approx(8 * spent)
    assert plan_here(space, 1, None, sweep.store).seconds is None


def test_a_confirmation_of_a_program_is_planned_with_the_spread_of_its_own_metric(sweep):
    frame = rows_of(sweep)
    sds = frame.loc[frame["status"] == "done"].groupby("config")["reward"].std()
    spread = spread_for(sweep, None)
    assert spread is not None
    assert spread.sd == pytest.approx(sds.min())  # all score the same three trainings, so one of them counts
    assert num_seeds_for(sweep, frame, winner_of(sweep, frame)) == FEWEST  # gains of 1 and 2, and seeds 0.001 apart
    assert load_results(sweep).terms["Counts as better"] == "any gain at alpha = 0.01"


def test_show_has_the_knobs_the_score_the_curve_and_the_log_of_the_best_run(place):
    status, said = command("show", "warmth", "--store", str(place / "runs"))
    assert status == 0, said
    assert re.search(r"WARMTH = 2 +\(baseline: the program's own default\)", said)
    assert "reward 11." in said
    assert "loss, as the program prints it, 2.100 at step 1 to 0.100 at step 3, 3 points" in said
    assert "Fairway at commit " in said
    log = re.findall(r"log: (\S+)", said)[-1]
    assert '"reward"' in Path(log).read_text()


def test_curves_of_a_program_whose_file_names_none_says_which_key_does(tmp_path):
    (tmp_path / "flat.py").write_text("print('loss: 1')\n")
    (tmp_path / "flat.yaml").write_text(
        "{program: flat.py, pass: env, metric: {name: loss}, metrics: {loss: 'loss: (NUMBER)'}, seeds: [1, 2], "
        "parameters: {X: {values: [1]}}}\n"
    )
    command("sweep", str(tmp_path / "flat.yaml"), "--inline", "--store", str(tmp_path / "runs"))
    status, said = command("curves", "flat", "--store", str(tmp_path / "runs"))
    assert (status, "`curve:` does" in said) == (2, True), said


def test_a_command_at_the_end_gets_counts_best_and_verdict(place, tmp_path, capfd):
    words = ("resume", "warmth", "--inline", "--store", str(place / "runs"), "--on-end", "env")
    status, _ = command(*words)
    assert status == 1
    said = dict(line.split("=", 1) for line in capfd.readouterr().out.splitlines() if line.startswith("FAIRWAY_"))
    assert (said["FAIRWAY_OUTCOME"], said["FAIRWAY_SWEEP"], said["FAIRWAY_BEST"]) == ("failed", "warmth", "WARMTH=2")
    assert (said["FAIRWAY_RUNS"], said["FAIRWAY_RUNS_RECORDED"], said["FAIRWAY_RUNS_FAILED"]) == ("12", "12", "3")
    assert said["FAIRWAY_VERDICT"].startswith("WARMTH=2 scores ")


def test_plan_says_what_is_shared_and_what_is_not_known(place):
    _, said = command("plan", str(place / "warmth.yaml"), "--store", str(place / "elsewhere"))
    assert re.search(r"train +12 +3 ", said)
    assert "12 runs, 0 of them recorded already; time and price: ?" in said


def planned(place, *words: str) -> tuple[str, dict]:
    """The words of a plan in one line, and its total."""
    words = ("plan", str(place / "warmth.yaml"), *words)
    return " ".join(command(*words)[1].split()), json.loads(command(*words, "--format", "json")[1])[-1]


def test_a_plan_in_a_metric_of_its_own_says_what_its_measured_spread_detects(place, sweep):
    said, total = planned(place, "--store", str(place / "runs"), "--gain", "0.5")
    known = spread_for(sweep, "artifact")
    assert f"spread: sd {known.sd:.4g} reward between pairs on one artifact (measured in " in said
    assert f"3 seeds detect a gain of {total['minimum_detectable_effect']:.4g} reward beyond the margin" in said
    assert "a gain of 0.5 beyond the margin takes 2 seeds of each configuration" in said
    assert (total["effect_unit"], total["sd"]) == ("reward", pytest.approx(known.planned))
    assert (total["sd_bpb"], total["minimum_detectable_effect_bpb"]) == (None, None)


def test_a_plan_without_any_run_says_why_no_gain_is_known_and_what_gives_it(place):
    said, total = planned(place, "--store", str(place / "elsewhere"), "--gain", "0.5")
    assert "spread: not known: this store holds no 2 runs of this program" in said
    assert "2 finished seeds in this store give it, or --spread-from NAME" in said
    assert re.search(r"3 seeds detect a gain of [\d.]+ standard deviations beyond the margin", said)
    assert "a gain of 0.5 beyond the margin takes an unknown number of seeds" in said
    assert (total["effect_unit"], total["sd"], total["minimum_detectable_effect"]) == ("reward", None, None)


def test_a_plan_takes_an_assumed_spread_or_that_of_a_named_sweep(place, tmp_path):
    empty = str(place / "elsewhere")
    in_sds = re.search(r"gain of ([\d.]+) standard deviations", planned(place, "--store", empty)[0])
    said, total = planned(place, "--store", empty, "--spread", "0.5")
    assert "spread: sd 0.5 reward between pairs on one artifact (assumed: --spread)" in said
    assert total["minimum_detectable_effect"] == pytest.approx(0.5 * float(in_sds[1]), rel=1e-3)
    rows = [f"{config},{seed},{10 + seed}" for config in "ab" for seed in (1, 2, 3)]
    (tmp_path / "runs.csv").write_text("\n".join(["config,seed,reward", *rows]))
    imported = ("import", str(tmp_path / "runs.csv"), "--name", "mine", "--metric", "reward", "--goal", "maximize")
    assert command(*imported, "--store", empty)[0] == 0
    (tmp_path / "train.py").write_text(SCRIPT)
    (tmp_path / "warmth.yaml").write_text(SPACE + "compare: {blocks: none}\n")
    said, total = planned(tmp_path, "--store", empty, "--spread-from", "mine")
    assert "spread: sd 1 reward between seeds (measured in sweep mine, 4 degrees of freedom)" in said
    assert total["sd"] == pytest.approx(1)


def test_a_spread_that_cannot_be_is_refused(place):
    words = ("plan", str(place / "warmth.yaml"), "--store", str(place / "runs"))
    assert "--spread 0 must be greater than 0" in command(*words, "--spread", "0")[1]
    assert "two spreads; give one of them" in command(*words, "--spread", "1", "--spread-from", "warmth")[1]


def test_best_writes_a_script_that_runs_the_program_with_the_winner_s_knobs(place, sweep, tmp_path):
    status, said = command("best", "warmth", "--store", str(place / "runs"), "--out", str(tmp_path / "winner.sh"))
    assert status == 0, said
    assert "- WARMTH = the program's own default\n  + WARMTH = 2" in said
    assert re.search(r"artifact of seed 1, its best:\n  \S+/stages/train/\w+/file-model.json\n", said)
    assert f"run it:\n  sh {tmp_path}/winner.sh" in said
    text = (tmp_path / "winner.sh").read_text().replace(f"cd {place}", f"cp {place}/train.py {tmp_path}; cd {tmp_path}")
    (tmp_path / "winner.sh").write_text(text)
    paths = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(["sh", tmp_path / "winner.sh"], env={"PATH": paths}, capture_output=True, text=True)
    frame = rows_of(sweep)
    assert json.loads(done.stdout[done.stdout.index("{") :])["eval"]["reward"] == frame["reward"].max(), done.stderr


def test_a_script_to_take_home_is_shell_text_whatever_its_knobs_hold(place, sweep):
    program = sweep.space.program.model_copy(update={"knobs_by": "file", "values": {"LR": "a'; exit 7 #", "W": 1}})
    text = shell_script(program, 4, ["a label\nrm -r everything"])
    assert "# a label rm -r everything\n" in text
    assert subprocess.run(["sh", "-n"], input=text, text=True).returncode == 0
    assert changed_code(program) == []
    of_torchrun = program.stages[0].model_copy(update={"command": ("torchrun", "a.py")})
    assert "PET_NPROC_PER_NODE=4 " in shell_script(program.model_copy(update={"stages": (of_torchrun,)}), 4, [])
