import os
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

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


@pytest.mark.skipif(not shutil.which("git"), reason="no git")
def test_the_commit_is_told_without_any_lock_on_the_checkout(tmp_path, monkeypatch):
    """A run that was killed at that moment left the lock, and git refused every later commit."""

    def git(*words):
        named = ["-c", "user.name=a", "-c", "user.email=a@b"]
        subprocess.run(["git", *named, *words], cwd=tmp_path, check=True, capture_output=True)

    code = tmp_path / "code.py"
    code.write_text("1\n")
    git("init")
    git("add", ".")
    git("commit", "-m", "first")
    monkeypatch.setattr(environment, "PACKAGE", tmp_path)
    os.utime(code, ns=(1, 1))  # so that git looks at it again, and would note that nothing changed
    index = tmp_path / ".git/index"
    before = index.stat().st_ino, index.read_bytes()
    clean = environment.commit.__wrapped__()
    assert (index.stat().st_ino, index.read_bytes()) == before
    code.write_text("2\n")
    assert environment.commit.__wrapped__() == f"{clean}+"
    git("add", ".")
    assert environment.commit.__wrapped__() == f"{clean}+"


@pytest.mark.parametrize("package", ["flash-attn-3", "flash-attn", "torch"])
def test_another_version_of_what_computes_is_recorded_and_another_environment(monkeypatch, package):
    uncached = environment.packages.__wrapped__

    def told(number: str) -> tuple[str, str]:
        def version(name: str) -> str:
            if name == package:
                return number
            raise PackageNotFoundError(name)

        monkeypatch.setattr(environment, "version", version)
        monkeypatch.setattr(environment, "packages", uncached)
        return environment.machine_facts()[package], environment.environment(8)

    (first, before), (second, after) = told("3.0.0b1"), told("3.0.0b2")
    assert (first, second) == ("3.0.0b1", "3.0.0b2")
    assert f"{package} 3.0.0b1" in before
    assert before != after
