"""The ranks that torchrun, or a launcher with its variables, started this process among. Imports no torch."""

from __future__ import annotations

import os
from dataclasses import dataclass

from trainer.spec.errors import UserError

VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True)
class Launched:
    """This process among those that were started together."""

    rank: int
    size: int
    local_rank: int
    """Its number among those of this machine; on GPUs it uses the GPU of that number."""


def launched() -> Launched | None:
    """What the launcher said; None where there was none, or it started one process.

    One that starts several must set all of VARIABLES: raises UserError naming what is missing.
    """
    try:
        numbers = [int(os.environ.get(name) or default) for name, default in zip(VARIABLES, (0, 1, 0), strict=False)]
    except ValueError as fault:
        raise UserError(f"{', '.join(VARIABLES[:3])} in the environment must be whole numbers: {fault}") from None
    this = Launched(*numbers)
    if this.size < 2:
        return None
    if missing := [name for name in VARIABLES if not os.environ.get(name)]:
        raise UserError(
            f"WORLD_SIZE = {this.size} in the environment says that {this.size} processes were started together, but "
            f"{', '.join(missing)} is not set; start with torchrun, which sets all of {', '.join(VARIABLES)}, or unset "
            "WORLD_SIZE for one process"
        )
    if not 0 <= this.rank < this.size:
        raise UserError(f"RANK = {this.rank} in the environment is not among 0 to {this.size - 1} (WORLD_SIZE - 1)")
    return this
