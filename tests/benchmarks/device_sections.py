"""The sections of the device benchmark: each yields figures of one preset on one device."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from statistics import median

import numpy as np
import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from tests.benchmarks.plain import PlainTraining, score_windows
from tests.fakes import OneByteEach
from trainer.data.loader import Loader, make_loader
from trainer.nn.gpt import GPT
from trainer.optim.averaging import EMA, SWA
from trainer.optim.optimizers import make_optimizers
from trainer.quant.artifact import encode_artifact
from trainer.ranks import Ranks
from trainer.scoring.forward import Forward
from trainer.scoring.legality import Ledger
from trainer.scoring.sliding import score
from trainer.scoring.ttt import score_first
from trainer.spec.flops import flops_per_token
from trainer.spec.load import load_preset, with_values
from trainer.spec.recipe import TTT, Evaluation
from trainer.stages.adapt import make_sgd
from trainer.stages.calibrate import layer_hessians
from trainer.stages.compiling import Graphs, LossOf, compiler_for, mean_nats, scoring_forward
from trainer.stages.train import AT_WARM_UP, initial_model, update
from trainer.stages.training import Training

RANKS_OF_A_NODE = 8
REPEATS = 8
LONG_TEXT = 10**9
"""Positions of a text that is worth compiling for."""
WAITS = ("cudaDeviceSynchronize", "cudaStreamSynchronize", "cudaEventSynchronize")
PARTS = {
    "attention": ("flash", "fmha", "attention", "sdpa", "compute_dot_do_o"),
    "matrix products": ("gemm", "nvjet", "cutlass", "cublas"),
}
"""Words in the names of kernels."""


@dataclass(frozen=True)
class Figure:
    """One measured number."""

    preset: str
    what: str
    value: float
    unit: str


class Bench:
    """One preset on one device, as one rank of a node."""

    def __init__(self, name: str, device: torch.device, matrix_rate: float):
        """matrix_rate: FLOP/s that MFU is a share of"""
        self.name, self.device, self.matrix_rate = name, device, matrix_rate
        self.on_gpu = device.type == "cuda"
        self.ranks = Ranks(device=device)
        recipe = load_preset(name).recipe
        shares = {
            "data.train_batch_tokens": recipe.data.train_batch_tokens // RANKS_OF_A_NODE,
            "data.micro_batches": max(recipe.data.micro_batches // RANKS_OF_A_NODE, 1),
        }
        self.recipe = with_values(recipe, shares, "benchmark") if self.on_gpu else recipe
        generator = np.random.Generator(np.random.PCG64(0))
        self.tokens = generator.integers(0, recipe.data.vocab_size, 2_000_000, dtype=np.uint16)

    def figure(self, what: str, value: float, unit: str) -> Figure:
        return Figure(self.name, what, value, unit)

    def loader(self) -> Loader:
        return make_loader(self.recipe.data, 0, [self.tokens], self.ranks, self.device)

    def training(self) -> Training:
        averaging, model = self.recipe.averaging, initial_model(self.recipe, self.device)
        model.train()
        return Training(
            model,
            make_optimizers(dict(model.named_parameters()), self.recipe.optimizer, self.ranks),
            self.loader(),
            swa=SWA() if averaging.swa_every else None,
            ema=EMA(averaging.ema_decay) if averaging.ema_decay else None,
        )

    def model(self) -> GPT:
        return initial_model(self.recipe, self.device).eval()

    def ledger(self, tokens: Tensor) -> Ledger:
        return Ledger(tokens, OneByteEach(), self.recipe.data.vocab_size, self.ranks)

    def forwards(self, model: GPT) -> dict[str, Forward]:
        """Ways to score with a model: as it is, and on a GPU compiled."""
        plain = {"eager": Forward.of(model)}
        return (
            plain | {"compiled": scoring_forward(model, self.recipe, LONG_TEXT, self.ranks)} if self.on_gpu else plain
        )

    def timed(self, work: Callable[[], object], repeats: int = REPEATS) -> float:
        """Median seconds of some repeats, the device done each time; once before, untimed."""
        work()
        return median(self.once(work) for _ in range(repeats))

    def once(self, work: Callable[[], object]) -> float:
        """Seconds until the device is done with it."""
        self.ranks.synchronize()
        started_s = time.perf_counter()
        work()
        self.ranks.synchronize()
        return time.perf_counter() - started_s

    def forget_memory(self) -> None:
        """Frees what is unused, and begins a new measurement of the peak."""
        gc.collect()
        if self.on_gpu:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()

    def peak_memory(self, label: str) -> Iterator[Figure]:
        if self.on_gpu:
            yield self.figure(f"peak memory, {label}", torch.cuda.max_memory_allocated() / 2**30, "GiB")

    def profiled(self, work: Callable[[], object], label: str) -> Iterator[Figure]:
        """Kernels, waits of the host and the kernels' time by kind, of one repeat on a GPU."""
        if not self.on_gpu:
            return
        with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as trace:
            work()
            torch.cuda.synchronize()
        events = trace.events()
        on_device = [e for e in events if e.device_type == torch.autograd.DeviceType.CUDA and not e.is_user_annotation]
        kernels = [event for event in on_device if not event.name.startswith(("Memcpy", "Memset"))]
        total_us = sum(event.device_time for event in kernels)
        waits = sum(event.name in WAITS for event in events) - 1  # our own at the end
        yield self.figure(f"kernels, {label}", len(kernels), "")
        yield self.figure(f"host waits, {label}", waits, "")
        yield self.figure(f"kernel time, {label}", total_us / 1e3, "ms")
        for part, words in PARTS.items():
            part_us = sum(k.device_time for k in kernels if any(word in k.name.lower() for word in words))
            yield self.figure(f"{part}, share of kernel time, {label}", 100 * part_us / total_us, "%")


