"""The smoke test: what a script's model is, and whose gap it is where it cannot run."""

import textwrap
from pathlib import Path

import pytest

from tests.trainer.audit.scripts import FOLDER
from trainer.audit.smoke.smoke import lines_of_smoke, smoke, smoke_of

MODEL = """
import os
import torch
from torch import nn
import torch.nn.functional as F
{imports}

class Hyperparameters:
    vocab_size = int(os.environ.get("VOCAB_SIZE", 1024))
    num_layers = 3
    model_dim = 64

class Layer(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.register_buffer("scale", torch.ones(1, device="cuda"))
    def forward(self, x):
        {mixing}

class Net(nn.Module):
    def __init__(self, vocab_size, dim, layers, device=None):
        super().__init__()
        self.emb = nn.Embedding(vocab_size, dim)
        self.layers = nn.ModuleList(Layer(dim) for _ in range(layers))
    def forward(self, ids, targets):
        x = self.emb(ids)
        for layer in self.layers:
            x = layer(x)
        return F.cross_entropy((x @ self.emb.weight.T).flatten(0, 1).float(), targets.flatten())

def main():
    args = Hyperparameters()
    device = torch.device("cuda", 0)
    model = Net(vocab_size=args.vocab_size, dim=args.model_dim, layers=args.num_layers, device=device).to(device)

if __name__ == "__main__":
    main()
"""
ATTENTION = (
    "q, k, v = self.qkv(x).unflatten(-1, (3, 4, -1)).unbind(2)\n        "
    "return x + self.scale * flash_attn_func(q, k[:, :, :2], v[:, :, :2], causal=True).flatten(2)"
)


def script(folder, imports, mixing):
    """A script with its model, in a folder with a sibling module."""
    (folder / "sibling.py").write_text("WIDTH = 2\n")
    path = folder / "train_gpt.py"
    path.write_text(textwrap.dedent(MODEL).format(imports=imports, mixing=mixing))
    return path


def test_a_model_for_a_gpu_runs_without_network_and_settings_and_every_stand_in_is_named(tmp_path):
    imports = """
import sibling
from flash_attn_interface import flash_attn_func
import triton
import triton.language as tl
from unheard_of.kernels import fused
import socket, sys

@triton.jit
def kernel(x: tl.constexpr):
    pass

assert not [name for name in os.environ if "KEY" in name or "TOKEN" in name]
try:
    socket.create_connection(("127.0.0.1", 9))
except OSError as error:
    assert "no network" in str(error)
else:
    sys.exit("a network")
"""
    report = smoke_of(script(tmp_path, imports, ATTENTION))
    assert (report.imports, report.builds, report.runs) == (True, True, True), list(lines_of_smoke(report))
    assert (report.model_class, report.parameters) == ("Net", 1024 * 64 + 3 * 3 * 64 * 64)
    assert (report.vocabulary, report.model_dim, report.layers) == (1024, 64, 3)
    assert set(report.stood_in_for) == {"flash_attn_interface", "triton", "unheard_of"}
    assert not report.gaps
    assert not report.problems


def test_what_a_stand_in_lacks_is_a_gap_of_ours_and_not_the_scripts_defect(tmp_path):
    imports = "from unheard_of import mix"
    report = smoke_of(script(tmp_path, imports, "return mix(x)"))
    assert (report.builds, report.runs) == (True, False)
    assert report.gaps == ("our stand-in for unheard_of does not compute unheard_of.mix",)
    assert not report.problems


@pytest.mark.slow
def test_a_defect_of_the_script_is_named_with_its_line(tmp_path):
    report = smoke_of(script(tmp_path, "", "return x + undefined_name"))
    assert report.imports
    assert report.problems
    assert "NameError" in report.problems[0]
    assert report.problems[0].startswith("line ")


@pytest.mark.slow
def test_a_script_that_never_ends_is_ended(tmp_path, monkeypatch):
    monkeypatch.setattr("trainer.audit.smoke.smoke.STARTING_S", 20)
    path = script(tmp_path, "import time\nwhile True: time.sleep(1)", "return x")
    report = smoke(path, path.read_text(), seconds=1)
    assert report.gaps == ("the process ended before it could say more: it ran longer than our limit of 1 s",)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["legal/phased_queue_of_documents", "legal/class_evaluator"])
def test_scripts_of_the_corpus(name):
    report = smoke_of(FOLDER / f"{name}.py")
    assert not report.problems
    assert report.runs or report.gaps


def test_a_process_that_a_script_detaches_does_not_outlive_the_smoke_test(tmp_path):
    started = tmp_path / "started"
    sleeps = f"sleep 300 & echo $! > {started}; wait"
    path = script(
        tmp_path,
        f"import os, subprocess\nsubprocess.Popen(['sh', '-c', {sleeps!r}], start_new_session=True)\n"
        f"while not os.path.exists({str(started)!r}): pass",
        "return x",
    )
    smoke_of(path)
    assert not Path(f"/proc/{int(started.read_text())}").exists()
