"""What only a GPU can show: the same numbers as on the CPU, within what its arithmetic allows."""

import pytest
import torch

from tests.trainer.stages.conftest import SMALL, TTT
from trainer.nn.attention_backend import attention_backend
from trainer.nn.gpt import GPT
from trainer.ranks import Ranks
from trainer.spec.load import load_preset
from trainer.stages.pipeline import run_pipeline
from trainer.stages.run_record import RunRequest
from trainer.store.local import StageStore

pytestmark = pytest.mark.gpu


def model_on(device: str, **changes: object) -> GPT:
    recipe = load_preset("tiny", {key.replace("__", "."): value for key, value in changes.items()}).recipe
    dtype = torch.bfloat16 if recipe.model.compute_dtype == "bfloat16" else torch.float32
    model = GPT(recipe.model, recipe.data.vocab_size, attention_backend(torch.device(device), dtype))
    model.init_weights(torch.Generator().manual_seed(0))
    return model.to(device)


def test_logits_on_the_gpu_are_those_of_the_cpu():
    ids = torch.randint(0, 512, (2, 128), generator=torch.Generator().manual_seed(1))
    on_cpu, on_gpu = model_on("cpu")(ids), model_on("cuda")(ids.cuda()).cpu()
    torch.testing.assert_close(on_gpu, on_cpu, rtol=1e-3, atol=1e-3)


def test_the_attention_back_end_that_is_chosen_agrees_with_pytorchs_own():
    ids = torch.randint(0, 512, (2, 128), generator=torch.Generator().manual_seed(1)).cuda()
    chosen = model_on("cuda", model__compute_dtype="bfloat16")
    plain = model_on("cuda", model__compute_dtype="float32")
    torch.testing.assert_close(chosen(ids), plain(ids), rtol=0.05, atol=0.05)


def test_a_whole_run_on_the_gpu_scores_as_on_the_cpu(tmp_path):
    recipe = load_preset("tiny", SMALL | TTT).recipe
    scores = {}
    for device in ("cpu", "cuda:0"):
        store = tmp_path / device.replace(":", "")
        request = RunRequest.of("run", "tiny", recipe, store / "run.json")
        record = run_pipeline(request, StageStore(store), Ranks(device=torch.device(device)))
        assert record.status == "done", record.error
        scores[device] = record.metric("adapt", "val_bpb")
    assert scores["cuda:0"] == pytest.approx(scores["cpu"], abs=0.01)
