"""What a slot adds to the reports of its runs: use of its GPUs, and the part of their peak that a training uses."""

import os
import time

import pytest

from trainer import slot_metrics
from trainer.slot_metrics import SlotMetrics
from trainer.spec.environment import gpu_use
from trainer.spec.flops import flops_per_token
from trainer.spec.load import load_preset
from trainer.spec.messages import Progress
from trainer.stages.run_record import RunRequest

RECIPE = load_preset("tiny").recipe


@pytest.fixture
def on_gpus(tmp_path, monkeypatch) -> SlotMetrics:
    """A slot on two H100, whose nvidia-smi says 90 and 70 %."""
    tool = tmp_path / "bin" / "nvidia-smi"
    tool.parent.mkdir()
    tool.write_text('#!/bin/sh\n[ "$1" = --id=4,5 ] && printf "90\\n70\\n"\n')
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tool.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(slot_metrics, "SAMPLE_EVERY_S", 0.01)
    monkeypatch.setattr(slot_metrics, "gpu_model", lambda: "NVIDIA H100 80GB HBM3")
    made = SlotMetrics(0, "alpha", ["4", "5"])
    made.begin(RunRequest.of("a-s1", "tiny", RECIPE, tmp_path / "sweeps" / "ttt" / "runs" / "a-s1.json"))
    return made


def test_reports_of_a_training_get_mfu_and_use_of_all_gpus_of_the_slot(on_gpus):
    speed = 2 * 989e12 / (3 * flops_per_token(RECIPE)) / 4
    while (report := on_gpus.completed(Progress("a-s1", "train", 0.5, "", speed))).gpu_use is None:
        time.sleep(0.01)
    assert (report.mfu, report.gpu_use) == (pytest.approx(0.25), pytest.approx(0.8))
    assert on_gpus.completed(Progress("a-s1", "evaluate", 0.5, "", speed)).mfu is None


def test_a_slot_without_gpus_reports_speed_alone():
    report = SlotMetrics(0, "laptop", []).completed(Progress("a-s1", "train", 0.5, "", 100.0))
    assert (report.tokens_per_s, report.mfu, report.gpu_use) == (100.0, None, None)


def test_a_machine_whose_nvidia_smi_fails_reports_no_use(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert gpu_use(["0"]) is None
