"""Scores of codes that need no model."""

from results.rows.text_scale import scale_lines


def test_scores_of_trivial_codes_are_listed_from_the_worst_to_the_best():
    lines = scale_lines({"uniform_bpb": 4.1, "zstd22_bpb": 2.4, "unigram_bpb": 3.2}, baseline_bpb=2.3, best_bpb=2.25)
    assert [float(line.split("  ")[-1].split()[0]) for line in lines] == [4.1, 3.2, 2.4, 2.3, 2.25]
    assert lines[-1].startswith("the best configuration")


def test_an_unknown_score_has_no_line():
    assert len(scale_lines({"uniform_bpb": 4.1, "unigram_bpb": None})) == 1
    assert scale_lines({}) == []
