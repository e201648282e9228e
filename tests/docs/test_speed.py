"""docs/speed.md shows the tables that `python -m tests.benchmarks.scale` prints, and what they stand on."""

import re

import pytest

from tests.benchmarks import scale
from tests.benchmarks.scale_counted import of_a_chunk, of_a_step, recipe_of
from tests.counting import meta_model
from tests.docs.pages import DOCS
from trainer.nn.gpt import num_parameters

PAGE = (DOCS / "speed.md").read_text(encoding="utf-8")
RECIPE = (DOCS / "recipe.md").read_text(encoding="utf-8")
LOG = (DOCS.parent / "results" / "LOG.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("number", range(len(scale.TABLES)))
def test_the_tables_over_gpus_are_what_the_command_prints(number):
    assert scale.TABLES[number]() in PAGE, "docs/speed.md is not current: python -m tests.benchmarks.scale"


def section(text: str, title: str) -> str:
    """What stands under a heading that holds this title, up to the next one of its level or above."""
    level, rest = re.split(rf"^(#+) .*{re.escape(title)}.*\n", text, maxsplit=1, flags=re.M)[1:]
    return re.split(rf"^#{{1,{len(level)}}} ", rest, maxsplit=1, flags=re.M)[0]


def has(text: str, figure: str) -> bool:
    """Whether the text holds it as a number of its own, no part of a longer one."""
    return re.search(rf"(?<![\d.,]){re.escape(figure)}(?!\d|[.,]\d)", text) is not None


FIRST_HOUR, SECOND_HOUR = section(LOG, "The first hour on a GPU"), section(LOG, "The second hour on a GPU")
WHERE_A_STEP_GOES, SCORING = (
    section(PAGE, "Where a training step goes"),
    section(PAGE, "Scoring and test-time training"),
)
STEPS = scale.H100_STEP
SOURCES = {
    "steps, H100": (FIRST_HOUR, [f"{step.whole}" for step in STEPS.values()]),
    "forward and backward": (WHERE_A_STEP_GOES, [f"{step.forward_and_backward} ms" for step in STEPS.values()]),
    "Muon and Adam": (WHERE_A_STEP_GOES, [f"{step.muon_and_adam} ms" for step in STEPS.values()]),
    "average": (FIRST_HOUR, [f"{STEPS['pr549'].average}"]),
    "orthogonalisation": (FIRST_HOUR, [f"{scale.ORTHOGONALISATION_MS} ms"]),
    "large product": (WHERE_A_STEP_GOES, [f"{scale.PRODUCT_FLOPS / 1e12:.0f} TFLOP/s"]),
    "compiling": (SCORING, [f"{scale.COMPILE_S:.0f} s"]),
    "steps, H200": (SECOND_HOUR, [f"{ms}" for ms in scale.H200_STEP_MS.values()]),
    "sliding, H100": (SCORING, [f"{rate:,}" for (gpu, _), rate in scale.SLIDING.items() if gpu == "H100"]),
    "sliding, H200": (SECOND_HOUR, [f"{rate:,}" for (gpu, _), rate in scale.SLIDING.items() if gpu == "H200"]),
    "test-time training, H100": (FIRST_HOUR, [f"{scale.TTT['H100', 'pr150_v21']:,}"]),
    "test-time training, H200": (SECOND_HOUR, [f"{scale.TTT['H200', 'pr150_v21']:,}"]),
    "validation text": (section(RECIPE, "1.2"), [f"{number:,}" for number in scale.VALIDATION_TOKENS.values()]),
}
"""Where each constant of `scale` was taken from: none of these sections holds a table that it prints."""


@pytest.mark.parametrize("what", SOURCES)
def test_figures_that_predictions_stand_on_are_in_their_sources(what):
    source, figures = SOURCES[what]
    assert figures
    assert [figure for figure in figures if not has(source, figure)] == []


def test_no_source_is_what_the_command_prints():
    assert [
        number for number, made in enumerate(scale.TABLES) for source, _ in SOURCES.values() if made() in source
    ] == []


def test_a_figure_is_no_part_of_a_longer_one():
    assert has("takes 79.6 ms, 118,000.", "79.6 ms")
    assert has("118,000.", "118,000")
    assert not any(has(text, "18,0") for text in ("118,000", "18,000", "18,0.5"))
    assert not has("1,766 TFLOP/s", "766 TFLOP/s")
    assert not has("0.41", "41")


def test_the_average_of_pr1413_is_that_of_pr549_by_the_number_of_weights():
    weights = {name: num_parameters(meta_model(recipe_of(name))) for name in ("pr549", "pr1413")}
    by_weights = STEPS["pr549"].average * weights["pr1413"] / weights["pr549"]
    assert STEPS["pr1413"].average == pytest.approx(by_weights, abs=0.005)


def test_one_rank_exchanges_nothing():
    assert of_a_step("pr549", 1) == of_a_chunk("pr549", 1) == ()
    assert scale.step_parts("pr549", 1, scale.H100_STEP["pr549"])["all-reduce of gradients and loss"] == 0


def test_an_all_reduce_of_two_ranks_sends_its_bytes_once():
    second_ms = scale.collective_ms("allreduce", int(scale.BYTES_PER_S), 2) - scale.START_MS
    assert second_ms == pytest.approx(1000)
    assert scale.collective_ms("allgather_base", int(scale.BYTES_PER_S), 8) - scale.START_MS == pytest.approx(7000)


def test_ranks_that_learn_a_chunk_sum_its_gradients_once_an_epoch():
    for num_ranks, batches in ((2, 8), (8, 2)):
        sizes = [own_bytes for _, own_bytes in of_a_chunk("pr549", num_ranks)]
        gradients = 4 * 26_928_220
        assert sizes.count(gradients) == 3
        assert sizes.count(8) == 3 + batches  # before each step and each batch of 32 of the 512 windows: stop?
