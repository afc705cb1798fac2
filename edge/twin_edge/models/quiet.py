"""What a TFLite runtime writes to the terminal by itself."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Iterator
from typing import Final

_STDERR: Final = 2
_CHATTER: Final = b"INFO: "
_ONE_AT_A_TIME: Final = threading.Lock()

_LOGGER = logging.getLogger(__name__)


@contextlib.contextmanager
def chatter_hidden() -> Iterator[None]:
    """Keeps the information lines of a runtime's C++ off file descriptor 2, unless debug logs are shown.

    LiteRT tells that it has made its XNNPACK delegate, and has neither an option nor an environment variable that keeps
    it from that. Whatever else this process writes meanwhile, warnings and errors above all, is written when the block
    ends, and is lost where it never does: native code that aborts loses its own last line. A child process that is
    started meanwhile keeps the descriptor that it was given, and what it writes there once the block has ended is lost;
    so nothing but a model is loaded in such a block.
    """
    with contextlib.ExitStack() as stack:
        if not _LOGGER.isEnabledFor(logging.DEBUG):
            stack.enter_context(_ONE_AT_A_TIME)
            # Without a descriptor 2, as in a service that has closed it, there is nothing to keep quiet.
            with contextlib.suppress(OSError):
                stack.enter_context(_collected())
        yield


@contextlib.contextmanager
def _collected() -> Iterator[None]:
    before = os.dup(_STDERR)
    try:
        # In memory: a device's disk may be full, or read-only.
        with open(os.memfd_create("stderr"), "r+b", buffering=0) as memory:  # noqa: PTH123 - a descriptor
            os.dup2(memory.fileno(), _STDERR)
            try:
                yield
            finally:
                os.dup2(before, _STDERR)
                memory.seek(0)
                kept = [line for line in memory.readall().splitlines(keepends=True) if not line.startswith(_CHATTER)]
                with contextlib.suppress(OSError):  # nobody reads there any more
                    os.write(_STDERR, b"".join(kept))
    finally:
        os.close(before)
