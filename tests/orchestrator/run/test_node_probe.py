"""What a node's report says of it: each fault has its remedy."""

import re
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.run import slot_room
from orchestrator.run.drive_options import DriveOptions
from orchestrator.run.node_probe import NodeReport, complaints, node_task
from orchestrator.run.nodes import ClusterNode
from orchestrator.run.placement import plan_slots
from orchestrator.run.slot_room import left_out, wait_for_slots
from trainer.spec.errors import UserError
from trainer.store.mirror import make_mirror
from trainer.store.visible import is_visible, visible_file, write_speed

DRIVER = NodeReport("driver", versions={"python": "3.11.7", "torch": "2.13.0+cpu", "ray": "2.60.0"}, code="abc")
SOUND = replace(
    DRIVER, name="beta", versions={**DRIVER.versions, "torch": "2.13.0+cu128"}, gpus=8, torch_gpus=8, hardware="8x H100"
)
STORE = Path("/home/me/runs/checks/visible-1")


def test_a_head_with_the_cpu_build_of_torch_takes_nodes_with_the_cuda_build():
    assert complaints(SOUND, DRIVER, STORE) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"missing": "it cannot import this package (No module named 'trainer')"}, "cannot import this package"),
        ({"versions": {**SOUND.versions, "python": "3.12.1"}}, "has python 3.12.1, the driver 3.11.7; install"),
        ({"versions": {**SOUND.versions, "torch": "2.12.0"}}, "has torch 2.12.0, the driver 2.13.0"),
        ({"versions": {"python": "3.11.7", "ray": "2.60.0"}}, "has torch not at all"),
        ({"code": "def"}, "other code of this package.*ray job submit"),
        ({"sees_store": False}, "does not see the store of this sweep, /home/me/runs; .* --store s3://BUCKET"),
        ({"torch_gpus": 0}, "Ray counts 8 GPUs there, PyTorch 2.13.0.cu128 sees 0; install PyTorch's CUDA build"),
    ],
)
def test_each_fault_of_a_node_is_said_with_its_remedy(change, said):
    (complaint,) = complaints(replace(SOUND, **change), DRIVER, STORE)
    assert re.search(said, complaint)


def test_under_a_wall_clock_nodes_of_one_kind_take_the_runs():
    nodes = [ClusterNode(name, 200, 8, name) for name in ("alpha", "beta", "gamma")]
    own = node_task()("/nowhere", "", "", False, False)
    report = NodeReport("", **{name: own[name] for name in ("versions", "code", "version_line")})
    reports = {
        name: replace(report, name=name, hardware=f"8x {gpu}")
        for name, gpu in [("alpha", "H100"), ("beta", "A100"), ("gamma", "H100")]
    }
    assert left_out(nodes, reports, None, one_kind=False) == {}
    (fault,) = left_out(nodes, reports, None, one_kind=True).values()
    assert "it is 8x A100" in fault
    assert "here 2 of 8x H100" in fault


class Clicks:
    """A flag that is up after so many looks, and nodes that come up meanwhile."""

    def __init__(self, *offers: list[ClusterNode]):
        self.offers, self.looks = list(offers), 0

    def wait(self, seconds: float) -> bool:
        return False

    def nodes(self) -> list[ClusterNode]:
        self.looks += 1
        return self.offers.pop(0) if len(self.offers) > 1 else self.offers[0]


HEAD, NODE = ClusterNode("head", 8, 0, "1"), ClusterNode("alpha", 200, 8, "2")


def waited(monkeypatch, clicks: Clicks, options: DriveOptions, wanted: int = 8) -> tuple[object, list[str]]:
    said: list[str] = []
    monkeypatch.setattr(slot_room, "asked_for", lambda *_: nullcontext())  # the seam to Ray
    plan = wait_for_slots(
        clicks.nodes, lambda nodes: plan_slots(nodes, 9, gpus_wanted=wanted), options, wanted, clicks, said.append
    )
    return plan, said


def test_gpu_nodes_that_are_still_coming_up_are_waited_for_and_the_head_s_cpus_are_not_taken(monkeypatch):
    plan, said = waited(monkeypatch, Clicks([HEAD], [HEAD], [HEAD], [HEAD, NODE]), DriveOptions(address="auto"))
    assert (plan.num_slots, plan.workers_per_slot, plan.use_gpu) == (1, 8, True)
    assert said == ["waiting for nodes, 30 min 00 s at most: a slot of 8 GPUs fits on no node: head 0"]


def test_nodes_that_are_too_small_are_refused_at_once_unless_larger_ones_are_to_be_waited_for(monkeypatch):
    small = ClusterNode("beta", 200, 4, "3")
    with pytest.raises(UserError, match="fits on no node: beta 4, head 0"):
        waited(monkeypatch, Clicks([small, HEAD]), DriveOptions(address="auto"))
    plan, _ = waited(
        monkeypatch, Clicks([small], [small], [small, NODE]), DriveOptions(address="auto", wait_for_nodes_s=60)
    )
    assert plan.num_slots == 1


def test_a_wait_that_was_in_vain_ends_with_the_nodes_there_are(monkeypatch):
    clicks = Clicks([HEAD])
    with pytest.raises(UserError, match="head 0; start nodes, or wait longer: --wait-for-nodes"):
        waited(monkeypatch, clicks, DriveOptions(address="auto", wait_for_nodes_s=1e-9))


def test_a_file_of_the_driver_shows_whether_a_machine_sees_its_store(tmp_path):
    with visible_file(tmp_path / "runs") as file:
        assert is_visible(file)
        other = tmp_path / "other" / "checks" / file.name
        assert not is_visible(other)
    assert not file.exists()
    assert write_speed(tmp_path / "runs") > 0
    assert list((tmp_path / "runs" / "checks").iterdir()) == []


def test_a_machine_sees_the_store_in_its_bucket_from_its_own_mirror(tmp_path, bucket):
    make_mirror(tmp_path / "here", bucket)
    make_mirror(tmp_path / "there", bucket)
    with visible_file(tmp_path / "here") as file:
        assert is_visible(tmp_path / "there" / "checks" / file.name)
    assert not bucket.list("checks")
