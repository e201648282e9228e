"""The rules of the static audit: which condition each breach belongs to, and the ruling it stands on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Rule:
    """One kind of breach."""

    name: str
    conditions: tuple[str, ...]
    """The condition broken first, then those broken with it (docs/recipe.md 1.4)."""
    rulings: tuple[str, ...]
    sentence: str
    """What was found; the finding adds the lines."""
    clears: str
    """What would show that it is no breach, or mend it."""


_RULES = (
    Rule(
        "trained-before-scoring",
        ("E6", "E3", "E1", "E4"),
        ("#402", "#677"),
        "the model learns from validation tokens before they are scored",
        "score each chunk without gradients and keep that score, then learn from that chunk, in the same loop",
    ),
    Rule(
        "val-in-training",
        ("E7", "E6", "E3"),
        ("#402", "#677"),
        "validation tokens are among the training data",
        "show that the files read here hold no validation document",
    ),
    Rule(
        "chunk-trained-before-score",
        ("E3", "E1"),
        ("#1017", "#402"),
        "a part of the text is learned from before that part's score is taken",
        "move the update behind the score of the same tokens",
    ),
    Rule(
        "rescored-after-training",
        ("E4", "E13", "E3"),
        ("#1017", "#677"),
        "tokens are scored again after the model learned from them, and the later score counts",
        "keep the first score of every token; further epochs may train, not score",
    ),
    Rule(
        "last-epoch-score",
        ("E4", "E13", "E3"),
        ("#1017", "#677"),
        "the score that counts is taken in a later epoch, after earlier epochs learned from the same tokens",
        "record the score in the first epoch, before the first update",
    ),
    Rule(
        "table-of-unscored-tokens",
        ("E3", "E1"),
        ("#1017", "#779"),
        "a table holds tokens when they are scored",
        "fill the table with a chunk after that chunk was scored",
    ),
    Rule(
        "target-keyed-lookup",
        ("E14", "E2"),
        ("#779", "#1017"),
        "a probability is looked up for the target alone and mixed into its score",
        "look up by context alone, form the distribution over the whole vocabulary, normalise, then take the target",
    ),
    Rule(
        "target-gate",
        ("E14", "E2", "E4"),
        ("#1017", "#779"),
        "whether a score is changed depends on the target itself, by its score or by its count",
        "decide by the context alone, before the target is looked at",
    ),
    Rule(
        "logits-by-target",
        ("E14", "E2", "E1"),
        ("#779", "#1017"),
        "logits are scaled or shifted by what their target is, or by where the next document begins",
        "change logits by the context alone, as by the token before the target",
    ),
    Rule(
        "unnormalised-mixture",
        ("E2",),
        ("#1017",),
        "what is scored is no distribution: the weights of its parts do not sum to one",
        "divide by the sum over the vocabulary, or use weights that sum to one, before the target is taken",
    ),
    Rule(
        "statistics-of-the-whole-text",
        ("E1", "E6"),
        ("#1017",),
        "scores depend on statistics of the whole validation text, tokens to come included",
        "count only tokens that were scored",
    ),
    Rule(
        "best-of-passes",
        ("E4", "E14", "E2"),
        ("#1017", "#1376"),
        "the smaller of several scores of the same tokens counts",
        "decide before scoring which pass counts, and score once",
    ),
    Rule(
        "selection-by-score",
        ("E4", "E6"),
        ("#1376", "#1017"),
        "a value that a validation score chose is used to score again",
        "choose it on training data, or before evaluation",
    ),
    Rule(
        "weights-selected-by-score",
        ("E7", "E6"),
        ("#402", "#1376"),
        "weights are chosen by their validation score",
        "choose the checkpoint by time or by training data",
    ),
    Rule(
        "training-steered-by-score",
        ("E7", "E6"),
        ("#402", "#1376"),
        "the course of training depends on a validation score",
        "steer by time or by the training loss; a validation score may be logged",
    ),
    Rule(
        "rank-order",
        ("E12", "E3"),
        ("#1017",),
        "a rank learns from tokens that another rank may not have scored yet",
        "put a barrier or another collective between the score and the step",
    ),
    Rule(
        "calibration",
        ("E6", "E8"),
        ("#677", "#1376"),
        "weights or quantisation are computed from validation tokens",
        "calibrate on training tokens within the training time, or on text that the model generates",
    ),
    Rule(
        "calibration-after-the-clock",
        ("E8",),
        ("#677", "#1376"),
        "training tokens are looked at after a training clock that takes all 600 seconds",
        "end training earlier, by a reserve in which calibration fits",
    ),
    Rule(
        "training-after-the-clock",
        ("E16", "E8"),
        ("#677", "#1017"),
        "training goes on, by no clock, after a training clock that takes all 600 seconds",
        "train within the clock, or end it earlier by what the further steps take",
    ),
    Rule(
        "val-in-artifact",
        ("E7", "E15"),
        ("#402",),
        "validation tokens are written into what is saved",
        "show that what is written is a log or a score, not part of the artifact",
    ),
    Rule(
        "artifact-not-scored",
        ("E15",),
        ("#1017",),
        "the model in memory is scored after it was written, and what was written is never read",
        "score the weights that are read back from the artifact",
    ),
    Rule(
        "table-beside-the-artifact",
        ("E15", "E8"),
        ("#1017",),
        "a table of training tokens is used by the scores and is not in the file of the weights",
        "write the table into the artifact, with its bytes, and score with what is read back",
    ),
    Rule(
        "stored-text",
        ("E7", "E14", "E2", "E15"),
        ("#168", "#1017"),
        "text stored with the script is compared with the targets and decides over their scores",
        "score every target by the distribution of the model",
    ),
    Rule(
        "tokens-dropped",
        ("E9",),
        ("#1017",),
        "only a part of the validation tokens is scored",
        "score every target of the split",
    ),
    Rule(
        "targets-counted-twice",
        ("E9", "E4"),
        ("#1017",),
        "targets are counted in more than one window",
        "count of each window the targets that no earlier one counted",
    ),
    Rule(
        "scores-changed",
        ("E4", "E2"),
        ("#1017",),
        "scores are cut off before they are added, or multiplied with a number",
        "add the scores as they are",
    ),
    Rule(
        "bytes-miscounted",
        ("E9",),
        ("#1017",),
        "the bytes of the text are not counted as the pieces' bytes",
        "count bytes as docs/recipe.md 1.2 does",
    ),
    Rule(
        "tokens-miscounted",
        ("E9",),
        ("#1017",),
        "the tokens that divide the score are not counted one by one",
        "count each target once",
    ),
    Rule(
        "future-position",
        ("E1", "E3"),
        ("#1017",),
        "the model mixes what comes behind a position into it, and so sees the token that is scored",
        "shift the other way, so that a position gets what came before it; tell attention of a causal mask",
    ),
    Rule(
        "state-across-documents",
        ("E11", "E1"),
        ("#1797",),
        "a model that keeps packed documents apart looks back across their borders",
        "close the gate where a document begins, as by the mask of ids that are no BOS",
    ),
)
RULES: Mapping[str, Rule] = {rule.name: rule for rule in _RULES}
