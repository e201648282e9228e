"""What this machine's device makes of a recipe: training steps, scoring, test-time training and export.

    python -m tests.benchmarks.device                          # the device at hand; on a CPU the nano siblings
    python -m tests.benchmarks.device pr1413 --log results/LOG.md
    python -m tests.benchmarks.device pr150_v21:compiled+ttt   # some sections only

Times one rank's share of a training step on one device (an eighth of the preset's batch on a GPU), against `plain`, a
straight transcription in PyTorch, in the same process. Text is random tokens: speed does not depend on them. FLOPs are
counted by `flops_per_token`; MFU divides them by the rate of a large matrix product measured here first.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from datetime import date
from pathlib import Path
from statistics import median

import torch

from tests.benchmarks.device_sections import SECTIONS, Bench, Figure
from trainer.ranks import Ranks

GPU_PRESETS = ("pr150_v21", "pr549", "pr1413")
CPU_PRESETS = ("tiny", "pr150_v21_nano", "pr549_nano", "pr1413_nano")


def matrix_rate(device: torch.device) -> float:
    """FLOP/s of a large matrix product, bfloat16 on a GPU and float32 on a CPU."""
    size, dtype = (8192, torch.bfloat16) if device.type == "cuda" else (1024, torch.float32)
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    seconds = []
    for _ in range(10):
        Ranks(device=device).synchronize()
        started_s = time.perf_counter()
        a @ b
        Ranks(device=device).synchronize()
        seconds.append(time.perf_counter() - started_s)
    return 2 * size**3 / median(seconds)


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


def table(figures: Sequence[Figure]) -> str:
    """A Markdown table: a row per quantity, a column per preset."""
    presets = list(dict.fromkeys(figure.preset for figure in figures))
    cells = {(figure.what, figure.unit, figure.preset): figure.value for figure in figures}
    lines = [f"| | {' | '.join(presets)} |", f"|---{'|---' * len(presets)}|"]
    for what, unit in dict.fromkeys((figure.what, figure.unit) for figure in figures):
        row = [cells.get((what, unit, preset)) for preset in presets]
        shown = ["" if value is None else f"{value:,.4g}" for value in row]
        lines.append(f"| {what}{f', {unit}' if unit else ''} | {' | '.join(shown)} |")
    return "\n".join(lines)


def main() -> None:
    """Prints every figure as it is measured, and a table at the end."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("presets", nargs="*", help="NAME or NAME:SECTION+SECTION")
    parser.add_argument("--seconds", type=float, default=400, help="begin no further section after so long")
    parser.add_argument("--log", type=Path, help="append the table to this file")
    parser.add_argument("--json", type=Path, help="write the figures to this file as they are measured")
    arguments = parser.parse_args()
    device = Ranks.alone().device
    usual = [section for section in SECTIONS if device.type == "cuda" or section != "compiled"]
    started_s = time.monotonic()
    rate = matrix_rate(device)
    where = torch.cuda.get_device_name() if device.type == "cuda" else platform.processor() or platform.machine()
    title = f"{where}, torch {torch.__version__}, matrix product {rate / 1e12:.3g} TFLOP/s"
    print(title, flush=True)
    figures: list[Figure] = []
    for wanted in arguments.presets or (GPU_PRESETS if device.type == "cuda" else CPU_PRESETS):
        name, _, chosen = wanted.partition(":")
        sections = chosen.split("+") if chosen else usual
        for figure in figures_of(
            name, device, rate, sections, lambda: time.monotonic() - started_s > arguments.seconds
        ):
            print(f"{figure.preset:<14} {figure.what:<62} {figure.value:>12,.4g} {figure.unit}", flush=True)
            figures.append(figure)
            if arguments.json:
                arguments.json.write_text(json.dumps([vars(figure) for figure in figures], indent=1))
    text = f"\n## {date.today()} How fast is this device?\n\n`python -m tests.benchmarks.device`: {title}.\n\n"
    if arguments.log:
        with arguments.log.open("a", encoding="utf-8") as log:
            log.write(text + table(figures) + "\n")
    print(text + table(figures))


if __name__ == "__main__":
    main()
