"""What files, names and errors hold reaches a terminal as text, never as commands to it."""

import io

import pytest
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from trainer.spec.console import PlainConsole, broken_between_words
from trainer.spec.printable import printable

HOSTILE = "a\x1b[2Jb\x9b31mc\x07d\x7fe\u202ef\rg\udc80h\u200bi\ufeff\U000e0041"
SPELLED = r"a\x1b[2Jb\x9b31mc\x07d\x7fe\u202ef\rg\udc80h\u200bi\ufeff\U000e0041"


def test_control_characters_are_spelled_out_and_words_stay():
    assert printable(HOSTILE) == SPELLED
    assert printable("größer\n\t→ 漢字 \U0001f600") == "größer\n\t→ 漢字 \U0001f600"


@pytest.mark.parametrize(
    "made", [str, Text, Panel, lambda text: Table(text, title=text)], ids=["str", "Text", "Panel", "Table"]
)
def test_a_console_for_people_prints_no_control_characters_but_its_own(made):
    for colours in (None, "truecolor"):
        out = io.StringIO()
        PlainConsole(file=out, width=200, force_terminal=bool(colours), color_system=colours).print(
            made(HOSTILE), style="red"
        )
        text = out.getvalue()
        assert r"a\x1b[2Jb\x9b31mc" in text
        assert not set(text) & {"\x9b", "\x7f", "\u202e", "\r", "\udc80"}
        assert "\x1b[2J" not in text
        assert ("\x1b[31m" in text) == bool(colours)


SENTENCE = "runs of one trained artifact are paired, others are not; no earlier sweep of this preset shows how"


def test_a_terminal_gets_lines_broken_between_words_and_a_pipe_whole_ones():
    for is_terminal in (True, False):
        console = PlainConsole(file=io.StringIO(), width=40, force_terminal=is_terminal)
        console.print(f"  {SENTENCE}", soft_wrap=True)
        lines = console.file.getvalue().splitlines()
        assert len(lines) == (3 if is_terminal else 1)
        assert all(line.startswith("  ") for line in lines)
        assert " ".join(lines).split() == SENTENCE.split()


def test_a_command_to_paste_stays_in_one_line():
    command = "orchestrator resume ttt --store /a/long/place/where/runs/are/kept"
    assert broken_between_words(f"what is finished is kept; go on with: {command}", 40).splitlines() == [
        "what is finished is kept; go on with:",
        f"  {command}",
    ]
