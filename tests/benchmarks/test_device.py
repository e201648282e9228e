"""The device benchmark keeps its promises: it starts where little is installed, ends in time, and loses no table."""

import re
import signal
import subprocess
import sys
from functools import partial
from importlib.metadata import distribution, packages_distributions
from itertools import count
from pathlib import Path

import pytest
import torch
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.benchmarks import device
from tests.benchmarks.device_bench import Bench, Figure, device_at_hand

ROOT = Path(device.__file__).parents[2]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
BARE = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in sys.argv[1:]:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
"""
OWN = "fairway"


def absent_on_a_bare_machine() -> set[str]:
    """Modules of the packages here that a machine with torch, NumPy and the wheels of `make wheels` may lack."""
    (wheels,) = re.findall(r"^TRAINER_NEEDS := ((?:.*\\\n)*.*)", MAKEFILE, re.M)
    present = needs_of("torch") | {
        canonicalize_name(name) for name in [OWN, "numpy", *wheels.replace("\\", "").split()]
    }
    return {
        module
        for module, packages in packages_distributions().items()
        if not {canonicalize_name(package) for package in packages} & present
    }


def needs_of(package: str) -> set[str]:
    """Names of a package and of all that it needs, as they are installed here."""
    found: set[str] = set()
    waiting = [package]
    while waiting:
        name = canonicalize_name(waiting.pop())
        if name not in found:
            found.add(name)
            needed = map(Requirement, distribution(name).requires or [])
            waiting += [need.name for need in needed if not need.marker or need.marker.evaluate({"extra": ""})]
    return found


def test_gpu_tests_and_benchmark_start_where_little_is_installed():
    code = f"""{BARE}
import tests.benchmarks.device, tests.benchmarks.device_start
import pytest

sys.exit(pytest.main(["tests/gpu", "--collect-only", "-p", "no:cacheprovider"]))
"""
    environment = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code, *absent_on_a_bare_machine()]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "test_cuda.py" in done.stdout


def test_the_limits_of_make_gpu_add_up_to_less_than_eight_minutes():
    (recipe,) = re.findall(r"^gpu:.*\n((?:\t.*\n)+)", MAKEFILE, re.M)
    limits = re.findall(r"timeout -k (\d+) (\d+) ", recipe)
    assert len(limits) == recipe.count("$(PYTHON)")  # each of its commands has one
    assert sum(int(grace) + int(limit) for grace, limit in limits) < 480


@pytest.fixture
def sections(monkeypatch):
    """Sections that only say that they ran."""
    names = ("first", "second", "third")
    monkeypatch.setattr(device, "SECTIONS", {name: partial(one_figure, name) for name in names})
    return names


def one_figure(name: str, bench: Bench):
    yield bench.figure(name, 1.0, "")


def test_a_section_is_not_begun_when_the_time_is_over(sections, capsys):
    asked = count()
    figures = device.figures_of("tiny", torch.device("cpu"), 1.0, sections, lambda: next(asked) >= 1)
    assert [figure.what for figure in figures] == ["first"]
    assert "tiny:second: not begun" in capsys.readouterr().out


def test_a_section_that_fails_leaves_a_row_and_the_others(sections, monkeypatch):
    def fails(bench: Bench):
        raise RuntimeError("no room")
        yield

    monkeypatch.setitem(device.SECTIONS, "second", fails)
    figures = list(device.figures_of("tiny", torch.device("cpu"), 1.0, sections, lambda: False))
    assert [figure.what for figure in figures] == ["first", "second failed: RuntimeError: no room", "third"]


def test_told_to_end_it_writes_the_table_of_what_was_measured(tmp_path):
    log = tmp_path / "LOG.md"
    command = [sys.executable, "-m", "tests.benchmarks.device", "tiny:eager+scoring+ttt", "--log", str(log)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("tiny "):
                process.send_signal(signal.SIGTERM)
                break
        rest = process.stdout.read()
    assert "told to end" in rest
    assert "| first step, eager, s |" in log.read_text(encoding="utf-8")


def test_a_table_has_a_column_per_preset_and_no_number_where_nothing_was_measured():
    figures = [Figure("a", "step", 1234.5, "ms"), Figure("b", "rate", 0.12345, "")]
    assert device.table(figures).splitlines()[2:] == ["| step, ms | 1,234 |  |", "| rate |  | 0.1235 |"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="the device at hand is a GPU")
def test_a_cpu_is_prepared_as_for_a_run():
    torch.set_num_threads(2)
    try:
        assert device_at_hand() == torch.device("cpu")
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(1)


def test_a_step_is_counted_without_a_clock():
    bench = Bench("tiny", torch.device("cpu"), 1.0)
    values = {figure.what: figure.value for figure in bench.counted(lambda: torch.zeros(3) + 1)}
    assert values["operator calls of a step, counted"] == 2
    assert values["collectives of a step, counted, 8 ranks"] == 3
    assert values["host waits of a step, counted, 8 ranks"] == 1
    assert values["a rank brings to them, counted, 8 ranks"] > 0.5
