"""TensorBoard, MLflow and W&B get every run through Ray's own callbacks; what they wrote is read back."""

import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.analysis.sweep_table import rows_of
from orchestrator.sweep.sweep import find_sweep

pytestmark = [pytest.mark.ray, pytest.mark.slow]
SPACE = """
name: tracked
preset: tiny
seeds: [1, 2]
parameters: {ttt.mode: {value: score_first}, ttt.epochs: {values: [1]}}
compare: {baseline: {ttt.mode: off}}
"""
SMALL = ("budget.train_steps=20", "schedule.warmdown_steps=5", "averaging.use=none", "data.val_bytes=1")
TRACKERS = ("--tensorboard", "--mlflow", "ml", "--wandb", "project")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A finished sweep that logged to all three."""
    folder = tmp_path_factory.mktemp("tracked")
    (folder / "tracked.yaml").write_text(SPACE)
    words = ["sweep", "tracked.yaml", "--slots", "1", "--no-check", *TRACKERS]
    words += [word for change in SMALL for word in ("--set", change)]
    command = [sys.executable, "-c", "from orchestrator.cli import main; main()", *words]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=550, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="module")
def rows(folder):
    frame = rows_of(find_sweep(folder / "runs", "tracked"))
    return {f"{row['config']}-s{row['seed']}": row for row in frame.to_dict("records")}


def test_tensorboard_has_the_curve_and_the_row_of_every_run(folder, rows):
    from tensorboardX.proto.event_pb2 import Event

    for run_id, row in rows.items():
        (path,) = (folder / "runs" / "sweeps" / "tracked" / "tracking" / run_id).glob("events.out.tfevents.*")
        scalars = {}
        for event in events_in(path.read_bytes(), Event):
            for value in event.summary.value:
                scalars.setdefault(value.tag, []).append(value.simple_value)
        assert len(scalars["ray/tune/train_loss"]) == 20
        assert scalars["ray/tune/val_bpb"] == [pytest.approx(row["val_bpb"], rel=1e-6)]


def events_in(content: bytes, event_type):
    """Records of a TensorBoard file: length (8 bytes), its checksum (4), the event, its checksum (4)."""
    while content:
        size = int.from_bytes(content[:8], "little")
        yield event_type.FromString(content[12 : 12 + size])
        content = content[16 + size :]


def test_mlflow_has_every_run_with_its_values_and_score(folder, rows):
    mlflow = pytest.importorskip("mlflow")
    client = mlflow.MlflowClient(f"sqlite:///{folder / 'ml' / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("tracked")
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    assert set(runs) == set(rows)
    for run_id, row in rows.items():
        assert runs[run_id].data.metrics["val_bpb"] == pytest.approx(row["val_bpb"])
        assert runs[run_id].data.params["seed"] == str(row["seed"])
        assert len(client.get_metric_history(runs[run_id].info.run_id, "train_loss")) == 20
        assert runs[run_id].info.status == "FINISHED"


def test_wandb_keeps_every_run_offline(folder, rows):
    pytest.importorskip("wandb")
    tracking = folder / "runs" / "sweeps" / "tracked" / "tracking"
    kept = {path.parents[2].name: path.read_bytes() for path in tracking.glob("*/wandb/offline-run-*/run-*.wandb")}
    assert set(kept) == set(rows)
    assert all(b"val_bpb" in content and b"train_loss" in content for content in kept.values())
