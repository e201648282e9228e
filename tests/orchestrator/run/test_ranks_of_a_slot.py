"""Ranks that cannot share a training are refused before Ray starts: each run would fail, after the nodes were paid."""

import sys

import pytest

from orchestrator.cli import main
from tests.orchestrator.spaces import TTT, space_of


def test_a_slot_whose_ranks_do_not_divide_the_micro_batches_is_refused_with_those_that_do(
    tmp_path, monkeypatch, capsys
):
    space_of(tmp_path, TTT)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["orchestrator", "sweep", "space.yaml", "--workers", "3", "--no-check"])
    with pytest.raises(SystemExit) as ended:
        main()
    said = " ".join(capsys.readouterr().err.split())
    assert ended.value.code == 2
    assert "a slot of 3 workers: data.micro_batches = 2 cannot be shared equally by 3 ranks" in said
    assert "(1, 2), or a multiple of 3 as data.micro_batches" in said
    assert not list((tmp_path / "runs" / "sweeps").glob("*"))
