"""Memory that nobody uses any more goes back to the system."""

from __future__ import annotations

import ctypes
import gc


def give_back() -> None:
    """Frees what only cycles hold, and has the C library return what it keeps of freed memory, where it can.

    TensorFlow allocates and frees hundreds of megabytes in pieces in each step: they stay with the process otherwise,
    beside what comes next.
    """
    gc.collect()
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (OSError, AttributeError):  # Another C library than that of GNU.
        return
