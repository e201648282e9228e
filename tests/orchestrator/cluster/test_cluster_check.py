from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.cluster.node_check import check_rows, remarks
from orchestrator.run.node_probe import NodeReport
from orchestrator.run.ray_session import refuse_open_head
from trainer.spec.errors import UserError

DRIVER = NodeReport("driver", versions={"python": "3.11.7", "torch": "2.13.0", "ray": "2.60.0"}, code="abc")
NODE = replace(DRIVER, name="alpha", gpus=8, torch_gpus=8, free_bytes=1 << 40, write_bytes_per_s=1e8, driver="570.1")


def test_a_sound_node_has_a_row_without_faults():
    (row,) = check_rows([NODE], DRIVER, Path("/runs/checks/visible-1"))
    assert row["faults"] == []
    assert (row["node"], row["gpus"], row["torch_gpus"], row["attention"]) == ("alpha", 8, 8, "PyTorch's")


def test_a_row_names_the_attention_extensions_that_are_installed():
    versions = NODE.versions | {"flash-attn-3": "3.0.0", "flash-attn": "2.8.3"}
    (row,) = check_rows([replace(NODE, versions=versions)], DRIVER, Path("/runs/checks/visible-1"))
    assert row["attention"] == "PyTorch's and flash-attn-3 3.0.0 and flash-attn 2.8.3"


def test_a_row_says_all_that_is_wrong_with_a_node():
    bad = replace(NODE, torch_gpus=0, clock_s=-90.0, free_bytes=1 << 30)
    (row,) = check_rows([bad], DRIVER, Path("/runs/checks/visible-1"))
    assert [fault.split(";")[0] for fault in row["faults"]] == [
        "Ray counts 8 GPUs there, PyTorch 2.13.0 sees 0",
        "its clock is -90 s off",
        "1073.74 MB are free for its store",
    ]


def test_of_a_node_without_the_package_only_that_is_said():
    missing = NodeReport("beta", missing="it cannot import this package")
    (row,) = check_rows([missing], DRIVER, Path("/runs/checks/visible-1"))
    assert row["faults"] == ["it cannot import this package"]
    assert row["sees_store"] is False
    assert remarks(missing) == []


@pytest.mark.parametrize("address", ["127.0.0.1:6379", "localhost:6379", "[::1]:6379"])
def test_a_head_on_loopback_needs_no_token(address, monkeypatch):
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    refuse_open_head(address)


def test_a_head_that_others_reach_is_refused_without_a_token(monkeypatch):
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    with pytest.raises(UserError, match="10.0.0.1:6379 is reached from other machines and asks for no token"):
        refuse_open_head("10.0.0.1:6379")
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    refuse_open_head("10.0.0.1:6379")
