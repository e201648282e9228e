"""The sections of the device benchmark: each yields figures of one preset on one device."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from unittest.mock import patch

import torch
from torch import Tensor

from tests.benchmarks.device_bench import Bench, Figure, in_turn
from tests.benchmarks.plain import plain_forms, score_windows
from trainer.nn.depth import layer_order
from trainer.nn.gpt import GPT
from trainer.quant.artifact import encode_artifact
from trainer.quant.gptq import Hessian
from trainer.scoring.forward import Forward
from trainer.scoring.sliding import score
from trainer.scoring.ttt import score_first
from trainer.spec.flops import flops_per_token, scoring_flops
from trainer.spec.load import with_values
from trainer.spec.recipe import TTT, Evaluation, Recipe
from trainer.stages.adapt import make_sgd
from trainer.stages.calibrate import layer_hessians
from trainer.stages.compiling import Graphs, LossOf, compiler_for, mean_nats
from trainer.stages.train import AT_WARM_UP, update
from trainer.stages.training import Training

PLAIN_BATCHES, PLAIN_TURNS = 2, 3
"""Batches that the plain scorer is timed on, and how often; it is slow on a GPU."""


def training(bench: Bench, compiled: bool) -> Iterator[Figure]:
    """A step, with the shares of its parts, memory, kernels and waits, and the plain step beside it."""
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
    if bench.on_gpu or not compiled:  # compiled functions of a CPU are no operators
        yield from bench.profiled(step, f"training, {label}", seconds)
    if not compiled:
        yield from bench.counted(step)
    yield from _parts(bench, state, loss_of, label, seconds)
    if compiled:
        again, kept = bench.training(), Graphs(compiler_for(bench.recipe, "inductor"))
        first = partial(update, again, bench.recipe, AT_WARM_UP, bench.ranks, kept.loss_of)
        yield bench.figure("first step of the slot's next training, compiled", bench.once(first), "s")
        yield bench.figure("graphs compiled for it", kept.made, "")
    bench.forget_memory()
    _, plain_s, ratio = in_turn(bench.once, step, bench.plain_step())
    yield bench.figure("training step, plain", plain_s * 1e3, "ms")
    yield bench.figure(f"training step, plain over ours, {label}", ratio, "")


def _parts(bench: Bench, state: Training, loss_of: LossOf, label: str, step_s: float) -> Iterator[Figure]:
    """Parts of a step, each alone and awaited, as shares of the whole step; together they may be more or less than it.

    Attention and MLP are the modules of all layers, forward and backward, without norms and sums around them; on a CPU
    they are left out, since a step there computes halves of blocks and no such modules. Head and loss begin at the last
    states. All three are taken uncompiled, and so shown beside an uncompiled step.
    """
    model, micro_batches = state.model, bench.recipe.data.micro_batches
    x_BT, y_BT = state.loader.next_micro_batch()

    def share(what: str, work: Callable[[], object], times: int = 1) -> Figure:
        return bench.figure(f"{what} alone, {label}", 100 * times * bench.timed(work) / step_s, "% of the step")

    def loss_and_gradients() -> None:
        loss_of(model, x_BT, y_BT).backward()

    if loss_of is mean_nats:
        h_BTD = torch.randn(*x_BT.shape, bench.recipe.model.model_dim, device=bench.device, dtype=model.dtype)
        h_BTD, grad_BTD = h_BTD.requires_grad_(), torch.randn_like(h_BTD)
        order, rotary = layer_order(bench.recipe.model, looped=True), model._rotary(x_BT)
        layers = [model.blocks[layer] for layer in (*order.encoder, *order.decoder)]

        def attention() -> None:
            for layer in layers:
                layer.attn(h_BTD, rotary).backward(grad_BTD)

        def mlp() -> None:
            for layer in layers:
                layer.mlp(h_BTD).backward(grad_BTD)

        def head_and_loss() -> None:
            with patch.object(model, "hidden", lambda ids_BT: h_BTD):
                model.cross_entropy(x_BT, y_BT).backward()

        if bench.on_gpu:
            yield share("attention", attention, micro_batches)
            yield share("MLP", mlp, micro_batches)
        yield share("head and loss", head_and_loss, micro_batches)
    yield share("forward and backward", loss_and_gradients, micro_batches)
    yield share("optimisers", lambda: state.optimizers.step(1.0, 1))
    if ema := state.ema:
        named = list(model.named_parameters())
        yield share("EMA", lambda: ema.update(named))
    yield share("data", state.loader.next_micro_batch, micro_batches)
    state.optimizers.zero_grad()


def start(bench: Bench) -> Iterator[Figure]:
    """A process of its own: its first step, the next training's, its peak; on a GPU compiled, with graphs on disk.

    Another process has left the graphs there, whether or not section `compiled` ran before.
    """
    how = "compiled" if bench.on_gpu else "eager"
    if bench.on_gpu:
        bench.start(how)
    said = bench.start(how)
    yield bench.figure("cold start: new process to the end of its first step", said["begun_s"], "s")
    disk = ", graphs on disk" if bench.on_gpu else ""
    yield bench.figure(f"cold start: first step of a new process{disk}", said["first_step_s"], "s")
    yield bench.figure("warm start: first step of its next training", said["next_first_step_s"], "s")
    of = "the GPU's memory" if bench.on_gpu else "the whole process"
    yield bench.figure(f"peak memory of a process that trains, {of}", said["peak_bytes"] / 2**30, "GiB")


def scoring(bench: Bench) -> Iterator[Figure]:
    """Sliding windows and rows, against `plain` window by window and in PR #150's batches with the head everywhere."""
    evaluation, model = bench.recipe.evaluation, bench.model()
    window, batch = evaluation.window_tokens, evaluation.batch_windows
    for label, stride in (("sliding", evaluation.stride_tokens), ("rows", window)):
        num_batches = (40 if label == "sliding" else 16) if bench.on_gpu else 2  # by rows the text ends sooner
        num_windows = num_batches * batch
        tokens = bench.text(num_windows, stride)
        chosen, work = evaluation.model_copy(update={"stride_tokens": stride}), None
        flops = windows_flops(bench.recipe, num_windows, stride)
        for how, forward in bench.forwards(model, chosen).items():
            work, what = partial(scored, bench, tokens, model, chosen, forward), f"scoring, {label}, {how}"
            yield bench.figure(f"first {what}", bench.once(work), "s")
            bench.forget_memory()
            seconds = bench.timed(work, 3)
            yield bench.figure(what, (len(tokens) - 1) / seconds, "tokens/s")
            yield bench.figure(what, 100 * flops / seconds / bench.matrix_rate, "% MFU")
            yield from bench.peak_memory(what)
            yield from bench.profiled(work, f"{what}, {num_batches} batches", seconds)
        ids = bench.text(PLAIN_BATCHES * batch, stride).to(bench.device, torch.int64)
        for shape, rows in (("window by window", 1), ("PR #150's batches", batch)):
            plain = partial(plainly_scored, model, ids, window, stride, rows)
            ratio = in_turn(bench.once, work, plain, PLAIN_TURNS)[2] * num_windows / (PLAIN_BATCHES * batch)
            yield bench.figure(f"scoring, {label}, a window's time in plain over ours, {shape}", ratio, "")


