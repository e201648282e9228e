"""A sweep on disk: its journal, sharing between machines, warm start, machine check, quarantine."""

from orchestrator.functions import make_callable

make_callable(__name__)
