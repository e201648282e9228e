"""Names in a sweep's folder that drivers write, readers look for, and machines share."""

RUNS, SHORT = "runs", "short"
"""Folders of records: of the runs of its table, and of short runs, which steer its search."""
FAILED, DRIFTED, DRIFTED_SHORT = "failed", "drifted", "drifted-short"
"""Folders of records that were set aside, their runs to be done again."""
MACHINES = "machines.jsonl"
"""Notes on machines, only ever appended to."""
