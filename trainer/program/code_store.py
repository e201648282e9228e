"""The code of a program in the store: as it was when its sweep was loaded, whatever is edited afterwards.

STORE/stages/program/DIGEST/    a file for each file of code, its path percent-encoded
"""

from __future__ import annotations

import hashlib
import json
import socket
import time
from pathlib import Path
from urllib.parse import quote, unquote

from trainer.spec.errors import StoreError, StoreFull, UserError
from trainer.spec.program import Program, is_pattern
from trainer.spec.record import StageOutcome, now
from trainer.store.local import StageStore

POLL_S = 0.1
STAGE = "program"
"""Its name in the store; not a stage of any run."""


def encoded(path: str) -> str:
    """A path as one file name."""
    return f"file-{quote(path, safe='')}"


def read_name(file: str) -> str:
    """What a file that metrics are read from is called in the store. A pattern is not the path of what it found, which
    the stage may leave, too, under its own name."""
    return f"read-{encoded(file)}" if is_pattern(file) else encoded(file)


def decoded(name: str) -> str:
    """The path that `encoded` made the name of."""
    return unquote(name.removeprefix("file-"))


def code_digest(program: Program) -> str:
    """Identity of the code alone."""
    return hashlib.sha256(json.dumps(dict(program.code), sort_keys=True).encode()).hexdigest()[:16]


def keep_code(program: Program, store: StageStore) -> Path:
    """The folder of the code in the store; copied there from where it was loaded, unless it is there.

    Raises UserError where a file has changed since the program was loaded.
    """
    digest = code_digest(program)
    if store.find_intact(STAGE, digest) is not None:
        return store.folder(STAGE, digest)
    while (claim := store.claim(STAGE, digest)) is None:
        time.sleep(POLL_S)  # somebody copies the same few files now
    try:
        if store.find_intact(STAGE, digest) is None:
            _copy(program, store, digest)
    finally:
        claim.release()
    return store.folder(STAGE, digest)


def _copy(program: Program, store: StageStore, digest: str) -> None:
    started_at = now()
    with store.writing(STAGE, digest) as folder:
        for path, expected in program.code.items():
            source = Path(program.root, path)
            try:
                content, mode = source.read_bytes(), source.stat().st_mode
            except OSError as fault:
                raise UserError(f"{source}: cannot be read ({fault.strerror}); it was part of the program") from None
            if hashlib.sha256(content).hexdigest() != expected:
                raise UserError(
                    f"{source} was changed since its sweep was loaded; restore it, or begin a new sweep with it"
                )
            copy = folder / encoded(path)
            copy.write_bytes(content)
            copy.chmod(mode & 0o777)
        outcome = StageOutcome(
            stage=STAGE, fingerprint=digest, seconds=0.0, started_at=started_at, host=socket.gethostname(), metrics={}
        )
        try:
            store.publish(folder, outcome)
        except (OSError, StoreError) as fault:
            raise StoreFull(f"{STAGE}: its folder cannot be kept: {fault}") from None
