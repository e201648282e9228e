"""What scripts do wrong, each as one clear failed record; and what they may do."""

import errno
import os
import re
import signal
import sys
import time
from pathlib import Path

import pytest

from orchestrator.space.load_space import load_space
from trainer.program.failure import hint, hint_of_encoding, hint_of_knobs, hint_of_names, last_error, tail_of
from trainer.program.process import run_command
from trainer.program.run_program import run_program
from trainer.program.stage import read_again
from trainer.program.supervised import run_supervised
from trainer.program.supervisor import largest
from trainer.program.workspace import files_below
from trainer.spec.errors import Interrupted, StoreFull, UserError
from trainer.spec.program import Program, Source
from trainer.stages.run_record import RunRequest
from trainer.store.local import StageStore

SCRIPTS = Path(__file__).parents[2] / "data/programs"
SPACE = f"""
program: {SCRIPTS}/misbehave.py
pass: env
metrics: {{val_bpb: 'val_bpb:(NUMBER)', train_s: {{pattern: 'train_time:(NUMBER)ms', scale: 0.001}}}}
limits: {{seconds: 60, memory_gb: 0.2, output_mb: 1, train_s: 5}}
set: {{MODE: good}}
seeds: [1, 2]
"""


@pytest.fixture(scope="module")
def program(tmp_path_factory) -> Program:
    path = tmp_path_factory.mktemp("space") / "space.yaml"
    path.write_text(SPACE, encoding="utf-8")
    program = load_space(path).program
    assert program is not None
    return program


def record_of(folder: Path, program: Program, mode: str, **said):
    """The record of a run in which the script does what `mode` says; it hangs for a second and a half only."""
    if mode == "hang":
        limits = program.limits.model_copy(update={"seconds": 1.5})
        program = program.model_copy(update={"limits": limits})
    asked = program.with_knobs({"MODE": mode, "seed": 1})
    return run_program(RunRequest.of(f"{mode}-s1", "program", asked, folder / "run.json"), StageStore(folder), **said)


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("hang", "stage run did not end within limits.seconds = 1.5\n  | began"),
        ("crash", "stage run ended with exit status 1: ValueError: bad shape red\n  | about to fail"),
        ("nan", "val_bpb = nan: the program printed a score that is no finite number\n  | val_bpb:nan"),
        ("eat", "stage run used more memory than limits.memory_gb = 0.2; it printed nothing"),
        ("silent", "no val_bpb was found in what the program printed; its output is kept"),
        ("swallow", "no val_bpb was found in what the program printed: ValueError: bad shape"),
        ("shout", "stage run printed more than limits.output_mb = 1"),
        ("slow", "stage run trained for longer than limits.train_s = 5\n  | step:1/9"),
        ("write", "table.txt lies beside the script but is not listed: files: [table.txt]"),
    ],
)
def test_what_goes_wrong_is_a_failed_record_with_the_end_of_the_log(tmp_path, program, mode, expected):
    record = record_of(tmp_path, program, mode)
    assert (record.status, record.within_budget) == ("failed", None)
    assert expected in record.error


def test_a_file_of_a_name_that_only_the_program_knows_is_read_kept_and_limited_by_a_pattern(tmp_path):
    (tmp_path / "train.py").write_text(
        "import os, uuid\nos.mkdir('logs')\nopen(f'logs/{uuid.uuid4()}.txt', 'w').write('\x1b[1mloss:2.5\x1b[0m\\n')\n"
        "for size in (50, 20): open(f'{uuid.uuid4()}.ptz', 'w').write('x' * size)\n"
    )
    space = (
        "program: train.py\nseed_key: null\nseeds: [1, 2]\nmetric: {name: loss}\n"
        "metrics: {loss: {file: 'logs/*.txt', pattern: '^loss:(NUMBER)'}}\n"
        "limits: {bytes: {file: '*.ptz', at_most: 60}}\n"
    )
    (tmp_path / "space.yaml").write_text(space)
    program = load_space(tmp_path / "space.yaml").program
    assert program is not None
    asked, store = program.with_knobs({"seed": 1}), StageStore(tmp_path / "store")
    record = run_program(RunRequest.of("x-s1", "program", asked, tmp_path / "run.json"), store)
    numbers = record.stages["run"].metrics
    assert (record.error, numbers["loss"], numbers["limited_file_bytes"]) == ("", 2.5, 50)
    sources = {"loss": (Source(file="logs/*.txt", pattern=r"loss:\d\.(\d)"),)}
    otherwise = read_again(asked.model_copy(update={"metrics": sources}), record.stages["run"], store)
    assert otherwise.metrics["loss"] == 5.0
    absent = asked.model_copy(update={"metrics": {"loss": (Source(file="logs/*.txt", pattern=r"absent:(\d)"),)}})
    error = run_program(RunRequest.of("x-s1", "program", absent, tmp_path / "absent.json"), store).error
    assert error.startswith("no loss was found in logs/*.txt; what was written is kept beside the log")
    assert largest(str(tmp_path), "*.yaml") == (tmp_path / "space.yaml").stat().st_size


