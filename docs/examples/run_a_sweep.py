"""Prices a sweep, runs it in this process, and reads it.

python docs/examples/run_a_sweep.py SPACE.yaml [STORE]
"""

import sys

from orchestrator import plan, sweep

space, store = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "runs"
price = plan(space, store=store)
print(f"{price.total_runs} runs, {price.seconds or 0:.0f} seconds of computing")
done = sweep(space, store=store, check=False)
print(done)
print(done.table()[["label", "status", "n"]])