def plain_training(bench: Bench) -> Iterator[Figure]:
    """A step of `plain`, micro-batch after micro-batch as the recipe has them."""
    model = initial_model(bench.recipe, bench.device)
    plain = PlainTraining(model, bench.recipe.optimizer.grad_clip, bool(bench.recipe.averaging.ema_decay))
    loader = bench.loader()

    def step() -> None:
        plain.step([loader.next_micro_batch() for _ in range(bench.recipe.data.micro_batches)])

    yield bench.figure("training step, plain", bench.timed(step) * 1e3, "ms")


def training(bench: Bench, compiled: bool) -> Iterator[Figure]:
    """A step, with the shares of its parts, memory, kernels and waits."""
    label = "compiled" if compiled else "eager"
    state = bench.training()
    graphs = Graphs(compiler_for(bench.recipe, "inductor")) if compiled else None
    loss_of: LossOf = graphs.loss_of if graphs else mean_nats
    step = partial(update, state, bench.recipe, AT_WARM_UP, bench.ranks, loss_of)
    yield bench.figure(f"first step, {label}", bench.once(step), "s")
    bench.forget_memory()
    seconds, tokens = bench.timed(step), bench.recipe.data.train_batch_tokens
    flops = 3 * flops_per_token(bench.recipe) * tokens
    yield bench.figure(f"training step, {label}", seconds * 1e3, "ms")
    yield bench.figure(f"training, {label}", tokens / seconds, "tokens/s")
    yield bench.figure(f"training, {label}", 100 * flops / seconds / bench.matrix_rate, "% MFU")
    yield from bench.peak_memory(f"training, {label}")
    yield from bench.profiled(step, f"training, {label}")
    yield from _parts(bench, state, loss_of, label)
    if compiled:
        again, kept = bench.training(), Graphs(compiler_for(bench.recipe, "inductor"))
        first = partial(update, again, bench.recipe, AT_WARM_UP, bench.ranks, kept.loss_of)
        yield bench.figure("first step of the slot's next training", bench.once(first), "s")
        yield bench.figure("graphs compiled for it", kept.made, "")


def _parts(bench: Bench, state: Training, loss_of: LossOf, label: str) -> Iterator[Figure]:
    """Parts of a step, each alone and awaited; what remains is clipping."""
    x_BT, y_BT = state.loader.next_micro_batch()

    def loss_and_gradients() -> None:
        for _ in range(bench.recipe.data.micro_batches):
            loss_of(state.model, x_BT, y_BT).backward()

    yield bench.figure(f"forward and backward alone, {label}", bench.timed(loss_and_gradients) * 1e3, "ms")
    yield bench.figure(f"optimisers alone, {label}", bench.timed(lambda: state.optimizers.step(1.0, 1)) * 1e3, "ms")
    if ema := state.ema:
        named = list(state.model.named_parameters())
        yield bench.figure(f"EMA alone, {label}", bench.timed(lambda: ema.update(named)) * 1e3, "ms")
    yield bench.figure(f"a micro-batch of data alone, {label}", bench.timed(state.loader.next_micro_batch) * 1e3, "ms")


