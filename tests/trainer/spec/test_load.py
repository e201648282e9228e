import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from trainer.spec.errors import ProblemsError, RecipeError
from trainer.spec.load import load_preset, override_text, parse_overrides


def complaint(**overrides) -> str:
    with pytest.raises(RecipeError) as caught:
        load_preset("tiny", {key.replace("__", "."): value for key, value in overrides.items()})
    return str(caught.value)


def test_an_unknown_key_is_reported_with_the_nearest_known_one():
    assert "ttt.learning_rate is no recipe key; did you mean 'ttt.lr'?" in complaint(ttt__learning_rate=1e-3)
    assert "optimizer.lr is no recipe key; did you mean 'optimizer.muon.lr'?" in complaint(optimizer__lr=0.1)


def test_a_wrong_type_is_reported_with_the_expected_one():
    assert "model.num_layers = 'four' must be an integer (--set)" in complaint(model__num_layers="four")


def test_a_number_in_quotes_is_refused_with_advice_to_remove_them():
    assert "ttt.lr = '1e-4' must be a number; it is text, so remove the quotes" in complaint(ttt__lr="1e-4")


def test_a_value_out_of_range_is_reported_with_the_limit():
    assert "averaging.swa_below = 1.5 must be at most 1" in complaint(averaging__swa_below=1.5)


def test_contradicting_fields_are_reported_together():
    text = complaint(evaluation__stride_tokens=3000)
    assert "evaluation.stride_tokens = 3000 exceeds evaluation.window_tokens = 128" in text


def test_all_complaints_come_at_once():
    text = complaint(model__num_layers=0, ttt__mode="sometimes", bogus=1, data__vocab_size=70_000)
    assert text.startswith("4 problems in preset tiny")


def test_an_unknown_choice_offers_the_nearest_and_lists_all():
    text = complaint(ttt__mode="score-first")
    assert "did you mean 'score_first'?; known: off, score_first" in text


def test_a_preset_file_may_extend_a_preset_and_errors_name_its_line(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("extends: tiny\nttt:\n  mode: score_first\n  lr: 1e-4\n")
    assert load_preset(str(path)).recipe.ttt.lr == 1e-4
    path.write_text("extends: tiny\nttt:\n  lr: -1\n")
    with pytest.raises(RecipeError, match=r"ttt.lr = -1 must be greater than 0.0 \(.*mine.yaml:3:3\)"):
        load_preset(str(path))


def test_presets_that_extend_each_other_in_a_circle_are_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.yaml").write_text("extends: b.yaml\n")
    (tmp_path / "b.yaml").write_text("extends: a.yaml\n")
    with pytest.raises(RecipeError, match="leads back to itself"):
        load_preset("a.yaml")


def test_broken_yaml_is_reported_with_its_place(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("extends: tiny\nttt: [1, 2\n")
    with pytest.raises(ProblemsError, match=r"mine.yaml:3:1: not valid YAML"):
        load_preset(str(path))


def test_yaml_1_2_scalars():
    read = parse_overrides(["ttt.lr=1e-4", "ttt.mode=off", "seed=010"])
    assert read == {"ttt.lr": 1e-4, "ttt.mode": "off", "seed": 10}


LOOKING_LIKE_OTHERS = ("1", "1e-4", "0x10", "true", "off", "null", "~", "", " a ", "a: b", "[1, 2]", "#a", "a #b", "'")
VALUES = (1, -1, 1e-4, 1e-22, 1e22, 2.0, True, False, None, [], [2, 3], [0.5, "a", None], "score_first", "data/a b=c")


@pytest.mark.parametrize("value", [*VALUES, *LOOKING_LIKE_OTHERS])
def test_an_override_reads_back_as_what_was_written(value):
    read = parse_overrides([override_text("a.key", value)])
    assert (read, repr(read["a.key"])) == ({"a.key": value}, repr(value))


@given(st.text(st.characters(codec="utf-8")))
@settings(deadline=None)
@example('# \U0001f600\x85\x7f\\"')
def test_any_text_reads_back_as_itself(text):
    assert parse_overrides([override_text("a.key", text)]) == {"a.key": text}


def test_a_text_is_written_as_people_write_it():
    assert override_text("ttt.mode", "score_first") == "ttt.mode=score_first"
    assert override_text("data.path", "7") == 'data.path="7"'


@pytest.mark.parametrize("day", ["2020-12-31", "2020-13-45", "2020-12-31T10:00:00Z"])
def test_a_day_is_a_text_as_it_is_written_whether_a_calendar_has_it_or_not(day):
    assert parse_overrides([f"data.path={day}"]) == {"data.path": day}


def test_an_override_without_equals_is_refused():
    with pytest.raises(RecipeError, match="'ttt.lr' is not KEY=VALUE"):
        parse_overrides(["ttt.lr"])


def test_a_search_space_in_place_of_a_recipe_is_told_its_own_command(tmp_path):
    (tmp_path / "mine.yaml").write_text("preset: tiny\nseeds: [1, 2]\n")
    with pytest.raises(RecipeError, match=r"is a search space.*; to run it: orchestrator sweep .*mine\.yaml"):
        load_preset(str(tmp_path / "mine.yaml"))


def test_nothing_is_spelled_as_in_the_file():
    assert "model.num_layers = null must be an integer" in complaint(model__num_layers=None)
