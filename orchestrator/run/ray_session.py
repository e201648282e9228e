"""Starts Ray for a sweep: local on loopback with a token, or an existing cluster; quiet; gone afterwards."""

from __future__ import annotations

import getpass
import logging
import os
import secrets
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

from orchestrator.run.placement import this_machine
from results.rows.layout import DRIVER_PID
from trainer.spec.errors import UserError

QUIET = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_TRAIN_ENABLE_STATE_TRACKING": "0",
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",  # an actor per slot; a slot that dies is replaced anyway
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",  # how soon a dead worker, or the end of a slot, is noticed
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
LOCAL = {
    "RAY_AUTH_MODE": "token",
    # Ray's own switch for "this machine only": its node address, and so what it listens on, is then loopback.
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
}
START_LIMIT_S = 120.0
"""Seconds after which a Ray that does not come up is given up; a busy laptop needs 50."""
SOCKET_BYTES = 107
"""Most bytes of the path of a Unix socket."""
OWN_FOLDER = "fw-"
"""Begins the name of the folder of one session; short, for the paths of sockets are."""
SOCKET_OF_RAY = f"{OWN_FOLDER}12345678/r/session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store"
"""The longest path of a socket below the folder that sessions have their folders in."""
GONE_WITHIN_S = 5.0
"""For Ray's processes to write their last lines, before their folder is removed for good."""
ANSWER_LOOK_S = 1.0
"""Between looks at the flag that ends the wait for an answer."""


class Late(BaseException):
    """The time limit has passed. Not an Exception: Ray's own retries would swallow it."""


