"""The scored text, and the scores of trivial codes on it to compare a model's score with, as lines of text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import pandas as pd

from results.rows.columns import SCORED_TEXT
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


def scored_text_lines(frame: pd.DataFrame) -> list[str]:
    """Tokens, bytes and documents that the runs of a table were scored on; one line, or more with a warning.

    Runs without a score have no part in it. Documents are unknown in records of version 0.1.0.
    """
    scored = frame.dropna(subset=["val_tokens", "val_bytes"])[list(SCORED_TEXT)]
    texts = Counter(_text_in_words(*numbers) for numbers in scored.itertuples(index=False)).most_common()
    if len(texts) == 1:
        return [f"Scored text: {texts[0][0]}."]
    lines = [f"Scored text: {words} ({runs:,} run{'s' if runs > 1 else ''})." for words, runs in texts]
    return ["The runs were scored on different texts, so their scores cannot be compared.", *lines] if lines else []


def _text_in_words(tokens: int, num_bytes: int, documents: Any) -> str:
    counted = "documents unknown" if pd.isna(documents) else f"{documents:,} documents"
    return f"{tokens:,} tokens, {num_bytes:,} bytes, {counted}"
