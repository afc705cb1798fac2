"""Where the members of a bundle stand in its file: one behind the other, and nothing else.

A zip may have bytes before its members, between them and behind its directory, that no digest covers: a script with a
bundle behind it would go by the bundle's name. So every byte outside of the packed members is known here: the headers
are those that `packed_zip` writes (APPNOTE.TXT 6.3.10 of PKWARE, sections 4.3.7, 4.3.12 and 4.3.16), without extra
fields and comments, and the packed members end where their data does.
"""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Sequence
from typing import Final

from twin_edge.errors import IntegrityError

FIXED_TIME: Final = (1980, 1, 1, 0, 0, 0)
"""Time of every member."""
SYSTEM: Final = 3
"""Unix."""
MODE: Final = 0o644 << 16
"""What may be done with a member once it is unpacked."""
_VERSION: Final = 20
_TIME: Final = 0
_DATE: Final = 0x21
_DIRECTORY_ENTRY: Final = b"PK\x01\x02"
_LOCAL: Final = b"PK\x03\x04"
_END: Final = b"PK\x05\x06"
_AGAIN: Final = "get the bundle again from where it was made"


def check_layout(data: bytes, infos: Sequence[zipfile.ZipInfo]) -> None:
    """Refuses a zip that has other bytes than its members and what is needed to find them.

    Args:
        data: The file.
        infos: Its members, by its directory.

    Raises:
        IntegrityError: It has; says where.
    """
    if infos and min(info.header_offset for info in infos):
        raise IntegrityError("something stands before the bundle in its file", fix=_AGAIN)
    position, directory = 0, bytearray()
    for info in infos:
        name = info.orig_filename.encode()
        common = struct.pack(
            "<5H3L2H",
            _VERSION,
            0,
            info.compress_type,
            _TIME,
            _DATE,
            info.CRC,
            info.compress_size,
            info.file_size,
            len(name),
            0,
        )
        header = _LOCAL + common + name
        if info.header_offset != position or data[position : position + len(header)] != header:
            raise IntegrityError(f"the member {info.filename!r:.80} does not begin where it should", fix=_AGAIN)
        directory += _DIRECTORY_ENTRY + struct.pack("<BB", _VERSION, SYSTEM) + common
        directory += struct.pack("<3H2L", 0, 0, 0, MODE, position) + name
        position += len(header) + info.compress_size
    end = struct.pack("<4H2LH", 0, 0, len(infos), len(infos), len(directory), position, 0)
    if data[position:] != directory + _END + end:
        raise IntegrityError("the file has more in it than a bundle", fix=_AGAIN)


def unpacked(data: bytes, info: zipfile.ZipInfo) -> bytes:
    """Returns a member; with its size told, no more than that is ever unpacked, whatever the packed bytes hold.

    Args:
        data: The file, of the right layout.
        info: The member.

    Raises:
        IntegrityError: What is packed is not what the directory says.
        zlib.error: It cannot be unpacked.
    """
    start = info.header_offset + len(_LOCAL) + struct.calcsize("<5H3L2H") + len(info.orig_filename.encode())
    packed = data[start : start + info.compress_size]
    if info.compress_type == zipfile.ZIP_STORED:
        content, whole = packed, True
    else:
        stream = zlib.decompressobj(-zlib.MAX_WBITS)
        # One byte more than there should be, so that what is longer shows.
        content = stream.decompress(packed, info.file_size + 1)
        whole = stream.eof and not stream.unused_data and not stream.unconsumed_tail
    if not whole or len(content) != info.file_size or zlib.crc32(content) != info.CRC:
        raise IntegrityError(f"the member {info.filename!r:.80} is damaged", fix=_AGAIN)
    return content
