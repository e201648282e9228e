"""The working folder of one program: a copy of its code, its listed files, what earlier stages left. One for each run.

Small files are copied. Larger ones are links to the originals, in folders that are this run's own, so that what the
program writes beside them stays here; a run that changes such a file itself has failed.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from trainer.program.code_store import decoded, encoded
from trainer.program.sources import digest_of
from trainer.program.wandb_log import summary_in
from trainer.spec.errors import UserError
from trainer.spec.program import USUAL_SUMMARY, Program

COPIED_BYTES = 1_000_000
"""Listed files up to here are copied; so a program may change its own."""
CHECKED_BYTES = 64_000_000
"""Listed files up to here are hashed again before each run; of larger ones a change of size or time is noticed."""
States = Mapping[Path, tuple[int, int]]
"""Size and time of change of the originals that are linked."""


def fill(folder: Path, program: Program, code: Path, left: Mapping[str, Path]) -> States:
    """Fills the working folder; returns the state of the originals that are linked.

    code:  folder of the code in the store
    left:  files of earlier stages, by their path below the working folder
    Raises UserError where a listed file is missing or has changed.
    """
    for path in program.code:
        _copy(code / encoded(path), folder / path)
    states: dict[Path, tuple[int, int]] = {}
    for path, expected in program.files.items():
        source = Path(path) if os.path.isabs(path) else Path(program.root, path)  # noqa: PTH117
        _check(source, expected)
        if Path(path).is_absolute():
            states[source] = _state(source)
        elif source.stat().st_size <= COPIED_BYTES:
            _copy(source, folder / path)
        else:
            states[source] = _state(source)
            _link(source, folder / path)
    for path, source in left.items():
        _copy(source, folder / path)
    return states


def _check(source: Path, expected: str) -> None:
    try:
        small = source.stat().st_size <= CHECKED_BYTES
    except OSError as fault:
        raise UserError(f"{source}: cannot be read ({fault.strerror}); the program lists it under `files`") from None
    if small and digest_of(source) != expected:
        raise UserError(f"{source} was changed since the sweep was loaded; restore it, or begin a new sweep")


def changed(states: States) -> list[Path]:
    """Linked originals that are no longer what they were."""
    return [path for path, state in states.items() if not path.exists() or _state(path) != state]


def keep_left(folder: Path, patterns: tuple[str, ...], stage: str, into: Path) -> None:
    """Copies what a stage leaves into its folder in the store. Raises UserError for what it did not leave."""
    for pattern in patterns:
        found = files_below(folder, pattern)
        if not found:
            there = ", ".join(sorted(path.name for path in folder.iterdir())[:20]) or "nothing"
            raise UserError(f"stage {stage} left no {pattern}; its working folder held {there}")
        for path in found:
            shutil.move(path, into / encoded(path.relative_to(folder).as_posix()))


def read_files(folder: Path, program: Program) -> dict[str, Path]:
    """The files that metrics are read from, by the name that the space gives; of a pattern the newest that matches.

    W&B's summary is written first where only W&B's own log holds it.
    """
    names = {source.file for sources in program.metrics.values() for source in sources if source.file}
    summary = folder / USUAL_SUMMARY
    if USUAL_SUMMARY in names and not summary.exists() and (told := summary_in(folder)) is not None:
        summary.parent.mkdir(parents=True, exist_ok=True)
        summary.write_text(json.dumps(told) + "\n", encoding="utf-8")
    found = {name: files_below(folder, name) for name in sorted(names)}
    return {name: max(paths, key=lambda path: path.stat().st_mtime_ns) for name, paths in found.items() if paths}


def files_below(folder: Path, pattern: str) -> list[Path]:
    """The file of this name, those in the folder of this name, or those that match the pattern."""
    base = folder / pattern
    if base.is_file():
        return [base]
    if base.is_dir():
        return sorted(path for path in base.rglob("*") if path.is_file() and not path.is_symlink())
    return sorted(path for path in folder.glob(pattern) if path.is_file())


def left_in(stage_folder: Path) -> dict[str, Path]:
    """The files that a finished stage left, by their path below the working folder."""
    return {decoded(path.name): path for path in sorted(stage_folder.glob("file-*"))}


def _state(path: Path) -> tuple[int, int]:
    state = path.stat()
    return state.st_size, state.st_mtime_ns


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, target)


def _link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.symlink_to(source.absolute())
