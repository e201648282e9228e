"""What is over a limit of the contest is not packaged, and the message says by how much."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from results.submission.acceptance_claim import acceptance_claim
from results.submission.package_folder import About, PackagedRun, ScoredText, result_of, write_package
from results.submission.rescoring import rescore
from tests.results.submission.made_up_package import ABOUT, made_up_runs
from trainer.spec.errors import UserError
from trainer.spec.load import load_preset


def write(out: Path, run: PackagedRun, about: About = ABOUT) -> int:
    """Packages one run; returns the bytes of code that count."""
    shard = out.parent / "fineweb_val_000000.bin"
    shard.write_bytes(bytes(2048))
    recipe = load_preset("tiny", {"seed": run.seed}).recipe
    claim = acceptance_claim("pg-written", {str(run.seed): result_of(run, 0)}, "", ())
    return write_package(out, recipe, [run], ScoredText(10, 20, 1, [shard], b"model"), about, claim).bytes_code


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"train_s": 599.0, "calibration_s": 2.5}, "seed 1: 601.5 s of training and calibration, 1.5 more than 600"),
        ({"eval_s": 600.1}, "seed 1: 600.1 s of scoring, 0.1 more than 600"),
        (
            {"artifact": bytes(16_000_000)},
            r"seed 1: 16,\d\d\d,\d\d\d bytes of code and artifact, \d\d,\d\d\d more than",
        ),
    ],
)
def test_a_run_over_a_limit_is_refused_with_the_amount(tmp_path, change, said):
    with pytest.raises(UserError, match=said):
        write(tmp_path / "out", replace(made_up_runs()[0], **change))
    assert not (tmp_path / "out").exists()


def test_the_packed_script_is_taken_where_the_readable_one_does_not_fit(tmp_path):
    small, large = made_up_runs()[0], replace(made_up_runs()[0], artifact=bytes(16_000_000 - 65_536))
    assert write(tmp_path / "small", small) > 65_536
    assert write(tmp_path / "large", large) <= 65_536


def test_a_folder_that_holds_something_is_left_alone(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match="is not empty; name a new folder"):
        write(tmp_path / "out", made_up_runs()[0])
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine.txt"]


ATTEMPTS = """
import os, socket, sys
said = []
for attempt in (lambda: socket.create_connection(("127.0.0.1", 9)), lambda: os.system("true")):
    try:
        attempt()
    except RuntimeError as error:
        said.append(str(error))
sys.exit(f"{said} {sorted(os.environ)} isolated {sys.flags.isolated}")
"""


def test_scoring_reaches_no_network_no_program_and_nothing_of_the_users_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("SECRET_TOKEN", "mine")
    with pytest.raises(UserError) as error:
        rescore(ATTEMPTS, [(1, tmp_path / "artifact.bin")], tmp_path, tmp_path / "tokenizer.model")
    said = str(error.value)
    assert "refused while scoring: socket." in said
    assert "refused while scoring: os.system" in said or torch.cuda.is_available()  # a GPU's compiler starts processes
    assert "isolated 1" in said
    assert "SECRET_TOKEN" not in said


def test_a_readme_holds_no_control_characters(tmp_path):
    write(tmp_path / "out", made_up_runs()[0], replace(ABOUT, blurb="a\x1b[2Jb\u202e"))
    assert r"a\x1b[2Jb\u202e" in (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
