"""What this machine's device makes of a recipe: training steps, scoring, test-time training and export.

    python -m tests.benchmarks.device                          # the device at hand; on a CPU the nano siblings
    python -m tests.benchmarks.device pr1413 --log results/LOG.md
    python -m tests.benchmarks.device pr150_v21:compiled+ttt   # some sections only

Times one rank's share of a training step on one device (an eighth of the preset's batch on a GPU), and in turn with it
`plain`, a straight transcription in PyTorch, in the same process. Text is random tokens: speed does not depend on them.
A section under way when the process is told to end is cut off, and the table is written without the rest of it.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import signal
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import date
from pathlib import Path

import torch

from tests.benchmarks.device_bench import Bench, Figure, device_at_hand, matrix_rate
from tests.benchmarks.device_sections import SECTIONS
from trainer.stages.train import peak_memory_bytes

GPU_PRESETS = (
    *("pr150_v21:compiled+scoring", "pr1413:compiled", "pr150_v21:eager+ttt+start", "pr549:compiled"),
    *("pr150_v21:export", "pr1413:scoring+ttt+eager+export", "pr549:scoring+ttt+eager"),
)
"""What is wanted most comes first: of `make gpu`, the last do not fit into its time."""
CPU_PRESETS = ("tiny", "pr150_v21_nano", "pr549_nano", "pr1413_nano")
LEGEND = """\
FLOPs of a token's forward pass: 2 per weight of every matrix product each time its layer runs, the head and the
projections of bigrams and value embeddings included, and 2 T D per layer for causal attention; training takes three
times that. Scoring: the last layer's queries, attention, projection and MLP and the head on scored positions alone
(`trainer/spec/flops.py`). MFU is their share of the rate of the large matrix product above. *Alone*: a part by itself
and awaited, so that parts do not add up to the step.
*Counted*: without a clock, on 8 ranks in a process group that sends nothing; a single device has nobody to send to, so
communication takes no time here. *Plain over ours* is the median ratio of turns in which both are timed. On a CPU
seconds are those of the processor, but for a cold start: on a quiet machine the clock's.
"""


def figures_of(
    name: str, device: torch.device, rate: float, sections: Sequence[str], is_over: Callable[[], bool]
) -> Iterator[Figure]:
    """All figures of a preset; a section that fails is a figure of NaN with its reason in the name.

    is_over:  asked before each section, which is left out where it says so
    """
    bench = Bench(name, device, rate)
    for section in sections:
        if is_over():
            print(f"{name}:{section}: not begun, the time is over", flush=True)
            continue
        try:
            yield from SECTIONS[section](bench)
        except Exception as fault:  # the other sections are still worth their device time
            traceback.print_exc()
            reason = (str(fault).splitlines() or [""])[0][:100]
            yield bench.figure(f"{section} failed: {type(fault).__name__}: {reason}", math.nan, "")
        bench.forget_memory()


def shown_number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def table(figures: Sequence[Figure]) -> str:
    """A Markdown table: a row per quantity, a column per preset."""
    presets = list(dict.fromkeys(figure.preset for figure in figures))
    cells = {(figure.what, figure.unit, figure.preset): figure.value for figure in figures}
    lines = [f"| | {' | '.join(presets)} |", f"|---{'|---' * len(presets)}|"]
    for what, unit in dict.fromkeys((figure.what, figure.unit) for figure in figures):
        row = [cells.get((what, unit, preset)) for preset in presets]
        shown = ["" if value is None else shown_number(value) for value in row]
        lines.append(f"| {what}{f', {unit}' if unit else ''} | {' | '.join(shown)} |")
    return "\n".join(lines)


def kept(figures: Iterable[Figure], where: Path | None) -> list[Figure]:
    """Prints figures as they come, and writes them to a file; those so far where the process is told to end."""
    known: list[Figure] = []
    try:
        for figure in figures:
            known.append(figure)
            print(f"{figure.preset:<14} {figure.what:<62} {shown_number(figure.value):>12} {figure.unit}", flush=True)
            if where:
                where.write_text(json.dumps([vars(figure) for figure in known], indent=1))
    except KeyboardInterrupt:
        print("told to end: the table holds what was measured", flush=True)
    return known


def main() -> None:
    """Prints every figure as it is measured, and a table at the end."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("presets", nargs="*", help="NAME or NAME:SECTION+SECTION")
    parser.add_argument("--seconds", type=float, default=400, help="begin no further section after so long")
    parser.add_argument("--log", type=Path, help="append the table to this file")
    parser.add_argument("--json", type=Path, help="write the figures to this file as they are measured")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    started_s = time.monotonic()
    device = device_at_hand()
    rate = matrix_rate(device)
    where = torch.cuda.get_device_name() if device.type == "cuda" else platform.processor() or platform.machine()
    threads = "" if device.type == "cuda" else f", {torch.get_num_threads()} thread of {os.cpu_count()} cores"
    title = f"{where}{threads}, torch {torch.__version__}, matrix product {rate / 1e12:.3g} TFLOP/s"
    print(title, flush=True)
    usual = [section for section in SECTIONS if device.type == "cuda" or section != "compiled"]

    def figures() -> Iterator[Figure]:
        for wanted in arguments.presets or (GPU_PRESETS if device.type == "cuda" else CPU_PRESETS):
            name, _, chosen = wanted.partition(":")
            sections = chosen.split("+") if chosen else usual
            yield from figures_of(
                name, device, rate, sections, lambda: time.monotonic() - started_s > arguments.seconds
            )

    with tempfile.TemporaryDirectory() as cache:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = cache  # nothing is compiled before the first process, all of it after
        measured = kept(figures(), arguments.json)
    peak = f"Peak memory of the benchmark's own process: {peak_memory_bytes(torch.device('cpu')) / 2**30:.2f} GiB."
    heading = f"\n## {date.today()} · How fast is this device?\n\n`python -m tests.benchmarks.device`: {title}."
    text = f"{heading}\n{LEGEND}{peak}\n\n"
    if arguments.log:
        with arguments.log.open("a", encoding="utf-8") as log:
            log.write(text + table(measured) + "\n")
    print(text + table(measured))


if __name__ == "__main__":
    main()