def windows_flops(recipe: Recipe, num_windows: int, stride_tokens: int) -> float:
    """Operations of scoring so many windows, the first whole and of the others what is new."""
    first = scoring_flops(recipe, 1, recipe.evaluation.window_tokens)
    return first + scoring_flops(recipe, num_windows - 1, stride_tokens)


def scored(bench: Bench, tokens: Tensor, model: GPT, evaluation: Evaluation, forward: Forward | None = None) -> None:
    """Scores a text with a ledger, from its beginning to its close."""
    ledger = bench.ledger(tokens)
    score(ledger, model, evaluation, bench.ranks, forward=forward)
    ledger.close()


def plainly_scored(model: GPT, ids: Tensor, window: int, stride: int, rows: int) -> int:
    """Scores a text as `plain` does; the number of tokens."""
    return sum(score_windows(model, ids, window, stride, rows))


class Adapting:
    """Score-first test-time training, three epochs on two chunks, the first learned from; one rank.

    On a GPU strides are a quarter window.
    """

    def __init__(self, bench: Bench):
        values = {"ttt.mode": "score_first", "ttt.lr": 0.002, "ttt.epochs": 3}
        self.bench = bench
        self.recipe = with_values(bench.recipe, values, "benchmark")
        self.ttt: TTT = self.recipe.ttt
        self.evaluation = bench.recipe.evaluation
        if bench.on_gpu:
            self.evaluation = self.evaluation.model_copy(update={"stride_tokens": self.evaluation.window_tokens // 4})
        self.tokens = torch.from_numpy(bench.tokens[: 2 * self.ttt.chunk_tokens + 1])
        self.model = bench.model()
        self._start = {name: value.clone() for name, value in self.model.state_dict().items()}

    def run(self, forward: Forward | None = None) -> None:
        """Each time from the same weights."""
        self.model.load_state_dict(self._start)
        ledger, ranks = self.bench.ledger(self.tokens), self.bench.ranks
        score_first(ledger, self.model, self.ttt, self.evaluation, make_sgd, ranks, forward=forward)

    def run_plainly(self) -> None:
        """The same windows and head, each operation of a formula on its own."""
        model = self.model
        with plain_forms():
            self.run(Forward(model.hidden, model.logits, Forward.of(model).summed_nats))

    @property
    def flops(self) -> float:
        """Operations of both chunks' scores and of learning from the first."""
        window, stride, chunk = self.evaluation.window_tokens, self.evaluation.stride_tokens, self.ttt.chunk_tokens
        learned = 3 * self.ttt.epochs * scoring_flops(self.recipe, chunk // window, window)
        return scoring_flops(self.recipe, 2 * chunk // stride, stride) + learned


def adaptation(bench: Bench) -> Iterator[Figure]:
    """Test-time training, and against plain forms with the same windows."""
    adapting = Adapting(bench)
    for how, forward in bench.forwards(adapting.model, adapting.evaluation).items():
        run = partial(adapting.run, forward)
        seconds, _, ratio = in_turn(bench.once, run, adapting.run_plainly, PLAIN_TURNS)
        yield bench.figure(f"test-time training, {how}", (len(adapting.tokens) - 1) / seconds, "tokens/s")
        yield bench.figure(f"test-time training, {how}", 100 * adapting.flops / seconds / bench.matrix_rate, "% MFU")
        yield bench.figure(f"test-time training, plain forms over ours, {how}", ratio, "")


def export(bench: Bench) -> Iterator[Figure]:
    """Calibration where the recipe has it (8 batches on a GPU), then quantisation and compression of random weights."""
    recipe, model = bench.recipe, bench.model()
    hessians: dict[str, Hessian] = {}

    def calibrate() -> None:
        hessians.update(layer_hessians(model, (loader.next_micro_batch()[0] for _ in range(num_batches))))

    def encode() -> None:
        weights, vocab_size = dict(model.state_dict()), recipe.data.vocab_size
        encode_artifact(weights, recipe.model, vocab_size, recipe.quantization, hessians or None)

    if recipe.quantization.method == "gptq":
        loader, num_batches = bench.loader(), 8 if bench.on_gpu else recipe.quantization.calibration_batches
        yield bench.figure(f"export: calibration, {num_batches} batches", bench.once(calibrate), "s")
    yield bench.figure("export: quantise and compress", bench.once(encode), "s")


SECTIONS: dict[str, Callable[[Bench], Iterator[Figure]]] = {
    "eager": partial(training, compiled=False),
    "compiled": partial(training, compiled=True),
    "start": start,
    "scoring": scoring,
    "ttt": adaptation,
    "export": export,
}
