"""Where a run happens: recorded with every run, hashed only under a wall-clock budget. Reads no torch."""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

RECORDED_PACKAGES = ("torch", "ray", "optuna", "sentencepiece", "zstandard", "safetensors", "flash-attn")

WITHOUT_GIT = "code-"
"""How the name of a code begins that lies in no checkout."""


@cache
def _gpu_names() -> tuple[str, ...]:
    if not shutil.which("nvidia-smi"):
        return ()
    listed = subprocess.run(
        ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"],  # noqa: S607
        capture_output=True,
        text=True,
        check=False,
    )
    return tuple(line.strip() for line in listed.stdout.splitlines() if line.strip()) if not listed.returncode else ()


def num_gpus() -> int:
    """GPUs of this machine."""
    return len(_gpu_names())


def hardware() -> str:
    """Device model and count, e.g. '8x NVIDIA H100 80GB HBM3' or 'CPU Intel Xeon ... (2 cores)'."""
    names = _gpu_names()
    return f"{len(names)}x {names[0]}" if names else f"CPU {_cpu_model()} ({os.cpu_count()} cores)"


def _cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


@cache
def versions() -> str:
    """'python 3.11.7, torch 2.13.0, ...' of what is installed and could change a result."""
    found = [f"python {platform.python_version()}"]
    for name in RECORDED_PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return ", ".join(found)


@cache
def commit() -> str:
    """Commit of the checkout this code runs from, with '+' when it has changes.

    Outside a checkout, as in the upload of `ray job submit`, WITHOUT_GIT and a digest of the package's files.
    """
    folder = Path(__file__).parents[1]
    asked = (
        subprocess.run(
            ["git", "describe", "--always", "--abbrev=12", "--exclude=*", "--dirty=+"],  # noqa: S607
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
        if shutil.which("git")
        else None
    )
    return (
        asked.stdout.strip() if asked is not None and asked.returncode == 0 else f"{WITHOUT_GIT}{code_digest(folder)}"
    )


def code_digest(folder: Path) -> str:
    """12 hex digits over the names and contents of a package's sources and presets: the same wherever they lie."""
    digest = hashlib.sha256()
    for path in sorted(path for pattern in ("*.py", "*.yaml") for path in folder.rglob(pattern)):
        digest.update(f"{path.relative_to(folder).as_posix()}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()[:12]


def environment(num_ranks: int) -> str:
    """The identity that a wall-clock budget hashes: hardware, ranks and the versions that set the speed."""
    return f"{hardware()}; {num_ranks} ranks; {versions()}"
