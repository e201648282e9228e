"""Reads a finished sweep: its runs, its table, its verdicts, its figures, its winner.

python docs/examples/open_a_sweep.py NAME [STORE]
"""

import sys

from results import open_sweep

ttt = open_sweep(*sys.argv[1:])
print(ttt.runs[["config", "seed", "val_bpb", "total_bytes"]])
print(ttt.table()[["rank", "label", "n", "mean", "sd"]])
print(ttt.compare()[["label", "verdict", "gain", "p_corrected"]])
for kind in ("scores", "gains", "curves"):
    ttt.figure(kind).savefig(f"{kind}.png")

best = ttt.best()
print(best.sentence)
print(best.artifact)
