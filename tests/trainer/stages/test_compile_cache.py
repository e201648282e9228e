"""A new process finds the graphs that an earlier one compiled, in torch's cache on disk."""

import json
import os
import shutil
import subprocess
import sys

import pytest

COMPILE = """
import json
import torch
from trainer.nn.gpt import GPT
from trainer.spec.load import load_preset
from trainer.stages.compiling import compiler_for

recipe = load_preset("tiny", {"model.num_layers": 2}).recipe
model, ids_BT = GPT(recipe.model, recipe.data.vocab_size), torch.zeros(2, 64, dtype=torch.int64)
compiler_for(recipe, "inductor").loss_of(model, ids_BT, ids_BT).backward()
print(json.dumps({kind: dict(counts) for kind, counts in torch._dynamo.utils.counters.items()}))
"""


def compiled(cache) -> dict[str, dict[str, int]]:
    """Torch's counters of a process that compiles the loss and its gradient for the CPU."""
    environment = os.environ | {"TORCHINDUCTOR_CACHE_DIR": str(cache), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", COMPILE], env=environment, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("g++"), reason="no C++ compiler")
def test_the_second_process_takes_every_graph_from_the_folder_that_is_kept(tmp_path):
    first, second = (compiled(tmp_path / "kept") for _ in range(2))
    assert first["aot_autograd"]["autograd_cache_miss"] == 1
    assert first["inductor"]["fxgraph_cache_miss"] == 2  # forward and backward
    assert second["aot_autograd"]["autograd_cache_hit"] == 1
    assert second["inductor"]["fxgraph_cache_hit"] == 2
    assert "fxgraph_cache_miss" not in second["inductor"]
