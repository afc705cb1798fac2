"""Settings that are carried out in the twin thread, between two frames."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from twin_edge.errors import TwinEdgeError
from twin_edge.sync.device.settings import Settings

_LOGGER = logging.getLogger(__name__)


class SettingsApplier:
    """Carries out what is wished; for one thread.

    Args:
        settings: Where wishes come from.
        apply: Sets a setting, by key; raises a `TwinEdgeError` when what it is for does not take the value.
    """

    def __init__(self, settings: Settings, apply: Mapping[str, Callable[[Any], None]]) -> None:
        self._settings = settings
        self._apply = apply

    def apply_wishes(self) -> None:
        """Carries out the wishes that have come; next to nothing when there are none."""
        for key, wish in self._settings.take_wishes():
            try:
                self._apply[key](wish)
            except TwinEdgeError as error:
                _LOGGER.warning("%s stays as it was (%s)", key, error)
                self._settings.settle(key, wish, done=False)
            else:
                _LOGGER.info("%s is %s", key, wish)
                self._settings.settle(key, wish, done=True)
