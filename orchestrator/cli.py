"""`orchestrator`: the console script. The commands are in `orchestrator.commands`."""

from __future__ import annotations

import atexit
import gc
import os
import sys

TRAINING = ("sweep", "resume", "confirm")
"""Commands that may train in this process, whose tensors are to be freed as soon as ever."""
READING = ("table", "compare", "best", "show", "curves", "report", "status", "list", "next", "records")
"""Commands that read a store, multiply no large matrix and start no process: NumPy's one thread is enough for them, and
to start the others takes a tenth of their processor time. Nor do their tables need pyarrow, which pandas imports where
it is installed, another tenth, unless they read or write Parquet."""
COLLECT_EVERY = 200_000
"""New objects after which the others look for cycles; a command imports 100,000 objects, hardly any of them in a cycle
that could be freed, and looking after every 700 takes up to a seventh of its time."""


def main() -> None:
    """Runs the command line; people's mistakes end in a message and exit status 2."""
    try:
        _run_command_line()
    except KeyboardInterrupt:
        print("interrupted before anything was begun", file=sys.stderr)
        sys.exit(130)


def _run_command_line() -> None:
    if not sys.argv[1:] or sys.argv[1] not in TRAINING:
        gc.set_threshold(COLLECT_EVERY)
        atexit.register(gc.freeze)  # nor at the end, where all memory goes back to the system
    # late: Ctrl-C while these are read ends in a line, too, and they are a good part of what would be looked at
    from orchestrator.commands.app import app_for
    from trainer.spec.exit_status import exit_for_people

    # pydantic would read the metadata of every installed package, to find plugins that a command has no use for
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    if sys.argv[1:] and sys.argv[1] in READING:
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
        if not any("parquet" in word.lower() for word in sys.argv):
            sys.modules.setdefault("pyarrow", None)  # type: ignore[arg-type]  # to pandas it is not installed
    exit_for_people(app_for(sys.argv[1:]))


if __name__ == "__main__":  # `python -m orchestrator.cli`
    main()
