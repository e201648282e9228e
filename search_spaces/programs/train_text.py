"""A script as people have them: it knows nothing of sweeps, and takes its knobs from the environment.

It trains a character model of two characters' context on the text of Python's own standard library, with NumPy, in
seconds on a CPU; it prints its learning curve and its scores, and writes its weights. With EVAL_ONLY=1 it only scores
the weights that it finds, mixed with a cache of what it has already scored.
"""

import itertools
import os
import pathlib
import random
import time
import zlib

import numpy as np

SEED = int(os.environ.get("SEED", "1337"))
STEPS = int(os.environ.get("STEPS", "60"))
LR = float(os.environ.get("LR", "2.0"))
DECAY = float(os.environ.get("DECAY", "0.0"))
CACHE_WEIGHT = float(os.environ.get("CACHE_WEIGHT", "0.0"))
EVAL_ONLY = os.environ.get("EVAL_ONLY") == "1"
WEIGHTS = "final_model.npz"
BATCH = 4096


def text_of_library():
    """Bytes of two modules: one to train on, one to score."""
    modules = [pathlib.Path(os.__file__).with_name(name) for name in ("argparse.py", "typing.py")]
    return [np.frombuffer(path.read_bytes(), dtype=np.uint8).astype(np.int64) % 128 for path in modules]


def nats(table, text):
    """Negative log-likelihood of every character under the table's softmax."""
    rows = table[text[:-1]]
    rows = rows - rows.max(axis=1, keepdims=True)
    return np.log(np.exp(rows).sum(axis=1)) - rows[np.arange(len(rows)), text[1:]]


def train(text):
    draw = np.random.default_rng(SEED)
    table = draw.normal(0.0, 0.02, (128, 128))
    began = time.perf_counter()
    for step in range(1, STEPS + 1):
        at = draw.integers(0, len(text) - 1, BATCH)
        before, after = text[at], text[at + 1]
        rows = np.exp(table[before] - table[before].max(axis=1, keepdims=True))
        slope = rows / rows.sum(axis=1, keepdims=True)
        loss = -np.log(slope[np.arange(BATCH), after]).mean()
        slope[np.arange(BATCH), after] -= 1.0
        gradient = np.zeros_like(table)
        np.add.at(gradient, before, slope)
        rate = LR * (1 - step / (STEPS + 1))
        table -= rate * 128 * gradient / BATCH + rate * DECAY * table
        if step % 10 == 0 or step == 1:
            ms = 1000 * (time.perf_counter() - began)
            print(f"step:{step}/{STEPS} train_loss:{loss:.4f} train_time:{ms:.0f}ms")
    np.savez(WEIGHTS, table=table.astype(np.float16))
    print(f"Total submission size: {len(zlib.compress(table.astype(np.float16).tobytes(), 9))} bytes")


def score(text):
    table = np.load(WEIGHTS)["table"].astype(np.float64)
    began = time.perf_counter()
    model = nats(table, text)
    if CACHE_WEIGHT:
        counts = np.ones((128, 128))
        seen = np.empty_like(model)
        for place, (before, after) in enumerate(itertools.pairwise(text)):
            seen[place] = counts[before, after] / counts[before].sum()  # scored first, learnt afterwards
            counts[before, after] += 1
        model = -np.log((1 - CACHE_WEIGHT) * np.exp(-model) + CACHE_WEIGHT * seen)
    loss = model.mean()
    ms = 1000 * (time.perf_counter() - began)
    print(f"final_exact val_loss:{loss:.8f} val_bpb:{loss / np.log(2):.8f} eval_time:{ms:.0f}ms")


if __name__ == "__main__":
    random.seed(SEED)
    to_train, to_score = text_of_library()
    if not EVAL_ONLY:
        train(to_train)
    score(to_score[:40_000])
