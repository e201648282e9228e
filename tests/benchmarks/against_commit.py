"""A training step, sliding scoring and test-time training on one thread, against those of an earlier commit: a table.

    python -m tests.benchmarks.against_commit d3fe838
    python -m tests.benchmarks.against_commit d3fe838 tiny --turns 30

The commit is checked out into a temporary folder. Both sides run in processes of their own and take turns, in processor
seconds; a ratio is the median over the turns, with the quartiles beside it. Text is random tokens. Six batches of
windows are scored; of four chunks three are learned, for three epochs each. About two minutes a preset.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import quantiles
from typing import Any

ROOT = Path(__file__).parents[2]
PRESETS = ("tiny", "pr150_v21_nano", "pr549_nano", "pr1413_nano")
BATCHES, CHUNKS, EPOCHS = 6, 4, 3


def work_of_a_step(bench: Any) -> Callable[[], object]:
    """One optimiser step."""
    from trainer.stages.train import AT_WARM_UP, update

    state = bench.training()
    return lambda: update(state, bench.recipe, AT_WARM_UP, bench.ranks)


def work_of_scoring(bench: Any) -> Callable[[], object]:
    """Some batches of windows, the text's first window in the first."""
    import torch

    from trainer.scoring.sliding import score

    evaluation, model = bench.recipe.evaluation, bench.model()
    num_windows = BATCHES * evaluation.batch_windows
    tokens = bench.tokens[: evaluation.window_tokens + (num_windows - 1) * evaluation.stride_tokens + 1]
    return lambda: score(bench.ledger(torch.from_numpy(tokens)), model, evaluation, bench.ranks)


def work_of_adapting(bench: Any) -> Callable[[], object]:
    """Some chunks, all but the last learned; each time from the same weights."""
    import torch

    from trainer.scoring.ttt import score_first
    from trainer.spec.load import with_values
    from trainer.stages.adapt import make_sgd

    values = {"ttt.mode": "score_first", "ttt.lr": 0.002, "ttt.epochs": EPOCHS}
    recipe, model = with_values(bench.recipe, values, "benchmark"), bench.model()
    tokens = torch.from_numpy(bench.tokens[: CHUNKS * recipe.ttt.chunk_tokens + 1])
    start = {name: value.clone() for name, value in model.state_dict().items()}

    def run() -> None:
        model.load_state_dict(start)
        score_first(bench.ledger(tokens), model, recipe.ttt, recipe.evaluation, make_sgd, bench.ranks)

    return run


PARTS = {
    "training step": work_of_a_step,
    "sliding scoring": work_of_scoring,
    "test-time training": work_of_adapting,
}


def serve(preset: str) -> None:
    """Runs the part named by each line of the standard input once, and prints its processor seconds.

    Uses what both checkouts have; `trainer` and `tests` are those of the checkout on the path.
    """
    import torch

    try:
        from trainer.stages.cpu import prepare_cpu
    except ImportError:  # before there was one
        torch.set_num_threads(1)
    else:
        prepare_cpu()
    try:
        from tests.benchmarks.device_bench import Bench
    except ImportError:
        from tests.benchmarks.device_sections import Bench
    bench = Bench(preset, torch.device("cpu"), 1.0)
    work = {part: prepared(bench) for part, prepared in PARTS.items()}
    for run in work.values():
        run()
    print("ready", flush=True)
    for line in sys.stdin:
        started_s = time.process_time()
        work[line.strip()]()
        print(time.process_time() - started_s, flush=True)


class Side:
    """A process that runs the parts of one checkout."""

    def __init__(self, checkout: Path, preset: str):
        self._process = subprocess.Popen(
            [sys.executable, __file__, "--serve", preset],
            cwd=checkout,
            env={**os.environ, "PYTHONPATH": str(checkout)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        if self._read() != "ready":
            raise SystemExit(f"{checkout} cannot run {preset}: see above")

    def seconds(self, part: str) -> float:
        print(part, file=self._process.stdin, flush=True)
        return float(self._read())

    def end(self) -> None:
        self._process.communicate()

    def _read(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()


def rows(before: Path, preset: str, turns: int) -> list[str]:
    """A row of the table for each part."""
    sides = [Side(checkout, preset) for checkout in (before, ROOT)]
    lines = []
    for part in PARTS:
        pairs = [[side.seconds(part) for side in sides] for _ in range(turns)]
        low, ratio, high = quantiles(old / new for old, new in pairs)
        old_ms, new_ms = (1e3 * quantiles(seconds)[1] for seconds in zip(*pairs, strict=True))
        lines.append(f"| `{preset}` | {part} | {old_ms:.0f} | {new_ms:.0f} | {ratio:.2f} | {low:.2f} to {high:.2f} |")
    for side in sides:
        side.end()
    return lines


def main() -> None:
    """Prints the table row by row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("commit", nargs="?")
    parser.add_argument("presets", nargs="*")
    parser.add_argument("--turns", type=int, default=15)
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        serve(arguments.serve)
        return
    if not arguments.commit:
        parser.error("name the commit to compare with")
    with tempfile.TemporaryDirectory() as folder:
        before = Path(folder) / "before"
        git = ["git", "-C", str(ROOT), "worktree"]
        subprocess.run([*git, "add", "--quiet", "--detach", str(before), arguments.commit], check=True)
        try:
            print("| | | before, ms | now, ms | ratio | quartiles |\n|---|---|---|---|---|---|", flush=True)
            for preset in arguments.presets or PRESETS:
                print(*rows(before, preset, arguments.turns), sep="\n", flush=True)
        finally:
            subprocess.run([*git, "remove", "--force", str(before)], check=True)


if __name__ == "__main__":
    main()