def test_files_that_a_stage_leaves_are_read_again_by_their_pattern_and_only_the_named_one_is_limited(tmp_path):
    (tmp_path / "train.py").write_text(
        "import os\nfor name in ('logs', 'old'): os.mkdir(name)\nopen('logs/1.txt', 'w').write('loss:2.5')\n"
        "open('model.bin', 'w').write('x' * 50)\nopen('old/model.bin', 'w').write('x' * 90)\n"
    )
    (tmp_path / "next.py").write_text("import os\nprint('left:', *sorted(os.listdir('logs')))\n")
    (tmp_path / "space.yaml").write_text(
        "command: [python, train.py]\nseed_key: null\nseeds: [1, 2]\nmetric: {name: loss}\n"
        "files: [train.py, next.py]\nmetrics: {loss: {file: 'logs/*.txt', pattern: 'loss:(NUMBER)'}}\n"
        "limits: {bytes: {file: model.bin, at_most: 60}}\n"
        "stages: [{name: train, leaves: [logs, old, model.bin]}, {name: next, command: [python, next.py]}]\n"
    )
    program = load_space(tmp_path / "space.yaml").program
    assert program is not None
    asked, store = program.with_knobs({"seed": 1}), StageStore(tmp_path / "store")
    record = run_program(RunRequest.of("x-s1", "program", asked, tmp_path / "run.json"), store)
    train = record.stages["train"]
    assert (record.error, train.metrics["limited_file_bytes"]) == ("", 50)
    log = store.read_file("next", record.stages["next"].fingerprint, "log.txt")
    assert log == b"left: 1.txt\n"
    otherwise = asked.model_copy(update={"metrics": {"loss": (Source(file="logs/*.txt", pattern=r":\d\.(\d)"),)}})
    assert read_again(otherwise, train, store).metrics["loss"] == 5.0
    absent = asked.model_copy(update={"metrics": {"loss": (Source(file="logs/*.txt", pattern=r"absent:(\d)"),)}})
    error = run_program(RunRequest.of("x-s1", "program", absent, tmp_path / "absent.json"), store).error
    assert error.startswith("no loss was found in logs/*.txt; what was written is kept beside the log")


def test_the_largest_file_of_a_pattern_is_looked_for_in_all_folders_below(tmp_path):
    (tmp_path / "out" / "a" / "b").mkdir(parents=True)
    (tmp_path / "out" / "a" / "b" / "model.bin").write_text("x" * 70)
    (tmp_path / "out" / "model.bin").write_text("x" * 20)
    for pattern in ("out/**/model.bin", "out/**"):
        sizes = [path.stat().st_size for path in files_below(tmp_path, pattern)]
        assert largest(str(tmp_path), pattern) >= max(sizes, default=0)
    assert largest(str(tmp_path), "out/**/model.bin") == 70


