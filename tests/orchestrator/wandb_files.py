"""W&B sweep files over the whole of W&B's grammar, and samples drawn by the formulas of its documentation.

A file is a pure function of its number. The formulas ("Sweep configuration options") are written with numpy alone.
"""

import random

import numpy as np

NUM_DRAWS = 3000
LR, DECAY, BETA = "optimizer.muon.lr", "optimizer.muon.weight_decay", "optimizer.adam.beta1"
ROPE, EPOCHS, WARMUP = "model.rope_base", "ttt.epochs", "optimizer.muon.momentum_warmup_steps"


def documented(block, dice):
    """One draw of each of NUM_DRAWS by W&B's formula for the block."""
    kind = block.get("distribution")
    if kind is None:
        whole = all(isinstance(block.get(end), int) for end in ("min", "max"))
        kind = "constant" if "value" in block else "categorical" if "values" in block else "uniform"
        kind = "int_uniform" if kind == "uniform" and whole else kind
        kind = "categorical_w_probabilities" if "probabilities" in block else kind
    low, high, q = block.get("min"), block.get("max"), block.get("q", 1)
    mu, sigma = block.get("mu", 0), block.get("sigma", 1)
    if kind == "constant":
        return [block["value"]] * NUM_DRAWS
    if kind.startswith("categorical"):
        positions = dice.choice(len(block["values"]), NUM_DRAWS, p=block.get("probabilities"))
        return [block["values"][position] for position in positions]
    if kind == "int_uniform":
        return list(dice.integers(low, high + 1, NUM_DRAWS))
    bare = kind.removeprefix("q_")
    drawn = {
        "uniform": lambda: dice.uniform(low, high, NUM_DRAWS),
        "log_uniform": lambda: np.exp(dice.uniform(low, high, NUM_DRAWS)),
        "log_uniform_values": lambda: np.exp(dice.uniform(np.log(low), np.log(high), NUM_DRAWS)),
        "inv_log_uniform": lambda: 1 / np.exp(dice.uniform(low, high, NUM_DRAWS)),
        "inv_log_uniform_values": lambda: 1 / np.exp(dice.uniform(np.log(1 / high), np.log(1 / low), NUM_DRAWS)),
        "normal": lambda: dice.normal(mu, sigma, NUM_DRAWS),
        "log_normal": lambda: np.exp(dice.normal(mu, sigma, NUM_DRAWS)),
        "beta": lambda: dice.beta(block.get("a", 1), block.get("b", 1), NUM_DRAWS),
    }[bare]()
    return list(drawn if bare == kind else np.round(drawn / q) * q)


# Parameters in every form of W&B's grammar: a key that can take it, the block, and what a refusal says, if it is one.


def _pair(dice, low, high, digits=3):
    ends = sorted(round(dice.uniform(low, high), digits) for _ in range(2))
    return {"min": ends[0], "max": round(ends[1] + (high - low) / 4, digits)}


def _ints(dice, low, high):
    first = dice.randint(low, high - 2)
    return {"min": first, "max": dice.randint(first + 1, high)}