def scoring(bench: Bench) -> Iterator[Figure]:
    """Sliding windows and rows, against `plain` window by window and in PR #150's batches with the head everywhere."""
    evaluation, model = bench.recipe.evaluation, bench.model()
    window, batch = evaluation.window_tokens, evaluation.batch_windows
    for label, stride in (("sliding", evaluation.stride_tokens), ("rows", window)):
        num_batches = (40 if label == "sliding" else 16) if bench.on_gpu else 2  # by rows the text ends sooner
        num_windows = num_batches * batch - 1  # the first is there too
        tokens = torch.from_numpy(bench.tokens[: window + num_windows * stride])
        chosen, seconds = evaluation.model_copy(update={"stride_tokens": stride}), 0.0
        for how, forward in bench.forwards(model).items():
            work, what = partial(_score, bench, tokens, model, chosen, forward), f"scoring, {label}, {how}"
            yield bench.figure(f"first {what}", bench.once(work), "s")
            bench.forget_memory()
            seconds = bench.timed(work, 3)
            flops = flops_per_token(bench.recipe) * (num_windows + 1) * window
            yield bench.figure(what, (len(tokens) - 1) / seconds, "tokens/s")
            yield bench.figure(what, 100 * flops / seconds / bench.matrix_rate, "% MFU")
            yield from bench.peak_memory(what)
            yield from bench.profiled(work, f"{what}, {num_batches} batches")
        ids = torch.from_numpy(bench.tokens[: window + 2 * batch * stride]).to(bench.device, torch.int64)
        for shape, rows in (("window by window", 1), ("PR #150's batches", batch)):
            plain_s = bench.timed(lambda: sum(score_windows(model, ids, window, stride, rows)), 2)  # noqa: B023
            ratio = plain_s / (2 * batch) / (seconds / (num_windows + 1))
            yield bench.figure(f"scoring, {label}, a window's time in plain over ours, {shape}", ratio, "")


def _score(bench: Bench, tokens: Tensor, model: GPT, evaluation: Evaluation, forward: Forward) -> None:
    ledger = bench.ledger(tokens)
    score(ledger, model, evaluation, bench.ranks, forward=forward)
    ledger.close()


def adaptation(bench: Bench) -> Iterator[Figure]:
    """Score-first test-time training, three epochs on two chunks, one rank; on a GPU strides are a quarter window."""
    values = {"ttt.mode": "score_first", "ttt.lr": 0.002, "ttt.epochs": 3}
    ttt: TTT = with_values(bench.recipe, values, "benchmark").ttt
    evaluation = bench.recipe.evaluation
    if bench.on_gpu:
        evaluation = evaluation.model_copy(update={"stride_tokens": evaluation.window_tokens // 4})
    tokens = torch.from_numpy(bench.tokens[: 2 * ttt.chunk_tokens + 1])
    model = bench.model()
    start = {name: value.clone() for name, value in model.state_dict().items()}

    def run(forward: Forward) -> None:
        model.load_state_dict(start)
        score_first(bench.ledger(tokens), model, ttt, evaluation, make_sgd, bench.ranks, forward=forward)

    for how, forward in bench.forwards(model).items():
        seconds = bench.timed(partial(run, forward), 2)
        yield bench.figure(f"test-time training, {how}", (len(tokens) - 1) / seconds, "tokens/s")


def export(bench: Bench) -> Iterator[Figure]:
    """Calibration where the recipe has it (8 batches on a GPU), then quantisation and compression of random weights."""
    recipe, model, hessians = bench.recipe, bench.model(), None
    if recipe.quantization.method == "gptq":
        loader, num_batches = bench.loader(), 8 if bench.on_gpu else recipe.quantization.calibration_batches
        started_s = time.perf_counter()
        hessians = layer_hessians(model, (loader.next_micro_batch()[0] for _ in range(num_batches)))
        bench.ranks.synchronize()
        yield bench.figure(f"calibration, {num_batches} batches", time.perf_counter() - started_s, "s")
    started_s = time.perf_counter()
    encode_artifact(dict(model.state_dict()), recipe.model, recipe.data.vocab_size, recipe.quantization, hessians)
    yield bench.figure("quantise and compress", time.perf_counter() - started_s, "s")


SECTIONS: dict[str, Callable[[Bench], Iterator[Figure]]] = {
    "plain": plain_training,
    "eager": partial(training, compiled=False),
    "compiled": partial(training, compiled=True),
    "scoring": scoring,
    "ttt": adaptation,
    "export": export,
}
