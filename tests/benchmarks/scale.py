"""Steps, scoring and test-time training over 1 to 8 GPUs of one node, predicted: the tables of docs/speed.md.

    python -m tests.benchmarks.scale

From what one GPU was measured to take (the figures below, with their source) and from what is counted without a GPU:
operations by trainer.spec.flops and `scale_counted`, collectives and their bytes by `scale_counted`. Nothing here was
measured on more than one GPU.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import ceil
from statistics import fmean

import torch

from tests.benchmarks.scale_counted import Sent, of_a_chunk, of_a_step, orthogonalisation_flops, recipe_of
from trainer.scoring.sliding import Windows
from trainer.spec.flops import flops_per_token, scoring_flops
from trainer.spec.load import load_preset

PRESETS = ("pr150_v21", "pr549", "pr1413")
RANKS = (1, 2, 4, 8)
MEASURED_RANKS = 8
"""Of the node whose share of a step was measured on one GPU."""


@dataclass(frozen=True)
class Step:
    """One rank's share of a step of 8, 98,304 tokens, in ms: the step, and parts of it timed alone and awaited."""

    whole: float
    forward_and_backward: float
    muon_and_adam: float
    average: float
    """EMA, a multiply-add of every weight; SWA of `pr150_v21` comes once in 50 steps."""


H100_STEP = {
    "pr150_v21": Step(79.6, 76.8, 3.0, 0.0),
    "pr549": Step(82.1, 80.4, 2.7, 0.41),
    "pr1413": Step(135.2, 132.1, 4.4, 0.55),  # the average: 0.41 by the number of weights
}
"""One H100 of 2026-11-26: steps and EMA from results/LOG.md, parts from docs/speed.md, "Where a training step goes"."""
H200_STEP_MS = {"pr150_v21": 71.5, "pr549": 73.6, "pr1413": 121.0}
"""One H200 of 2026-11-27, the whole step: results/LOG.md, "The second hour on a GPU"."""
ORTHOGONALISATION_MS = 1.8
"""`pr150_v21` on the H100, all matrices in batches: results/LOG.md. Of other presets by their counted operations."""
PRODUCT_FLOPS = 766e12
"""Operations a second of a large bfloat16 product on that H100, which MFU is a share of: docs/speed.md, same table."""
SLIDING = {("H100", "pr150_v21"): 118_000, ("H200", "pr150_v21"): 147_300, ("H200", "pr549"): 142_600}
"""Tokens scored a second, compiled, stride 64, one GPU: docs/speed.md for the H100, results/LOG.md, 2026-11-27."""
TTT = {("H100", "pr150_v21"): 400_000, ("H200", "pr150_v21"): 443_000}
"""Tokens a second of the benchmark's test-time training: stride 512, two chunks, the first learned in 3 epochs.

results/LOG.md, "The first hour on a GPU" and "The second hour on a GPU".
"""
TTT_STRIDE, TTT_CHUNKS, TTT_LEARNED, TTT_BATCHES = 512, 2, 1, 4
"""Of that benchmark; batches of 32 windows in both chunks."""
VALIDATION_TOKENS = {1024: 62_021_632, 8192: 40_540_160}
"""Scored targets of the published validation text by the size of the vocabulary: docs/recipe.md 1.2."""

BYTES_PER_S = 350e9
"""Assumed of collectives between GPUs of one node (NVLink): bytes that each rank sends in a second."""
START_MS = 0.05
"""Assumed of every collective, beside its bytes: starting it, and waiting for ranks that are on time."""
COMPILE_S = 16.0
"""Compiling what scores, once on each rank; one H100, docs/speed.md."""


def collective_ms(kind: str, own_bytes: int, num_ranks: int) -> float:
    """Of one collective by rings: an all-reduce sends 2 (R - 1) / R of its bytes, a gather R - 1 times one's own."""
    if num_ranks == 1:
        return 0.0
    times = {"allreduce": 2 * (num_ranks - 1) / num_ranks, "allgather_base": num_ranks - 1, "broadcast": 1}[kind]
    return START_MS + times * own_bytes / BYTES_PER_S * 1e3


def all_ms(sent: Sent, num_ranks: int) -> float:
    return sum(collective_ms(kind, own_bytes, num_ranks) for kind, own_bytes in sent)


def step_parts(name: str, num_ranks: int, measured: Step) -> dict[str, float]:
    """Milliseconds of each part of a step. Only the gather overlaps, with Adam: what is longer than it counts."""
    flops_alone, known = (orthogonalisation_flops(which, 1) for which in (name, "pr150_v21"))
    orthogonalisation_ms = ORTHOGONALISATION_MS * flops_alone / known
    adam_ms = measured.muon_and_adam - orthogonalisation_ms
    reduce_ms, gather_ms, clock_ms = exchanges_ms(name, num_ranks)
    return {
        "forward and backward": measured.forward_and_backward * MEASURED_RANKS / num_ranks,
        "all-reduce of gradients and loss": reduce_ms,
        "orthogonalisation, longest rank": orthogonalisation_ms * longest(name, num_ranks) / num_ranks,
        "of the gather, what Adam does not hide": max(gather_ms - adam_ms, 0.0),
        "Adam, average": adam_ms + measured.average,
        "clock and stop": clock_ms,
    }


