"""Files of earlier sweeps that estimates do without, since they cannot be read: plans, the pairing of runs and the
spread between seeds are taken from what is left, so whoever reads one is told.
"""

from __future__ import annotations

from pathlib import Path

from orchestrator.sweep.sweep import damaged_sweeps, list_sweeps
from results.rows.read import plain_rows
from trainer.spec.errors import StoreError

WITHOUT = "left out of what earlier sweeps show:"
"""What stands before each line where a command goes on without the file."""


def left_out_of_estimates(store: Path, preset: str | None, own: str = "") -> list[str]:
    """A line for each journal that cannot be read, and for each record of sweeps of a preset that cannot be or is gone.

    preset:  None for all
    own:     name of a sweep that is not looked at: the command itself reads it, and refuses damage
    """
    faults = [fault for name, fault in damaged_sweeps(store).items() if name != own]
    for sweep in list_sweeps(store):
        if sweep.name != own and preset in (None, sweep.preset):
            try:
                faults += plain_rows(sweep.folder, sweep.space.swept_keys)[1]
                faults += sweep.lost_records()
            except StoreError as fault:  # its folder: it hides no other sweep and ends no command
                faults.append(str(fault))
    return faults
