"""Hardware, versions and commit of a run: recorded always, hashed only under a wall-clock budget. Imports no torch."""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import shutil
import socket
import subprocess
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

RECORDED_PACKAGES = (
    "torch",
    "ray",
    "optuna",
    "sentencepiece",
    "zstandard",
    "safetensors",
    "flash-attn",
    "flash-attn-3",
)

PACKAGE = Path(__file__).parents[1]
"""The package that computes runs."""
GPU_ANSWER_S = 10.0
"""A driver that is restarting may hold nvidia-smi up."""
WITHOUT_GIT = "code-"
"""Prefix of the digest that stands for the commit outside a checkout."""


@cache
def _gpus(field: str) -> tuple[str, ...]:
    """One field of nvidia-smi for each GPU; empty without GPUs."""
    if not shutil.which("nvidia-smi"):
        return ()
    listed = subprocess.run(  # noqa: S603 - the field is ours
        ["nvidia-smi", f"--query-gpu={field}", "--format=csv,noheader"],  # noqa: S607
        capture_output=True,
        text=True,
        check=False,
    )
    return tuple(line.strip() for line in listed.stdout.splitlines() if line.strip()) if not listed.returncode else ()


def num_gpus() -> int:
    """GPUs of this machine."""
    return len(_gpus("name"))


def gpu_model() -> str:
    """Name of this machine's first GPU; empty without one."""
    return next(iter(_gpus("name")), "")


def gpu_use(ids: Sequence[str]) -> float | None:
    """Part of the last second or so in which these GPUs computed, mean over them; None if nvidia-smi does not say."""
    command = ["nvidia-smi", f"--id={','.join(ids)}", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"]
    try:
        listed = subprocess.run(command, capture_output=True, text=True, check=True, timeout=GPU_ANSWER_S)  # noqa: S603
        percents = [float(line) for line in listed.stdout.split()]
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    return sum(percents) / len(percents) / 100 if percents else None


def hardware() -> str:
    """Device model and count, e.g. '8x NVIDIA H100 80GB HBM3' or 'CPU Intel Xeon ... (2 cores)'."""
    names = _gpus("name")
    return f"{len(names)}x {names[0]}" if names else f"CPU {_cpu_model()} ({os.cpu_count()} cores)"


def _cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


@cache
def packages() -> dict[str, str]:
    """Versions of Python and of the installed packages that could change a result, by name."""
    installed = {"python": platform.python_version()}
    for name in RECORDED_PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            installed[name] = version(name)
    return installed


def versions() -> str:
    """'python 3.11.7, torch 2.13.0, ...': `packages` in a line."""
    return ", ".join(f"{name} {number}" for name, number in packages().items())


def machine_facts(name: str = "") -> dict[str, str]:
    """Name, versions and driver of this machine, as text, to compare the machines of a sweep.

    name:  the machine's name in the cluster; by default the host name
    """
    driver = next(iter(_gpus("driver_version")), "")
    return {"name": name or socket.gethostname(), **packages(), **({"driver": driver} if driver else {})}


def node_name(node: Mapping[str, Any]) -> str:
    """What a cluster calls one of its nodes, as `ray.nodes()` lists them: the name it was started under, else its
    host's."""
    named, address = node.get("NodeName", ""), node.get("NodeManagerAddress", "")
    return named if named and named != address else node.get("NodeManagerHostname") or socket.gethostname()


@cache
def commit() -> str:
    """Commit of the checkout this code runs from, with '+' when it has changes.

    Outside a checkout, as in the upload of `ray job submit`, WITHOUT_GIT and a digest of the package's files.
    """
    described = _git("describe", "--always", "--abbrev=12", "--exclude=*")  # its --dirty locks the index
    if described is None or described.returncode != 0:
        return f"{WITHOUT_GIT}{code_digest(PACKAGE)}"
    changed = _git("status", "--porcelain", "--untracked-files=no")
    return f"{described.stdout.strip()}{'+' if changed is None or changed.stdout or changed.returncode else ''}"


def _git(*words: str) -> subprocess.CompletedProcess[str] | None:
    """A command of git about the checkout, which writes nothing there: killed while it holds a lock, it would leave the
    lock, and every later commit would be refused. None without git."""
    if not shutil.which("git"):
        return None
    return subprocess.run(  # noqa: S603  the words are ours
        ["git", "--no-optional-locks", *words],  # noqa: S607
        cwd=PACKAGE,
        capture_output=True,
        text=True,
        check=False,
    )


def code_digest(folder: Path) -> str:
    """12 hex digits over the names and contents of a package's sources and presets: the same wherever they lie."""
    digest = hashlib.sha256()
    for path in sorted(path for pattern in ("*.py", "*.yaml") for path in folder.rglob(pattern)):
        digest.update(f"{path.relative_to(folder).as_posix()}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()[:12]


def environment(num_ranks: int) -> str:
    """The identity that a wall-clock budget hashes: hardware, ranks and the versions that set the speed."""
    return environment_of(hardware(), num_ranks, versions())


def environment_of(hardware: str, num_ranks: int, versions: str) -> str:
    """The same of another machine, by what its `hardware()` and `versions()` return."""
    return f"{hardware}; {num_ranks} ranks; {versions}"
