"""Which files a program consists of, and their hashes: read once, when its search space is loaded.

Code: the script, whatever else its commands name beside it, and the modules that these import from their folder,
found by reading their import statements; nothing is imported. Everything else that a program reads must be listed.
"""

from __future__ import annotations

import ast
import hashlib
import itertools
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path

from trainer.spec.errors import UserError
from trainer.spec.program import is_pattern

MOST_CODE_FILES = 2_000
MOST_CODE_BYTES = 50_000_000
MOST_FILES = 5_000
SKIPPED = frozenset({"__pycache__", "node_modules", "site-packages"})
READ_BYTES = 1 << 20
MOST_PATH = 200
JOINS = ("join", "joinpath", "Path", "PurePath")
"""Functions whose arguments are parts of a path."""
MOST_DEPTH = 3
"""Folders below the script's that are looked through for a module that it misses."""
WORD = re.compile(rb"[A-Za-z_][A-Za-z0-9_]*")
PATH = re.compile(r"(?!/)(?!.*\.\./)(?=.*[./])[\w./ -]+")
"""Texts in code that may be relative paths: with a slash or an ending."""


def code_of(root: Path, named: Iterable[str]) -> dict[str, str]:
    """SHA-256 of each file of code, by its path below `root`.

    named:  paths below root that the script or a command names; those that are no files are left out
    Raises UserError for more code than a program has.
    """
    waiting = [path for path in map(Path, named) if (root / path).is_file()]
    found: dict[str, str] = {}
    num_bytes = 0
    while waiting:
        path = waiting.pop()
        key = path.as_posix()
        if key in found:
            continue
        content = (root / path).read_bytes()
        found[key] = hashlib.sha256(content).hexdigest()
        num_bytes += len(content)
        if len(found) > MOST_CODE_FILES or num_bytes > MOST_CODE_BYTES:
            raise UserError(
                f"{root}: the script and what it imports are more than {MOST_CODE_FILES:,} files or "
                f"{MOST_CODE_BYTES:,} bytes; is a folder of data or an installed package beside it?"
            )
        if path.suffix == ".py":
            waiting += [other for name in _imported(content) for other in _modules(root, path.parent, name)]
    return dict(sorted(found.items()))


def unlisted(root: Path, code: Iterable[str], listed: Iterable[str]) -> list[str]:
    """Paths of files and folders beside the script that the code names in its texts, and that are not listed.

    code, listed:  paths below root, as of `code_of` and `files_of`
    """
    known = {Path(path) for path in (*code, *listed)}
    known |= {folder for path in known for folder in path.parents}
    named: set[str] = set()
    for path in code:
        named |= set(_paths_in(root / path)) if path.endswith(".py") else set()
    there = {Path(name) for name in named if Path(name) not in known and (root / name).exists()}
    there -= {folder for path in there for folder in path.parents}  # of a folder and a file in it the file
    return sorted(path.as_posix() for path in there)


def words_of(root: Path, code: Iterable[str]) -> set[str] | None:
    """Every word of code in Python; None where there is none, or some is not in Python and may build any name."""
    sources = [root / path for path in code]
    if not sources or any(source.suffix != ".py" for source in sources):
        return None
    try:
        return {word.decode() for source in sources for word in WORD.findall(source.read_bytes())}
    except OSError:
        return None


def mentions(root: Path, code: Iterable[str], word: bytes) -> bool:
    """Whether code in Python has the word."""
    try:
        return any(word in (root / path).read_bytes() for path in code if path.endswith(".py"))
    except OSError:
        return False


