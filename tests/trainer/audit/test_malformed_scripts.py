"""Damaged scripts and wrappers: a clear error or a report, none over the limits, and nothing of them is run."""

import base64
import lzma
import random
import time
import tracemalloc
import zlib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.trainer.audit.scripts import scripts
from trainer.audit.source.unwrap import Unreadable
from trainer.audit.static_audit import audit_file, audit_text

SECONDS = 2.0
SOURCES = [path.read_text(encoding="utf-8") for path in (*scripts("legal"), *scripts("illegal"))]
TRAP = "open({!r}, 'w').write('run')\n"
LIMITS = settings(deadline=None, max_examples=40, suppress_health_check=list(HealthCheck))


def fault_of(text: str) -> str:
    """What is wrong with how the audit of a text ends; empty for a report or an error for people, in time."""
    started = time.process_time()
    try:
        report = audit_text(text, "train_gpt.py")
    except Unreadable as error:
        fault = "" if str(error).startswith("train_gpt.py") else f"names no file: {error}"
    else:
        gaps = [reason for reason in report.reasons if "a gap of the audit" in reason]
        fault = "; ".join(gaps) if report.verdict else "no verdict"
    used_s = time.process_time() - started
    return fault or ("" if used_s < SECONDS else f"took {used_s:.1f} s")


def damaged(random_: random.Random) -> str:
    """One of the scripts with lines lost, doubled, exchanged, or characters changed."""
    lines = random_.choice(SOURCES).splitlines(True)
    for _ in range(random_.randint(1, 6)):
        at, other = random_.randrange(len(lines)), random_.randrange(len(lines))
        kind = random_.randrange(5)
        if kind == 0:
            del lines[at : at + random_.randint(1, 5)]
        elif kind == 1:
            lines.insert(at, lines[other])
        elif kind == 2:
            lines[at], lines[other] = lines[other], lines[at]
        elif kind == 3 and lines[at]:
            place = random_.randrange(len(lines[at]))
            lines[at] = lines[at][:place] + chr(random_.randrange(1, 300)) + lines[at][place + 1 :]
        else:
            lines[at] = lines[at].replace(random_.choice("abcdeinost"), random_.choice("abcdeinost"))
        lines = lines or ["\n"]
    return "".join(lines)


def wrapped(source: str, random_: random.Random) -> str:
    """A wrapper around it, damaged in one place or cut short."""
    packed = bytearray(random_.choice([lzma.compress, zlib.compress])(source.encode("utf-8", "replace")))
    for _ in range(random_.randint(0, 3)):
        packed[random_.randrange(len(packed))] = random_.randrange(256)
    text = base64.b85encode(bytes(packed[: random_.randint(1, len(packed))])).decode()
    return f"import lzma,zlib,base64 as B\nexec({random_.choice(['lzma', 'zlib'])}.decompress(B.b85decode({text!r})))"


@pytest.mark.parametrize(
    ("text", "times"),
    [
        ("x=1\n", 500_000),
        ("x=1\n", 59_000),
        ("x=[1,2,3]\n", 190_000),
        ("x=1,2,3,4,5\n", 55_000),
        ("a.b(c)[d]\n", 59_000),
    ],
)
def test_large_scripts_end_in_time(text, times):
    assert fault_of(text * times) == ""


@LIMITS
@given(st.integers())
def test_damaged_scripts_end_in_a_report_or_a_clear_error(seed):
    assert fault_of(damaged(random.Random(seed))) == ""


@pytest.mark.parametrize(
    "line",
    ["b'\\xff'.decode()", "'x'.encode('no such')", "'x'.strip(b'x')", "__import__('zlib').decompress(b'no archive')"],
)
def test_a_constant_that_cannot_be_decoded_is_no_fault_of_the_script(line):
    assert fault_of(f"MARK = {line}\n") == ""


def test_a_script_that_is_too_branched_is_not_walked_again_with_settings_switched_on():
    lines = ["import os, torch", "val = torch.load('fineweb_val_0.bin')", "net = Net()"]
    lines += [f"S{i} = int(os.environ.get('S{i}', '0'))\nif S{i}: net(val[{i}:]).backward()" for i in range(30)]
    lines += [f"if a{i}: val = val[{i}:]\nelse: val = val[:-{i}]" for i in range(1800)]
    assert fault_of("\n".join(lines)) == ""


