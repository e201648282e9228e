"""The winner taken home, one run, learning curves, stopping and removing a sweep."""

import json
import math
import multiprocessing
import re
import sys
import time

import pytest
from typer.testing import CliRunner

from orchestrator.analysis.best import best_of, write_recipe
from orchestrator.analysis.named_configuration import listed
from orchestrator.analysis.one_run import bars
from orchestrator.cli import main
from orchestrator.commands.app import app
from orchestrator.sweep.removal import plan_removal
from orchestrator.sweep.sweep import find_sweep, open_sweep
from results.verdicts.seed_ledger import Ledger
from tests.sweep_on_disk import TOKENS_PER_BYTE, finished_sweep
from trainer.spec.errors import UserError
from trainer.spec.load import load_preset
from trainer.spec.stage_table import ARTIFACT_FILE


@pytest.fixture
def sweep(tmp_path):
    return finished_sweep(tmp_path / "store")


@pytest.fixture
def call(sweep):
    """Runs a command on the sweep's store; returns (status, output)."""

    def run(*words: str) -> tuple[int, str]:
        done = CliRunner().invoke(app, [*words, "--store", str(sweep.store)])
        assert done.exception is None or isinstance(done.exception, SystemExit | UserError), done.exception
        return done.exit_code, done.output + (str(done.exception) if isinstance(done.exception, UserError) else "")

    return run


def winner_of(sweep) -> str:
    return sweep.asked()[1].id


def test_the_best_configuration_is_written_as_a_preset_that_loads_as_its_recipe(sweep, tmp_path):
    best = best_of(sweep)
    path = write_recipe(best, tmp_path / "mine.yaml")
    assert best.configuration.id == winner_of(sweep)
    assert load_preset(str(path)).recipe == best.recipe
    assert best.recipe.ttt.lr == 0.004
    assert "  lr: 0.004  # compared with: 0.002\n" in path.read_text()


def test_best_says_whether_it_was_shown_and_what_differs_and_how_to_run_it(sweep, call):
    status, out = call("best", "small")
    assert status == 0
    assert "suggested, not shown: confirm it on fresh seeds" in out  # tpe chose it by these scores
    assert "  - ttt.mode = off\n  + ttt.mode = score_first\n" in out
    assert "mean of 3 seeds, 95 % interval" in out
    assert f"settle it with: orchestrator confirm small --config {winner_of(sweep)}" in out
    assert "artifact of seed 1, its best, 250,000 bytes (250.00 kB):" in out
    assert f"python -m trainer run {sweep.folder}/recipes/{winner_of(sweep)}.yaml --store {sweep.store}" in out


def test_a_gain_below_the_margin_is_not_shown(sweep):
    for path in sweep.folder.glob(f"runs/{winner_of(sweep)}-*.json"):
        made = json.loads(path.read_text())
        made["stages"]["adapt"]["metrics"]["val_bpb"] += 0.0298
        made["stages"]["adapt"]["metrics"]["val_loss"] += 0.0298 * math.log(2) / TOKENS_PER_BYTE
        path.write_text(json.dumps(made))
    assert best_of(sweep).sentence == "not shown: the sweep does not show it to be better than the baseline"


def test_best_prints_one_row_for_programs_and_takes_any_configuration(sweep, call):
    (row,) = json.loads(call("best", "small", "--format", "json")[1])
    assert (row["verdict"], row["seed"], row["model_bytes"]) == ("suggested", 1, 250_000)
    assert row["gain_low_bpb"] < row["gain_bpb"] < row["gain_high_bpb"]
    (baseline,) = json.loads(call("best", "small", "--config", sweep.asked()[0].id, "--format", "json")[1])
    assert (baseline["verdict"], baseline["changes"]) == ("baseline", {})
    status, out = call("best", "small", "--config", "nothing")
    assert status == 1
    assert "is no configuration of sweep 'small'" in out


def test_best_says_what_it_knows_where_its_file_cannot_be_written(sweep):
    place = sweep.folder / "journal.jsonl" / "mine.yaml"  # below a file
    done = CliRunner().invoke(app, ["best", "small", "--out", str(place), "--store", str(sweep.store)])
    assert isinstance(done.exception, OSError)  # which ends in a sentence and status 2
    assert "mean of 3 seeds, 95 % interval" in done.stdout
    assert "recipe, a preset again; its file could not be written:\ndescription: " in done.stdout
    assert "  lr: 0.004  # compared with: 0.002\n" in done.stdout


