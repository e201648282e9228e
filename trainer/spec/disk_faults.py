"""What errors of the operating system say of disks and folders, and what people do about them."""

from __future__ import annotations

import errno

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
BROKEN = (errno.EIO, errno.ESTALE)
CLOSED = (errno.EACCES, errno.EPERM)
"""To this user."""
READ_ONLY = errno.EROFS
NO_FOLDER = errno.ENOTDIR
REMEDIES = (
    dict.fromkeys(FULL, "free space")
    | dict.fromkeys(BROKEN, "check the disk")
    | dict.fromkeys(CLOSED, "give this user access")
    | {READ_ONLY: "make it writable", NO_FOLDER: "a file stands where a folder belongs, so move it"}
)


def remedy_of(fault: OSError) -> str:
    """What to do about it; nothing for an error that is none of a disk or of access."""
    return REMEDIES.get(fault.errno or 0, "")
