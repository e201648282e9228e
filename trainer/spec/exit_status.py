"""How both command lines end: exit statuses, and errors as messages for people."""

from __future__ import annotations

import io
import signal
import sys
from collections.abc import Callable

from trainer.spec.console import PlainConsole
from trainer.spec.disk_faults import remedy_of
from trainer.spec.errors import UserError

EXIT_FAILED, EXIT_WRONG, EXIT_INTERRUPTED = 1, 2, 130


def print_version(asked: bool) -> None:
    """The version of the installed package, and the end of the command; for `--version`."""
    if asked:
        from importlib.metadata import version  # late: only this option needs it

        print(f"fairway {version('fairway')}")
        sys.exit(0)


def exit_for_people(command: Callable[[], object]) -> None:
    """Runs a command line; a UserError becomes its message on stderr and status 2, without a traceback.

    `-h` as the last word is `--help`; named as an option of its own it would take a column of every help.

    SIGTERM is treated as Ctrl-C: while no run handles them, both raise KeyboardInterrupt and end in status 130.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if sys.argv[-1] == "-h":
        sys.argv[-1] = "--help"
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal of an older encoding has no lines and bars: `?` instead
            stream.reconfigure(errors="replace")
    try:
        command()
    except UserError as mistake:
        _complain(str(mistake))
    except OSError as fault:  # for example a store that is a file, a read-only folder, a full disk
        remedy = remedy_of(fault)
        mended = f"; {remedy}, then type it again, or choose another place (--store, --out)" if remedy else ""
        _complain(f"{fault.filename or 'the store'}: {fault.strerror or fault}{mended}")


def _complain(words: str) -> None:
    PlainConsole(stderr=True).print(f"error: {words}", soft_wrap=True)
    sys.exit(EXIT_WRONG)