def exchanges_ms(name: str, num_ranks: int) -> list[float]:
    """Of the three collectives of a step, in order; of one rank they take no time."""
    return [collective_ms(*one, num_ranks) for one in of_a_step(name, num_ranks)] or [0.0, 0.0, 0.0]


def on_h200(name: str) -> Step:
    """Its parts were not recorded: all that an H200 saves is taken to be saved in forward and backward."""
    h100, whole = H100_STEP[name], H200_STEP_MS[name]
    return Step(whole, h100.forward_and_backward - (h100.whole - whole), h100.muon_and_adam, h100.average)


def num_steps(name: str, parts: dict[str, float]) -> float:
    """Steps in the budget; before recurrence begins forward and backward take their share of operations."""
    recipe = recipe_of(name)
    once = flops_per_token(recipe, looped=False) / flops_per_token(recipe)
    step_ms, saved_ms = sum(parts.values()), (1 - once) * parts["forward and backward"]
    before = recipe.model.recur_at if recipe.model.recur_loops else 0.0
    budget_ms = 1e3 * (recipe.budget.loop_s or 0.0)
    return budget_ms * (before / (step_ms - saved_ms) + (1 - before) / step_ms)


def of_steps(name: str) -> str:
    """The table of one preset."""
    recipe, parts = recipe_of(name), {size: step_parts(name, size, H100_STEP[name]) for size in RANKS}
    whole_ms = {size: sum(parts[size].values()) for size in RANKS}
    flops = {size: 3 * flops_per_token(recipe) * recipe.data.train_batch_tokens / size for size in RANKS}
    published = fmean((load_preset(name).published or {})["steps"].values())
    title = f"`{name}`{', recurrent' if recipe.model.recur_loops else ''}, ms a step on H100s"
    return table(
        [title, *(f"R = {size}" for size in RANKS)],
        [
            *([part, *(f"{parts[size][part]:.2f}" for size in RANKS)] for part in parts[1]),
            ["gather of updates, alone", *(f"({exchanges_ms(name, size)[1]:.2f})" for size in RANKS)],
            ["**step**", *(f"**{whole_ms[size]:.1f}**" for size in RANKS)],
            ["TFLOP of a rank", *(f"{flops[size] / 1e12:.1f}" for size in RANKS)],
            ["MFU", *(f"{100 * flops[size] / whole_ms[size] / PRODUCT_FLOPS * 1e3:.1f} %" for size in RANKS)],
            ["longest orthogonalisation over the mean", *(f"{longest(name, size):.2f}" for size in RANKS)],
            [f"steps in {recipe.budget.loop_s:.0f} s", *(f"{num_steps(name, parts[size]):,.0f}" for size in RANKS)],
            ["published", "", "", "", f"{published:,.0f}"],
            ["step on H200s", *(f"{sum(step_parts(name, size, on_h200(name)).values()):.1f}" for size in RANKS)],
        ],
    )


def longest(name: str, num_ranks: int) -> float:
    """Operations of the rank with the most orthogonalisation, over what an equal share would be."""
    return num_ranks * orthogonalisation_flops(name, num_ranks) / orthogonalisation_flops(name, 1)


def of_check() -> str:
    """What parts that are timed alone add up to, against the step that was measured whole."""
    sums = {name: _alone_ms(H100_STEP[name]) for name in PRESETS}
    return table(
        ["one H100, 98,304 tokens, no exchange, ms", *(f"`{name}`" for name in PRESETS)],
        [
            ["sum of the parts as above", *(f"{sums[name]:.1f}" for name in PRESETS)],
            ["step as measured", *(f"{H100_STEP[name].whole:.1f}" for name in PRESETS)],
        ],
    )


def _alone_ms(step: Step) -> float:
    return step.forward_and_backward + step.muon_and_adam + step.average


def of_exchanges() -> str:
    """Collectives as they were counted on the first of 8 ranks."""
    kinds = {"allreduce": "all-reduce", "allgather_base": "gather", "broadcast": "broadcast"}

    def shown(sent: Iterable[tuple[str, int]]) -> str:
        return ", ".join(f"{kinds[kind]} {own_bytes:,}" for kind, own_bytes in sent)

    rows = []
    for name in PRESETS:
        chunk = of_a_chunk(name, 8)
        different = [f"{chunk.count(one)} x {shown([one])}" for one in dict.fromkeys(chunk)]
        rows.append([f"`{name}`", shown(of_a_step(name, 8)), ", ".join(different)])
    return table(["bytes that a rank of 8 brings", "a training step, in order", "a chunk of test-time training"], rows)