@contextmanager
def time_limit(limit_s: float) -> Iterator[None]:
    """Raises Late once the block takes longer, as soon as Ray's own code next returns to Python. Main thread only."""

    def late(number: int, frame: object) -> None:
        raise Late

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, limit_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def own_sigterm() -> Iterator[None]:
    """Undoes what `ray.init` does to SIGTERM: inside, it raises KeyboardInterrupt; afterwards it does what it did."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    except SystemExit:  # what Ray's own handler raises
        raise KeyboardInterrupt from None
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)


def ray_folder() -> Path:
    """Where each local Ray has a folder of its own, chosen as Ray itself does."""
    return Path(os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp")  # noqa: S108


@contextmanager
def own_folder(parent: Path) -> Iterator[Path]:
    """A folder for the sockets and logs of one session, closed to other users; it ends with the session.

    Ray opens the folder that it is given to everybody, so that one lies inside. A folder that a killed driver left is
    removed by the next session of its user.
    """
    for left in parent.glob(f"{OWN_FOLDER}*"):
        if _is_left_over(left):
            shutil.rmtree(left, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=OWN_FOLDER, dir=parent))
    (folder / DRIVER_PID).write_text(f"{os.getpid()} {socket.gethostname()}\n")
    try:
        yield folder / "r"
    finally:
        end_s = time.monotonic() + GONE_WITHIN_S
        while folder.exists():
            shutil.rmtree(folder, ignore_errors=True)
            if time.monotonic() > end_s:
                break
            time.sleep(0.05)


def _is_left_over(folder: Path) -> bool:
    """Whether it is the folder of a driver of this user, on this host, that is gone: containers may share a folder."""
    try:
        pid, host = (folder / DRIVER_PID).read_text().split()
        if folder.stat().st_uid == os.getuid() and host == socket.gethostname():
            os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except (OSError, ValueError):
        pass
    return False


def refuse_unusable_folder(folder: Path) -> None:
    """Raises UserError when Ray could not start there: sockets have short paths, and others' folders are closed."""
    name = "RAY_TMPDIR" if os.environ.get("RAY_TMPDIR") else "TMPDIR"
    remedy = f"choose another for Ray alone: RAY_TMPDIR=/tmp/ray-{getpass.getuser()} orchestrator ..."
    beyond = len(os.fsencode(folder.absolute() / SOCKET_OF_RAY)) - SOCKET_BYTES
    if beyond > 0:
        raise UserError(
            f"Ray's folder {folder} is {beyond} bytes too long: a socket's path has at most {SOCKET_BYTES}; {remedy}"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as fault:
        raise UserError(f"Ray's folder {folder} (from {name}) cannot be written: {fault.strerror}; {remedy}") from None


def refuse_open_head(address: str) -> None:
    """Raises UserError for a head that others can reach and that asks for no token."""
    host = address.rpartition(":")[0].strip("[]")
    if os.environ.get("RAY_AUTH_MODE") == "token" or host == "localhost" or host.startswith("127.") or host == "::1":
        return
    raise UserError(
        f"the head at {address} is reached from other machines and asks for no token: whoever reaches it can run code "
        "there. Start it, its nodes and this command with RAY_AUTH_MODE=token and the token in ~/.ray/auth_token "
        "(`ray get-auth-token --generate` makes one)"
    )


def start_fault(address: str | None, fault: Exception) -> str:
    """What to say of a Ray that did not start, or did not let this driver in."""
    reason = str(fault).strip().splitlines() or [type(fault).__name__]
    if "ersion mismatch" in str(fault):
        return (
            f"--address {address}: its Ray or Python has another version: {' '.join(line.strip() for line in reason)}; "
            "run this command with the cluster's own Python and Ray, or as a job there: ray job submit"
        )
    if address is not None:
        return f"--address {address}: the Ray there does not let this driver in: {reason[0]}"
    return f"the local Ray did not start: {reason[0]}; its folder is {ray_folder()}; RAY_TMPDIR=... chooses another"


@contextmanager
def ray_session(address: str | None, metrics_port: int | None = None) -> Iterator[str]:
    """Ray for the length of the block; yields the address of its dashboard, empty without one.

    address: None starts a local instance that listens on loopback alone and demands a token made here; otherwise the
             address of a cluster, whose token Ray finds in its usual places
    metrics_port: where a local instance offers its metrics, on loopback; None takes a free port
    """
    os.environ.update({name: value for name, value in QUIET.items() if name not in os.environ})
    if address is None:
        os.environ.update(LOCAL)
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    import ray  # late: it takes seconds, and a sweep with nothing missing never starts it

    if address is None:
        refuse_unusable_folder(ray_folder())
    with own_folder(ray_folder()) if address is None else nullcontext() as folder:
        dashboard = _start(address, folder, metrics_port)
        try:
            yield dashboard
        finally:
            ray.shutdown()


def _start(address: str | None, folder: Path | None, metrics_port: int | None) -> str:
    """Starts Ray in this folder, or joins the one at this address; the address of its dashboard, empty without one.

    Raises UserError if it cannot.
    """
    import ray  # late: as above

    dashboard = ""
    try:
        with own_sigterm(), time_limit(START_LIMIT_S):
            if address is None:
                ray.init(
                    _temp_dir=str(folder),
                    address="local",  # else Ray would join whatever cluster was started here, or wait for a dead one
                    num_cpus=this_machine().cpus,  # Ray itself counts the machine's, whatever this process may use
                    include_dashboard=False,
                    _metrics_export_port=metrics_port,
                    log_to_driver=False,
                    logging_level=logging.ERROR,
                )
            else:
                joined = ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
                dashboard = joined.dashboard_url or ""
                refuse_open_head(ray.get_runtime_context().gcs_address)
    except Late:
        what = "the local Ray" if address is None else f"--address {address}: the Ray there"
        raise UserError(
            f"{what} did not come up within {START_LIMIT_S:g} s; try again, or run without it: --inline"
        ) from None
    except ConnectionError as fault:
        raise UserError(
            f"--address {address}: no Ray cluster answers there ({fault}); start one or leave it out"
        ) from None
    except UserError:
        ray.shutdown()
        raise
    except Exception as fault:  # Ray raises just that, too, for a node that comes up too slowly
        raise UserError(start_fault(address, fault)) from fault
    return dashboard


def answer_before(flag: threading.Event, answer: Any) -> Any:
    """An actor's answer, waited for until the flag is up; None then."""
    import ray  # late: as in `ray_session`

    while not flag.is_set():
        with suppress(ray.exceptions.GetTimeoutError):
            return ray.get(answer, timeout=ANSWER_LOOK_S)
    return None


@contextmanager
def output_to(path: Path) -> Iterator[int]:
    """Sends everything that Ray prints to a file, and yields a descriptor that still reaches the terminal.

    Ray and its processes write to the descriptors themselves, so Python's own redirection would not catch them.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    terminal, errors = os.dup(1), os.dup(2)
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    try:
        yield terminal
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os.dup2(terminal, 1)
        os.dup2(errors, 2)
        os.close(terminal)
        os.close(errors)
