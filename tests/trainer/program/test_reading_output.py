"""Numbers in what programs print: lines, progress bars, JSON, files, units, phases, and patterns that never end."""

import json
import math
import time

import pytest

from trainer.program.process import PhaseClock
from trainer.program.reader import MOST_LINE, Reader
from trainer.program.reading import Live, OutputReader, read_output
from trainer.spec.errors import UserError
from trainer.spec.program import Program, ProgramStage, Source

NUMBER = r"([-+0-9.eE]+|nan)"


def read(text, metrics, parts=1, **said):
    """What a reader finds in a text that comes in so many parts."""
    reader = Reader({"metrics": metrics, **said})
    size = -(-len(text) // parts)
    for start in range(0, len(text), size):
        reader.feed(text[start : start + size])
    reader.finish()
    return reader


@pytest.mark.parametrize("parts", [1, 3, 50])
def test_the_last_match_counts_wherever_the_output_was_cut(parts):
    text = "loss=3\r\n\r50% loss=2\rloss=1.5 \u2713\nother\nloss=1e-2"
    reader = read(text, {"loss": [{"pattern": f"loss={NUMBER}"}]}, parts)
    assert (reader.metrics, reader.counts) == ({"loss": 0.01}, {"loss": 4})


def test_a_line_of_any_length_is_read_in_bounded_pieces():
    text = "." * (5 * MOST_LINE - 4) + "loss=1.25" + "." * 10 * MOST_LINE
    assert read(text, {"loss": [{"pattern": r"loss=(\d\.\d+)"}]}, 7).metrics == {"loss": 1.25}


def test_the_first_source_that_has_a_number_counts_in_its_unit():
    sources = [{"pattern": r"total (\d+) s"}, {"pattern": r"took (\d+)ms", "scale": 0.001}]
    assert read("took 288ms", {"eval_s": sources}).metrics == {"eval_s": 0.288}
    assert read("total 3 s\ntook 288ms", {"eval_s": sources}).metrics == {"eval_s": 3.0}


@pytest.mark.parametrize(
    ("take", "expected"),
    [("last", 0.5), ("first", 2.0), ("min", 0.25), ("max", 2.0), ("sum", 2.75), ("mean", 2.75 / 3)],
)
def test_of_several_numbers_the_last_counts_or_what_take_says(take, expected):
    text = "dataset a loss=2\ndataset b loss=0.25\ndataset c loss=0.5\n"
    source = {"pattern": f"loss={NUMBER}", "take": take}
    assert read(text, {"loss": [source]}).metrics["loss"] == pytest.approx(expected)
    by_key = Reader({"metrics": {"loss": [{"file": "out", "key": "b", "take": take}]}})
    by_key.read_file("loss", 0, {"key": "b", "take": take}, '{"b": 2}\n{"b": 0.25}\n{"b": 0.5}\n')
    assert by_key.metrics["loss"] == pytest.approx(expected)


def test_a_score_that_is_nan_spoils_a_mean_and_is_no_best():
    text = "loss=nan\nloss=3\nloss=2\nloss=nan\n"
    found = {take: read(text, {"loss": [{"pattern": f"loss={NUMBER}", "take": take}]}) for take in ("mean", "min")}
    assert math.isnan(found["mean"].metrics["loss"])
    assert found["min"].metrics == {"loss": 2.0}


@pytest.mark.parametrize("before", range(MOST_LINE - 300, MOST_LINE + 10, 7))
def test_a_number_where_the_pieces_of_a_long_line_overlap_counts_once_and_whole(before):
    text = "." * before + "loss=1.25" + "." * 2 * MOST_LINE + "loss=1.5"
    source = {"pattern": r"loss=(\d\.\d+)", "take": "sum"}
    assert read(text, {"loss": [source]}).metrics == {"loss": 2.75}


def test_numbers_stand_in_json_lines_and_files_at_dotted_keys():
    metrics = {"a": [{"key": "eval.a"}], "b": [{"file": "out.json", "key": "deep.b"}], "c": [{"key": "x.y"}]}
    lines = ["{broken", json.dumps({"eval": {"a": 1}}), json.dumps({"x.y": "2.5", "eval": {"a": True}}), "{}"]
    reader = read("\n".join(lines), metrics)
    for name, place, source in reader.files:
        reader.read_file(name, place, source, json.dumps({"deep": {"b": 7}}))
    assert reader.metrics == {"a": 1.0, "b": 7.0, "c": 2.5}


@pytest.mark.parametrize(
    "content", ['{"b": 1}\n{"b": 7}\n{"c": 3}\n', "step, b\n1, 5\n2, 7\n", "b\tc\n7\t8\n", '{\n "b": 7\n}\n']
)
def test_a_file_may_be_json_json_lines_or_csv_of_which_the_last_number_counts(content):
    reader = Reader({"metrics": {"b": [{"file": "out", "key": "b"}]}})
    reader.read_file("b", 0, {"file": "out", "key": "b"}, content)
    assert reader.metrics == {"b": 7.0}


@pytest.mark.parametrize("parts", [1, 50])
def test_colours_and_moves_of_the_cursor_are_no_part_of_a_line(parts):
    text = "\x1b[2K\x1b[1mstep:60/60\x1b[0m loss:\x1b[38;5;3m0.25\x1b[0m\x1b]0;title\x07 t:\x1b(B5\n"
    reader = read(text, {"loss": [{"pattern": rf"^step:\d+/\d+ loss:{NUMBER} t:5$"}]}, parts)
    assert (reader.metrics, reader.last) == ({"loss": 0.25}, "step:60/60 loss:0.25 t:5")


@pytest.mark.parametrize(
    "bar",
    ["100%|███| 60/60 [00:00<00:00, 300.00it/s, loss=9]", "60it [1:00:01, 2.5s/it]", " 0%| | 0/60 [00:00<?, ?it/s]"],
)
def test_a_line_begins_where_a_bar_ends_that_has_no_line_end(bar):
    reader = read(f"\r{bar}step 60 loss 0.25\n", {"loss": [{"pattern": f"^step 60 loss {NUMBER}"}]})
    assert reader.metrics == {"loss": 0.25}


@pytest.mark.parametrize("part", ["[00:00<", "[00:00</", "[00:00, 1/", "[1", "/", "\x1b[", "\x1b]a", "\x1b "])
def test_output_that_looks_like_unfinished_bars_and_codes_is_read_in_little_time(part):
    started_s = time.process_time()
    read(f"loss=1\n[00:00<{part * 12_000}\nloss=2", {"loss": [{"pattern": f"loss={NUMBER}"}]})
    assert time.process_time() - started_s < 2


def test_a_time_and_a_rank_in_brackets_are_no_bar():
    text = "[12:34:56, rank 0/8] loss 0.25\n"
    assert read(text, {"loss": [{"pattern": rf"rank 0/8\] loss {NUMBER}"}]}).metrics == {"loss": 0.25}


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig"])
def test_output_and_files_may_begin_with_a_byte_order_mark(tmp_path, encoding):
    (tmp_path / "log").write_text('{"a": 3}\nloss 2.5 \u2713\n', encoding=encoding)
    (tmp_path / "out.csv").write_text("b,c\n7,8\n", encoding=encoding)
    sources = {"a": {"key": "a"}, "loss": {"pattern": r"loss (\d\.\d)"}, "b": {"file": "out.csv", "key": "b"}}
    given = program(metrics={name: [source] for name, source in sources.items()})
    found = read_output(given, tmp_path / "log", {"out.csv": tmp_path / "out.csv"})
    assert found.metrics == {"a": 3.0, "loss": 2.5, "b": 7.0}


def test_json_that_is_nested_too_deep_is_no_number_and_ends_nothing():
    deep = '{"a":' * 100_000
    text = f'{{"bpb": 1.5}}\n{deep}\n{{"bpb": 1.25}}\n'
    assert read(text, {"bpb": [{"key": "bpb"}]}).metrics == {"bpb": 1.25}
    reader = Reader({"metrics": {"bpb": [{"file": "scores.json", "key": "bpb"}]}})
    reader.read_file("bpb", 0, {"key": "bpb"}, deep)
    assert reader.metrics == {}


def test_a_reader_that_was_killed_is_not_called_slow(tmp_path):
    log = tmp_path / "log.txt"
    log.write_text("loss=1\n")
    with OutputReader(program(pattern="loss=(NUMBER)"), log) as reader:
        reader._process.kill()
        with pytest.raises(UserError, match="ended with status -9"):
            reader.finish({})


def test_a_curve_is_thinned_and_knows_its_end():
    lines = "\n".join(f"step:{step}/50000 loss:{1 / (step + 1)} t:{step}ms" for step in range(50_000))
    curve = r"step:(?P<step>\d+)/(?P<total>\d+) loss:(?P<loss>\S+) t:(?P<ms>\d+)ms"
    reader = read(lines, {}, 3, curve=curve)
    assert reader.total == 50_000
    assert 5_000 < len(reader.points) <= 20_001
    assert reader.points[-1][2] == reader.points[-1][0] / 1000


def program(**said):
    stage = ProgramStage(name="run")
    sources = {"loss": [{"pattern": said.pop("pattern", "loss=(.*)")}]}
    plain = {"name": "x", "root": "/", "command": [], "stages": [stage.model_dump()], "metrics": sources, **said}
    return Program.model_validate_json(json.dumps({**plain, "headline": "loss"}))


def test_a_pattern_that_takes_for_ever_ends_its_reader_alone(tmp_path):
    log = tmp_path / "log.txt"
    log.write_text("a" * 60 + "b\n")
    with OutputReader(program(pattern="(a+)+$"), log) as reader, pytest.raises(UserError, match="were not through"):
        reader.finish({}, within_s=1.0)


def test_output_that_an_earlier_reader_took_apart_is_read_again(monkeypatch):
    before = program().readings_digest
    monkeypatch.setattr("trainer.spec.program.READER_VERSION", "another")
    assert program().readings_digest != before


def test_a_source_that_takes_the_last_has_the_digest_it_had_before_there_was_a_choice():
    """Else every sweep of an earlier version would be another one, whose runs are read again."""
    assert "take" not in Source(pattern="(.)").model_dump()
    assert program(pattern="loss=(.*)").readings_digest == "e63703094b28c9cf"


def test_phases_are_timed_by_the_lines_that_begin_them():
    hand = [0.0]
    limited = program(limits={"train_s": 10, "eval_s": 5}, phases={"eval": "^evaluating"})
    clock = PhaseClock(limited, "run", lambda: hand[0])
    hand[0] = 9.0
    assert clock.exceeded() == ""
    clock.note(Live(phase="eval"))
    hand[0] = 13.0
    assert clock.exceeded() == ""
    hand[0] = 14.5
    assert clock.exceeded() == "eval_s"


def test_seconds_that_the_output_tells_count_before_phases():
    given = program(limits={"train_s": 10}, metrics={"train_s": [{"pattern": "t=(.*)"}]})
    clock = PhaseClock(given, "run", lambda: 99.0)
    assert clock.exceeded() == ""
    clock.note(Live(metrics={"train_s": 10.5}))
    assert clock.exceeded() == "train_s"


def test_of_several_stages_the_last_evaluates_where_nothing_tells_its_phase():
    """`limits.eval_s` ended nothing, and `limits.train_s` the evaluation."""
    stages = [{"name": name} for name in ("train", "score")]
    hand = [0.0]
    limited = program(limits={"train_s": 10, "eval_s": 5}, stages=stages)
    clocks = {stage: PhaseClock(limited, stage, lambda: hand[0]) for stage in ("train", "score")}
    hand[0] = 7.0
    assert {stage: clock.exceeded() for stage, clock in clocks.items()} == {"train": "", "score": "eval_s"}
    hand[0] = 11.0
    assert clocks["train"].exceeded() == "train_s"
