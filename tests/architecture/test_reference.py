"""The pages of docs/reference/ say what the code says today."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

DOCS = Path(__file__).parents[2] / "docs"


def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    return generator().pages()


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