FORMS = {
    "value": lambda dice: (LR, {"value": round(dice.uniform(0.01, 0.1), 3)}, ""),
    "constant": lambda dice: (EPOCHS, {"distribution": "constant", "value": dice.randint(1, 4)}, ""),
    "constant without": lambda dice: (LR, {"distribution": "constant"}, "declares no values"),
    "values": lambda dice: (LR, {"values": [0.01, 0.02, round(dice.uniform(0.03, 0.1), 3)]}, ""),
    "categorical": lambda dice: ("averaging.use", {"distribution": "categorical", "values": ["swa", "none"]}, ""),
    "categorical of lists": lambda dice: ("model.xsa_layers", {"values": [[], [dice.randint(0, 3)]]}, ""),
    "categorical of switches": lambda dice: ("model.ln_scale", {"values": [True, False]}, ""),
    "empty values": lambda dice: (LR, {"values": []}, "values = [] is empty"),
    "probabilities": lambda dice: (LR, {"values": [0.01, 0.02, 0.04], "probabilities": [0.5, 0.3, 0.2]}, ""),
    "categorical_w_probabilities": lambda dice: (
        "averaging.use",
        {"distribution": "categorical_w_probabilities", "values": ["swa", "none"], "probabilities": [0.9, 0.1]},
        "",
    ),
    "probabilities beyond 1": lambda dice: (
        LR,
        {"values": [0.01, 0.02], "probabilities": [0.5, dice.choice([0.7, 1.5])]},
        "write probabilities: [",
    ),
    "too few probabilities": lambda dice: (LR, {"values": [0.01, 0.02], "probabilities": [1.0]}, "one for each"),
    "ints": lambda dice: (WARMUP, _ints(dice, 5, 60), ""),
    "floats": lambda dice: (DECAY, _pair(dice, 0.0, 0.2), ""),
    "int and float": lambda dice: (DECAY, {"min": 0, "max": round(dice.uniform(0.1, 0.3), 2)}, ""),
    "ints for a number": lambda dice: (DECAY, _ints(dice, 0, 3), "or distribution: int_uniform"),
    "floats for an integer": lambda dice: (EPOCHS, {"min": 1.0, "max": 3.0}, "write min: 1, max: 3"),
    "upside down": lambda dice: (LR, {"min": 0.2, "max": 0.1}, "min = 0.2 exceeds max = 0.1"),
    "one end": lambda dice: (LR, {"distribution": "uniform", "max": 0.1}, "min is missing beside max"),
    "int_uniform": lambda dice: (EPOCHS, {"distribution": "int_uniform", **_ints(dice, 1, 9)}, ""),
    "int_uniform of floats": lambda dice: (
        EPOCHS,
        {"distribution": "int_uniform", "min": 1.5, "max": 3.0},
        "needs integers",
    ),
    "uniform": lambda dice: (LR, {"distribution": "uniform", **_pair(dice, 0.01, 0.2)}, ""),
    "uniform of ints": lambda dice: (ROPE, {"distribution": "uniform", **_ints(dice, 100, 9000)}, ""),
    "q_uniform": lambda dice: (DECAY, {"distribution": "q_uniform", **_pair(dice, 0, 0.3), "q": 0.05}, ""),
    "q_uniform without q": lambda dice: (WARMUP, {"distribution": "q_uniform", **_pair(dice, 3, 20)}, ""),
    "q_uniform of ints": lambda dice: (WARMUP, {"distribution": "q_uniform", **_ints(dice, 5, 60), "q": 5}, ""),
    "q_uniform to one value": lambda dice: (
        DECAY,
        {"distribution": "q_uniform", "min": 0.1, "max": 0.3},
        "smaller one",
    ),
    "q without q_": lambda dice: (DECAY, {"min": 0.1, "max": 0.3, "q": 0.1}, "write distribution: q_uniform"),
    "log_uniform": lambda dice: (LR, {"distribution": "log_uniform", **_pair(dice, -9, -3, 2)}, ""),
    "log_uniform of values": lambda dice: (
        LR,
        {"distribution": "log_uniform", "min": 1e-4, "max": 0.1},
        "{distribution: log_uniform_values, min: 0.0001, max: 0.1}",
    ),
    "log_uniform beyond floats": lambda dice: (
        ROPE,
        {"distribution": "log_uniform", "min": 1, "max": 800},
        "no number",
    ),
    "inv_log_uniform": lambda dice: (LR, {"distribution": "inv_log_uniform", **_pair(dice, 3, 9, 2)}, ""),
    "log_uniform_values": lambda dice: (LR, {"distribution": "log_uniform_values", "min": 1e-4, "max": 0.1}, ""),
    "log_uniform_values from 0": lambda dice: (
        LR,
        {"distribution": "log_uniform_values", "min": 0.0, "max": 0.1},
        "must be greater than 0",
    ),
    "inv_log_uniform_values": lambda dice: (
        LR,
        {"distribution": "inv_log_uniform_values", "min": 1e-3, "max": round(dice.uniform(0.01, 0.1), 3)},
        "",
    ),
    "q_log_uniform": lambda dice: (WARMUP, {"distribution": "q_log_uniform", **_pair(dice, 1, 4, 2), "q": 3}, ""),
    "q_log_uniform for a number": lambda dice: (
        ROPE,
        {"distribution": "q_log_uniform", **_pair(dice, 5, 8, 2), "q": 100},
        "",
    ),
    "q_log_uniform_values": lambda dice: (
        EPOCHS,
        {"distribution": "q_log_uniform_values", "min": 1, "max": dice.randint(5, 40), "q": 1},
        "",
    ),
    "q_log_uniform_values without q": lambda dice: (
        LR,
        {"distribution": "q_log_uniform_values", "min": 1e-4, "max": 0.1},
        "q = 1 (1 when it is left out) rounds all",
    ),
    "normal": lambda dice: (
        DECAY,
        {"distribution": "normal", "mu": 0.1, "sigma": round(dice.uniform(0.01, 0.02), 3)},
        "",
    ),
    "normal of its own": lambda dice: (LR, {"distribution": "normal"}, "must be greater than 0"),
    "normal below 0": lambda dice: (
        LR,
        {"distribution": "normal", "mu": 0.02, "sigma": 0.02},
        "give a smaller sigma, or distribution: uniform with min and max",
    ),
    "normal without width": lambda dice: (
        LR,
        {"distribution": "normal", "mu": 1, "sigma": 0},
        "must be greater than 0",
    ),
    "normal with ends": lambda dice: (
        LR,
        {"distribution": "normal", "min": 0.1, "max": 0.2},
        "distribution = normal needs mu/sigma, not min/max",
    ),
    "normal for an integer": lambda dice: (
        WARMUP,
        {"distribution": "normal", "mu": 30, "sigma": 3},
        "write distribution: q_normal, with q: 1",
    ),
    "q_normal": lambda dice: (
        WARMUP,
        {"distribution": "q_normal", "mu": dice.randint(40, 60), "sigma": 8.0, "q": 4},
        "",
    ),
    "q_normal without q": lambda dice: (WARMUP, {"distribution": "q_normal", "mu": 40.0, "sigma": 6}, ""),
    "log_normal": lambda dice: (
        LR,
        {"distribution": "log_normal", "mu": round(dice.uniform(-5, -4), 1), "sigma": 0.7},
        "",
    ),
    "q_log_normal": lambda dice: (ROPE, {"distribution": "q_log_normal", "mu": 8, "sigma": 0.5, "q": 100.0}, ""),
    "mu alone": lambda dice: (LR, {"mu": 0.1, "sigma": 0.01}, "need their distribution; known: normal"),
    "beta": lambda dice: (BETA, {"distribution": "beta", "a": dice.randint(2, 5), "b": 1.5}, ""),
    "beta of its own": lambda dice: (BETA, {"distribution": "beta"}, ""),
    "q_beta": lambda dice: (BETA, {"distribution": "q_beta", "a": 2, "b": 2, "q": 0.1}, ""),
    "two at once": lambda dice: (LR, {"value": 0.1, "values": [0.1]}, "declares its values twice"),
    "another word": lambda dice: (LR, {"distribution": "gaussian", "mu": 1}, "'gaussian' is unknown"),
    "no mapping": lambda dice: (LR, 0.1, "must be a mapping; for example: {value: 0.1}"),
    "no recipe key": lambda dice: ("learning_rate", {"value": 0.1}, "learning_rate is no recipe key"),
}
EXTRAS = {
    "program": ("train.py", "program = 'train.py': there is no such file"),
    "command": (["${env}", "${program}"], "command: ${program} needs the script"),
    "project": ("mine", "start with --wandb PROJECT"),
    "entity": ("me", "set WANDB_ENTITY"),
    "controller": ({"type": "local"}, "chosen by the command that runs the sweep"),
    "early_terminate": ({"type": "hyperband", "min_iter": 3, "eta": 4}, "stopping: {rule: asha, eta: 4}"),
    "scheduler": ({"engine": "optuna"}, "scheduler: a search here is one of"),
    "apiVersion": ("1", "apiVersion: the file has no versions"),
    "run_cap": ("20", "remove the quotes: run_cap: 20"),
    "metric": ({"name": "val_bpb", "goal": "minimize", "target": 1.0}, "metric.target: a sweep runs all"),
    "metrics": ([{"name": "a"}, {"name": "b"}], "metrics: configurations are ranked by one column"),
    "method": ("custom", "write method: tpe"),
}
SILENT = {"name": "mine", "description": "Which?", "metric": {"name": "val_loss", "goal": "maximize"}}