def test_two_stars_within_a_name_are_named_before_any_run(tmp_path):
    (tmp_path / "train.py").write_text("")
    (tmp_path / "space.yaml").write_text(
        "program: train.py\nseeds: [1, 2]\nmetric: {name: loss}\nlimits: {bytes: {file: 'a**.bin', at_most: 60}}\n"
        "metrics: {loss: {file: 'logs/**.txt', pattern: '(NUMBER)'}}\n"
    )
    with pytest.raises(UserError) as refused:
        load_space(tmp_path / "space.yaml")
    assert str(refused.value).count("write * for any part of a name") == 2


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_a_disk_that_fails_for_a_moment_is_no_result(tmp_path, program, number, monkeypatch):
    mkdir, faults = Path.mkdir, iter([OSError(number, os.strerror(number), "work")])

    def failing_once(path, *words, **said):
        if path.name == "work" and (fault := next(faults, None)):
            raise fault
        mkdir(path, *words, **said)

    monkeypatch.setattr(Path, "mkdir", failing_once)
    with pytest.raises(StoreFull, match="^work: .*, then go on"):
        record_of(tmp_path, program, "good")
    assert not (tmp_path / "run.json").exists()
    assert record_of(tmp_path, program, "good").status == "done"


def test_of_ranks_that_failed_the_traceback_is_shown_and_not_what_torchrun_adds(tmp_path):
    log = tmp_path / "log.txt"
    ranks = "step 1\n[rank0]: Traceback (most recent call last):\n[rank0]: ValueError: bad shape\n"
    added = "E1126 23:37:40.7 31 /x/torch/distributed/elastic/multiprocessing/api.py:9] failed (exitcode: 1)\n"
    log.write_text(ranks + added + "Traceback:\ntorch.distributed.elastic.ChildFailedError:\n====\n")
    assert tail_of(log)[-1] == "[rank0]: ValueError: bad shape"
    assert last_error(log) == ": [rank0]: ValueError: bad shape"


def test_a_flag_that_takes_no_value_is_named_with_the_macro_for_it(tmp_path, program):
    log = tmp_path / "log.txt"
    log.write_text("usage: train.py [--fp16]\ntrain.py opt: error: argument --fp16: ignored explicit argument 'True'\n")
    assert last_error(log).startswith(": train.py opt: error: argument --fp16")
    assert "--fp16 takes no value: write ${args_no_boolean_flags} for ${args}" in hint(program, tmp_path, log)
    log.write_text("train.py: error: argument --ema/--no-ema: ignored explicit argument 'False'\n")
    assert "write ${args_on_off_flags} for ${args}" in hint(program, tmp_path, log)


def test_what_lies_above_the_script_and_a_question_at_the_keyboard_are_answered_with_what_to_do(tmp_path, program):
    log = tmp_path / "log.txt"
    log.write_text("FileNotFoundError: [Errno 2] No such file or directory: '../cases'\n")
    assert f"name it by its whole path, {SCRIPTS.parent / 'cases'}" in hint(program, tmp_path, log)
    log.write_text("EOFError: EOF when reading a line\n")
    assert "its standard input is empty" in hint(program, tmp_path, log)


@pytest.mark.parametrize(
    ("knobs_by", "printed", "expected"),
    [
        (
            "args",
            "KeyError: 'MODE'",
            "; MODE is given as an argument: write pass: env to give it as an environment",
        ),
        ("env", "train.py: error: the following arguments are required: --MODE", "write pass: args"),
        ("args", "KeyError: 'OTHER'", ""),
        ("args", "KeyError: 'SEED'", "; SEED is given as an argument: write pass: env"),
        ("env", "ValueError: bad shape", ""),
        ("env", "KeyError: 'MODE'", ""),
    ],
)
def test_a_knob_that_is_given_in_another_way_than_it_is_read_is_named(tmp_path, program, knobs_by, printed, expected):
    log = tmp_path / "log.txt"
    log.write_text(f"Traceback:\n{printed}\n")
    seed_key = "SEED" if knobs_by == "env" else "seed"
    program = program.model_copy(update={"knobs_by": knobs_by, "seed_key": seed_key})
    said = hint_of_knobs(program, "run", log)
    assert expected in said if expected else said == ""


def test_what_lies_above_the_script_is_named_with_how_to_run_from_there(tmp_path, program):
    (tmp_path / "model").mkdir()
    (tmp_path / "base.txt").write_text("")
    log, below = tmp_path / "log.txt", program.model_copy(update={"root": str(tmp_path / "scripts"), "script": "go.py"})
    advice = (
        f"a search space file in {tmp_path} that has no program:, but command: [python, scripts/go.py, '${{args}}']"
    )
    for printed in ("ModuleNotFoundError: No module named 'model.net'", "No such file or directory: 'base.txt'"):
        log.write_text(printed)
        assert advice in hint(below, tmp_path / "work", log)
    log.write_text("ModuleNotFoundError: No module named 'absent'")
    assert hint(below, tmp_path / "work", log) == ""


