"""The script of a recipe: one file for Python 3.10 that knows nothing of this program, with what the recipe needs."""

from __future__ import annotations

import ast
import builtins
import re
import subprocess
import sys
from pathlib import Path

import pytest

from results.submission.flatten import flatten
from results.submission.module_text import global_names
from results.submission.packed_script import packed, unpacked
from results.submission.texts import required_packages
from trainer.spec.budget import RESERVED_CODE_BYTES
from trainer.spec.errors import UserError
from trainer.spec.load import load_preset, preset_names
from trainer.spec.recipe import Recipe

TOO_NEW = {"tomllib", "StrEnum", "UTC", "Self", "ExceptionGroup", "file_digest", "assert_never", "override", "chdir"}
"""Names of the standard library that came after Python 3.10."""
ALLOWED = {"torch", "numpy", "safetensors", "sentencepiece", "google", "zstandard", "brotli"}


def recipe(preset: str, **changes: object) -> Recipe:
    return load_preset(preset, {key.replace("__", "."): value for key, value in changes.items()}).recipe


def script(preset: str, **changes: object) -> str:
    return flatten(recipe(preset, **changes), "A test.", "0" * 12)


@pytest.fixture(scope="module")
def scripts() -> dict[str, str]:
    """Of the smallest preset and of the one with most features."""
    return {"tiny": script("tiny", ttt__mode="score_first"), "pr1493": script("pr1493")}


def undefined(text: str) -> set[str]:
    """Names that nothing in a script binds."""
    tree = ast.parse(text, feature_version=(3, 10))
    imported = {
        (alias.asname or alias.name.split(".")[0])
        for node in tree.body
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    bound = {name.id for node in tree.body for name in ast.walk(node) if isinstance(name, ast.Name) and is_stored(name)}
    bound |= {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    used = {one.value.id if isinstance(one, ast.Attribute) else one.id for one, _ in global_names(tree)}  # type: ignore[attr-defined]
    return used - imported - bound - set(dir(builtins)) - {"__file__", "__name__"}


def is_stored(name: ast.Name) -> bool:
    return isinstance(name.ctx, ast.Store)


@pytest.mark.parametrize("preset", ["tiny", "pr1493"])
def test_a_script_is_python_3_10_and_names_nothing_that_it_lacks(scripts, preset):
    tree = ast.parse(scripts[preset], feature_version=(3, 10))
    assert undefined(scripts[preset]) == set()
    named = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    named |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert named & TOO_NEW == set()
    for node in ast.walk(tree):  # before Python 3.11 both had to be told the order of bytes
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") in ("to_bytes", "from_bytes"):
            assert len(node.args) == 2, ast.unparse(node)


@pytest.mark.parametrize("preset", ["tiny", "pr1493"])
def test_a_script_imports_neither_ray_nor_pydantic_nor_this_program(scripts, preset):
    tree = ast.parse(scripts[preset])
    modules = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    modules |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    packages = {module.split(".")[0] for module in modules}
    assert packages - set(sys.stdlib_module_names) <= ALLOWED


def test_a_script_leaves_out_what_its_recipe_does_not_choose(scripts):
    assert "class UnguardedText" not in scripts["tiny"]
    assert "def score_first" in scripts["tiny"]
    assert "def score_first" not in script("tiny")
    assert "import brotli" not in scripts["tiny"]
    assert "import zstandard" not in script("tiny", quantization__compressor="brotli")


@pytest.mark.parametrize("coder", ["zstd", "brotli", "lzma"])
def test_a_script_imports_the_packages_of_its_requirements(coder):
    imports = re.findall(r"^(?:import|from) (\w+)", script("tiny", quantization__compressor=coder), re.MULTILINE)
    names = {"google": "protobuf"}
    needed = {names.get(name, name) for name in imports} - set(sys.stdlib_module_names)
    assert set(required_packages(coder)) == needed - {"__future__"}


def test_a_script_holds_the_recipe_and_its_seed(scripts):
    text = script("tiny", optimizer__muon__lr=0.0125, seed=42)
    assert "    lr: float = 0.0125  # Learning rate of matrix parameters" in text
    assert "    seed: int = 42  # " in text
    assert text != scripts["tiny"]


def test_a_script_reads_as_one_file_with_a_heading_for_each_module(scripts):
    headings = [line for line in scripts["tiny"].splitlines() if line.startswith("# -------------------- ")]
    assert len(headings) > 40
    assert headings[0].split()[2] == "recipe"
    assert max(map(len, scripts["tiny"].splitlines())) < 220
    assert "# B batch · T positions, S the last of them · H query heads" in scripts["tiny"]


def test_a_script_is_the_same_in_every_process(scripts):
    code = (
        "import sys; from tests.results.submission.test_flatten import script; "
        "sys.stdout.buffer.write(script('tiny', ttt__mode='score_first').encode())"
    )
    root = Path(__file__).parents[3]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, cwd=root)
    assert done.stdout.decode() == scripts["tiny"]


def test_a_title_cannot_become_code():
    text = flatten(recipe("tiny"), '"""\nimport os\n"""\\', '"""\nimport os')
    first, second = ast.parse(text).body[:2]
    assert isinstance(first, ast.Expr)
    assert isinstance(second, ast.ImportFrom)
    assert second.module == "__future__"


def compiled(script: str) -> str:
    """The instructions of a script, its docstrings left out."""
    tree = ast.parse(script)
    for node in ast.walk(tree):
        if isinstance(body := getattr(node, "body", None), list):
            node.body = [
                line for line in body if not (isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant))
            ]
    return ast.dump(tree)


@pytest.mark.parametrize("preset", ["pr1493", pytest.param("all", marks=pytest.mark.slow)])
def test_a_packed_script_of_a_preset_fits_the_bytes_that_are_reserved_for_code(scripts, preset):
    for name in preset_names() if preset == "all" else [preset]:
        text = scripts.get(name) or script(
            name, **({"ttt__mode": "off"} if recipe(name).ttt.mode == "pre_eval" else {})
        )
        code = packed(text)
        assert len(code) < RESERVED_CODE_BYTES
        short = unpacked(code).decode()
        assert compiled(short) == compiled(text)
        assert undefined(text) == undefined(short) == set()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda code: code + b"import os\n", "more than one packed text"),
        (lambda code: b"import os\n" + code, "more than one packed text"),
        (lambda code: code.replace(b"{", b"}", 3), "cannot be unpacked"),
        (lambda code: packed("#" * 2**21 + "\n"), "holds more than"),
    ],
)
def test_a_packed_script_that_is_not_ours_is_refused_unrun(change, said):
    code = packed("".join(f"print({number})\n" for number in range(2000)))
    with pytest.raises(UserError, match=said):
        unpacked(change(code))


def python_3_10() -> Path | None:
    """An interpreter of that version which has what a script imports."""
    found = sorted(Path.home().glob(".pyenv/versions/3.10*/bin/python"))
    for path in found:
        has = subprocess.run([path, "-c", "import torch, sentencepiece, safetensors, zstandard"], capture_output=True)
        if has.returncode == 0:
            return path
    return None


@pytest.mark.slow
def test_a_script_runs_on_python_3_10(scripts, tmp_path):
    python = python_3_10()
    if python is None:
        pytest.skip("no Python 3.10 with torch, sentencepiece, safetensors and zstandard under ~/.pyenv/versions")
    (tmp_path / "train_gpt.py").write_text(scripts["tiny"], encoding="utf-8")
    done = subprocess.run([python, "-I", tmp_path / "train_gpt.py", "--help"], capture_output=True, text=True)
    assert "--evaluate" in done.stdout
