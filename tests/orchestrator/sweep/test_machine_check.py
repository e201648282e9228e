"""The drift guard's rules, on records of made-up machines."""

from dataclasses import replace

import pytest

from orchestrator.space.sections import Guard
from orchestrator.sweep.machine_check import complaints_about, facts_of
from orchestrator.sweep.seen_runs import SeenRuns
from trainer.spec.load import load_preset
from trainer.spec.record import Record, StageOutcome

TINY = load_preset("tiny")
FACTS = {"name": "alpha", "torch": "2.13.0", "driver": "550.1", "attention": "sdpa", "train_shards": "80 shards abc"}
GPU, CPU = "8x NVIDIA H100 80GB HBM3", "CPU of a laptop"


def record(name: str = "alpha", tokens_per_s: float = 1000.0, *, hardware: str = GPU, graphs: int = 0, **facts: str):
    """A run that trained, on such a machine."""
    metrics = {"tokens_per_s": tokens_per_s, "graphs_inside_clock": graphs}
    train = StageOutcome(
        stage="train", fingerprint=f"of {name}", seconds=9.0, started_at="", host=name, metrics=metrics, workload="w"
    )
    return Record(
        run_id="a-s1", preset="tiny", seed=1, status="done", recipe=TINY.recipe.model_dump(mode="json"),
        headline="evaluate", stages={"train": train}, stages_run=("train",), started_at="", commit="",
        hardware=hardware, versions="", machine=FACTS | {"name": name} | facts,
    )  # fmt: skip


def words(one: Record, guard: Guard = Guard(), others=(), expected=None) -> str:  # noqa: B008 - frozen
    seen = SeenRuns({f"run {number}": other for number, other in enumerate(others)})
    return "; ".join(complaint.words for complaint in complaints_about(one, facts_of(record()), seen, guard, expected))


def test_a_machine_like_the_first_one_passes():
    assert words(record("beta")) == ""


@pytest.mark.parametrize(
    ("fact", "value"),
    [("train_shards", "1 shards abc"), ("attention", "flash"), ("torch", "2.12.0"), ("driver", "535.0")],
)
def test_one_unlike_the_first_is_reported_with_both_values(fact, value):
    assert words(record("beta", **{fact: value})) == f"{fact} = {value}, but {FACTS[fact]} on alpha"


def test_what_the_space_does_not_ask_to_be_the_same_may_differ():
    assert words(record("beta", torch="2.12.0"), Guard(same=("shards",))) == ""
    assert "hardware" in words(record("beta", hardware="1x A100"), Guard(same=("hardware",)))


def test_a_gpu_machine_slower_than_its_equals_is_reported_and_a_noisy_laptop_is_not():
    peers = [record("alpha", 1000.0), record("alpha", 980.0), record("alpha", 1010.0)]
    assert "0.80 of machine alpha; guard.min_speed = 0.9" in words(record("beta", 800.0), others=peers)
    assert words(record("beta", 950.0), others=peers) == ""
    slow_laptop = record("beta", 100.0, hardware=CPU)
    assert words(slow_laptop, Guard(same=()), others=[record("alpha", 1000.0, hardware=CPU)]) == ""
    assert "guard.min_speed = 0.5" in words(
        slow_laptop, Guard(same=(), min_speed=0.5), others=[record("alpha", 1000.0, hardware=CPU)]
    )


def test_only_equals_are_compared_and_nobody_with_itself():
    other_size = record("alpha", 9000.0)
    bigger = {"train": other_size.stages["train"].model_copy(update={"workload": "bigger"})}
    for peer in (record("alpha", 9000.0, hardware="4x A100"), record("beta", 9000.0),
                 other_size.model_copy(update={"stages": bigger})):  # fmt: skip
        assert words(record("beta", 100.0), others=[peer]) == ""


def test_on_request_the_preset_says_how_fast_a_machine_must_be():
    guard, declared = Guard(min_speed=0.9, reference="preset"), TINY.expected
    slow, fast = (record("beta", part * declared.tokens_per_s) for part in (0.5, 0.95))
    assert f"0.50 of what tiny declares for {declared.hardware}" in words(slow, guard, expected=declared)
    assert words(fast, guard, expected=declared) == ""
    of_other_sizes = replace(declared, own=load_preset("pr549").recipe)
    assert words(slow, guard, expected=of_other_sizes) == ""


def test_a_graph_compiled_inside_the_clock_is_reported():
    assert "2 graphs compiled inside the clock" in words(record("beta", graphs=2))
    assert words(record("beta", graphs=2), Guard(max_recompiles=2)) == ""


def test_a_run_that_computed_nothing_is_nobodys_fault():
    assert words(record("beta", torch="1.0").model_copy(update={"stages_run": ()})) == ""


def test_a_machine_that_reads_another_text_for_another_configuration_has_not_drifted():
    own = record(train_shards="2 shards xyz")
    data = dict(own.recipe["data"]) | {"source": "shards", "folder": "/own"}
    assert "train_shards" in words(own)
    assert words(own.model_copy(update={"recipe": dict(own.recipe) | {"data": data}})) == ""