def test_the_end_of_a_log_in_utf_16_is_readable_and_one_without_its_mark_is_named(tmp_path):
    log = tmp_path / "log.txt"
    log.write_text("first\n" + "x" * 9000 + "\nacc 0.5 \u2713\n", encoding="utf-16")
    assert tail_of(log, 1) == ["acc 0.5 \u2713"]
    assert hint_of_encoding(log) == ""
    log.write_bytes(b"warning\n" + "acc 0.5\n".encode("utf-16-le"))
    assert "let the program print UTF-8" in hint_of_encoding(log)


def test_a_limited_file_that_is_too_large_fails_the_run(tmp_path, program):
    limits = program.limits.model_validate({"bytes": {"file": "model.bin", "at_most": 1000}})
    record = record_of(tmp_path, program.model_copy(update={"limits": limits}), "big")
    assert "model.bin" in record.error
    assert "limits.bytes.at_most" in record.error


def test_of_two_scores_the_last_counts_and_both_are_counted(tmp_path, program):
    record = record_of(tmp_path, program, "twice")
    assert (record.status, record.metric("run", "val_bpb"), record.metric("run", "scores_printed")) == ("done", 1.5, 2)


def test_a_score_behind_a_progress_bar_without_any_line_end_is_found(tmp_path, program):
    assert record_of(tmp_path, program, "chunks").metric("run", "val_bpb") == 1.25


def test_processes_that_a_program_leaves_are_ended_and_counted(tmp_path, program):
    record = record_of(tmp_path, program, "leave")
    log = tmp_path / "stages/run" / record.stages["run"].fingerprint / "log.txt"
    child = int(log.read_text().split()[1])
    assert (record.status, record.metric("run", "left_over_processes")) == ("done", 2)
    assert not Path(f"/proc/{child}").exists()


def test_of_many_processes_that_a_command_detaches_none_stays_in_the_process_table(tmp_path):
    """Killed processes that nobody took the status of stayed as zombies until init took them: 10 of 60."""
    threads = "import threading, time; [threading.Thread(target=time.sleep, args=(300,)).start() for _ in range(8)]"
    begin = f"setsid sleep 300 & echo $!; setsid {sys.executable} -c '{threads}' & echo $!"
    for again in range(3):
        log = tmp_path / f"log_{again}.txt"
        command = ["sh", "-c", f"for i in 1 2 3 4 5 6; do {begin}; done; sleep 0.3"]
        assert run_supervised(command, tmp_path, os.environ, log, 30) == (0, "")
        processes = [Path(f"/proc/{pid}") for pid in log.read_text().split()]
        assert (len(processes), [path.name for path in processes if path.exists()]) == (12, [])


LIBRARYS_OWN = 0b11 << 31
"""Signals 32 and 33, which the C library keeps to itself: as whoever started the tests left them."""


def test_a_command_is_started_with_the_usual_answers_to_signals(tmp_path):
    """It inherited that SIGTERM and SIGINT are ignored, so every stop waited for SIGKILL; and SIGHUP, from nohup."""
    log = tmp_path / "log.txt"
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    run_supervised(["grep", "-E", "SigIgn|SigBlk", "/proc/self/status"], tmp_path, os.environ, log, 30)
    signal.signal(signal.SIGHUP, before)
    signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    held = [int(mask, 16) & ~LIBRARYS_OWN for mask in log.read_text().split()[1::2]]
    assert held == [0, 0]


def test_a_listed_file_is_there_and_what_is_written_stays_in_the_working_folder(tmp_path, program):
    (tmp_path / "space.yaml").write_text(SPACE + "files: [table.txt]\n")
    listed = load_space(tmp_path / "space.yaml").program
    assert listed is not None
    assert record_of(tmp_path, listed, "write").metric("run", "val_bpb") == 1.75
    assert not (SCRIPTS / "logs").exists()


