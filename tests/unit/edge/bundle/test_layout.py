"""Every byte of a bundle's file is that of a member or needed to find one."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twin_edge.bundle import Bundle
from twin_edge.bundle.archive import MAX_BUNDLE_BYTES, packed_zip
from twin_edge.bundle.layout import check_layout, unpacked
from twin_edge.errors import IntegrityError

MEMBERS = {"a": b"first" * 40, "b.json": b"{}", "c": bytes(500)}
SCRIPT = b"#!/bin/sh\necho owned\n"


def infos_of(data: bytes) -> list[zipfile.ZipInfo]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return archive.infolist()


def moved(data: bytes, by: int, at: int = 0) -> bytes:
    """Returns a zip with so many bytes before what stands at a place, its offsets told so."""
    out = bytearray(data[:at] + SCRIPT.ljust(by, b"#")[:by] + data[at:])
    end = out.rindex(b"PK\x05\x06")
    place = struct.unpack_from("<L", out, end + 16)[0] + by
    struct.pack_into("<L", out, end + 16, place)
    for _ in range(struct.unpack_from("<H", out, end + 10)[0]):
        offset = struct.unpack_from("<L", out, place + 42)[0]
        struct.pack_into("<L", out, place + 42, offset + (by if offset >= at else 0))
        place += 46 + sum(struct.unpack_from("<3H", out, place + 28))
    return bytes(out)


def test_what_this_project_packs_has_the_layout() -> None:
    data = packed_zip(MEMBERS)
    infos = infos_of(data)
    check_layout(data, infos)
    assert {info.filename: unpacked(data, info) for info in infos} == MEMBERS


def test_a_script_with_a_bundle_behind_it_is_none(bundle_path: Path) -> None:
    genuine = bundle_path.read_bytes()
    second = infos_of(genuine)[1].header_offset
    forged = {
        "before": SCRIPT + genuine,
        "before, offsets told": moved(genuine, 32),
        "between": moved(genuine, 32, second),
        "behind": genuine + SCRIPT,
        "in the comment": genuine[:-2] + struct.pack("<H", len(SCRIPT)) + SCRIPT,
    }
    for name, data in forged.items():
        with zipfile.ZipFile(io.BytesIO(data)) as archive:  # A zip like any other, to whoever does not look.
            assert archive.testzip() is None, name
        with pytest.raises(IntegrityError):
            Bundle.from_bytes(data)
    assert Bundle.from_bytes(genuine).digest == Bundle.open(bundle_path).digest


def test_bytes_behind_the_end_of_a_packed_member_are_refused() -> None:
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    packed = packer.compress(MEMBERS["a"]) + packer.flush()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(zipfile.ZipInfo("a", (1980, 1, 1, 0, 0, 0)), packed + SCRIPT)
    info = infos_of(buffer.getvalue())[0]
    info.compress_type, info.file_size, info.CRC = zipfile.ZIP_DEFLATED, len(MEMBERS["a"]), zlib.crc32(MEMBERS["a"])
    with pytest.raises(IntegrityError, match="damaged"):
        unpacked(buffer.getvalue(), info)
    info.compress_size = len(packed)
    assert unpacked(buffer.getvalue(), info) == MEMBERS["a"]


def test_no_more_is_unpacked_than_the_directory_says() -> None:
    data = bytearray(packed_zip({"a": bytes(MAX_BUNDLE_BYTES)}))
    info = infos_of(bytes(data))[0]
    info.file_size = 10
    with pytest.raises(IntegrityError, match="damaged"):
        unpacked(bytes(data), info)


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_any_other_byte_outside_of_the_members_is_seen(data: st.DataObject) -> None:
    genuine = packed_zip(MEMBERS)
    packed = {
        place
        for info in infos_of(genuine)
        for place in range(
            info.header_offset + 30 + len(info.filename),
            info.header_offset + 30 + len(info.filename) + info.compress_size,
        )
    }
    place = data.draw(st.sampled_from([n for n in range(len(genuine)) if n not in packed]))
    forged = bytearray(genuine)
    forged[place] ^= data.draw(st.integers(1, 255))
    with pytest.raises((IntegrityError, zipfile.BadZipFile, NotImplementedError, UnicodeDecodeError, ValueError)):
        check_layout(bytes(forged), infos_of(bytes(forged)))
