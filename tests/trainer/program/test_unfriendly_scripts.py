"""Scripts that were never written to be swept: they start themselves anew, fork, look beside and above themselves."""

import json
from pathlib import Path

import pytest

from orchestrator.space.load_space import load_space
from orchestrator.space.program_file import usual_sources
from orchestrator.space.program_keys import NUMBER
from results.rows.row import kind_of_error
from trainer.program.reader import Reader
from trainer.program.run_program import run_program
from trainer.program.sources import folder_of_module, unlisted
from trainer.spec.record import Record
from trainer.stages.run_record import RunRequest
from trainer.store.local import StageStore


def record_of(folder: Path, script: str, **said) -> Record:
    """The record of one run of a script whose last 'loss: NUMBER' counts, with other keys of its search space."""
    (folder / "train.py").write_text(script)
    keys = {"program": "train.py", "pass": "env", "metrics": {"loss": r"\bloss: (NUMBER)"}, "metric": {"name": "loss"}}
    space = keys | {"seeds": [1, 2], "set": {"LR": 0.5}} | said
    (folder / "space.yaml").write_text(json.dumps(space))
    program = load_space(folder / "space.yaml").program
    assert program is not None
    asked = program.with_knobs({"seed": 1})
    return run_program(RunRequest.of("x-s1", "program", asked, folder / "runs/run.json"), StageStore(folder / "runs"))


def loss_of(record: Record) -> object:
    assert record.error == ""
    return record.stages["run"].metrics["loss"]


def test_a_script_that_executes_itself_anew_keeps_its_arguments_and_its_output(tmp_path):
    script = (
        "import os, sys\nprint('loss: 9', flush=True)\n"
        "if 'AGAIN' not in os.environ:\n    os.environ['AGAIN'] = '1'\n"
        "    os.execv(sys.executable, [sys.executable, *sys.argv])\nprint('loss:', os.environ['LR'])\n"
    )
    assert loss_of(record_of(tmp_path, script)) == 0.5


def test_spawned_loaders_that_print_do_not_hide_the_score(tmp_path):
    script = (
        "import multiprocessing, os, sys\n"
        "def load(rank):\n    for i in range(50):\n        print(f'rank {rank} loss: 9', flush=True)\n"
        "        sys.stderr.write(f'\\r{rank}: {i}/50')\n"
        "if __name__ == '__main__':\n    context = multiprocessing.get_context('spawn')\n"
        "    loaders = [context.Process(target=load, args=(rank,)) for rank in range(2)]\n"
        "    for one in loaders: one.start()\n    for one in loaders: one.join()\n    print('final loss: 1.5')\n"
    )
    record = record_of(tmp_path, script)
    assert (loss_of(record), record.metric("run", "left_over_processes")) == (1.5, 0)


def test_a_launcher_that_does_not_wait_is_told_what_became_of_what_it_started(tmp_path):
    """The message said that nothing was printed, and no more."""
    script = (
        "import os, subprocess, sys, time\nif len(sys.argv) > 1:\n    time.sleep(60); print('loss: 1')\n"
        "else:\n    subprocess.Popen([sys.executable, __file__, 'worker'], start_new_session=True)\n"
    )
    error = record_of(tmp_path, script).error
    assert "1 process that it had started still ran when it ended, and was ended too: let it wait" in error


def test_a_script_that_saves_at_sigterm_and_ends_well_was_over_its_limit_all_the_same(tmp_path):
    script = (
        "import signal, sys, time\ndef save(*_): print('loss: 0.1', flush=True); sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, save)\nprint('began', flush=True)\ntime.sleep(60)\n"
    )
    record = record_of(tmp_path, script, limits={"seconds": 1})
    assert record.status == "failed"
    assert record.error.startswith("stage run did not end within limits.seconds = 1\n  | began\n  | loss: 0.1")


