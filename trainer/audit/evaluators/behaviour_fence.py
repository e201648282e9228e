"""Sets limits, leaves the network, then runs a command.

    python -m trainer.audit.evaluators.behaviour_fence SECONDS MEMORY_BYTES COMMAND...

Where the system lets it, the process leaves the network for an empty one of its own. Files are not hidden from the
command: what may not be read or written by it must be kept away by a container or another user.
"""

from __future__ import annotations

import ctypes
import os
import resource
import sys

CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000
LARGEST_FILE_BYTES = 512 * 1024 * 1024
OPEN_NETWORK = "this system lets no process leave the network"


def leave_network() -> bool:
    """Whether this process, and all it starts, is cut off from every network from now on."""
    unshare = getattr(ctypes.CDLL(None, use_errno=True), "unshare", None)
    return unshare is not None and any(unshare(flags) == 0 for flags in (CLONE_NEWNET, CLONE_NEWUSER | CLONE_NEWNET))


def main(seconds: int, memory_bytes: int, command: list[str]) -> None:
    for limit, amount in (
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_AS, memory_bytes),
        (resource.RLIMIT_FSIZE, LARGEST_FILE_BYTES),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(limit, (amount, amount))
    if not leave_network():
        sys.exit(f"{OPEN_NETWORK}; run the audit in a container without one, or as a user who may make namespaces")
    os.execv(command[0], command)  # noqa: S606 - the command is this Python


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
