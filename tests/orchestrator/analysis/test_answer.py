"""What a newcomer reads at the end of a sweep: one table, one sentence, one command."""

import io
import re
import shlex

import pytest
from rich.console import Console
from typer.testing import CliRunner

from orchestrator.analysis.answer import answer_of, footnotes, next_lines, print_answer, sentence
from orchestrator.analysis.sweep_table import rows_of, table_of
from orchestrator.analysis.verdict_table import word_of
from orchestrator.commands.app import app
from orchestrator.sweep.sweep import open_sweep
from tests.orchestrator.analysis.test_attempts_share_alpha import GRID, better, gain, noise
from tests.orchestrator.spaces import TTT, leave_runs, space_of


def answered(store, text=GRID, score=gain, **changes):
    sweep = open_sweep(store, space_of(store, text, **changes))
    leave_runs(sweep, score)
    frame = rows_of(sweep)
    return answer_of(sweep, frame, table_of(sweep, frame))


def printed(answer, width) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None, highlight=False)
    print_answer(answer, console)
    return console.file.getvalue()


@pytest.mark.parametrize("width", [30, 40, 59])
def test_a_narrow_terminal_shows_every_name_and_number_whole(tmp_path, width):
    answer = answered(tmp_path)
    narrow, wide = printed(answer, width), printed(answer, 200)
    row = next(line for line in wide.splitlines() if answer.name(answer.verdicts[0].config) in line)
    assert all(word in narrow.split() for word in row.split())
    assert "\u2026" not in narrow


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize(("text", "score"), [(GRID, gain), (TTT, better)])
def test_table_and_sentence_fit_the_terminal_and_name_no_identity(tmp_path, width, text, score):
    answer = answered(tmp_path, text, score)
    lines = printed(answer, width).splitlines()
    commands = [line for line in lines if "orchestrator " in line or "of computing" in line]
    assert max(len(line) for line in lines if line not in commands) <= width
    assert not any(item.id in line for item in answer.sweep.asked() for line in lines)


def test_a_gain_beyond_doubt_is_a_plain_sentence(tmp_path):
    said = sentence(answered(tmp_path))
    assert said.startswith("model.rope_base=")
    assert "is better than the baseline by 0.10" in said
    assert "it was selected as the best of 2" in said


def test_a_gain_that_is_not_shown_says_between_what_it_may_lie(tmp_path):
    answer = answered(tmp_path, score=lambda run: 2.0 - 0.01 * run.configuration.index + 100 * noise(run))
    assert "Not shown: " in sentence(answer)
    assert "may be anything from -" in sentence(answer)


def test_no_gain_at_all_is_said_as_such(tmp_path):
    answer = answered(tmp_path, score=lambda run: 2.0 + 0.01 * run.configuration.index + noise(run))
    assert sentence(answer).startswith("Nothing beats the baseline by more than the 0.0")


def test_one_reason_for_many_configurations_is_printed_once(tmp_path):
    answer = answered(tmp_path, seeds=[1])
    told = printed(answer, 120)
    assert [word_of(verdict) for verdict in answer.verdicts] == ["cannot say"] * 2
    assert told.count("there is only 1 of") == 1


def test_two_seeds_call_nothing_better_without_a_warning(tmp_path):
    text = GRID + "compare: {alpha: 0.3, blocks: none}\n"
    few, enough = answered(tmp_path, text, seeds=[1, 2]), answered(tmp_path, text, seeds=[7, 8, 9])
    assert word_of(few.best) == "BETTER *"
    assert "from 2 seeds each" in "\n".join(footnotes(few))
    assert "Warning: from 2 seeds each" in few.best.sentence
    assert "seeds each" not in "\n".join(footnotes(enough))


def test_the_next_command_is_named_with_cost_and_chance_and_runs_as_it_stands(tmp_path):
    lines = next_lines(answered(tmp_path, TTT, better))
    assert re.fullmatch(r"next:    orchestrator confirm ttt --num-seeds \d+ --store .*", lines[0])
    assert re.search(
        r"\d+ runs, .* of computing, 0.02 GPU-hours; shows the gain on fresh seeds with a chance of \d+%", lines[1]
    )
    words = shlex.split(lines[-1].removeprefix("details:"))[1:]
    explained = CliRunner().invoke(app, words, catch_exceptions=False)
    assert explained.exit_code == 0
    assert "assumes: " in explained.stdout


@pytest.mark.parametrize(
    ("words", "nearest"), [(("--margin", "5", "--unit", "bpb"), "0.005"), (("--margin", "3"), "0.003")]
)
def test_a_margin_that_nothing_can_reach_is_asked_about(tmp_path, words, nearest):
    answered(tmp_path)
    result = CliRunner().invoke(app, ["compare", "a", *words, "--store", str(tmp_path)])
    assert f"did you mean {nearest}?" in str(result.exception)


@pytest.mark.parametrize(("attempts", "word"), [(1, "suggests (alpha is spent"), (2, "shows the gain")])
def test_a_confirmation_after_a_fixed_list_says_whether_alpha_is_left_for_it(tmp_path, attempts, word):
    text = GRID + f"compare: {{attempts: {attempts}}}\n"
    answer = answered(tmp_path, text, lambda run: 2.0 - 0.02 * run.configuration.index + 100 * noise(run))
    assert any(word in line for line in next_lines(answer))