def test_data_beside_the_file_is_there_once_it_is_listed_and_noted_before(tmp_path):
    """Of `HERE / "data" / "a.txt"` each part was looked for alone."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data/a.txt").write_text("2.5")
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf/base.json").write_text("{}")
    script = (
        "import os\nfrom pathlib import Path\nHERE = Path(__file__).resolve().parent\n"
        "open(os.path.join(os.path.dirname(__file__), 'conf', 'base.json'))\n"
        "print('loss:', (HERE / 'data' / 'a.txt').read_text(), 1 / 2)\n"
    )
    assert loss_of(record_of(tmp_path, script, files=["data", "conf"])) == 2.5
    assert unlisted(tmp_path, ["train.py"], []) == ["conf/base.json", "data/a.txt"]
    assert unlisted(tmp_path, ["train.py"], ["data/a.txt"]) == ["conf/base.json"]


def test_a_folder_that_the_script_puts_on_its_path_is_named_with_the_module_it_holds(tmp_path):
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib/inner.py").write_text("value = 3\n")
    script = "import os, sys\nsys.path.insert(0, os.path.dirname(__file__) + '/lib')\nimport inner\nprint('loss: 1')\n"
    assert (
        "lib/ lies beside the script, holds inner and is not listed: files: [lib]" in record_of(tmp_path, script).error
    )
    assert loss_of(record_of(tmp_path, script, files=["lib"])) == 1
    assert folder_of_module(tmp_path, "inner", ["lib/inner.py"]) == ""


def test_what_lies_above_the_file_is_named_by_its_whole_path_and_is_one_kind_of_failure(tmp_path):
    """The path of the run's own folder stood in the message: every failure was another one."""
    (tmp_path / "outer.txt").write_text("7")
    (tmp_path / "project").mkdir()
    script = (
        "from pathlib import Path\nprint('loss:', (Path(__file__).resolve().parents[1] / 'outer.txt').read_text())\n"
    )
    errors = [record_of(tmp_path / "project", script, set={"LR": lr}).error for lr in (1, 2)]
    assert f"name it by its whole path, {tmp_path}/outer.txt" in errors[0]
    assert len({kind_of_error(error) for error in errors}) == 1


@pytest.mark.parametrize(
    ("asks", "expected"),
    [
        ("input('Overwrite? ')", "it asks for input"),
        ("__import__('getpass').getpass()", "it asks for input"),
        ("import sys; print('Aborted!', file=sys.stderr); sys.exit(1)", "it asks for input"),
        ("import os; os.get_terminal_size()", "it asks the terminal"),
        ("import pickle; pickle.loads(b'')", ""),
        ("raise EOFError", ""),
    ],
)
def test_a_script_that_asks_is_told_that_nobody_answers(tmp_path, asks, expected):
    error = record_of(tmp_path, f"{asks}\n").error
    assert expected in error if expected else "it asks" not in error


def test_a_script_may_read_the_end_of_its_input(tmp_path):
    assert loss_of(record_of(tmp_path, "import sys; print('loss:', len(sys.stdin.read()))\n")) == 0


def test_a_program_without_a_seed_is_not_told_of_a_knob_without_a_name(tmp_path):
    error = record_of(tmp_path, "raise ValueError('bad shape')\n", seed_key=None).error
    assert error.startswith("stage run ended with exit status 1: ValueError: bad shape\n")


@pytest.mark.parametrize(
    ("printed", "expected"),
    [
        ("1.25e-05", 1.25e-05), ("1.25E+03", 1250), ("-3.5e-4", -3.5e-4), (".5", 0.5), ("+1.5", 1.5), ("93.4%", 93.4),
        ("12,346.50", 12346.5), ("12_346.50", 12346.5), ("1'234'567", 1234567), ("1\u202f234.5", 1234.5),
        ("\u22120.5", -0.5), ("3.2 x 10^-4", 3.2e-4), ("3.2\u00d710^4", 32000), ("1,234, 7", 1234), ("0.5, 0.25", 0.5),
        ("100 200", 100), ("nan", None),
    ],
)  # fmt: skip
def test_a_number_is_read_whole_however_it_is_written(printed, expected):
    """Of 12_346.50 it was 12, and of 3.2 x 10^-4 3.2."""
    reader = Reader({"metrics": {"loss": [{"pattern": f"loss: ({NUMBER})"}]}})
    reader.feed(f"loss: {printed}\n")
    found = reader.metrics["loss"]
    assert found == expected if expected is not None else found != found


@pytest.mark.parametrize(
    "printed", ["loss: tensor(0.25, device='cuda:0')", "{'loss': np.float64(0.25)}", "loss=[[0.25]]", "loss: 0.25"]
)
def test_a_number_that_nobody_described_may_be_a_tensor(printed):
    reader = Reader({"metrics": {"loss": [source.model_dump() for source in usual_sources("loss")]}})
    reader.feed(f"{printed}\n")
    assert reader.metrics == {"loss": 0.25}


def test_a_score_of_each_data_set_stands_at_keys_that_have_dots_and_commas(tmp_path):
    results = {"arc.easy": {"acc,none": 0.75}, "arc": {"easy": 3}, "mmlu": {"stem.acc": 0.25}}
    keys = {"arc": "results.arc.easy.acc,none", "mmlu": "results.mmlu.stem.acc", "none": "results.mmlu.stem"}
    reader = Reader({"metrics": {name: [{"key": key}] for name, key in keys.items()}})
    reader.feed(json.dumps({"results": results}) + "\n")
    assert reader.metrics == {"arc": 0.75, "mmlu": 0.25}
