"""Golden samples: inputs with the outputs they must give, so that a device can test itself before it serves."""

from __future__ import annotations

import io
import re
import struct
import zipfile
import zlib
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt

from twin_edge.errors import IntegrityError
from twin_edge.preprocess.view import ViewSpec

_FORMAT: Final[Any] = np.lib.format  # NumPy ships no types for it
_MOST_SAMPLES: Final = 16
_HEADER_BYTES: Final = 4096
_LENGTH: Final = struct.Struct("<H")
_HEADER: Final = re.compile(
    rb"\{'descr': '([|<>=a-z0-9]{1,8})', 'fortran_order': False, 'shape': \((\d{1,9}(?:,|(?:, \d{1,9}){1,3}))\), \} *\n"
)
"""Header of an array as NumPy writes it."""
_FIXED_TIME: Final = (1980, 1, 1, 0, 0, 0)


class _StateLength(Protocol):
    @property
    def length(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Golden:
    """Samples for the self-test of a bundle."""

    views: npt.NDArray[np.uint8]
    """Views, uint8 RGB of shape (n, height, width, 3)."""
    states: npt.NDArray[np.int8]
    """The state of each view, int8 of shape (n, state length)."""
    renderings: npt.NDArray[np.uint8]
    """The rendering of each state, uint8 RGB of shape (n, height, width, 3)."""

    def to_bytes(self) -> bytes:
        """Returns the samples as a compressed `.npz`; equal samples give equal bytes.

        A view stands in it as the differences of neighbours, in both directions, and a rendering as its difference to
        the view, all modulo 256: that takes half the room.
        """
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
            for name, array in self._arrays().items():
                member = io.BytesIO()
                _FORMAT.write_array(member, np.ascontiguousarray(array), version=(1, 0), allow_pickle=False)
                info = zipfile.ZipInfo(f"{name}.npy", _FIXED_TIME)
                info.create_system = 3
                info.compress_type = zipfile.ZIP_DEFLATED
                archive.writestr(info, member.getvalue())
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes, view: ViewSpec, state: _StateLength) -> Golden:
        """Reads untrusted samples.

        Raises:
            IntegrityError: They are not readable, or not of this twin's shapes and types.
        """
        image = (view.height, view.width, 3)
        try:
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                changes = _read(archive, "changes", np.dtype(np.uint8), image)
                states = _read(archive, "states", np.dtype(np.int8), (state.length,))
                additions = _read(archive, "additions", np.dtype(np.uint8), image)
        except (
            zipfile.BadZipFile,
            zlib.error,
            EOFError,
            KeyError,
            NotImplementedError,
            OSError,
            RuntimeError,
            struct.error,
            ValueError,
        ) as e:
            raise IntegrityError(
                f"the golden samples are not readable ({e})",
                fix="get the bundle again from where it was made",
            ) from e
        if not len(changes) == len(states) == len(additions):
            raise IntegrityError("the golden samples do not match each other", fix="make the bundle again")
        views = changes.cumsum(1, dtype=np.uint8).cumsum(2, dtype=np.uint8)
        return cls(views, states, views + additions)

    def _arrays(self) -> dict[str, npt.NDArray[Any]]:
        changes = self.views.copy()
        changes[:, :, 1:] -= self.views[:, :, :-1]
        changes[:, 1:] -= changes[:, :-1].copy()
        return {"additions": self.renderings - self.views, "changes": changes, "states": self.states}


def _read(archive: zipfile.ZipFile, name: str, dtype: np.dtype[Any], shape: tuple[int, ...]) -> npt.NDArray[Any]:
    """Reads one array, having checked its header before anything of the size it claims is allocated."""
    most = _MOST_SAMPLES * int(np.prod(shape)) * dtype.itemsize
    with archive.open(f"{name}.npy") as member:
        content = member.read(most + _HEADER_BYTES + 1)
    stream = io.BytesIO(content)
    if _FORMAT.read_magic(stream) != (1, 0):
        raise ValueError(f"{name} has another format version")
    start = stream.tell() + _LENGTH.size
    (length,) = _LENGTH.unpack(content[stream.tell() : start])
    # NumPy's own reader gives the header to Python's parser, which has errors of every kind for what is no header.
    header = _HEADER.fullmatch(content[start : start + length])
    found = tuple(int(size) for size in header[2].split(b",") if size) if header else ()
    if header is None or header[1] != dtype.str.encode() or found[1:] != shape or not 1 <= found[0] <= _MOST_SAMPLES:
        raise ValueError(f"{name} has another type or shape")
    body = content[start + length :]
    if len(body) != int(np.prod(found)) * dtype.itemsize:
        raise ValueError(f"{name} is cut short or too long")
    return np.frombuffer(body, dtype).reshape(found)
