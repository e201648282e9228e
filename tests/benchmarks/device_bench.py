"""What the device benchmark measures with: one preset on one device, timed, profiled and counted."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from tests.benchmarks.plain import PlainTraining
from tests.counting import Count, exchanged_by_a_step, meta_model, one_rank_of
from tests.fakes import OneByteEach
from trainer.data.loader import Loader, make_loader
from trainer.nn.gpt import GPT
from trainer.optim.averaging import EMA, SWA
from trainer.optim.optimizers import make_optimizers
from trainer.ranks import Ranks
from trainer.scoring.forward import Forward
from trainer.scoring.legality import Ledger
from trainer.spec.load import load_preset, with_values
from trainer.spec.recipe import Evaluation, Recipe
from trainer.stages.compiling import scoring_forward
from trainer.stages.cpu import prepare_cpu
from trainer.stages.train import initial_model
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
"""Words in the names of kernels. Attention's kernels may name what they are built from: the first part counts."""


def device_at_hand() -> torch.device:
    """The first GPU of this machine, or its CPU, prepared as runs prepare it.

    Unprepared, operators share their work among threads that wait for each other: where other work holds a core, a step
    of a small model took up to sixty times as long.
    """
    device = Ranks.alone().device
    if device.type == "cpu":
        prepare_cpu()
    return device


def matrix_rate(device: torch.device) -> float:
    """FLOP/s of a large matrix product, bfloat16 on a GPU and float32 on a CPU."""
    size, dtype = (8192, torch.bfloat16) if device.type == "cuda" else (1024, torch.float32)
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    return 2 * size**3 / median(seconds(device, lambda: a @ b) for _ in range(20))


def seconds(device: torch.device, work: Callable[[], object]) -> float:
    """Seconds until a GPU is done with it, or of the processor on a CPU: other work there is not counted."""
    clock = time.perf_counter if device.type == "cuda" else time.process_time
    Ranks(device=device).synchronize()
    started_s = clock()
    work()
    Ranks(device=device).synchronize()
    return clock() - started_s


def part_of(kernel: str) -> str | None:
    """The part of `PARTS` that a kernel of this name belongs to."""
    return next((part for part, words in PARTS.items() if any(word in kernel.lower() for word in words)), None)


@dataclass(frozen=True)
class Figure:
    """One measured number."""

    preset: str
    what: str
    value: float
    unit: str


def in_turn(
    seconds_of: Callable[[Callable[[], object]], float],
    ours: Callable[[], object],
    plain: Callable[[], object],
    turns: int = REPEATS,
) -> tuple[float, float, float]:
    """Median seconds of ours and of the plain form, and the median ratio of the plain form to ours.

    One after the other in each turn, so that other work on the machine meets both alike; both once before, untimed.
    """
    ours()
    plain()
    pairs = [(seconds_of(ours), seconds_of(plain)) for _ in range(turns)]
    return median(one for one, _ in pairs), median(other for _, other in pairs), median(b / a for a, b in pairs)


