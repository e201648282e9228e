import os
import socket

import pytest

from orchestrator.run import placement
from orchestrator.run.placement import NodeOffer, SlotPlan, expected_slots, plan_slots, this_machine
from trainer.spec.errors import UserError


def node(name: str = "alpha", cpus: int = 200, gpus: int = 0) -> NodeOffer:
    return NodeOffer(name, cpus, gpus)


def test_on_a_laptop_a_slot_is_one_worker_and_they_fill_the_cores():
    assert plan_slots([node(cpus=2)], num_runs=20) == SlotPlan(2, 1, use_gpu=False)


def test_a_node_of_8_gpus_is_one_slot():
    assert plan_slots([node("alpha", gpus=8), node("beta", gpus=8)], num_runs=20) == SlotPlan(2, 8, use_gpu=True)
    assert plan_slots([node(gpus=16)], num_runs=20) == SlotPlan(2, 8, use_gpu=True)
    assert plan_slots([node(cpus=16, gpus=1)], num_runs=20) == SlotPlan(1, 1, use_gpu=True)


def test_no_more_slots_than_runs():
    assert plan_slots([node(cpus=64)], num_runs=3).num_slots == 3


def test_one_more_trial_than_slots_is_in_flight():
    assert SlotPlan(2, 1, use_gpu=False).in_flight == 3


@pytest.mark.parametrize(("slots", "workers", "named"), [(None, 3, "alpha 2"), (3, 1, "2 fit.*alpha 2")])
def test_what_does_not_fit_is_refused_with_the_numbers(slots, workers, named):
    with pytest.raises(UserError, match=named):
        plan_slots([node(cpus=2)], num_runs=20, slots=slots, workers=workers)


def test_gpus_of_several_nodes_are_no_slot():
    halves = [node("alpha", gpus=4), node("beta", gpus=4)]
    with pytest.raises(UserError, match="a slot of 8 GPUs fits on no node: alpha 4, beta 4; --workers 4"):
        plan_slots(halves, num_runs=20, workers=8)
    with pytest.raises(UserError, match="a slot of 8 GPUs fits on no node"):
        plan_slots(halves, num_runs=20, gpus_wanted=8)
    assert plan_slots(halves, num_runs=20) == SlotPlan(2, 4, use_gpu=True)
    assert plan_slots([*halves, node("gamma", gpus=8)], num_runs=20, gpus_wanted=8) == SlotPlan(1, 8, use_gpu=True)


def test_three_of_four_gpus_of_each_node_are_two_slots():
    assert plan_slots([node("alpha", gpus=4), node("beta", gpus=4)], num_runs=9, workers=3).num_slots == 2


def test_a_preset_for_gpus_is_not_trained_on_the_cpus_of_the_head():
    with pytest.raises(UserError, match="a slot of 8 GPUs fits on no node: head 0"):
        plan_slots([node("head")], num_runs=20, gpus_wanted=8)


def test_a_head_that_offers_no_cpu_takes_no_slot_and_refuses_none():
    head = node("head", cpus=0)
    assert plan_slots([head, node("alpha", cpus=2)], num_runs=20).num_slots == 2
    with pytest.raises(UserError, match="a slot of 1 CPU fits on no node: head 0"):
        plan_slots([head], num_runs=20)


def test_a_gpu_node_without_a_cpu_for_each_gpu_is_said_to_be_one():
    with pytest.raises(UserError, match="alpha 8 .and 4 CPUs, one for each GPU is needed"):
        plan_slots([node(cpus=4, gpus=8)], num_runs=20)


def test_a_refusal_on_a_large_cluster_stays_short():
    with pytest.raises(UserError, match="and 116 more nodes") as refused:
        plan_slots([node(f"node-{number}", gpus=4) for number in range(128)], num_runs=20, workers=8)
    assert len(str(refused.value)) < 400


def test_a_plan_for_other_machines_may_ask_for_more_slots_than_fit_here():
    assert expected_slots(20, slots=64) == 64
    assert expected_slots(1) == 1
    assert expected_slots(20, workers=10_000) == 1


@pytest.fixture
def one_cpu():
    """This process may use one CPU of the machine, as under `taskset` or Slurm."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    yield
    os.sched_setaffinity(0, before)


def test_plan_and_local_ray_count_the_cpus_that_this_process_may_use(one_cpu):
    assert this_machine().cpus == 1
    assert expected_slots(20) == 1


@pytest.mark.parametrize(("quota", "cpus"), [("100000 100000", 1), ("50000 100000", 1), ("max 100000", None)])
def test_the_quota_of_a_container_limits_the_cpus(tmp_path, monkeypatch, quota, cpus):
    (tmp_path / "cpu.max").write_text(f"{quota}\n")
    monkeypatch.setattr(placement, "CPU_QUOTA", tmp_path / "cpu.max")
    assert placement.usable_cpus() == (cpus or len(os.sched_getaffinity(0)))


@pytest.mark.parametrize(("visible", "gpus"), [(None, 8), ("0,1,2,3", 4), ("", 0), ("-1", 0)])
def test_gpus_hidden_from_this_process_do_not_count(monkeypatch, visible, gpus):
    monkeypatch.setattr(placement, "num_gpus", lambda: 8)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert placement.usable_gpus() == gpus
    assert this_machine().name == socket.gethostname()
