"""Ray's own cluster launcher, for files that are complete and ask for a token. Nothing here starts a machine itself."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from trainer.spec.errors import UserError
from trainer.spec.yaml_text import YamlText

TOKEN = Path("~/.ray/auth_token")
"""Where Ray looks for its token on every machine."""
PLACEHOLDER = re.compile(r"\b[A-Z0-9]+(?:_[A-Z0-9]+)+\b|\bUSER\b")
TOKEN_MODE = "RAY_AUTH_MODE=token"  # noqa: S105 - the name of a mode
Verb = Literal["up", "down", "status"]


def launch(verb: Verb, file: Path, yes: bool) -> int:
    """`ray up`, `ray down`, or `ray status` on the head; returns its exit status.

    Raises UserError for a file that is no launcher file, still has words to be replaced, or asks for no token.
    """
    check_launcher_file(file)
    if verb == "up":
        make_token(TOKEN.expanduser())
    words: Sequence[str] = {
        "up": ("up", str(file), *(["--yes"] if yes else [])),
        "down": ("down", str(file), *(["--yes"] if yes else [])),
        "status": ("exec", str(file), ". ~/.fairway_env; ray status"),
    }[verb]
    return subprocess.run([ray_program(), *words], check=False).returncode  # noqa: S603 - Ray's own program


def ray_program() -> str:
    """Ray's command line beside this Python, or on the path. Raises UserError if there is none."""
    beside = Path(sys.executable).with_name("ray")
    found = str(beside) if beside.exists() else shutil.which("ray")
    if found is None:
        raise UserError(f"the program 'ray' is neither beside {sys.executable} nor on the path; install ray[default]")
    return found


def check_launcher_file(file: Path) -> None:
    """Raises UserError naming what must be put into a launcher file before it can be used."""
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as fault:
        raise UserError(f"{file}: {fault.strerror}; expected a file such as orchestrator/cluster/aws.yaml") from None
    tree = YamlText(text, str(file)).value
    if not isinstance(tree, dict) or "provider" not in tree:
        raise UserError(
            f"{file}: is no file of Ray's cluster launcher, which has a 'provider'; "
            "docs/clusters.md says how the others are used"
        )
    if left := placeholders(tree):
        raise UserError(f"{file}: put your own values in place of: {', '.join(left)}")
    for key in ("head_start_ray_commands", "worker_start_ray_commands"):
        commands = " ".join(map(str, [*(tree.get("setup_commands") or ()), *(tree.get(key) or ())]))
        if TOKEN_MODE not in commands:
            raise UserError(
                f"{file}: {key} starts Ray without a token, so whoever reaches the head can run code there; "
                f"export {TOKEN_MODE} before `ray start`, as in orchestrator/cluster/aws.yaml"
            )


def placeholders(tree: object) -> list[str]:
    """Values of a launcher file that are words in capitals, to be replaced; not the names of shell variables."""
    if isinstance(tree, dict):
        parts = [
            name for key, value in tree.items() if not str(key).endswith("commands") for name in placeholders(value)
        ]
    elif isinstance(tree, list):
        parts = [name for value in tree for name in placeholders(value)]
    else:
        parts = [tree] if isinstance(tree, str) and PLACEHOLDER.fullmatch(tree) and tree not in KEPT else []
    return list(dict.fromkeys(parts))


KEPT = frozenset({"TERMINATE", "PERSISTENT"})
"""Words in capitals that are values of a cloud's interface."""


def make_token(path: Path) -> bool:
    """Makes the token that all nodes share, readable by this user alone, unless there is one; whether it made one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return False
    with os.fdopen(descriptor, "w") as file:
        file.write(secrets.token_hex(32))
    return True
