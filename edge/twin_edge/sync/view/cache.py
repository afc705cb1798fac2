"""Bundles that a subscriber has already fetched, by digest."""

from __future__ import annotations

import contextlib
import logging
import os
from pathlib import Path

from twin_edge.bundle.archive import Bundle
from twin_edge.errors import BundleError, TwinEdgeError
from twin_edge.files import write_atomic

_LOGGER = logging.getLogger(__name__)


def default_folder() -> Path:
    """Returns where bundles are kept: below `$XDG_CACHE_HOME`, or `~/.cache`."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    root = Path(base) if base.startswith("/") else Path("~/.cache").expanduser()
    return root / "twin-edge" / "bundles"


class BundleCache:
    """A folder of bundles; whatever goes wrong with it, the subscriber goes on without it.

    Args:
        folder: Where they are kept; `default_folder` when None.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = default_folder() if folder is None else folder

    def load(self, digest: str) -> Bundle | None:
        """Returns a bundle, verified as if it had come from outside; None when it is not there.

        Args:
            digest: 64 lower-case hexadecimal characters.
        """
        path = self._folder / f"{digest}.twin"
        if not path.is_file():
            return None
        try:
            bundle = Bundle.open(path)
        except BundleError as error:
            _LOGGER.warning("discarding the cached bundle %s (%s)", path, error.message)
        else:
            if bundle.digest == digest:
                return bundle
            _LOGGER.warning("discarding the cached bundle %s, which is another one", path)
        with contextlib.suppress(OSError):
            path.unlink()
        return None

    def store(self, bundle: Bundle) -> None:
        """Keeps a verified bundle."""
        try:
            write_atomic(self._folder / f"{bundle.digest}.twin", bundle.data)
        except TwinEdgeError as error:
            _LOGGER.warning("the bundle is not cached (%s)", error)
