"""What a score means: the same text under codes that need no model, as lines of text."""

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
    """Lines for scale, in bits per byte, worst code first; what is not known has no line.

    metrics:  of the stage `val_text`
    """
    found = {sentence: metrics.get(name) for name, sentence in CODES.items()}
    found |= {"the baseline": baseline_bpb, "the best configuration": best_bpb}
    known = {sentence: float(bpb) for sentence, bpb in found.items() if bpb is not None}
    width = max(map(len, known), default=0)
    by_length = sorted(known.items(), key=lambda item: -item[1])
    return [f"{sentence:<{width}}  {bpb:7.4f} bits per byte" for sentence, bpb in by_length]
