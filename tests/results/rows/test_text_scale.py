"""Scores of codes that need no model."""

from results.rows.text_scale import scale_lines, scored_text_lines
from tests.results.sweeps import frame, row


def test_scores_of_trivial_codes_are_listed_from_the_worst_to_the_best():
    lines = scale_lines({"uniform_bpb": 4.1, "zstd22_bpb": 2.4, "unigram_bpb": 3.2}, baseline_bpb=2.3, best_bpb=2.25)
    assert [float(line.split("  ")[-1].split()[0]) for line in lines] == [4.1, 3.2, 2.4, 2.3, 2.25]
    assert lines[-1].startswith("the best configuration")


def test_an_unknown_score_has_no_line():
    assert len(scale_lines({"uniform_bpb": 4.1, "unigram_bpb": None})) == 1
    assert scale_lines({}) == []


TEXT = {"val_tokens": 62_021_632, "val_bytes": 151_080_363, "val_documents": 50_000}


def test_the_scored_text_is_told_by_tokens_bytes_and_documents():
    rows = frame(row("a", 1, 2.0, **TEXT), row("b", 1, 2.1, **TEXT), row("c", 1, None, status="failed"))
    assert scored_text_lines(rows) == ["Scored text: 62,021,632 tokens, 151,080,363 bytes, 50,000 documents."]


def test_scores_on_unlike_texts_are_told_apart():
    lines = scored_text_lines(frame(row("a", 1, 2.0, **TEXT), row("b", 1, 2.1, val_tokens=9, val_bytes=20)))
    assert lines[1:] == [
        "Scored text: 62,021,632 tokens, 151,080,363 bytes, 50,000 documents (1 run).",
        "Scored text: 9 tokens, 20 bytes, documents unknown (1 run).",
    ]
    assert "cannot be compared" in lines[0]


def test_rows_without_a_scored_text_tell_nothing():
    assert scored_text_lines(frame(row("a", 1, 2.0))) == []