def batch_ms(gpu: str, name: str) -> float:
    """A batch of 32 windows on one GPU; where it was not measured, by operations from `pr549`."""
    evaluation = recipe_of(name).evaluation
    if rate := SLIDING.get((gpu, name)):
        return evaluation.batch_windows * evaluation.stride_tokens / rate * 1e3
    return batch_ms(gpu, "pr549") * flops_before(name) / flops_before("pr549")


def learning_ms(gpu: str, name: str) -> float:
    """A step of test-time training on all rows of a chunk: what scoring leaves of the benchmark's time.

    Measured for `pr150_v21` alone, and taken to other presets by operations.
    """
    recipe, known = recipe_of(name), recipe_of("pr150_v21")
    benchmark_ms = TTT_CHUNKS * known.ttt.chunk_tokens / TTT[gpu, "pr150_v21"] * 1e3
    steps_ms = benchmark_ms - TTT_BATCHES * batch_ms(gpu, "pr150_v21")
    of_known = steps_ms / (TTT_LEARNED * known.ttt.epochs)
    return of_known * flops_per_token(recipe) / flops_per_token(known)


def sliding_s(gpu: str, name: str, num_ranks: int) -> float:
    """Scoring all windows, each rank its share in whole batches."""
    evaluation = recipe_of(name).evaluation
    num_windows = len(Windows(num_tokens(name), evaluation.window_tokens, evaluation.stride_tokens))
    num_batches = ceil(num_windows / num_ranks / evaluation.batch_windows)
    asking_ms = collective_ms("allreduce", 8, num_ranks)  # whether any rank wants to stop, before each batch
    return num_batches * (batch_ms(gpu, name) + asking_ms) / 1e3 + COMPILE_S


def adaptation_s(gpu: str, name: str, num_ranks: int) -> float:
    """Score-first test-time training of 3 epochs, each rank its share of windows and rows."""
    recipe = recipe_of(name)
    num_chunks = ceil(num_tokens(name) / recipe.ttt.chunk_tokens)
    windows = recipe.ttt.chunk_tokens // recipe.evaluation.stride_tokens
    num_batches = ceil(windows / num_ranks / recipe.evaluation.batch_windows)
    hidden_ms = num_batches * batch_ms(gpu, name)
    steps_ms = recipe.ttt.epochs * learning_ms(gpu, name) / num_ranks
    return num_chunks * (hidden_ms + steps_ms + all_ms(of_a_chunk(name, num_ranks), num_ranks)) / 1e3 + COMPILE_S


def num_tokens(name: str) -> int:
    return VALIDATION_TOKENS[recipe_of(name).data.vocab_size]


def of_evaluation(
    what: str, seconds: Callable[[str, str, int], float], measured: Mapping[tuple[str, str], float]
) -> str:
    """Seconds of an evaluation; which rows stand on a rate of their own preset, and which were taken from another's."""
    limit, rows = recipe_of("pr549").budget.eval_s, []
    for gpu, name in [("H100", "pr150_v21"), *(("H200", name) for name in PRESETS)]:
        title = f"`{name}`, {gpu}" + ("" if (gpu, name) in measured else ", by FLOPs")
        cells = [_against(seconds(gpu, name, size), limit) for size in RANKS]
        rows.append([title, f"{num_tokens(name):,}", *cells])
    return table([f"{what}, s; limit {limit:.0f}", "tokens", *(f"R = {size}" for size in RANKS)], rows)


def _against(seconds: float, limit: float) -> str:
    return f"{seconds:.0f}" + (", too long" if seconds > limit else "")


def of_last_block() -> str:
    """What scoring's forward no longer computes."""
    rows = []
    for name in PRESETS:
        before, now = flops_before(name), scoring_flops(recipe_of(name), 1, recipe_of(name).evaluation.stride_tokens)
        rows.append([f"`{name}`", f"{before / 1e9:.1f}", f"{now / 1e9:.1f}", f"{100 * (1 - now / before):.1f} %"])
    return table(["GFLOP of a window of 2,048, stride 64", "before", "now", "saved"], rows)


def flops_before(name: str) -> float:
    """Of a window as it was computed when it was measured: the head on scored positions, the last block on all."""
    recipe = recipe_of(name)
    window, unscored = (
        recipe.evaluation.window_tokens,
        recipe.evaluation.window_tokens - recipe.evaluation.stride_tokens,
    )
    return scoring_flops(recipe, 1, window) - 2 * unscored * recipe.model.model_dim * recipe.data.vocab_size


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Markdown."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(cells)} |".replace("|  |", "| |").replace("|  |", "| |") for cells in lines)


TABLES: tuple[Callable[[], str], ...] = (
    *(partial(of_steps, name) for name in PRESETS),
    of_check,
    of_exchanges,
    partial(of_evaluation, "sliding scoring, stride 64", sliding_s, SLIDING),
    partial(of_evaluation, "test-time training, 3 epochs", adaptation_s, TTT),
    of_last_block,
)
"""In the order of docs/speed.md."""


if __name__ == "__main__":
    torch.set_num_threads(1)  # small tensors, of which threads would only spin
    print("\n\n".join(made() for made in TABLES))
