"""Scores of trivial codes on the same text, as lines of text, to compare a model's score with."""

from __future__ import annotations

from collections.abc import Mapping

from trainer.spec.record import Metric

CODES: Mapping[str, str] = {
    "uniform_bpb": "every token equally likely",
    "unigram_bpb": "token frequencies of the training text",
    "zstd22_bpb": "the text compressed by zstd at level 22",
}


def scale_lines(
    metrics: Mapping[str, Metric], baseline_bpb: float | None = None, best_bpb: float | None = None
) -> list[str]:
    """One line for each known score, in bits per byte, worst first.

    metrics:  those of the stage `val_text`
    """
    scores = {sentence: metrics.get(name) for name, sentence in CODES.items()}
    scores |= {"the baseline": baseline_bpb, "the best configuration": best_bpb}
    known = {sentence: float(bpb) for sentence, bpb in scores.items() if bpb is not None}
    width = max(map(len, known), default=0)
    by_length = sorted(known.items(), key=lambda item: -item[1])
    return [f"{sentence:<{width}}  {bpb:7.4f} bits per byte" for sentence, bpb in by_length]
