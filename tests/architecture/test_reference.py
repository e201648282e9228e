"""The pages of docs/reference/ and of presets say what the code says today."""

import pytest

from tests.docs.pages import DOCS, script
from trainer.spec.load import load_preset


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    return script("generate").pages()


def test_every_page_is_current(pages):
    written = {path.name: path.read_text(encoding="utf-8") for path in (DOCS / "reference").iterdir()}
    stale = sorted(name for name in {*pages, *written} if pages.get(name) != written.get(name))
    assert not stale, f"docs/reference: {', '.join(stale)} no longer says what the code says; run: make docs"


def test_every_field_key_and_command_is_there(pages):
    assert "| `ttt.lr` | number | `0.002` |  | adapt |" in pages["recipe_fields.md"]
    assert "Without effect while `ttt.mode` is `off` or `pre_eval`." in pages["recipe_fields.md"]
    assert "## stopping, rule asha or median" in pages["search_space.md"]
    assert "| `rule` | race | required |" in pages["search_space.md"]
    assert "## orchestrator cache verify" in pages["commands.md"]
    assert "| `--set` | KEY=VALUE, may be repeated |  |" in pages["commands.md"]
    assert "## python -m trainer data build" in pages["commands.md"]


def test_presets_equal_their_sources_or_say_why_not():
    page = script("presets").page()
    assert "| ? |" not in page, (
        "docs/presets.py: a value differs from its source, or a field has no line, without reason"
    )
    assert "| `optimizer.muon.lr` | matrix_lr | 0.022 | 0.022 |  |" in page
    assert page == (DOCS / "presets.md").read_text(encoding="utf-8"), "docs/presets.md is not current; run: make docs"


def test_the_table_of_presets_is_current():
    page = (DOCS / "preset_table.md").read_text(encoding="utf-8")
    assert script("preset_table").page() == page, "docs/preset_table.md is not current; run: make docs"


def test_a_preset_that_leaves_its_source_is_noticed(monkeypatch):
    presets = script("presets")
    other = load_preset("pr549", {"optimizer.muon.lr": 0.5, "evaluation.diagnose": True})
    monkeypatch.setattr(presets, "load_preset", lambda name: other)
    assert ("optimizer.muon.lr", "matrix_lr", 0.025, 0.5, "?") in list(presets.comparison("pr549"))
    assert "evaluation.diagnose" in presets.fields_set(other.recipe) - {*presets.LINES, *presets.ELSEWHERE}
