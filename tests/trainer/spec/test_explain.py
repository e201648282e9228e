"""`python -m trainer explain`: a field is found by what people type."""

import pytest
from typer.testing import CliRunner

from trainer.cli import app
from trainer.spec.errors import RecipeError
from trainer.spec.field_docs import sentence_of
from trainer.spec.field_index import FIELDS, fields_matching


def test_a_part_of_the_name_lists_every_field_that_has_it():
    assert set(fields_matching("lr")) == {
        "optimizer.muon.lr",
        "optimizer.adam.embed_lr",
        "optimizer.adam.scalar_lr",
        "optimizer.adam.head_lr",
        "ttt.lr",
    }


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("model.ln", ["model.ln_scale"]),
        ("ttt.lr", ["ttt.lr"]),
        ("muon", [key for key in FIELDS if key.startswith("optimizer.muon.")]),
        ("ttt", [key for key in FIELDS if key.startswith("ttt.")]),
        ("softcap", ["model.logit_softcap"]),
        ("", list(FIELDS)),
        ("nothing_like_it", []),
    ],
)
def test_a_start_or_a_section_is_found_too(asked, found):
    assert fields_matching(asked) == found


def test_no_word_is_broken_on_80_columns_and_null_is_spelled():
    printed = CliRunner().invoke(app, ["explain"], env={"COLUMNS": "80"}).output
    assert max(map(len, printed.splitlines())) <= 80
    assert "data.order_seed = null\n" in printed
    assert "optimizer.adam.scalar_lr = 0.025\n" in printed
    flat = " ".join(printed.split())
    assert all(" ".join(sentence_of(info).split()) in flat for info in FIELDS.values())


def test_a_near_name_is_offered():
    done = CliRunner().invoke(app, ["explain", "mode.ln_scale"])
    assert isinstance(done.exception, RecipeError)
    assert "did you mean 'model.ln_scale'?" in str(done.exception)


def test_words_of_the_description_find_a_field_where_no_key_has_them():
    printed = CliRunner().invoke(app, ["explain", "learning_rate"]).output
    assert all(key in printed for key in ("optimizer.muon.lr", "optimizer.adam.embed_lr", "ttt.lr"))
    assert "smear_gate" not in printed
