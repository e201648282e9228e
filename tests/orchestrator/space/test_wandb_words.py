"""W&B's vocabulary: each word has W&B's meaning here, or is refused with what to write instead.

The files and the reference samples are those of tests/orchestrator/wandb_files.py.
"""

import json
import pickle
import random
import re
from collections import Counter

import numpy as np
import pytest

from orchestrator.search.searcher import Searcher, _suggest_one
from orchestrator.space.configuration import Outcome
from orchestrator.space.sections import SpaceError
from tests.orchestrator.spaces import space_of
from tests.orchestrator.wandb_files import BETA, DECAY, EXTRAS, FORMS, LR, NUM_DRAWS, WARMUP, documented, generated
from trainer.spec.yaml_text import YamlText

NUM_FILES = 200
FARTHEST = 0.057
"""Largest difference of two distribution functions of NUM_DRAWS draws each: 1 in 10,000 equal ones differ by more."""
RANDOM = "method: random\nrun_cap: 4\npreset: tiny\nseeds: [1]\n"


def one(folder, key, block):
    """The only parameter that varies in a file."""
    beside = "ttt.mode: {value: score_first}, " if key.startswith("ttt.") else ""
    return space_of(folder, f"{RANDOM}parameters: {{{beside}{key}: {json.dumps(block)}}}").parameters[key]


def complaint(folder, text, **said):
    with pytest.raises(SpaceError) as caught:
        space_of(folder, text, **said)
    return str(caught.value)


class Dice:
    """Optuna's random trial, without Optuna."""

    def __init__(self, seed):
        self._random = random.Random(seed)

    def suggest_float(self, key, low, high, log=False):
        if log:
            return float(np.exp(self._random.uniform(np.log(low), np.log(high))))
        return self._random.uniform(low, high)

    def suggest_int(self, key, low, high, log=False):
        assert not log
        return self._random.randint(low, high)

    def suggest_categorical(self, key, choices):
        return self._random.choice(choices)


def draws(item):
    dice = Dice(0)
    return [_suggest_one(dice, "key", item) for _ in range(NUM_DRAWS)]


def farthest(ours, reference):
    """Largest difference of the two distribution functions; of values without an order, of their shares."""
    if not all(isinstance(value, int | float | np.number) for value in ours):
        counts, others = Counter(map(str, ours)), Counter(map(str, reference))
        return max(abs(counts[value] - others[value]) for value in counts | others) / NUM_DRAWS
    ours, reference = (np.sort(np.round(np.asarray(values, float), 9)) for values in (ours, reference))
    points = np.concatenate([ours, reference])
    shares = [np.searchsorted(values, points, side="right") / NUM_DRAWS for values in (ours, reference)]
    return float(np.abs(shares[0] - shares[1]).max())


@pytest.mark.parametrize("first", range(0, NUM_FILES, 20))
def test_a_wandb_file_is_loaded_with_wandb_s_meaning_or_refused_with_a_reason(tmp_path, first):
    dice = np.random.default_rng(first)
    for number in range(first, first + 20):
        tree, blocks, refusals = generated(number)
        text = json.dumps(tree, indent=1)
        if refusals:
            said = complaint(tmp_path, text, preset="tiny")
            assert any(reason in said for reason in refusals), (number, refusals, said)
            assert re.search(r"space\.yaml:\d+:\d+", said), said
            continue
        space = space_of(tmp_path, text, preset="tiny")
        for key, block in blocks.items():
            apart = farthest(draws(space.parameters[key]), documented(block, dice))
            assert apart < FARTHEST, (number, key, block, apart)


def test_the_files_use_every_word_and_most_of_them_load():
    files = [generated(number) for number in range(NUM_FILES)]
    written = json.dumps([tree for tree, _, _ in files])
    assert all(json.dumps(word) in written for word in EXTRAS)
    loaded = [tree for tree, _, refusals in files if not refusals]
    assert len(loaded) > 80
    kinds = [
        "constant",
        "categorical",
        "int_uniform",
        "uniform",
        "log_uniform",
        "log_uniform_values",
        "inv_log_uniform",
        "normal",
        "beta",
    ]
    kinds += [
        "categorical_w_probabilities",
        "inv_log_uniform_values",
        "log_normal",
        "q_uniform",
        "q_log_uniform",
        "q_normal",
    ]
    kinds += ["q_log_uniform_values", "q_log_normal", "q_beta"]
    assert all(json.dumps(kind) in json.dumps(loaded) for kind in kinds)