def test_show_finds_a_run_by_its_start_and_prints_recipe_stages_and_curve(sweep, call):
    run_id = f"{winner_of(sweep)}-s2"
    out = call("show", "small", run_id)[1]
    assert f"{run_id}: ttt.lr=0.004, seed 2" in out
    assert "ttt.mode = score_first  (baseline: off)" in out
    assert re.search(r"train +9\.0 s +from the store +train-2", out)
    assert "training loss (nats per token), 6.000 at step 0 to 3.049 at step 39, 40 points:" in out
    assert f"begins 3 runs of sweep 'small': {run_id[:-1]}1" in call("show", "small", run_id[:-1])[1]
    assert "has no finished run 'zzz'" in call("show", "small", "zzz")[1]


def test_a_configuration_is_named_by_its_words_its_id_best_or_baseline(sweep, call):
    baseline, winner = (item.id for item in sweep.asked()[:2])
    for word in ("best", "ttt.lr=0.004", winner):
        assert f"{winner}-s1: ttt.lr=0.004, seed 1" in call("show", "small", word)[1]
        assert f"ttt.lr=0.004  ({winner})" in call("best", "small", "--config", word)[1]
    assert f"{baseline}-s1: baseline, seed 1" in call("show", "small", "baseline")[1]
    for words in (("show", "small"), ("best", "small", "--config"), ("package", "small", "--out", "none")):
        out = call(*words, "ttt.lr=0.04")[1]
        assert f"did you mean 'ttt.lr=0.004'?; known: best, baseline, {baseline} (baseline), {winner} (tt" in out, words


def test_a_table_before_the_first_run_says_where_the_sweep_stands(sweep, call):
    for path in [*sweep.folder.glob("runs/*.json")]:
        path.unlink()
    (sweep.store / "seed_ledger.jsonl").unlink()
    (sweep.store / "seed_ledger.head").unlink()
    status, out = call("table", "small")
    assert (status, out.startswith("no run of sweep 'small' has ended yet; where it stands: orch")) == (0, True), out
    assert call("table", "small", "--format", "csv")[1].startswith("rank,config,")


def test_show_prints_the_error_of_a_failed_run(sweep, call):
    path = sweep.record_path(f"{winner_of(sweep)}-s1")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"status": "failed", "error": "one\ntwo\nOutOfMemory"}))
    assert "  one\n  two\n  OutOfMemory\n" in call("show", "small", path.stem)[1]


def test_bars_are_as_high_as_the_numbers():
    assert bars([1.0, 2.0, 3.0]) == "▁▅█"
    assert bars([2.0, 2.0]) == "▁▁"
    assert len(bars(range(1000))) == 60


def test_curves_of_all_trainings_stand_in_one_figure(sweep, call, tmp_path):
    status, out = call("curves", "small", "--out", str(tmp_path / "c.svg"))
    assert status == 0
    assert "3 trainings" in out
    drawn = (tmp_path / "c.svg").read_text()
    assert "validation loss" in drawn or "<svg" in drawn


def test_presets_and_spaces_are_listed(call):
    assert "tiny " in call("list", "presets")[1]
    assert any(row["name"] == "ttt" for row in json.loads(call("list", "spaces", "--format", "json")[1]))
    assert "small " in call("list")[1]


@pytest.mark.parametrize(("words", "said"), [("--version", "fairway "), ("-h", "Usage: "), ("best -h", "Usage: ")])
def test_version_and_short_help(monkeypatch, capsys, words, said):
    monkeypatch.setattr(sys, "argv", ["orchestrator", *words.split()])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    assert said in capsys.readouterr().out


def drive_until_asked(sweep, ready) -> None:
    """Stands in for a driver: holds the lock until SIGTERM ends it."""
    with sweep.lock():
        ready.set()
        time.sleep(60)


