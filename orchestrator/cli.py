"""`orchestrator`: the console script. The commands are in `orchestrator.commands`."""

from __future__ import annotations

import sys

from orchestrator.commands.app import app_for
from trainer.spec.exit_status import exit_for_people


def main() -> None:
    """Runs the command line; people's mistakes end in a message and exit status 2."""
    exit_for_people(app_for(sys.argv[1:]))


if __name__ == "__main__":  # `python -m orchestrator.cli`
    main()
