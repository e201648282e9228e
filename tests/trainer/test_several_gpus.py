"""`python -m trainer run` on a machine of several GPUs says that it uses one, and what uses all."""

import pytest

from tests.trainer.cli import trainer


@pytest.mark.parametrize(("gpus", "said"), [(8, True), (1, False), (0, False)])
def test_a_run_says_that_it_leaves_gpus_idle_and_what_uses_all(gpus, said, tmp_path, monkeypatch):
    monkeypatch.setattr("trainer.cli.num_gpus", lambda: gpus)
    monkeypatch.setattr("trainer.cli.adopt", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))  # enough
    done = trainer("run", "tiny", "--store", tmp_path)
    assert ("this machine has 8 GPUs, and this trains on 1 of them" in done.stderr) is said
    assert ("torchrun --standalone --nproc-per-node 8 -m trainer run PRESET" in done.stderr) is said
    assert ("orchestrator sweep SPACE.yaml --workers 8" in done.stderr) is said
