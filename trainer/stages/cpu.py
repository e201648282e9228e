"""How a process computes on a CPU: on one thread, and without giving memory back to the system after each step."""

from __future__ import annotations

import ctypes

import torch

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Names of glibc's settings, from its malloc.h."""
KEPT_BYTES = 2**30
"""Freed memory that a process keeps for its next step."""
LARGEST_BYTES = 2**25
"""Of one array that is kept; glibc allows no more."""


def prepare_cpu() -> None:
    """To be called before anything is computed; again, it changes nothing.

    One thread gives a fixed order of summation: results do not depend on the number of cores. Where the C library is
    not glibc, memory is given back as before; results are the same.
    """
    torch.set_num_threads(1)
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)
    if set_option is not None:
        set_option(M_MMAP_THRESHOLD, LARGEST_BYTES)
        set_option(M_TRIM_THRESHOLD, KEPT_BYTES)
