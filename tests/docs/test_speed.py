"""docs/speed.md shows the tables that `python -m tests.benchmarks.scale` prints, and what they stand on."""

import pytest

from tests.benchmarks import scale
from tests.benchmarks.scale_counted import of_a_chunk, of_a_step
from tests.docs.pages import DOCS

PAGE = (DOCS / "speed.md").read_text(encoding="utf-8")
LOG = (DOCS.parent / "results" / "LOG.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("number", range(len(scale.TABLES)))
def test_the_tables_over_gpus_are_what_the_command_prints(number):
    assert scale.TABLES[number]() in PAGE, "docs/speed.md is not current: python -m tests.benchmarks.scale"


def test_rates_that_predictions_stand_on_are_in_the_log():
    steps = [f"{step.whole} (" for name, step in scale.H100_STEP.items() if name != "pr150_v21"]
    rates = [f"{rate:,}" for (gpu, _), rate in scale.SLIDING.items() if gpu == "H200"]
    logged = [
        *steps,
        *rates,
        *(f"{ms}" for ms in scale.H200_STEP_MS.values()),
        *(f"{rate:,}" for rate in scale.TTT.values()),
    ]
    assert [figure for figure in logged if figure not in LOG] == []


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
