"""The first training step of a process, and the first one of the training after it, as a slot's next run has it.

    python -m tests.benchmarks.device_start tiny eager

Prints one line of JSON. `device` calls it: a process starts cold once, and holds its peak of memory to its end.
"""

import json
import sys
import time
from functools import partial

from tests.benchmarks.device_bench import Bench, device_at_hand
from trainer.stages.compiling import Graphs, compiler_for, mean_nats
from trainer.stages.train import AT_WARM_UP, peak_memory_bytes, update


def main() -> None:
    """Takes the first step of two trainings, and between them three more of the first."""
    name, how = sys.argv[1:]
    bench = Bench(name, device_at_hand(), 1.0)

    def first_step() -> partial[object]:
        graphs = Graphs(compiler_for(bench.recipe, "inductor")) if how == "compiled" else None
        return partial(
            update, bench.training(), bench.recipe, AT_WARM_UP, bench.ranks, graphs.loss_of if graphs else mean_nats
        )

    step = first_step()
    said = {"first_step_s": bench.once(step), "first_step_ended_s": time.time()}
    for _ in range(3):
        bench.once(step)
    said["peak_bytes"] = peak_memory_bytes(bench.device)
    said["next_first_step_s"] = bench.once(first_step())
    print(json.dumps(said))


if __name__ == "__main__":
    main()
