"""How the kernel's scheduler treats the instrument: it must not measure its own wait for a core."""

from __future__ import annotations

import ctypes
import os
import platform
import struct
import sys

# Numbers of the system call sched_setattr(2), which the C library has no function for everywhere.
_SCHED_SETATTR = {"x86_64": 314, "aarch64": 274}
# size, policy, flags, nice, priority, runtime, deadline, period; see sched_setattr(2).
_ATTRIBUTES = struct.Struct("=IIQiIQQQ")


def ask_short_slice(slice_s: float = 1e-4) -> bool:
    """Asks for a short time slice for this process and the threads that it starts later; needs no privilege.

    Linux from 6.12 lets a thread with a shorter slice onto the core earlier when it wakes. It gets no larger share for that.

    Args:
        slice_s: The wanted slice, s; the kernel takes 0.1 ms to 100 ms.

    Returns:
        Whether the kernel took the request; an older one takes and ignores it.
    """
    call = _SCHED_SETATTR.get(platform.machine())
    if sys.platform != "linux" or call is None:
        return False
    nice = os.getpriority(os.PRIO_PROCESS, 0)
    attributes = _ATTRIBUTES.pack(_ATTRIBUTES.size, os.SCHED_OTHER, 0, nice, 0, round(slice_s * 1e9), 0, 0)
    try:
        answer: int = ctypes.CDLL(None).syscall(call, 0, attributes, 0)
    except (OSError, AttributeError):
        return False
    return answer == 0
