"""What `format: parameter-golf` and `format: modded-nanogpt` read: lines of the kinds that those scripts print."""

import pytest

from orchestrator.space.program_file import formats
from orchestrator.space.program_keys import NUMBER, ProgramKeys
from trainer.program.reader import Reader

FIRST = """\
step:90/100 train_loss:2.51 train_time:9000ms step_avg:100.00ms
step:100/100 val_loss:2.4000 val_bpb:1.4200 train_time:10000ms step_avg:100.00ms
stopping_early: wallclock_cap train_time:10000ms step:100/100
peak memory allocated: 10 MiB reserved: 12 MiB
Serialized model: 9000 bytes
Code size: 300 bytes
Total submission size: 9300 bytes
Serialized model int8+zlib: 2000 bytes (payload:2100 ratio:4.2x)
Total submission size int8+zlib: 2300 bytes
final_int8_zlib_roundtrip val_loss:2.4100 val_bpb:1.4300 eval_time:1500ms
final_int8_zlib_roundtrip_exact val_loss:2.41000001 val_bpb:1.43000001
"""
SLIDING = (
    FIRST
    + """\
final_sliding_window stride:64 val_loss:2.3100 val_bpb:1.3300 eval_time:70000ms
final_sliding_window_exact stride:64 val_loss:2.31000001 val_bpb:1.33000001
"""
)
LATE = """\
0/100 val_loss: 9.0 val_bpb: 3.5
90/100 train_loss: 2.41 train_time: 1.5m tok/s: 7000000
100/100 val_loss: 2.3000 val_bpb: 1.3200
stopping_early: wallclock_cap train_time: 99500ms step: 100/100
peak memory allocated: 10 MiB reserved: 12 MiB
pre-quantization post-ema val_loss:2.29 val_bpb:1.3100 eval_time:700ms
Serialized model: 9000 bytes
Code size (uncompressed): 999 bytes
Code size (compressed): 100 bytes
Serialized model quantized+brotli: 2000 bytes
Total submission size quantized+brotli: 2100 bytes
quantized val_loss:2.31 val_bpb:1.3300 eval_time:800ms
quantized_sliding_window val_loss:2.25 val_bpb:1.2900 eval_time:90000ms
ttt:start chunks=12 ttt_lr=0.005
ttp: b7/9 bl:2.1 bb:1.02 rl:2.2 rb:1.05
quantized_ttt val_loss:2.24 val_bpb:1.2800 eval_time:400000ms
"""
PHASED = (
    LATE.replace("pre-q", "diagnostic pre-q").replace("\nquantized val", "\ndiagnostic quantized val")
    + """\
quantized_ttt_phased val_loss:2.20 val_bpb:1.2700 eval_time:490000ms
total_eval_time:495.5s
"""
)
NO_ADAPTATION = "".join(line for line in PHASED.splitlines(keepends=True) if not line.startswith("quantized_"))
SECOND = (
    "step:9/10 val_loss:3.31 train_time:1.5s step_avg:9ms\nstep:10/10 val_loss:3.28 train_time:2.5s step_avg:9.5ms\n"
)