def test_stop_ends_the_process_that_drives_and_says_what_is_kept(sweep, call):
    assert "is not running" in call("stop", "small")[1]
    ready = multiprocessing.get_context("fork").Event()
    driver = multiprocessing.get_context("fork").Process(target=drive_until_asked, args=(sweep, ready))
    driver.start()
    assert ready.wait(30)
    assert "stop it first" in call("rm", "small", "--yes")[1]
    status, out = call("stop", "small")
    driver.join(10)
    assert (status, driver.is_alive()) == (0, False)
    assert "stopped; 6 runs are kept; go on with:" in out


def keep_stages(sweep) -> None:
    """Folders of the stages that the sweep's records name."""
    for record in sweep.records().values():
        for stage, made in record.stages.items():
            folder = sweep.store / "stages" / stage / made.fingerprint
            folder.mkdir(parents=True, exist_ok=True)
            (folder / ARTIFACT_FILE).write_bytes(b"bytes")


def test_rm_asks_and_removes_the_sweep_and_its_own_stages_and_keeps_shared_ones_and_the_ledger(sweep, call):
    keep_stages(sweep)
    other = open_sweep(sweep.store, sweep.space.model_copy(update={"seeds": (1,)}), "other")
    shared = next(record for record in sweep.records().values() if record.seed == 1)
    (other.folder / "runs").mkdir()
    (other.folder / "runs" / f"{shared.run_id}.json").write_text(shared.model_dump_json())
    assert "nobody can be asked here" in call("rm", "small")[1]
    planned = plan_removal(sweep.store, "small")
    assert planned.shared == len(shared.stages)
    winner = winner_of(sweep)
    before = Ledger(sweep.store).outcomes([winner])
    out = call("rm", "small", "--yes")[1]
    assert f"{len(planned.own)} stages that nothing else stands on" in out
    assert not sweep.folder.exists()
    assert all(not (sweep.store / "stages" / stage / name).exists() for stage, name in planned.own)
    assert all((sweep.store / "stages" / stage / made.fingerprint).exists() for stage, made in shared.stages.items())
    assert Ledger(sweep.store).outcomes([winner]) == before
    assert find_sweep(sweep.store, "other").name == "other"


def test_rm_removes_nothing_on_a_dry_run(sweep, call):
    assert "would be removed; nothing was" in call("rm", "small", "--dry-run")[1]
    assert sweep.folder.exists()


@pytest.mark.parametrize("name", ["curves.xyz", "curves"])
def test_a_figure_of_an_unknown_kind_is_refused_and_not_written(call, tmp_path, name):
    status, out = call("curves", "small", "--out", str(tmp_path / name))
    assert status
    assert f"a figure cannot have the ending '{name[6:]}'; known: " in out
    assert not list(tmp_path.glob("curves*"))


def test_a_baseline_elsewhere_may_be_taken_as_exact(call):
    status, out = call("compare", "small", "--baseline", "record:1413", "--exact", "--margin", "0.003", "--unit", "bpb")
    assert status == 0
    assert "ttt.lr=0.004" in out


@pytest.mark.parametrize("words", ["baseline", "ttt.lr=0.004"])
def test_a_baseline_is_named_as_tables_name_it(call, sweep, words):
    status, out = call("compare", "small", "--baseline", words)
    assert status == 0, out
    wanted = "ttt.lr=0.004" if words == "baseline" else "the baseline"
    assert any(line.startswith(wanted) for line in out.splitlines())
    assert call("reproduce", "small", "--original", "baseline", "--rerun", words)[0] == 0


def test_an_unknown_baseline_is_told_ids_and_words(call, sweep):
    _, out = call("compare", "small", "--baseline", "ttt.lr=0.005")
    assert f"did you mean 'ttt.lr=0.004'?; known: {sweep.asked()[0].id} (baseline), {winner_of(sweep)} (ttt" in out


def test_the_baseline_is_no_winner_to_confirm_and_is_not_offered(call):
    _, out = call("confirm", "small", "--config", "baseline", "--inline")
    assert "--config 'baseline' may not be named here; known: best, " in out
    assert "did you mean" not in out


def test_a_sweep_of_many_configurations_names_some_of_them():
    said = listed({str(number): f"LR={number}" for number in range(1200)})
    assert said.startswith("0 (LR=0), 1 (LR=1), ")
    assert said.endswith("19 (LR=19) and 1,180 others: orchestrator table")
