"""What only a GPU can show: the same numbers as on the CPU, within what its arithmetic allows."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from tests.fakes import OneByteEach
from tests.trainer.stages.conftest import SMALL, TTT
from trainer.data.loader import make_loader
from trainer.nn.attention_backend import attention_backend
from trainer.nn.gpt import GPT
from trainer.optim.muon import Muon
from trainer.optim.optimizers import make_optimizers
from trainer.ranks import Ranks
from trainer.scoring.legality import Ledger
from trainer.scoring.sliding import score
from trainer.spec.flops import mfu
from trainer.spec.load import load_preset
from trainer.stages.calibrate import layer_hessians
from trainer.stages.compiling import scoring_forward
from trainer.stages.pipeline import run_pipeline
from trainer.stages.run_record import RunRequest
from trainer.stages.train import AT_WARM_UP, initial_model, update
from trainer.stages.training import Training
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


@pytest.mark.parametrize("compiled", [False, True])
def test_states_of_the_last_positions_alone_are_those_of_all(compiled):
    """In bfloat16 with shared heads, as presets score; the mask of fewer queries may choose another kernel."""
    model = model_on("cuda", model__compute_dtype="bfloat16").eval()
    ids = torch.randint(0, 512, (32, 1024), generator=torch.Generator().manual_seed(1)).cuda()
    hidden = torch.compile(model.hidden, fullgraph=True, dynamic=False) if compiled else model.hidden
    with torch.inference_mode():
        whole, last = hidden(ids, 0)[:, 960:], hidden(ids, 960)
    torch.testing.assert_close(last.float(), whole.float(), rtol=0.05, atol=0.05)


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


def test_the_hessians_of_bfloat16_states_are_sums_in_float32():
    model = model_on("cuda", model__compute_dtype="bfloat16").eval()
    ids = torch.randint(0, 512, (4, 512), generator=torch.Generator().manual_seed(3)).cuda()
    with torch.no_grad():
        states_NC = model.hidden(ids).flatten(0, 1).double()
    of_head = layer_hessians(model, [ids])["tok_emb.weight"].inputs_CC
    expected_CC = states_NC.T @ states_NC
    assert of_head.dtype == torch.float32
    assert (of_head - expected_CC).norm() < 1e-5 * expected_CC.norm()


def steps_of_one_rank(rank: int, size: int, folder: str) -> None:
    """Six training steps as one of `size` ranks on the first GPU, their weights kept in a file."""
    device, recipe = torch.device("cuda:0"), load_preset("tiny", {"data.micro_batches": 2}).recipe
    if size > 1:  # NCCL refuses two ranks on one GPU
        dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=size)
    ranks, model = Ranks(rank, size, device), initial_model(recipe, device).train()
    generator = np.random.Generator(np.random.PCG64(0))
    tokens = generator.integers(0, recipe.data.vocab_size, 2_000_000, dtype=np.uint16)
    optimizers = make_optimizers(dict(model.named_parameters()), recipe.optimizer, ranks)
    training = Training(model, optimizers, make_loader(recipe.data, 0, [tokens], ranks, device), swa=None, ema=None)
    for _ in range(6):
        update(training, recipe, AT_WARM_UP, ranks)
    weights = torch.cat([parameter.detach().flatten() for parameter in model.parameters()])
    torch.save(weights.cpu(), Path(folder) / f"{rank}of{size}.pt")
    ranks.leave()


def test_two_ranks_on_a_gpu_take_the_steps_of_one(tmp_path):
    for size in (1, 2):
        mp.spawn(steps_of_one_rank, args=(size, str(tmp_path)), nprocs=size)
    alone, first, second = (torch.load(tmp_path / f"{name}.pt") for name in ("0of1", "0of2", "1of2"))
    assert torch.equal(first, second)
    assert (first - alone).norm() < 1e-3 * alone.norm()
