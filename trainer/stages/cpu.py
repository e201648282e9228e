"""How a process computes on a CPU: on one thread, with memory that it keeps between steps and in large pages."""

from __future__ import annotations

import ctypes
import mmap
from functools import cache

import torch

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Names of glibc's settings, from its malloc.h."""
MADV_HUGEPAGE = 14
"""Linux's advice to back memory with large pages, from its mman.h."""
KEPT_BYTES = 2**30
"""Freed memory that a process keeps for its next step."""
LARGEST_BYTES = 2**25
"""Of one array that is kept; glibc allows no more."""
ADVISED_BYTES = 2**28
"""Of the memory that arrays come from, more than a step of a small model holds."""


def prepare_cpu() -> None:
    """To be called before anything is computed, each time: others in the process may have set another number.

    One thread gives a fixed order of summation: results do not depend on the number of cores.
    """
    torch.set_num_threads(1)
    _prepare_memory()


@cache
def _prepare_memory() -> None:
    """Where the C library is not glibc, memory is given back as before; results are the same."""
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):
        library.mallopt(M_MMAP_THRESHOLD, LARGEST_BYTES)
        library.mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)
        _advise_large_pages(library)


def _advise_large_pages(library: ctypes.CDLL) -> None:
    """Asks for pages of 2 MB where arrays will lie: a step uses more pages of 4 kB than a core's TLB holds.

    The memory is reserved and freed again, so that the process takes only the pages that it writes to. Outside the main
    thread glibc gives most of it back at once; then pages stay small.
    """
    library.malloc.restype, library.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    library.free.argtypes = [ctypes.c_void_p]
    library.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    block_bytes = LARGEST_BYTES // 2  # below what would be given back when freed
    blocks = [address for _ in range(ADVISED_BYTES // block_bytes) if (address := library.malloc(block_bytes))]
    for address in blocks:
        begin = -(-address // mmap.PAGESIZE) * mmap.PAGESIZE
        library.madvise(begin, address + block_bytes - begin, MADV_HUGEPAGE)
    for address in blocks:
        library.free(address)
