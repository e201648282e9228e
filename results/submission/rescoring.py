"""Scores artifacts again in a clean process: no network, nothing of this program, nothing of the user's environment.

What runs is a script that this program made itself, so nothing of a folder is executed that was not compared with it
byte for byte. Sockets are refused by an audit hook, further processes too unless a GPU's compiler needs them, and where
the system can, the process has no network at all.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainer.spec.errors import UserError
from trainer.spec.json_text import parse_json

SECONDS_EACH = 900.0
"""An artifact that takes longer to score is over the contest's limit anyway."""
GUARDED = """
import runpy, sys
import torch, numpy, sentencepiece, safetensors.torch
PROCESSES = ("subprocess.", "os.system", "os.exec", "os.fork", "os.posix_spawn", "os.spawn", "pty.")
REFUSED = ("socket.",) + (() if torch.cuda.is_available() else PROCESSES)
def refuse(event, arguments):
    if event.startswith(REFUSED) and event != "socket.gethostname":
        raise RuntimeError("refused while scoring: " + event)
sys.addaudithook(refuse)
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"}
LAST_LINES = 5


@dataclass(frozen=True)
class Rescored:
    """What scoring an artifact again gave."""

    val_loss: float
    val_bpb: float
    num_tokens: int
    num_bytes: int
    eval_s: float
    ledger_digest: str


def rescore(script: str, artifacts: Sequence[tuple[int, Path]], shards: Path, tokenizer: Path) -> dict[int, Rescored]:
    """The scores of artifacts by seed.

    script:     made by this program
    artifacts:  seed and file of each
    Raises UserError with the script's last lines if it fails, and when it takes too long.
    """
    with tempfile.TemporaryDirectory(prefix="fairway-verify-") as name:
        place = Path(name)
        (place / "train_gpt.py").write_text(script, encoding="utf-8")
        command = [
            *_without_network(),
            *(sys.executable, "-I", "-c", GUARDED, str(place / "train_gpt.py")),
            *("--data", str(shards.absolute()), "--tokenizer", str(tokenizer.absolute())),
            *("--out", str(place / "out"), "--json", str(place / "scores.json")),
            *("--seed", *(str(seed) for seed, _ in artifacts)),
            *("--evaluate", *(str(path.absolute()) for _, path in artifacts)),
        ]
        try:
            done = subprocess.run(  # noqa: S603 - the script is ours, its arguments are paths
                command,
                cwd=place,
                env={**ENVIRONMENT, "HOME": name, "TMPDIR": name},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=SECONDS_EACH * len(artifacts),
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise UserError(f"scoring did not end within {SECONDS_EACH * len(artifacts):g} s") from None
        if done.returncode:
            last = "\n".join((done.stderr.strip() or done.stdout.strip()).splitlines()[-LAST_LINES:])
            raise UserError(f"scoring ended in status {done.returncode}: {last}")
        rows: list[dict[str, Any]] = parse_json((place / "scores.json").read_text(encoding="utf-8"))
    return {row["seed"]: Rescored(**{key: row[key] for key in Rescored.__dataclass_fields__}) for row in rows}


def _without_network() -> list[str]:
    """The command that starts a process without a network, where this system has one."""
    unshare = shutil.which("unshare")
    if unshare is None:
        return []
    prefix = [unshare, "--map-root-user", "--net", "--"]
    works = subprocess.run([*prefix, "true"], capture_output=True, check=False)  # noqa: S603
    return prefix if works.returncode == 0 else []
