"""What a slot does, for people who watch: speed, use of its GPUs, stage. To the board, and as gauges of Ray's exporter.

Ray's agent on each node offers them to Prometheus; `orchestrator/cluster/grafana.json` draws them.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ray.util.metrics import Gauge

from trainer.spec.environment import gpu_model, gpu_use
from trainer.spec.flops import mfu
from trainer.spec.messages import Progress
from trainer.spec.recipe import Recipe
from trainer.spec.stage_table import STAGES
from trainer.stages.run_record import RunRequest

SAMPLE_EVERY_S = 5.0
"""Between two calls of nvidia-smi, which takes a tenth of a second of one core."""
GAUGES = {
    "fairway_slot_tokens_per_s": "Tokens per second of the stage that the slot computes.",
    "fairway_slot_mfu": "Part of its GPUs' peak that the slot's training uses.",
    "fairway_slot_gpu_use": "Part of the time in which the slot's GPUs computed, mean over them.",
    "fairway_slot_stage_done": "Done part of the stage that the slot computes.",
    "fairway_slot_stage": "Number of the stage that the slot computes, in running order from 1; 0 between runs.",
}
TAGS = ("sweep", "slot", "machine")


class SlotMetrics:
    """The gauges of one slot; of its first rank.

    gpu_ids:  Ray's ids of all GPUs of the slot; without any, no use is sampled
    """

    def __init__(self, slot: int, machine: str, gpu_ids: Sequence[str]):
        self._tags = {"slot": str(slot), "machine": machine, "sweep": ""}
        self._gpu_ids = list(gpu_ids)
        self._gauges = {name: Gauge(name, description=text, tag_keys=TAGS) for name, text in GAUGES.items()}
        self._recipe: Recipe | None = None
        self._use: float | None = None
        if self._gpu_ids:
            threading.Thread(target=self._sample, name="gpu-use", daemon=True).start()

    def begin(self, request: RunRequest) -> None:
        """A run begins."""
        recipe = request.load_recipe()
        self._recipe = recipe if isinstance(recipe, Recipe) else None
        self._tags["sweep"] = sweep_of(request)

    def end(self) -> None:
        """No run is computed: every gauge falls to 0."""
        for gauge in self._gauges.values():
            gauge.set(0.0, tags=self._tags)

    def completed(self, progress: Progress) -> Progress:
        """The report with what only the slot knows; sets the gauges to it."""
        used = None
        if self._recipe and self._gpu_ids and progress.stage == "train" and progress.tokens_per_s:
            used = mfu(self._recipe, gpu_model(), len(self._gpu_ids), progress.tokens_per_s)
        report = replace(progress, mfu=used, gpu_use=self._use)
        stages = list(STAGES)
        self._set("fairway_slot_tokens_per_s", report.tokens_per_s)
        self._set("fairway_slot_mfu", report.mfu)
        self._set("fairway_slot_gpu_use", report.gpu_use)
        self._set("fairway_slot_stage_done", report.fraction)
        self._set("fairway_slot_stage", stages.index(report.stage) + 1 if report.stage in stages else None)
        return report

    def _set(self, name: str, value: Any) -> None:
        self._gauges[name].set(float(value or 0.0), tags=self._tags)

    def _sample(self) -> None:
        pause = threading.Event()
        while not pause.wait(SAMPLE_EVERY_S):
            self._use = gpu_use(self._gpu_ids)


def sweep_of(request: RunRequest) -> str:
    """Name of the sweep whose folder gets the record."""
    return Path(request.record_path).parents[1].name
