"""Slips in a search space file that were once taken, or answered with a misleading word."""

from pathlib import Path

import pytest

from orchestrator.space.load_space import load_space
from orchestrator.space.sections import SpaceError
from tests.orchestrator.spaces import TTT, space_of


def complaints(folder: Path, text: str) -> str:
    with pytest.raises(SpaceError) as caught:
        space_of(folder, text)
    return str(caught.value)


@pytest.mark.parametrize("key", ["ttt.mod", "ttt.mode.x", "foo.bar"])
def test_a_condition_on_a_key_that_no_recipe_has_is_refused(tmp_path, key):
    message = complaints(tmp_path, TTT.replace("3]}", f"3], when: {{{key}: score_first}}}}"))
    assert f"parameters.ttt.epochs: when: {key} is no recipe key" in message


def test_a_condition_with_one_misspelled_value_is_refused(tmp_path):
    message = complaints(tmp_path, TTT.replace("3]}", "3], when: {ttt.mode: [score_first, of]}}"))
    assert "when: ttt.mode is never ['score_first', 'of']; it takes: score_first" in message


def test_a_section_of_the_recipe_at_the_top_is_told_where_it_belongs(tmp_path):
    assert "model is unknown; recipe keys stand under `parameters:`" in complaints(tmp_path, f"{TTT}model: {{}}\n")


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("learning_rate", "optimizer.muon.lr"),
        ("batch_size", "data.train_batch_tokens"),
        ("n_layer", "model.num_layers"),
    ],
)
def test_names_that_other_programs_use_find_the_key(tmp_path, key, meant):
    message = complaints(tmp_path, TTT.replace("ttt.epochs:", f"{key}:"))
    assert f"parameters.{key} is no recipe key; did you mean '{meant}'?" in message


def test_no_name_is_offered_that_is_only_a_little_alike(tmp_path):
    message = complaints(tmp_path, TTT.replace("{ttt.mode: off}}", "{ttt.mode: off}, unit: bits}"))
    assert "compare.unit = 'bits' is unknown; known: nats, bpb" in message


def test_looking_for_the_worst_loss_is_said(tmp_path):
    (note,) = space_of(tmp_path, f"{TTT}metric: {{goal: maximize}}\n").notes
    assert note == "metric: goal: maximize looks for the worst val_bpb: less of it is better"
    assert not space_of(tmp_path, f"{TTT}metric: {{name: mfu, goal: maximize}}\n").notes


def test_a_speed_that_no_machine_can_have_is_refused(tmp_path):
    assert "guard.min_speed = 90 must lie between 0 and 1" in complaints(tmp_path, f"{TTT}guard: {{min_speed: 90}}\n")


def test_a_file_of_many_letters_names_its_sweep_readably(tmp_path):
    path = tmp_path / "mein süßer Versuch.yaml"
    path.write_text(TTT.replace("name: ttt\n", ""))
    assert load_space(path).name == "mein-susser-Versuch"


def test_a_preset_file_that_is_not_there_is_named_with_the_nearest(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text("extends: tiny\n")
    message = complaints(tmp_path, TTT.replace("preset: tiny", "preset: mien.yaml"))
    assert "there is no such preset file: mien.yaml; did you mean 'mine.yaml'?" in message


def test_the_nano_sibling_of_a_preset_is_offered_too(tmp_path):
    message = complaints(tmp_path, TTT.replace("preset: tiny", "preset: tinynano"))
    assert "preset 'tinynano' is unknown; did you mean 'tiny_nano'?" in message


def test_two_documents_in_a_file_are_said_to_be_two(tmp_path):
    message = complaints(tmp_path, f"{TTT}---\n{TTT}")
    assert "not valid YAML: expected a single document in the stream, but found another document" in message


@pytest.mark.parametrize(
    ("written", "instead", "hint"),
    [
        ("ttt.epochs: {values: [1, 2, 3]}", "ttt.epochs:{values: [1]}", "; a space is missing after ':'"),
        ("ttt.epochs: {values: [1, 2, 3]}", "ttt.epochs:\u00a0{values: [1]}", "; the line holds a no-break space"),
        ("  ttt.epochs: {values: [1, 2, 3]}", "\tttt.epochs: {values: [1]}", "; indent with spaces, not with a tab"),
    ],
)
def test_what_nobody_sees_in_a_line_is_said(tmp_path, written, instead, hint):
    assert hint in complaints(tmp_path, TTT.replace(written, instead))


def test_a_preset_of_another_kind_is_not_said_to_be_missing_too(tmp_path):
    message = complaints(tmp_path, TTT.replace("preset: tiny", "preset: 150"))
    assert "preset = 150 must be a text" in message
    assert "missing" not in message


def test_nothing_is_spelled_as_in_the_file(tmp_path):
    assert "parameters.ttt.epochs = null must be" in complaints(tmp_path, TTT.replace("{values: [1, 2, 3]}", ""))
