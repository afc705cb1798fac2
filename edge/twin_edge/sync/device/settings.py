"""The device's settings: what they are (reported), and what others want them to be (desired).

Wishes come in the network thread and are carried out in the twin thread, between two frames; `Settings` lies between
the two. Ditto keeps what is desired; what of it differs from what is reported, the delta, is worked out here.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping

from twin_edge.errors import MessageError
from twin_edge.sync.wire.ditto import DesiredChange
from twin_edge.sync.wire.reading import Scalar
from twin_edge.sync.wire.setting import Setting


class Settings:
    """What the settings are and shall be; all methods are for any thread.

    Args:
        settings: All there are.
        values: What they are at the start, by key.

    Attributes:
        applied: Wishes that were carried out.
        refused: Wishes that could not be: unknown, out of range, or not taken by what they are for.
        stale: Changes of what is desired that were older than what is known.
    """

    def __init__(self, settings: Iterable[Setting], values: Mapping[str, Scalar]) -> None:
        self._settings = {one.key: one for one in settings}
        self._reported = {key: one.read(values[key]) for key, one in self._settings.items()}
        self._desired: dict[str, Scalar] = {}
        self._pending: dict[str, Scalar] = {}
        self._unsaid = set(self._settings)
        self._held = True
        self._revision: int | None = None
        self._lock = threading.Lock()
        self.applied = self.refused = self.stale = 0

    @property
    def all(self) -> tuple[Setting, ...]:
        """All settings there are."""
        return tuple(self._settings.values())

    # What the network thread does

    def begin(self) -> None:
        """Begins a connection: everything has to be said again, but not before it is known what is desired."""
        with self._lock:
            self._unsaid = set(self._settings)
            self._held = True
            # A thing that was deleted and made again counts from the start.
            self._revision = None

    def release(self) -> None:
        """Lets the settings be said: what is desired is known, or nobody tells."""
        with self._lock:
            self._held = False

    def want(self, key: str, value: Scalar) -> None:
        """Takes a wish for one setting; one that is fulfilled already changes nothing.

        Raises:
            MessageError: There is no such setting, or it cannot have this value.
        """
        with self._lock:
            self._want(key, value)

    def desire(self, change: DesiredChange) -> bool:
        """Takes what Ditto says is desired; each value is followed once, so that a later wish from elsewhere holds.

        Returns:
            Whether it was taken; False when it is older than what is known.
        """
        with self._lock:
            if change.revision is not None:
                known = -1 if self._revision is None else self._revision
                # Of the same revision the whole says more than the change that led to it.
                if change.revision < known or (change.revision == known and not change.complete):
                    self.stale += 1
                    return False
                self._revision = change.revision
            self.refused += change.ignored
            before = dict(self._desired)
            if change.complete:
                self._desired.clear()
            for key, value in change.values.items():
                if value is None:
                    self._desired.pop(key, None)
                    continue
                self._desired[key] = value
                if value == before.get(key) and type(value) is type(before.get(key)):
                    continue
                try:
                    self._want(key, value)
                except MessageError:
                    self.refused += 1
            return True

    def take_unsaid(self) -> list[tuple[str, str]]:
        """Returns key and text of what has to be reported, each once; nothing while it is not known what is desired."""
        if self._held or not self._unsaid:
            return []
        with self._lock:
            ready = sorted(self._unsaid - self._pending.keys())
            self._unsaid.difference_update(ready)
            return [(key, self._settings[key].text(self._reported[key])) for key in ready]

    # What the twin thread does

    def take_wishes(self) -> list[tuple[str, Scalar]]:
        """Returns what is to be carried out now, the latest wish for each setting; each has to be settled."""
        if not self._pending:
            return []
        with self._lock:
            return list(self._pending.items())

    def settle(self, key: str, wish: Scalar, *, done: bool) -> None:
        """Ends a wish, unless a newer one has come: the setting is what was wished, or has stayed as it was."""
        with self._lock:
            if done:
                self._reported[key] = wish
                self.applied += 1
            else:
                self.refused += 1
            if self._pending.get(key) == wish:
                del self._pending[key]
            self._unsaid.add(key)

    def reported(self) -> dict[str, Scalar]:
        """Returns what the settings are, by key; nothing while it is not known what is desired."""
        with self._lock:
            return {} if self._held else dict(self._reported)

    def delta(self) -> dict[str, Scalar]:
        """Returns what is desired and not so, by key; settings that do not exist are in it too."""
        with self._lock:
            return {key: value for key, value in self._desired.items() if self._differs(key, value)}

    def _differs(self, key: str, value: Scalar) -> bool:
        setting = self._settings.get(key)
        if setting is None:
            return True
        try:
            return setting.read(value) != self._reported[key]
        except MessageError:
            return True

    def _want(self, key: str, value: Scalar) -> None:
        setting = self._settings.get(key)
        if setting is None:
            raise MessageError(f"there is no setting {key!r:.40}", fix=f"use one of {', '.join(self._settings)}")
        try:
            wish = setting.read(value)
        except MessageError:
            # Whoever asked shows the value as if it were set until it hears what it is.
            self._unsaid.add(key)
            raise
        # While an older wish is being carried out, the old value is a new wish.
        if wish != self._pending.get(key, self._reported[key]):
            self._pending[key] = wish