def nested(key, block):
    """`a.b: block` as W&B nests parameters, or with dots where the key has no section."""
    for part in reversed(key.split(".")[1:]):
        block = {"parameters": {part: block}}
    return {key.split(".")[0]: block}


def generated(number):
    """A W&B file, its parameters' blocks by key, and what its refusal says, empty where it must load."""
    dice = random.Random(number)
    names = [list(FORMS)[number % len(FORMS)], *dice.sample([n for n in FORMS if FORMS[n](dice)[2] == ""], 2)]
    blocks, refusals = {}, []
    for name in names[: dice.randint(1, 3)]:
        key, block, reason = FORMS[name](dice)
        if key not in blocks:
            blocks[key] = block
            refusals += [reason] if reason else []
    weighted = any(isinstance(block, dict) and "probabilities" in block for block in blocks.values())
    method = "random" if weighted else dice.choice(["random", "bayes"])
    tree = {"method": method, "run_cap": 12, "parameters": {}}
    for key, block in blocks.items():
        tree["parameters"] |= nested(key, block) if len(blocks) == 1 and dice.random() < 0.5 else {key: block}
    tree |= {key: value for key, value in SILENT.items() if dice.random() < 0.3}
    if number % 5 == 4:
        key, (value, reason) = list(EXTRAS.items())[number // 5 % len(EXTRAS)]
        tree[key], refusals = value, [*refusals, reason]
    if number % 50 == 49:
        return {"sweep": tree}, blocks, ["the keys stand at the top of the file"]
    if any(key.startswith("ttt.") for key in blocks):
        tree["parameters"].setdefault("ttt.mode", {"value": "score_first"})
    return tree, blocks, refusals
