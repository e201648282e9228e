import io
import re
from pathlib import Path

from rich.console import Console

from orchestrator.space.configuration import Configuration, label, short
from orchestrator.space.load_space import load_space
from orchestrator.status.progress import spread
from orchestrator.status.screen import LineScreen, LiveScreen, make_screen, panel
from orchestrator.sweep.live import SlotPicture, SweepPicture


def picture(done: int = 3, failed: int = 0) -> SweepPicture:
    slots = (SlotPicture(0, "train  abc-s1  step 10", 0.25), SlotPicture(1, "waiting for a run"))
    return SweepPicture("ttt", done, 21, failed, "2.3 (sd 0.1, n = 3)", "2.4", slots, 65.0, 120.0)


def drawn(content, width: int = 100) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=False)
    console.print(content)
    return console.file.getvalue()


def test_the_panel_is_one_screen_with_runs_best_slots_and_time():
    text = drawn(panel(picture()))
    assert len(text.splitlines()) <= 20
    for part in ("3 of 21 runs done", "sd 0.1", "step 10", "waiting for a run", "1 min 05 s elapsed", "2 min 00 s"):
        assert part in text


def test_failures_are_counted_where_runs_are():
    assert "3 of 21 runs done, 2 failed" in drawn(panel(picture(failed=2)))


def test_ctrl_c_finds_room_behind_the_panel():
    console = Console(file=io.StringIO(), width=80, force_terminal=True, legacy_windows=False)
    with LiveScreen(console) as screen:
        screen.show(picture())
    lines = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", console.file.getvalue()).splitlines()
    assert max(len(line.rstrip()) for line in lines) == 80 - len("^C")


def test_without_a_terminal_a_line_per_finished_run():
    console = Console(file=io.StringIO(), width=300, force_terminal=False)
    screen = make_screen(console)
    assert isinstance(screen, LineScreen)
    with screen:
        for done in (1, 1, 1, 2):
            screen.show(picture(done))
    assert [line.split(" of ")[0] for line in console.file.getvalue().splitlines()] == ["1", "2"]


def test_numbers_are_written_as_people_write_them():
    assert short(0.0009099942) == "0.00091"
    assert spread([1.0, 3.0]) == "2.0000 bits per byte (sd 1.4142, n = 2)"
    assert spread([1.0]) == "1.0000 bits per byte (n = 1)"


def test_a_configuration_is_labelled_by_the_values_that_vary():
    space = load_space(Path(__file__).parents[3] / "search_spaces" / "ttt.yaml")
    values = {"ttt.mode": "score_first", "ttt.lr": 0.01, "ttt.epochs": 2}
    assert label(Configuration(1, "abc", values, False), space) == "ttt.lr=0.01 ttt.epochs=2"
    assert label(Configuration(0, "abc", {"ttt.mode": "off"}, True), space) == "baseline"
