"""Renderings that are kept: a picture for each, and a contact sheet of a few of them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from twin_edge.files import write_atomic
from twin_edge.images import Image
from twin_edge.pictures import contact_sheet, encode_png

SHEET: Final = "contact-sheet.png"
_COLUMNS: Final = 8
_MOST_ON_SHEET: Final = 32


@dataclass(frozen=True, slots=True)
class _Page:
    rendering: Image
    label: str


class Album:
    """Writes renderings into a folder as they come, however many they are.

    Args:
        folder: Where to; made when it is not there. Pictures of the same names are replaced.

    Attributes:
        saved: Pictures that were written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.saved = 0
        self._session: int | None = None
        self._pages: list[_Page] = []
        self._every = 1

    def add(self, rendering: Image, *, session: int, seq: int, time_us: int, gap: float | None) -> None:
        """Writes a rendering.

        Args:
            rendering: uint8 RGB of shape (height, width, 3).
            session: Process start of the device that it is from; later ones than the first stand in the names.
            seq: Its number within the session; the name of the picture.
            time_us: When its frame was captured, microseconds since the epoch.
            gap: Reality gap, 0-1, or None.

        Raises:
            TwinEdgeError: It could not be written.
        """
        if self._session is None:
            self._session = session
        prefix = "" if session == self._session else f"{session}-"
        write_atomic(self.folder / f"{prefix}{seq:08d}.png", encode_png(rendering), durable=False)
        # Evenly spaced ones are kept for the sheet: whenever there are too many, every other one goes.
        if self.saved % self._every == 0:
            moment = datetime.fromtimestamp(time_us / 1e6, UTC)
            label = f"{moment:%H:%M:%S}.{moment.microsecond // 100_000}\n#{seq}" + (
                "" if gap is None else f"  gap {gap:.2f}"
            )
            if len(self._pages) == 2 * _MOST_ON_SHEET:
                self._pages = self._pages[::2]
                self._every *= 2
            if self.saved % self._every == 0:
                self._pages.append(_Page(rendering, label))
        self.saved += 1

    def close(self) -> None:
        """Writes the contact sheet; nothing without a rendering.

        Raises:
            TwinEdgeError: It could not be written.
        """
        count = len(self._pages)
        if not count:
            return
        shown = min(count, _MOST_ON_SHEET)
        pages = [self._pages[round(i * (count - 1) / max(1, shown - 1))] for i in range(shown)]
        sheet = contact_sheet([page.rendering for page in pages], [page.label for page in pages], _COLUMNS)
        write_atomic(self.folder / SHEET, sheet)
