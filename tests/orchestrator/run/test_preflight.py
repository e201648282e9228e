"""A sweep begins when its recipes were shown alive; the answer is kept, and a dead part is refused by name."""

import sys

import pytest
from rich.console import Console

from orchestrator.analysis.load_results import load_results
from orchestrator.cli import main
from orchestrator.run import preflight as module
from orchestrator.run.preflight import preflight, representatives
from orchestrator.sweep.notes import preflight_words
from orchestrator.sweep.sweep import find_sweep, open_sweep
from tests.orchestrator.spaces import space_of

SMALL = """
name: small
preset: tiny
method: grid
seeds: [1]
parameters:
  optimizer.muon.weight_decay: {value: DECAY}
"""
SWITCHES = """
name: switches
preset: tiny
method: grid
seeds: [1]
parameters:
  model.smear_gate: {values: [off, vector]}
  averaging.use: {values: [none, swa]}
  ttt.mode: {values: [off, score_first]}
  ttt.lr: {values: [1e-3, 2e-3], when: {ttt.mode: score_first}}
"""
EXCLUSIVE = "  model.activation: {values: [relu2, leaky_relu2]}\n"
CHANGES = {
    "model.num_layers": 2,
    "budget.train_steps": 3,
    "averaging.use": "none",
    "data.val_bytes": 1,
    "evaluation.diagnose": "false",
}


def sweep_of(folder, decay: str):
    space = space_of(folder, SMALL.replace("DECAY", decay), overrides={"model.num_layers": 2})
    return open_sweep(folder / "runs", space)


def test_one_configuration_stands_for_all_whose_switches_it_turns_on(tmp_path):
    chosen = representatives(space_of(tmp_path, SWITCHES))
    assert [probe.values for probe in chosen] == [
        {"model.smear_gate": "vector", "averaging.use": "swa", "ttt.mode": "score_first", "ttt.lr": 1e-3}
    ]


def test_values_that_exclude_each_other_are_each_checked(tmp_path):
    chosen = representatives(space_of(tmp_path, SWITCHES + EXCLUSIVE))
    assert {probe.values["model.activation"] for probe in chosen} == {"relu2", "leaky_relu2"}


def test_a_passed_check_is_not_asked_again(tmp_path, monkeypatch):
    sweep, console = sweep_of(tmp_path, "0.1"), Console(quiet=True)
    preflight(sweep, tmp_path / "runs", console)
    assert preflight_words(sweep).startswith("every switch was shown to act")
    monkeypatch.setattr(module, "_run_check", lambda *given: pytest.fail("checked again"))
    preflight(sweep, tmp_path / "runs", console)


@pytest.fixture
def orchestrator(monkeypatch, capsys, tmp_path, text_store):
    """Runs a sweep of the small search space, its text prepared; returns (status, stderr)."""
    (tmp_path / "runs" / "stages").mkdir(parents=True)
    for stage in ("train_text", "val_text"):
        (tmp_path / "runs" / "stages" / stage).symlink_to(text_store / "stages" / stage)
    monkeypatch.chdir(tmp_path)

    def run(decay: str, *words: str) -> tuple[int, str]:
        (tmp_path / "small.yaml").write_text(SMALL.replace("DECAY", decay))
        changes = [word for key, value in CHANGES.items() for word in ("--set", f"{key}={value}")]
        monkeypatch.setattr(sys, "argv", ["orchestrator", "sweep", "small.yaml", "--inline", *words, *changes])
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code or 0, capsys.readouterr().err

    return run


def test_a_dead_part_is_refused_by_name_before_anything_runs(orchestrator, tmp_path):
    status, said = orchestrator("1e-30")  # one minus that is one
    assert status == 2
    assert "dead optimizer.muon.weight_decay" in said
    assert "Traceback" not in said
    assert not (tmp_path / "runs" / "sweeps" / "small").exists()  # nothing was declared


def test_without_the_check_the_report_says_so(orchestrator, tmp_path):
    status, _ = orchestrator("1e-30", "--no-check")
    assert status == 0
    results = load_results(find_sweep(tmp_path / "runs", "small"))
    assert results.terms["Liveness"] == "not checked (--no-check)"
