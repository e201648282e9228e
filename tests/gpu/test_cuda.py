"""What only a GPU can show: the same numbers as on the CPU, within what its arithmetic allows."""

import pytest
import torch

from tests.fakes import OneByteEach
from tests.trainer.stages.conftest import SMALL, TTT
from trainer.nn.attention_backend import attention_backend
from trainer.nn.gpt import GPT
from trainer.optim.muon import Muon
from trainer.ranks import Ranks
from trainer.scoring.legality import Ledger
from trainer.scoring.sliding import score
from trainer.spec.flops import mfu
from trainer.spec.load import load_preset
from trainer.stages.compiling import scoring_forward
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
    scores, used = {}, {}
    for device in ("cpu", "cuda:0"):
        store = tmp_path / device.replace(":", "")
        request = RunRequest.of("run", "tiny", recipe, store / "run.json")
        record = run_pipeline(request, StageStore(store), Ranks(device=torch.device(device)))
        assert record.status == "done", record.error
        scores[device], used[device] = record.metric("adapt", "val_bpb"), record.metric("train", "mfu")
    assert scores["cuda:0"] == pytest.approx(scores["cpu"], abs=0.01)
    known = mfu(recipe, torch.cuda.get_device_name(), 1, 1.0) is not None
    assert (used["cpu"], used["cuda:0"] is not None) == (None, known)


def test_compiled_scoring_and_its_late_downloads_give_the_scores_of_eager_scoring():
    recipe = load_preset("tiny", {"model.compute_dtype": "float32"}).recipe
    model, ranks = model_on("cuda").eval(), Ranks(device=torch.device("cuda:0"))
    tokens = torch.randint(0, recipe.data.vocab_size, (5_000,), generator=torch.Generator().manual_seed(2))
    scores = []
    for num_positions in (0, 10**9):  # too short to compile for, and long enough
        ledger = Ledger(tokens, OneByteEach(), recipe.data.vocab_size, ranks)
        score(ledger, model, recipe.evaluation, ranks, forward=scoring_forward(model, recipe, num_positions, ranks))
        scores.append(ledger.close().nll_P)
    torch.testing.assert_close(*scores, rtol=1e-4, atol=1e-4)


def test_a_muon_step_in_batches_is_that_of_single_matrices():
    shapes = [(512, 512), (256, 512), (1536, 512), (512, 1536)] * 2
    steps = {}
    for device in ("cpu", "cuda"):
        parameters = [torch.nn.Parameter(torch.zeros(shape, device=device)) for shape in shapes]
        for number, parameter in enumerate(parameters):
            generator = torch.Generator().manual_seed(number)
            parameter.grad = torch.randn(parameter.shape, generator=generator).to(device)
        Muon(parameters, lr=1.0, weight_decay=0.0, momentum=0.9, ns_dtype=torch.float32).step()
        steps[device] = [parameter.detach().cpu() for parameter in parameters]
    for on_cpu, on_gpu in zip(steps["cpu"], steps["cuda"], strict=True):
        assert (on_gpu - on_cpu).norm() < 1e-2 * on_cpu.norm()


def test_a_run_under_a_wall_clock_compiles_before_it_and_the_next_one_not_at_all(tmp_path):
    values = SMALL | {"budget.train_s": 3.0, "budget.train_steps": None, "averaging.use": "none"}
    recipe = load_preset("tiny", values).recipe
    ranks, graphs = Ranks(device=torch.device("cuda:0")), []
    for seed in (1, 2):
        store = tmp_path / str(seed)
        request = RunRequest.of("run", "tiny", recipe.model_copy(update={"seed": seed}), store / "run.json")
        record = run_pipeline(request, StageStore(store), ranks)
        assert record.status == "done", record.error
        assert record.metric("train", "graphs_inside_clock") == 0
        assert 2.0 < record.metric("train", "train_s") < 3.1
        graphs.append(record.metric("train", "graphs"))
    assert graphs == [1, 0]
