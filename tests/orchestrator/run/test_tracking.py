"""What a tracker gets of a run, and when a tracker is refused."""

import pytest
from typer.testing import CliRunner

from orchestrator.commands.app import app
from orchestrator.output import console_for
from orchestrator.run.driver import _log_what_was_read
from orchestrator.run.tracking import MOST_POINTS, Trackers, tracked_run
from results.rows.layout import TRACKING
from tests.sweep_on_disk import finished_sweep
from trainer.spec.errors import UserError


@pytest.fixture
def sweep(tmp_path):
    return finished_sweep(tmp_path / "store")


def test_a_run_is_logged_with_its_values_its_curve_and_its_row_as_the_last_point(sweep):
    (record,) = [
        record for run_id, record in sweep.records().items() if record.seed == 2 and record.headline == "adapt"
    ]
    run = tracked_run(sweep, record)
    *curve, row = run.points
    assert run.config == {"ttt.mode": "score_first", "ttt.lr": 0.004, "seed": 2, "preset": "tiny", "status": "done"}
    assert [point["training_iteration"] for point in run.points] == list(range(1, 42))
    assert curve[0]["train_loss"] == pytest.approx(6.0)
    assert row["val_bpb"] == record.metric("adapt", "val_bpb")


def test_a_long_curve_is_thinned_and_ends_where_it_ends(sweep):
    record = next(iter(sweep.records().values()))
    path = sweep.store / "stages" / "train" / record.stages["train"].fingerprint / "curve.csv"
    path.write_text("step,train_loss\n" + "".join(f"{step},3.0\n" for step in range(7000)))
    *curve, row = tracked_run(sweep, record).points
    assert len(curve) <= MOST_POINTS
    assert (curve[-1]["training_iteration"], row["training_iteration"]) == (7000, 7001)
    path.unlink()
    assert len(tracked_run(sweep, record).points) == 1


def test_a_missing_package_is_reported_with_what_to_install(monkeypatch):
    monkeypatch.setattr("orchestrator.run.tracking.find_spec", lambda name: None if name == "wandb" else object())
    Trackers(tensorboard=True).check()
    with pytest.raises(UserError, match=r"tracker wandb needs the package wandb: .* pip install -e '.\[tracking\]'"):
        Trackers(wandb="project").check()


def test_a_sweep_that_is_read_from_the_store_is_logged_too_and_once(sweep, capsys):
    written = list((sweep.folder / TRACKING).glob("*/events.out.tfevents.*"))
    assert not written
    records = sweep.records()
    for run_id in records:  # the same runs, as a sweep whose stages the store holds records them
        sweep.record_path(run_id).unlink()
    feed = Recorded(list(records.values()))
    for expected in (6, 6):
        _log_what_was_read(feed, sweep, Trackers(tensorboard=True), console_for())
        assert len(list((sweep.folder / TRACKING).glob("*/events.out.tfevents.*"))) == expected
    assert "no run is new, so nothing was logged" in capsys.readouterr().out


class Recorded:
    """Stands in for a feed that wrote these records by reading the store."""

    def __init__(self, records):
        self.records = records

    def take_recorded(self):
        taken, self.records = self.records, []
        return taken


def test_what_is_recorded_is_exported_afterwards(sweep):
    done = CliRunner().invoke(app, ["export", "small", "--to", "tensorboard", "--store", str(sweep.store)])
    assert done.exit_code == 0, done.output
    assert "6 runs logged to TensorBoard" in done.stdout
    logged = {path.parent.name for path in (sweep.folder / TRACKING).glob("*/events.out.tfevents.*")}
    assert logged == set(sweep.records())


def test_a_place_that_a_tracker_does_not_have_is_refused(sweep):
    with pytest.raises(UserError, match="TensorBoard reads"):
        Trackers.named("tensorboard", "elsewhere", sweep)


def test_the_password_in_the_address_of_a_tracker_is_not_printed(sweep):
    said = Trackers(mlflow="https://me:planted@tracking.example:5000/base").where(sweep)
    assert said == "MLflow at https://tracking.example:5000/base"
