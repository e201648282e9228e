"""What a reader must know of the machines behind the scores."""

import json

import pytest

from results.rows.machines import machine_lines, read_machines

A_GPU, ANOTHER = "1 x NVIDIA H100", "1 x NVIDIA H200"


@pytest.fixture
def computed(tmp_path):
    """Leaves a record of a machine of this hardware."""

    def leave(machine: str, hardware: str, status: str = "done") -> None:
        folder = tmp_path / ("runs" if status == "done" else "drifted")
        folder.mkdir(exist_ok=True)
        record = {"run_id": machine, "machine": {"name": machine}, "hardware": hardware, "status": status}
        trained = {"seconds": 9.5, "metrics": {"tokens_per_s": 1000.0, "mfu": 0.25}}
        stages = {"stages_run": ["train", "adapt"], "stages": {"train": trained, "adapt": {"seconds": 0.5}}}
        (folder / f"{machine}.json").write_text(json.dumps(record | stages))

    return leave


def warned(folder, by_the_clock: bool = True) -> list[str]:
    return [line for line in machine_lines(read_machines(folder), by_the_clock) if "by the clock" in line]


def test_under_a_clock_results_of_unlike_machines_are_not_comparable(computed, tmp_path):
    computed("alpha", A_GPU)
    computed("beta", ANOTHER)
    (said,) = warned(tmp_path)
    assert f"({A_GPU}; {ANOTHER}): the scores are not comparable; limit training by steps (budget.train_steps)" in said


def test_a_budget_of_steps_asks_unlike_machines_the_same(computed, tmp_path):
    computed("alpha", A_GPU)
    computed("beta", ANOTHER)
    assert warned(tmp_path, by_the_clock=False) == []


@pytest.mark.parametrize(("hardware", "status"), [(A_GPU, "done"), (ANOTHER, "drifted")])
def test_like_machines_and_those_that_count_nowhere_need_no_warning(computed, tmp_path, hardware, status):
    computed("alpha", A_GPU)
    computed("beta", hardware, status)
    assert warned(tmp_path) == []


def test_a_machine_has_its_stages_in_running_order_their_time_and_its_speed(computed, tmp_path):
    computed("alpha", A_GPU)
    (row,) = read_machines(tmp_path).to_dict("records")
    assert (row["runs"], row["stages"], row["stage_s"]) == (1, "train 1, adapt 1", 10.0)
    assert (row["tokens_per_s"], row["mfu"]) == (1000.0, 0.25)