def _paths_in(source: Path) -> Iterator[str]:
    """Texts of a source that look like relative paths, without './' and a slash at the end."""
    try:
        tree = ast.parse(source.read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return
    for node in ast.walk(tree):
        text = node.value if isinstance(node, ast.Constant) else "/".join(_joined(node))
        if isinstance(text, str) and MOST_PATH >= len(text) > 2 and PATH.fullmatch(text):
            yield Path(text).as_posix()


def _joined(node: ast.AST) -> list[str]:
    """The last texts of `folder / "a" / "b"` or `os.path.join(folder, "a", "b")`; of one text alone as './a', since a
    word may be anything and a joined one is a path."""
    parts: list[ast.expr] = []
    if isinstance(node, ast.Call):
        name = getattr(node.func, "attr", getattr(node.func, "id", ""))
        parts = list(node.args) if name in JOINS else []
    elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
        left: ast.expr = node
        while isinstance(left, ast.BinOp) and isinstance(left.op, ast.Div):
            parts.append(left.right)
            left = left.left
        parts = [left, *reversed(parts)]
    texts = [part.value if isinstance(part, ast.Constant) else None for part in parts]
    last = list(itertools.takewhile(lambda text: isinstance(text, str), reversed(texts)))[::-1]
    return [".", *map(str, last)] if last else []


def _imported(content: bytes) -> Iterator[str]:
    """First parts of the names of the modules that a source imports; '' for a relative import."""
    try:
        tree = ast.parse(content)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return  # Python will say so when it runs
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield "" if node.level else (node.module or "").partition(".")[0]


def _modules(root: Path, beside: Path, name: str) -> Iterator[Path]:
    """Files of a module of this name: beside the script, at the root, or a whole package."""
    if not name:
        yield from _sources_in(root, beside)
        return
    for folder in dict.fromkeys((beside, Path())):
        if (root / folder / f"{name}.py").is_file():
            yield folder / f"{name}.py"
        elif (root / folder / name).is_dir() and any((root / folder / name).glob("*.py")):
            yield from _sources_in(root, folder / name)


def folder_of_module(root: Path, name: str, known: Iterable[str]) -> str:
    """The first part of the path below `root` where a module of this name lies that is not known; else empty.

    known:  paths below root, as of `code_of` and `files_of`
    """
    listed = set(known)
    for place, folders, names in os.walk(root):
        depth = len(Path(place).relative_to(root).parts)
        folders[:] = sorted(one for one in folders if depth < MOST_DEPTH and not _skipped(Path(place, one)))
        found = f"{name}.py" if f"{name}.py" in names else f"{name}/__init__.py" if name in folders else ""
        path = Path(place, found).relative_to(root) if found and depth else Path()
        if path.parts and path.as_posix() not in listed and Path(root, path).is_file():
            return path.parts[0]
    return ""


def _sources_in(root: Path, folder: Path) -> Iterator[Path]:
    for place, folders, names in os.walk(root / folder):
        folders[:] = sorted(name for name in folders if not _skipped(Path(place, name)))
        yield from (Path(place, name).relative_to(root) for name in sorted(names) if name.endswith(".py"))


def _skipped(folder: Path) -> bool:
    return folder.name.startswith(".") or folder.name in SKIPPED or (folder / "pyvenv.cfg").exists()


def files_of(root: Path, listed: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """SHA-256 of each listed file by its path (below root, or absolute), and complaints about what is listed.

    listed:  files, folders or patterns such as data/*.bin
    """
    paths: dict[str, Path] = {}
    problems = []
    for entry in listed:
        chosen = list(_chosen(root, entry))
        if not chosen:
            problems.append(f"files: {entry!r} is no file and no folder with files in {root}")
        if ".." in Path(entry).parts:
            problems.append(f"files: {entry!r} leads out of {root}; give an absolute path, or a link beside the script")
        for path in chosen:
            inside = path.is_relative_to(root) and not Path(entry).is_absolute()
            paths[path.relative_to(root).as_posix() if inside else str(path)] = path
        if len(paths) > MOST_FILES:
            return {}, [f"files: more than {MOST_FILES:,} files are listed; pack them, or list fewer"]
    if problems:
        return {}, problems
    with ThreadPoolExecutor() as pool:
        digests = list(pool.map(digest_of, paths.values()))
    return dict(sorted(zip(paths, digests, strict=True))), []


def _chosen(root: Path, entry: str) -> Iterator[Path]:
    expanded = Path(entry).expanduser()
    base = expanded if expanded.is_absolute() else root / expanded
    if base.is_file():
        yield base
    elif base.is_dir():
        for place, folders, names in os.walk(base):
            folders[:] = sorted(name for name in folders if not _skipped(Path(place, name)))
            yield from (Path(place, name) for name in sorted(names))
    elif not expanded.is_absolute() and is_pattern(entry):
        yield from sorted(path for path in root.glob(entry) if path.is_file())


def digest_of(path: Path) -> str:
    """SHA-256 of a file; within one process, a file that did not change since is not read again."""
    state = path.stat()
    return _digest(str(path), state.st_size, state.st_mtime_ns)


@lru_cache(maxsize=4 * MOST_FILES)
def _digest(path: str, size: int, changed_ns: int) -> str:
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        while chunk := file.read(READ_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