def read(name, text, **changed):
    """The reader of a format after this output; `changed` are metrics that a file says itself."""
    known = formats()[name]
    keys = ProgramKeys.model_validate({"script": "-", **known, "metrics": {**known["metrics"], **changed}})

    def filled(pattern):
        return pattern and pattern.replace("NUMBER", NUMBER)

    metrics = {
        one: [{**source.model_dump(), "pattern": filled(source.pattern)} for source in sources]
        for one, sources in keys.metrics.items()
    }
    reader = Reader({"metrics": metrics, "curve": filled(keys.curve)})
    reader.feed(text)
    reader.finish()
    return reader


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (FIRST, {"val_bpb": 1.43000001, "pre_quant_bpb": 1.42, "train_s": 10.0, "eval_s": 1.5, "step_ms": 100.0}),
        (FIRST, {"model_bytes": 2000, "code_bytes": 300, "total_bytes": 2300, "peak_memory_bytes": 10 << 20}),
        (SLIDING, {"val_bpb": 1.33000001, "val_loss": 2.31000001, "eval_s": 70.0, "total_bytes": 2300}),
        (LATE, {"val_bpb": 1.28, "val_loss": 2.24, "pre_quant_bpb": 1.31, "train_s": 99.5, "eval_s": 400.0}),
        (LATE, {"steps": 100, "model_bytes": 2000, "code_bytes": 100, "total_bytes": 2100, "tokens_per_s": 7e6}),
        (PHASED, {"val_bpb": 1.27, "val_loss": 2.20, "pre_quant_bpb": 1.31, "eval_s": 495.5}),
        (NO_ADAPTATION, {"val_bpb": 1.33, "val_loss": 2.31, "pre_quant_bpb": 1.31}),
        ("ttt:done val_loss=2.1 val_bpb=1.2 elapsed=9s\n", {"val_bpb": 1.2, "val_loss": 2.1}),
        ("90/100 train_loss: 2.41 train_time: 1.5m tok/s: 7\n", {"train_s": 90.0}),
        ("Model blob : 20 bytes\nPacked code: 3 bytes (raw=9)\nSubmission size: 23 bytes\n",
         {"model_bytes": 20, "code_bytes": 3, "total_bytes": 23}),
    ],
)  # fmt: skip
@pytest.mark.parametrize("before", ["", "[default0]:", "[rank0]: ", "2026-04-30T20:16:31Z "])
def test_the_last_score_of_the_counted_weights_is_read_with_times_and_sizes(before, text, expected):
    lines = "".join(f"{before}{line}" for line in text.splitlines(keepends=True))
    found = read("parameter-golf", lines).metrics
    assert {name: found.get(name) for name in expected} == expected


def test_seconds_of_all_evaluations_are_added_where_a_file_says_so():
    of_all = {"pattern": r"eval_time:\s*(NUMBER)ms", "scale": 0.001, "take": "sum"}
    assert read("parameter-golf", LATE, eval_s=of_all).metrics["eval_s"] == 491.5  # 0.7 + 0.8 + 90 + 400


@pytest.mark.parametrize("before", ["", "[default0]:", "2026-04-30T20:16:31Z "])
@pytest.mark.parametrize("text", [FIRST, LATE, PHASED])
def test_a_run_that_ends_before_its_weights_were_quantised_has_no_score(before, text):
    lines = [before + line for line in text.splitlines(keepends=True) if "zlib_round" not in line]
    kept = "".join(line for line in lines if f"{before}quantized" not in line and "diagnostic quantized" not in line)
    found = read("parameter-golf", kept).metrics
    assert "val_bpb" not in found
    assert "pre_quant_bpb" in found


def test_step_lines_with_and_without_their_name_are_a_learning_curve():
    assert read("parameter-golf", FIRST).points == [(90, 2.51, 9.0)]
    assert read("parameter-golf", LATE).points == [(90, 2.41, None)]
    assert read("modded-nanogpt", SECOND).points == [(9, 3.31, 1.5), (10, 3.28, 2.5)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (SECOND, {"val_loss": 3.28, "steps": 10, "train_s": 2.5, "step_ms": 9.5}),
        ("step:10/10 train_time:2000ms step_avg:9ms\nstep:10/10 val_loss:3.27 train_time:2100ms step_avg:9ms final\n",
         {"val_loss": 3.27, "train_s": 2.1}),
        ("s:7 tel:3.5\ns:8 trl:3.1 lr:0.1 norm:0.2\ns:9 tel:3.3\n", {"val_loss": 3.3, "steps": 9}),
        ("peak memory consumption: 3 MiB\n", {"peak_memory_bytes": 3 << 20}),
    ],
)  # fmt: skip
def test_lines_of_the_speed_contest_of_every_age(text, expected):
    found = read("modded-nanogpt", text).metrics
    assert {name: found.get(name) for name in expected} == expected
