import shutil
from pathlib import Path

from trainer.spec import environment


def test_an_upload_without_git_is_known_by_its_code(tmp_path, monkeypatch):
    shutil.copytree(environment.PACKAGE, tmp_path / "trainer", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(environment, "PACKAGE", tmp_path / "trainer")
    assert environment.commit.__wrapped__() == f"code-{environment.code_digest(Path(environment.__file__).parents[1])}"


def test_one_changed_byte_changes_the_digest(tmp_path):
    (tmp_path / "a.py").write_text("x = 1")
    before = environment.code_digest(tmp_path)
    (tmp_path / "a.py").write_text("x = 2")
    assert environment.code_digest(tmp_path) != before
