"""What a report says, and that it says it safely and alone."""

import math
import re
from dataclasses import replace

import pytest

from results.report.cost_chapters import failures
from results.report.findings import ranking, scatter, verdict
from results.report.page import Page, page_html
from results.report.report import report_html, write_report
from results.verdicts.sweep_results import published_results
from tests.results.made_up import sweep_results
from trainer.spec.printable import CONTROLS

EVIL = "<script>alert('x')</script> & \"quoted\""
ESCAPED = "&lt;script&gt;alert("


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    return report_html(sweep_results(6, folder=tmp_path_factory.mktemp("stages")))


def text_of(*chapters):
    """What a reader sees of these chapters alone."""
    return words(page_html(Page("", "", "", chapters, "")))


def words(html):
    """What a reader sees of the page, without figures."""
    return " ".join(re.sub(r"<svg.*?</svg>|<style.*?</style>|<[^>]*>", " ", html, flags=re.DOTALL).split())


def test_every_chapter_of_the_issue_is_there(page):
    heads = re.findall(r"<h2[^>]*>(.*?)</h2>", page)
    assert heads == [
        "Verdict", "Search space", "Plan against actual", "Ranking", "Differences", "Parameter importance", "Seeds",
        "Learning curves", "Budget use", "Machines", "Failures", "How to reproduce",
    ]  # fmt: skip


def test_the_verdict_is_in_words(page):
    assert re.search(r"It scores 0\.0\d+ bits per byte .* better than the baseline .* paired t-test", words(page))


def test_a_comparison_of_one_configuration_counts_in_the_singular():
    page = text_of(verdict(sweep_results(1)))
    assert "Of the one configuration compared: " in page


def test_the_scored_text_is_told(page):
    assert "Scored text: 999 tokens, 1,998 bytes, 7 documents." in words(page)


def test_nothing_is_fetched_and_no_script_runs(page):
    assert not re.search(r"<(script|link(?! rel=\"icon\" href=\"data:,\")|img|iframe|object|embed)\b", page)
    assert not re.search(r"(src|href)=\"(?!#|data:)", page)
    assert "url(" not in page.replace("url(#", "")
    assert "@import" not in page


def test_every_piece_of_text_from_people_is_escaped(tmp_path):
    evil = f"{EVIL}\x1b[2J\u202e\u200b"
    made = sweep_results(3, folder=tmp_path)
    error = made.frame["error"].mask(made.frame.index == 5, evil)
    status = made.frame["status"].mask(made.frame.index == 5, "failed")
    html = report_html(
        replace(
            made,
            name=evil,
            description=evil,
            frame=made.frame.assign(error=error, status=status, versions=evil),
            labels=dict.fromkeys(made.labels, evil),
            terms={evil: evil},
            commands=(evil,),
            space_text=evil,
            example={**made.example, "preset": evil, "recipe": {**made.example["recipe"], "note": evil}},
        )
    )
    assert "<script" not in html
    assert html.count(ESCAPED) > 10
    assert not CONTROLS.search(html)


def test_each_id_is_unique_and_each_figure_has_a_title(page):
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert (
        page.count("<svg") == page.count('role="img"') == page.count("<desc") == 10
    )  # five, each for a screen and a telephone


def test_figures_take_their_colours_from_the_page(page):
    drawn = "".join(re.findall(r"<svg.*?</svg>", page, flags=re.DOTALL))
    assert "var(--series-0)" in drawn
    assert not re.findall(r"(?:fill|stroke): #(?!ffffff)", drawn)


def test_failures_are_grouped_by_message_and_none_is_passed_over():
    made = sweep_results(4)
    broken = made.frame["config"].isin(["c00001", "c00002"])
    frame = made.frame.assign(
        status=made.frame["status"].mask(broken, "failed"),
        val_bpb=made.frame["val_bpb"].mask(broken),
        error=made.frame["error"].mask(broken, "Traceback\nOutOfMemory: 80 GB"),
    )
    made = replace(made, frame=frame, total_runs=18)
    listed = text_of(failures(made))
    assert "Without a result: 6 runs, by message. message runs for example OutOfMemory: 80 GB 6 c00001" in listed
    assert "In full: c00001 seed 42 Traceback OutOfMemory: 80 GB" in listed
    counted = "Every seed that was started counts: 9 done with a result, 6 failed, 3 declared and not run yet."
    assert counted in text_of(scatter(made))


def test_a_score_that_is_no_number_is_a_failure():
    made = sweep_results(2)
    frame = made.frame.assign(val_bpb=made.frame["val_bpb"].mask(made.frame.index == 4, math.inf))
    assert "Without a result: 1 run," in text_of(failures(replace(made, frame=frame)))


def test_a_sweep_without_results_has_a_report_that_says_so():
    made = sweep_results(0)
    empty = replace(made, frame=made.frame.head(0), outcomes=made.outcomes.head(0), example=None)
    assert "No configuration beside the baseline is complete" in words(report_html(empty))


def test_records_have_a_report(tmp_path):
    path = write_report(published_results(), tmp_path / "new" / "records.html")
    page = words(path.read_text(encoding="utf-8"))
    assert "These runs are published elsewhere." in page
    assert "Would it be accepted? pg-written: beats the incumbent by at least 0.005 nats" in page
    assert "Ranking Configurations by their mean val_bpb (bits per byte) over seeds" in page


def test_many_configurations_make_no_longer_a_page_and_it_says_what_it_left_out():
    made = sweep_results(400, verdicts=False)
    assert "375 others are not drawn." in text_of(ranking(made))
    assert "The first 30 of 401 rows" in text_of(ranking(made))
    assert "Drawn: 202 of 401 configurations" in text_of(scatter(made))
    assert len(page_html(Page("", "", "", [scatter(made)], ""))) < 1_000_000


def test_the_first_screen_has_headline_gains_verdicts_and_the_next_command():
    made = replace(sweep_results(9), headline="It is so.", next_command="orchestrator confirm x", next_because="8 runs")
    first = words(report_html(made)).split("Verdict Search space")[0]
    assert re.search(
        r"It is so\. .*The best 6 of 9; all are below\. .* verdict .* Next: 8 runs orchestrator conf", first
    )
    assert "the best, is 0.0" in words(report_html(sweep_results(9)))  # a short one where nobody wrote a sentence


def test_every_figure_says_its_numbers_to_those_who_cannot_see_it(page):
    assert re.search(r'<desc id="answer-words">Gain over the baseline .*lr of c0000\d: \+0\.0\d+, ', page)