def test_a_yield_outside_of_a_function_is_walked():
    """Python parses it, and refuses it later."""
    assert fault_of("for i in range(3):\n    yield [i]\n") == ""


@pytest.mark.parametrize("line", ["x = x + x", "y = (x + x) + (x + x)", "y = BOMB", "y = x.strip() + x"])
def test_texts_that_grow_at_every_line_take_little_time_and_memory(line):
    """A text doubled sixty times took all memory of the machine."""
    bomb = f"__import__('zlib').decompress({zlib.compress(bytes(3_900_000))!r})"
    tracemalloc.start()
    try:
        fault = fault_of("x = 'a'\n" + "x = x + x\n" * 21 + f"{line.replace('BOMB', bomb)}\n" * 40)
        assert (fault, tracemalloc.get_traced_memory()[1] < 100_000_000) == ("", True)
    finally:
        tracemalloc.stop()


@LIMITS
@given(st.integers())
def test_damaged_wrappers_end_in_a_report_or_a_clear_error(seed):
    assert fault_of(wrapped(SOURCES[seed % 5], random.Random(seed))) == ""


@LIMITS
@given(st.text() | st.binary().map(lambda data: data.decode("latin-1")))
def test_any_text_ends_in_a_report_or_a_clear_error(text):
    assert fault_of(text) == ""


@pytest.mark.slow
def test_ten_thousand_malformed_scripts_and_wrappers():
    for seed in range(10_000):
        random_ = random.Random(seed)
        assert fault_of(damaged(random_) if seed % 2 else wrapped(damaged(random_), random_)) == ""


@pytest.mark.parametrize("wrapper", ["{}", "exec({!r})", "import zlib\nexec(zlib.decompress({}).decode())"])
def test_nothing_of_a_script_is_run(tmp_path, wrapper):
    trap = tmp_path / "trap"
    source = TRAP.format(str(trap))
    inner = repr(zlib.compress(source.encode())) if "zlib" in wrapper else source
    text = wrapper.format(inner)
    audit_text(f"__import__('os').mkdir({str(trap)!r})\n{text}", "train_gpt.py")
    assert not trap.exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def f(:\n", "train_gpt.py, line 1: no Python that can be parsed"),
        ("x = 1\n" * 1_000_000, "at most 4,000,000 are read"),
        ("(" * 5000 + ")" * 5000, "no Python that can be parsed"),
        ("x = '\0'", "no Python that can be parsed"),
        ("import zlib\nexec(zlib.decompress(b'abc'))", "line 2: the wrapper is damaged"),
    ],
)
def test_the_error_says_where_and_why(text, message):
    with pytest.raises(Unreadable, match=message):
        audit_text(text, "train_gpt.py")


def test_files_that_cannot_be_read_are_named(tmp_path):
    with pytest.raises(Unreadable, match="cannot be read: No such file"):
        audit_file(tmp_path / "missing.py")
    (tmp_path / "bytes.py").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(Unreadable, match="byte 0 is no UTF-8"):
        audit_file(tmp_path / "bytes.py")
    with pytest.raises(Unreadable, match="is a folder; name the script in it"):
        audit_file(Path(tmp_path))


@pytest.mark.parametrize(
    "text",
    [
        "x = '{:>90000000}'.format(1)",
        "x = '{:>{}}'.format(1, 90000000)",
        "x = '%90000000d' % 1",
        "x = '%*d' % (90000000, 1)",
        "x = f'{1:>90000000}'",
        "x = 'a' * 90000000",
        "x = b'a' * 90000000",
        "x = [0] * 90000000",
        "x = 10 ** 10 ** 9",
        "x = 1 << 10 ** 9",
        "x = 'a' * 1999\ny = x.replace('a', x)\nz = y.replace('a', x)",
        "x = list(range(90000000))",
    ],
)
def test_a_constant_that_would_fill_the_memory_is_not_computed(text):
    tracemalloc.start()
    audit_text(text, "train_gpt.py")
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < 30_000_000
