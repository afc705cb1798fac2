"""Reading the values of an untrusted database, each with its type and range."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from twin_edge.recording import schema

_MAX_WHOLE: Final = (1 << 62) - 1
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")


class Values:
    """Asks a recording; everything raises `RecordingError` where the file is damaged.

    Args:
        path: The file.

    Raises:
        ConfigError: There is no such file.
        RecordingError: It is not a recording, one of a later release, damaged, or cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._database = schema.open_to_read(path)

    def close(self) -> None:
        """Closes the file; may be called again."""
        self._database.close()

    def rows(self, statement: str, values: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
        """Goes through what a statement gives."""
        with schema.reading_from(self._path):
            cursor = self._database.execute(statement, values)
        while True:
            with schema.reading_from(self._path):
                row = cursor.fetchone()
            if row is None:
                return
            yield row

    def row(self, statement: str, values: tuple[Any, ...]) -> tuple[Any, ...]:
        """Returns the only row of a statement that always gives one."""
        return next(self.rows(statement, values))

    def one(self, statement: str, values: tuple[Any, ...]) -> int | None:
        """Returns the whole number that a statement gives, None when it gives none."""
        row = next(self.rows(statement, values), None)
        return None if row is None or row[0] is None else self.whole(row[0])

    def whole(self, value: Any) -> int:
        """Asks for a whole number, 0 or more."""
        if type(value) is not int or not 0 <= value <= _MAX_WHOLE:
            raise schema.damaged(self._path, "a number in it is none")
        return value

    def blob(self, value: Any, most: int) -> bytes:
        """Asks for bytes, some number of them at most."""
        if type(value) is not bytes or len(value) > most:
            raise schema.damaged(self._path, "a value in it is none, or too long")
        return value

    def digest(self, value: Any) -> str:
        """Asks for a digest."""
        if type(value) is not str or not _DIGEST.fullmatch(value):
            raise schema.damaged(self._path, "a digest in it is none")
        return value
