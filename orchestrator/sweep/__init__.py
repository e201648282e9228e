"""A sweep on disk: its journal, sharing between machines, warm start, machine check, quarantine."""
