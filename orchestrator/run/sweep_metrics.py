"""How far a sweep is, as gauges of Ray's exporter, beside those of its slots (`trainer/slot_metrics.py`)."""

from __future__ import annotations

from ray.util.metrics import Gauge

from orchestrator.sweep.live import SweepPicture

GAUGES = {
    "fairway_runs_done": "Runs of the sweep that have their record.",
    "fairway_runs_failed": "Those of them that failed.",
    "fairway_runs_total": "Runs that the sweep has when it is complete.",
}


class SweepMetrics:
    """The gauges of one sweep, of its driver."""

    def __init__(self) -> None:
        self._gauges = {name: Gauge(name, description=text, tag_keys=("sweep",)) for name, text in GAUGES.items()}

    def show(self, picture: SweepPicture) -> None:
        """Sets them to what the live screen shows."""
        values = (picture.runs_done, picture.runs_failed, picture.runs_total)
        for gauge, value in zip(self._gauges.values(), values, strict=True):
            gauge.set(float(value), tags={"sweep": picture.name})
