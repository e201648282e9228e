import pytest

from orchestrator.run.slot import SlotPlan, SlotThread, expected_slots, plan_slots
from trainer.spec.errors import UserError


def test_on_a_laptop_a_slot_is_one_worker_and_they_fill_the_cores():
    assert plan_slots(cpus=2, gpus=0, num_runs=20) == SlotPlan(2, 1, use_gpu=False)


def test_a_node_of_8_gpus_is_one_slot():
    assert plan_slots(cpus=200, gpus=16, num_runs=20) == SlotPlan(2, 8, use_gpu=True)
    assert plan_slots(cpus=16, gpus=1, num_runs=20) == SlotPlan(1, 1, use_gpu=True)


def test_no_more_slots_than_runs():
    assert plan_slots(cpus=64, gpus=0, num_runs=3).num_slots == 3


def test_one_more_trial_than_slots_is_in_flight():
    assert SlotPlan(2, 1, use_gpu=False).in_flight == 3


@pytest.mark.parametrize(("slots", "workers"), [(None, 3), (3, 1), (2, 2)])
def test_what_does_not_fit_is_refused_with_the_numbers(slots, workers):
    with pytest.raises(UserError, match="CPUs.*the cluster offers 2"):
        plan_slots(cpus=2, gpus=0, num_runs=20, slots=slots, workers=workers)


def test_a_slot_thread_remembers_why_it_ended():
    def serve(slot: int) -> None:
        raise RuntimeError(f"slot {slot} has no worker")

    thread = SlotThread(7, serve, try_again=lambda slot: False)
    thread.start()
    thread.join()
    assert "slot 7 has no worker" in thread.fault


@pytest.mark.parametrize("first", [RuntimeError("a node went away"), None], ids=["gave up", "quarantined"])
def test_a_slot_that_deserves_it_gets_another_trainer(first):
    outcomes, deserved = iter([first, None]), iter([True, False])

    def serve(slot: int) -> None:
        if (fault := next(outcomes)) is not None:
            raise fault

    thread = SlotThread(0, serve, try_again=lambda slot: next(deserved))
    thread.start()
    thread.join()
    assert thread.fault == ""
    assert next(outcomes, "served twice") == "served twice"


def test_a_plan_for_other_machines_may_ask_for_more_slots_than_fit_here():
    assert expected_slots(20, slots=64) == 64
    assert expected_slots(1) == 1
    assert expected_slots(20, workers=10_000) == 1