def test_a_run_that_changes_a_large_file_that_all_runs_share_has_failed(tmp_path, program):
    for name in program.code:
        (tmp_path / name).write_bytes((SCRIPTS / name).read_bytes())
    (tmp_path / "data").mkdir()
    (tmp_path / "data/large.bin").write_bytes(bytes(1_100_000))
    (tmp_path / "space.yaml").write_text(SPACE.replace(f"{SCRIPTS}/", "") + "files: [data/]\n")
    listed = load_space(tmp_path / "space.yaml").program
    assert listed is not None
    assert "data/large.bin, which it only reads" in record_of(tmp_path / "runs", listed, "spoil").error
    assert "large.bin was changed since the sweep was loaded" in record_of(tmp_path / "again", listed, "good").error


def test_a_run_that_is_to_stop_ends_its_program_and_leaves_no_record(tmp_path, program):
    patient = program.model_copy(update={"limits": program.limits.model_validate({})})
    started_s = time.monotonic()
    with pytest.raises(Interrupted):
        record_of(tmp_path, patient, "hang", stopping=lambda: time.monotonic() - started_s > 0.5)
    assert not (tmp_path / "run.json").exists()
    assert not [pid for pid in Path("/proc").glob("[0-9]*") if _works_below(pid, tmp_path)]


def _works_below(process: Path, folder: Path) -> bool:
    try:
        return (process / "cwd").readlink().is_relative_to(folder)
    except OSError:
        return False


def test_a_line_of_one_stream_does_not_follow_the_bar_that_stands_on_the_other(tmp_path, program):
    script = (
        "import sys\n"
        "for step in range(3):\n"
        "    sys.stderr.write(f'\\r{step}/2 |##| loss=9'); sys.stderr.flush()\n"
        "    print(f'step:{step} val_bpb:{step}', flush=True)\n"
        "sys.stderr.write(' end')\n"
    )
    log = tmp_path / "log.txt"
    status, _ = run_supervised([sys.executable, "-c", script], tmp_path, dict(os.environ), log, 60)
    lines = log.read_text().replace("\r", "\n").split("\n")
    assert status == 0
    assert [line for line in lines if "val_bpb" in line] == [f"step:{step} val_bpb:{step}" for step in range(3)]
    assert lines[-1] == "2/2 |##| loss=9 end"


def test_what_is_printed_while_a_command_is_ended_for_its_output_is_not_kept(tmp_path, program):
    """It ignored SIGTERM, and its log had 2.5 GB where 64 MB were allowed."""
    flood = "import os, signal; signal.signal(15, signal.SIG_IGN)\nwhile True: os.write(1, b'z' * 4095 + b'\\n')"
    log = tmp_path / "log.txt"
    end = run_command(
        [sys.executable, "-c", flood], tmp_path, os.environ, log, program, "run", None, print, lambda: False
    )
    assert end.limit == "output"
    assert 1e6 < log.stat().st_size < 1.2e6


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_output_that_cannot_be_kept_is_no_result(tmp_path, program):
    (tmp_path / "log.txt").symlink_to("/dev/full")
    with pytest.raises(StoreFull, match="log.txt: No space left on device; free some space"):
        run_command(["echo", "hello"], tmp_path, {}, tmp_path / "log.txt", program, "run", None, print, lambda: False)


def test_a_metric_of_another_name_is_told_the_names_that_stand_beside_numbers(tmp_path):
    log = tmp_path / "log.txt"
    log.write_text("wandb: 3\nepoch=1 val_acc=0.5\n" * 3 + '{"val_acc": 0.91, "lr": 1e-3}\n')
    said = hint_of_names("valacc", log)
    assert said == "; did you mean 'val_acc'?; it printed numbers beside: val_acc, epoch, lr"
    log.write_text("step 3 | acc | 0.5 \n")
    assert hint_of_names("acc", log).startswith("; it stands in 'step 3 | acc | 0.5': metrics: {acc: 'acc")
    assert re.search(hint_of_names("acc", log).split("'")[3].replace("NUMBER", "[0-9.]+"), log.read_text())[1] == "0.5"
    log.write_text("nothing to count\n")
    assert hint_of_names("valacc", log) == ""