class Bench:
    """One preset on one device, as one rank of a node."""

    def __init__(self, name: str, device: torch.device, matrix_rate: float):
        """matrix_rate: FLOP/s that MFU is a share of"""
        self.name, self.device, self.matrix_rate = name, device, matrix_rate
        self.on_gpu = device.type == "cuda"
        self.ranks = Ranks(device=device)
        self.whole = load_preset(name).recipe
        """The recipe of all ranks."""
        shares = {
            "data.train_batch_tokens": self.whole.data.train_batch_tokens // RANKS_OF_A_NODE,
            "data.micro_batches": max(self.whole.data.micro_batches // RANKS_OF_A_NODE, 1),
        }
        self.recipe = with_values(self.whole, shares, "benchmark") if self.on_gpu else self.whole
        generator = np.random.Generator(np.random.PCG64(0))
        self.tokens = generator.integers(0, self.recipe.data.vocab_size, 2_000_000, dtype=np.uint16)

    def figure(self, what: str, value: float, unit: str) -> Figure:
        return Figure(self.name, what, value, unit)

    def text(self, num_windows: int, stride_tokens: int) -> Tensor:
        """Tokens of so many windows, all of them full."""
        length = self.recipe.evaluation.window_tokens + (num_windows - 1) * stride_tokens + 1
        return torch.from_numpy(self.tokens[:length])

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

    def plain_step(self) -> Callable[[], object]:
        """A step of `plain`, micro-batch after micro-batch as the recipe has them."""
        model, loader = initial_model(self.recipe, self.device), self.loader()
        plain = PlainTraining(model, self.recipe.optimizer.grad_clip, bool(self.recipe.averaging.ema_decay))
        return lambda: plain.step([loader.next_micro_batch() for _ in range(self.recipe.data.micro_batches)])

    def model(self) -> GPT:
        return initial_model(self.recipe, self.device).eval()

    def ledger(self, tokens: Tensor) -> Ledger:
        return Ledger(tokens, OneByteEach(), self.recipe.data.vocab_size, self.ranks)

    def forwards(self, model: GPT, evaluation: Evaluation) -> dict[str, Forward]:
        """Ways to score a model's windows: as it is, and on a GPU compiled for the windows of this evaluation."""
        plain = {"eager": Forward.of(model)}
        if not self.on_gpu:
            return plain
        recipe = self.recipe.model_copy(update={"evaluation": evaluation})
        return plain | {"compiled": scoring_forward(model, recipe, LONG_TEXT, self.ranks)}

    def timed(self, work: Callable[[], object], repeats: int = REPEATS) -> float:
        """Median seconds of some repeats, the device done each time; once before, untimed."""
        work()
        return median(self.once(work) for _ in range(repeats))

    def once(self, work: Callable[[], object]) -> float:
        """`seconds` of a piece of work."""
        return seconds(self.device, work)

    def forget_memory(self) -> None:
        """Frees what is unused, and begins a new measurement of the peak."""
        gc.collect()
        if self.on_gpu:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()

    def peak_memory(self, label: str) -> Iterator[Figure]:
        """On a GPU; a CPU's process tells its peak since it began, so that a process of its own is asked (`start`)."""
        if self.on_gpu:
            yield self.figure(f"peak memory, {label}", torch.cuda.max_memory_allocated() / 2**30, "GiB")

    def profiled(self, work: Callable[[], object], label: str, work_s: float) -> Iterator[Figure]:
        """What a profile of one repeat shows: on a GPU kernels, waits of the host and the kernels' time by kind.

        work_s:  seconds of the same without a profile
        The host's gaps are what is left of the time without kernels, and on a CPU, of the profiled time, without
        operators: Python, autograd's bookkeeping and the profiler's own.
        """
        if not self.on_gpu:
            with profile(activities=[ProfilerActivity.CPU]) as trace:
                started_s = time.perf_counter()
                work()
                wall_s = time.perf_counter() - started_s
            own_us = sum(e.self_cpu_time_total for e in trace.key_averages() if e.key.startswith("aten::"))
            yield self.figure(f"host gaps: outside operators, {label}", 100 * (1 - own_us / 1e6 / wall_s), "%")
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
        yield self.figure(f"host gaps: time without kernels, {label}", 100 * (1 - total_us / 1e6 / work_s), "%")
        for part in PARTS:
            part_us = sum(kernel.device_time for kernel in kernels if part_of(kernel.name) == part)
            yield self.figure(f"{part}, share of kernel time, {label}", 100 * part_us / total_us, "%")

    def counted(self, step: Callable[[], object]) -> Iterator[Figure]:
        """What needs no clock: operators that a step calls here, and what one of 8 ranks sends and waits for in it."""
        with Count() as count:
            step()
        yield self.figure("operator calls of a step, counted", count.kernels.total(), "")
        recipe = shared_by_ranks(self.whole)
        with one_rank_of(RANKS_OF_A_NODE) as ranks, tempfile.TemporaryDirectory() as folder:
            sent = exchanged_by_a_step(recipe, meta_model(recipe), ranks, Path(folder))
            yield self.figure("host waits of a step, counted, 8 ranks", len(ranks.waits), "")
        yield self.figure("collectives of a step, counted, 8 ranks", len(sent), "")
        yield self.figure("a rank brings to them, counted, 8 ranks", sum(size for _, size in sent) / 1e6, "MB")

    def start(self, how: str) -> dict[str, Any]:
        """What a process of its own says of its first steps (`device_start`), and when the first of them ended."""
        started_s = time.time()
        command = [sys.executable, "-m", "tests.benchmarks.device_start", self.name, how]
        done = subprocess.run(command, capture_output=True, text=True, env=dict(os.environ), check=False)
        if done.returncode:
            raise RuntimeError((done.stderr.strip().splitlines() or ["it said nothing"])[-1])
        said = json.loads(done.stdout.splitlines()[-1])
        return said | {"begun_s": said["first_step_ended_s"] - started_s}


def shared_by_ranks(recipe: Recipe) -> Recipe:
    """The recipe, with as many micro-batches as 8 ranks can share."""
    if not recipe.data.unshared_by(RANKS_OF_A_NODE):
        return recipe
    return with_values(recipe, {"data.micro_batches": RANKS_OF_A_NODE}, "benchmark")
