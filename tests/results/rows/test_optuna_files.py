"""Studies of Optuna as imports, and as the start of a search."""

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState, create_trial

from orchestrator.sweep.imported import read_files, write_import
from orchestrator.sweep.warm_start import precedents_of
from results.rows.imported_rows import ImportTerms
from tests.orchestrator.spaces import space_of
from trainer.spec.errors import StoreError, UserError

LR, EPOCHS = FloatDistribution(1e-4, 1e-1, log=True), CategoricalDistribution([1, 2, 3])
SPACE = """
preset: tiny
method: tpe
run_cap: 4
seeds: [1, 2]
warm_start: [old]
parameters:
  ttt.mode: {value: score_first}
  ttt.lr: {distribution: log_uniform_values, min: 5e-4, max: 2e-2}
  ttt.epochs: {values: [1, 2, 3]}
"""


def storage_at(path):
    return JournalStorage(JournalFileBackend(str(path))) if path.suffix == ".journal" else f"sqlite:///{path}"


def study_at(path, name="s", **said):
    """Three trials: one that scored, one beyond the space below, one that failed."""
    study = optuna.create_study(study_name=name, storage=storage_at(path), **said)
    ranges = {"ttt.lr": LR, "ttt.epochs": EPOCHS}
    for lr, epochs, value in ((2e-3, 2, 1.25), (9e-2, 3, 1.5), (1e-3, 1, None)):
        state = TrialState.FAIL if value is None else TrialState.COMPLETE
        study.add_trial(
            create_trial(params={"ttt.lr": lr, "ttt.epochs": epochs}, distributions=ranges, value=value, state=state)
        )
    return path


@pytest.mark.parametrize("file", ["study.journal", "study.db"])
def test_trials_are_configurations_of_one_run_and_the_file_stays_as_it_was(tmp_path, file):
    path = study_at(tmp_path / file, direction="maximize")
    before = path.read_bytes()
    read = read_files([path], ImportTerms())
    assert [(run.row["config"], run.row["status"], run.row.get("value")) for run in read.runs] == [
        ("trial-0", "done", 1.25), ("trial-1", "done", 1.5), ("trial-2", "failed", None),
    ]  # fmt: skip
    assert (read.knobs, read.runs[0].row["ttt.epochs"]) == (("ttt.lr", "ttt.epochs"), 2)
    assert (read.measure.column, read.measure.higher_first) == ("value", True)
    assert path.read_bytes() == before


def test_a_search_starts_from_the_trials_that_lie_in_its_space(tmp_path):
    path = study_at(tmp_path / "study.journal")
    write_import(tmp_path / "runs", "old", [path], read_files([path], ImportTerms(columns={"val_bpb": "value"})))
    (precedent,) = precedents_of(tmp_path / "runs", space_of(tmp_path, SPACE))
    assert precedent.values == {"ttt.mode": "score_first", "ttt.lr": 2e-3, "ttt.epochs": 2}
    assert precedent.outcome.score == 1.25
    with pytest.raises(StoreError, match=r"no knob model.num_layers \(3x\)"):
        precedents_of(tmp_path / "runs", space_of(tmp_path, SPACE + "  model.num_layers: {values: [2, 3]}\n"))


def test_scores_that_point_the_other_way_start_nothing(tmp_path):
    path = study_at(tmp_path / "study.journal", direction="maximize")
    write_import(tmp_path / "runs", "old", [path], read_files([path], ImportTerms()))
    with pytest.raises(StoreError, match="holds value, better up, and this space is judged by val_bpb"):
        precedents_of(tmp_path / "runs", space_of(tmp_path, SPACE))


def test_a_file_with_no_study_or_with_several_is_refused(tmp_path):
    (tmp_path / "x.db").write_text("no database")
    with pytest.raises(UserError, match=r"x.db: holds no study of Optuna"):
        read_files([tmp_path / "x.db"], ImportTerms())
    for name in ("a", "b"):
        study_at(tmp_path / "two.journal", name)
    with pytest.raises(UserError, match=r"holds 2 studies \(a, b\)"):
        read_files([tmp_path / "two.journal"], ImportTerms())