@pytest.mark.parametrize(
    ("block", "ends"),
    [
        ({"distribution": "log_uniform", "min": -5, "max": -3}, (np.exp(-5), np.exp(-3))),
        ({"distribution": "inv_log_uniform", "min": 3, "max": 5}, (np.exp(-5), np.exp(-3))),
        ({"distribution": "inv_log_uniform_values", "min": 0.01, "max": 0.05}, (0.01, 0.05)),
    ],
)
def test_logarithmic_words_say_the_line_that_means_the_same(tmp_path, block, ends):
    item = one(tmp_path, LR, block)
    assert item.ends == pytest.approx(ends)
    same = YamlText(item.note.removeprefix("the same as "), "note").value
    assert one(tmp_path, LR, same).ends == pytest.approx(ends, rel=1e-5)


def test_a_step_rounds_to_its_own_multiples_wherever_the_ends_are(tmp_path):
    item = one(tmp_path, DECAY, {"distribution": "q_uniform", "min": 0.05, "max": 0.24, "q": 0.1})
    assert item.choices == [0.1, 0.2]  # 0.05 / 0.1 lies between two multiples, and is the only value that rounds to 0
    assert item.note == "multiples of 0.1: 0.1, 0.2"
    whole = one(tmp_path, WARMUP, {"distribution": "q_uniform", "min": 3, "max": 22, "q": 6})
    assert whole.choices == [6, 12, 18, 24]
    assert whole.weighted.probabilities == pytest.approx([6 / 19, 6 / 19, 6 / 19, 1 / 19])


def test_a_step_that_is_left_out_is_1_and_is_said(tmp_path):
    item = one(tmp_path, WARMUP, {"distribution": "q_uniform", "min": 2, "max": 5})
    assert item.choices == [2, 3, 4, 5]
    assert item.weighted.probabilities == pytest.approx([1 / 6, 1 / 3, 1 / 3, 1 / 6])


def test_a_key_of_integers_draws_integers_alone_and_that_is_said(tmp_path):
    for kind in ("uniform", "log_uniform_values"):
        item = one(tmp_path, WARMUP, {"distribution": kind, "min": 5, "max": 60})
        assert item.note == "draws integers, since the key takes no others"
    assert one(tmp_path, WARMUP, {"min": 5, "max": 60}).note == ""


def test_probabilities_are_of_random_search_alone(tmp_path):
    text = (
        RANDOM.replace("random", "bayes") + f"parameters: {{{LR}: {{values: [0.01, 0.02], probabilities: [0.9, 0.1]}}}}"
    )
    assert "write method: random, or leave them out: {values: [0.01, 0.02]}" in complaint(tmp_path, text)


@pytest.mark.parametrize("method", ["random", "tpe", "cmaes"])
def test_every_method_searches_the_distributions_that_optuna_does_not_have(tmp_path, method):
    text = f"""
preset: tiny
method: {method}
run_cap: 12
seeds: [1]
parameters:
  {LR}: {{distribution: log_normal, mu: -4, sigma: 0.5}}
  {DECAY}: {{distribution: q_uniform, min: 0.0, max: 0.2, q: 0.05}}
  {BETA}: {{distribution: beta, a: 2, b: 2}}
  {WARMUP}: {{distribution: q_log_uniform, min: 1, max: 4}}
"""
    space = space_of(tmp_path, text)
    searcher, values = Searcher(space, 0), []
    for index in range(12):
        outcomes = {known: Outcome(values[known][LR]) for known in range(index)}
        values.append(searcher.ask(values, outcomes))
    assert all(space.parameters[key].takes(value) for chosen in values for key, value in chosen.items())
    assert len({json.dumps(chosen) for chosen in values}) == 12


def test_a_value_and_its_share_of_what_is_drawn_are_inverse(tmp_path):
    for name, form in FORMS.items():
        key, block, reason = form(random.Random(1))
        if reason == "" and (item := one(tmp_path, key, block)).by_share:
            for share in (0.0, 0.01, 0.5, 0.99, 1.0):
                value = item.at(share)
                assert item.at(item.share_of(value)) == pytest.approx(value), name


def test_a_parameter_that_was_drawn_from_can_be_sent_to_another_process(tmp_path):
    for name, form in FORMS.items():
        key, block, reason = form(random.Random(1))
        if reason == "":
            item = one(tmp_path, key, block)
            draws(item)
            assert pickle.loads(pickle.dumps(item)) == item, name


def test_a_sweep_begun_when_steps_were_counted_from_min_goes_on(tmp_path):
    text = (
        f"preset: tiny\nmethod: tpe\nrun_cap: 9\nseeds: [1]\nparameters:\n  {LR}: {{min: 0.01, max: 0.1}}\n  {DECAY}: "
    )
    space = space_of(tmp_path, text + "{distribution: q_uniform, min: 0.05, max: 0.35, q: 0.1}")
    earlier = [{LR: 0.02, DECAY: 0.05}, {LR: 0.03, DECAY: 0.35}, {LR: 0.04, DECAY: 0.15}]
    chosen = Searcher(space, 0).ask(earlier, {index: Outcome(float(index)) for index in range(3)})
    assert chosen[DECAY] in (0.1, 0.2, 0.3)
