"""Mutations of valid samples: of bytes, of JSON trees, and of what lies inside of zips and PNG images.

A mutation that only flips bits of a bundle dies at a checksum. So the structured ones change what is inside and make
the checksums right again: that is how far a forger would come.
"""

from __future__ import annotations

import copy
import hashlib
import io
import json
import random
import struct
import zipfile
import zlib
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np

from twin_edge.bundle.archive import MANIFEST
from twin_edge.bundle.layout import FIXED_TIME, MODE

Mutator = Callable[[random.Random], bytes]

MAX_BYTES: Final = 1 << 20
"""Longest input."""
_NUMBERS: Final = (0, 1, -1, 2, 7, 16, 127, 128, 255, 256, 32767, 32768, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 1)
_FORMATS: Final = ("<b", "<h", ">h", "<i", ">i", "<q", ">q")
_VALUES: Final[tuple[Any, ...]] = (
    None, True, False, 0, -1, 1, 2**31, 2**53, 2**63, 2**64, 10**30, 0.5, -0.0, 1e-320, 1e308, -1e308, "", "x", "\0",
    "\ud800", "é" * 70, "x" * 5000, "../x", "/", "#", "+", "online", [], {}, [[]], {"": {}}, [0] * 300, {"x": None},
)  # fmt: skip
_RAW: Final = (b"NaN", b"-Infinity", b"1e999", b"9" * 4400, b"[" * 600, b'{"a":' * 600, b"\xff", b'{"a":1,"a":2}')
_UNZIPPED: Final[dict[bytes, dict[str, bytes]]] = {}
"""The samples, unpacked once."""
_PNG_HEAD: Final = b"\x89PNG\r\n\x1a\n"


def mutate_bytes(samples: Sequence[bytes], rng: random.Random) -> bytes:
    """Returns a sample after one to four changes of its bytes."""
    data = bytearray(rng.choice(samples))
    for _ in range(rng.choice((1, 1, 1, 2, 3, 4))):
        _BYTE_CHANGES[rng.randrange(len(_BYTE_CHANGES))](data, samples, rng)
    return bytes(data[:MAX_BYTES])


def bytes_of(samples: Sequence[bytes]) -> Mutator:
    """Returns a mutator of bytes."""
    return lambda rng: mutate_bytes(samples, rng)


def words_of(samples: Sequence[bytes]) -> Mutator:
    """Returns a mutator of binary files larger than `MAX_BYTES`: changes words of them where offsets and sizes stand.

    Args:
        samples: The files; a word that is no larger than its file, either way, is taken for an offset or a size.
    """
    words = [np.frombuffer(sample[: len(sample) // 4 * 4], "<u4") for sample in samples]
    places = [np.flatnonzero(word + np.uint32(len(word) * 4) < 2 * 4 * len(word)) for word in words]

    def mutate(rng: random.Random) -> bytes:
        which = rng.randrange(len(samples))
        data, here = bytearray(samples[which]), places[which]
        for _ in range(rng.choice((1, 1, 2, 3))):
            at = 4 * int(here[rng.randrange(len(here))])
            old = int.from_bytes(data[at : at + 4], "little")
            other = 4 * int(here[rng.randrange(len(here))])
            new = rng.choice(
                (
                    rng.randrange(1 << 32),
                    old + rng.randrange(-8, 9),
                    2 * old,
                    1 << rng.randrange(32),
                    rng.choice((0, 1, 2, 3, (1 << 31) - 1, 1 << 31, (1 << 32) - 1)),
                    int.from_bytes(data[other : other + 4], "little"),
                )
            )
            data[at : at + 4] = (new % (1 << 32)).to_bytes(4, "little")
        return bytes(data)

    return mutate


def json_of(samples: Sequence[bytes]) -> Mutator:
    """Returns a mutator of JSON: of its tree three times out of four, of its bytes else."""

    def mutate(rng: random.Random) -> bytes:
        if not rng.randrange(4):
            return mutate_bytes(samples, rng)
        tree = json.loads(rng.choice(samples))
        for _ in range(rng.choice((1, 1, 2, 3))):
            _change_tree(tree, rng)
        text = json.dumps(tree, separators=(",", ":")).encode("utf-8", "surrogatepass")
        if not rng.randrange(8):
            # What json.dumps does not write: a number beyond all bounds, NaN, too many brackets, a key twice.
            place = rng.randrange(len(text))
            text = text[:place] + rng.choice(_RAW) + text[place + rng.randrange(3) :]
        return text[:MAX_BYTES]

    return mutate


def text_of(samples: Sequence[str], alphabet: str) -> Mutator:
    """Returns a mutator of text that keeps to an alphabet, more or less."""

    def mutate(rng: random.Random) -> bytes:
        text = list(rng.choice(samples))
        for _ in range(rng.randint(1, 5)):
            place = rng.randint(0, len(text))
            text[place : place + rng.randrange(3)] = rng.choices(alphabet, k=rng.randrange(4))
        return "".join(text).encode("utf-8", "surrogatepass")

    return mutate


def png_of(samples: Sequence[bytes]) -> Mutator:
    """Returns a mutator of PNG images, with right checksums of the chunks."""

    def mutate(rng: random.Random) -> bytes:
        chunks = _png_chunks(rng.choice(samples))
        place = rng.randrange(len(chunks))
        name, data = chunks[place]
        change = rng.randrange(5)
        if change == 0:
            chunks.insert(rng.randrange(len(chunks) + 1), (name, data))
        elif change == 1:
            del chunks[place]
        elif change == 2:  # noqa: PLR2004 - the third of five
            chunks[place] = (mutate_bytes([name], rng)[:4].ljust(4, b"x"), data)
        else:
            chunks[place] = (name, mutate_bytes([data or b"\0"], rng))
        parts = [struct.pack(">I4s", len(d), n) + d + struct.pack(">I", zlib.crc32(n + d)) for n, d in chunks]
        return (_PNG_HEAD + b"".join(parts))[:MAX_BYTES]

    return mutate


def zip_of(samples: Sequence[bytes], members: dict[str, Callable[[Sequence[bytes]], Mutator]]) -> Mutator:
    """Returns a mutator of what is in a zip, with right sizes and checksums of the zip.

    Args:
        samples: Zips.
        members: How to mutate a member; bytes for those that are not named.
    """

    def mutate(rng: random.Random) -> bytes:
        if not rng.randrange(4):
            return mutate_bytes(samples, rng)
        content = _unzip(rng.choice(samples))
        _change_member(content, members, rng)
        return _pack(content, rng)

    return mutate


def bundle_of(samples: Sequence[bytes], members: dict[str, Callable[[Sequence[bytes]], Mutator]]) -> Mutator:
    """Returns a mutator of bundles, which makes the digests in the manifest right as well."""

    def mutate(rng: random.Random) -> bytes:
        content = _unzip(rng.choice(samples))
        manifest = json.loads(content.pop(MANIFEST))
        if rng.randrange(3):
            _change_member(content, members, rng)
        else:
            _change_tree(manifest, rng)
        if isinstance(manifest.get("files"), dict):
            for name in manifest["files"].keys() & content.keys():
                data = content[name]
                manifest["files"][name] = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        content[MANIFEST] = json.dumps(manifest, sort_keys=True).encode("utf-8", "replace")
        return _pack(content, rng)

    return mutate


def _pack(content: dict[str, bytes], rng: random.Random) -> bytes:
    # Packing takes most of the time, and unpacking has its turn with one in sixteen.
    method = rng.choice((zipfile.ZIP_DEFLATED, *[zipfile.ZIP_STORED] * 15))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method, compresslevel=1) as archive:
        for name, data in sorted(content.items()):
            info = zipfile.ZipInfo(name, FIXED_TIME)
            info.external_attr = MODE  # Any other is refused before anything is read.
            archive.writestr(info, data, method)
    return buffer.getvalue()


def _unzip(data: bytes) -> dict[str, bytes]:
    if data not in _UNZIPPED:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            _UNZIPPED[data] = {name: archive.read(name) for name in archive.namelist()}
    return dict(_UNZIPPED[data])


def _change_member(
    content: dict[str, bytes], members: dict[str, Callable[[Sequence[bytes]], Mutator]], rng: random.Random
) -> None:
    name = rng.choice(sorted(content))
    change = rng.randrange(12)
    if change == 0:
        del content[name]
    elif change == 1:
        content[rng.choice(("../x", "x", "a/b", name.upper()))] = content[name]
    else:
        content[name] = members.get(name, bytes_of)([content[name]])(rng)


def _png_chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    chunks, place = [], len(_PNG_HEAD)
    while place + 8 <= len(data):
        length, name = struct.unpack_from(">I4s", data, place)
        chunks.append((name, data[place + 8 : place + 8 + length]))
        place += 12 + length
    return chunks


def _change_tree(tree: Any, rng: random.Random) -> None:
    """Changes one node of a JSON tree."""
    nodes = [tree]
    for node in nodes:
        inner = node.values() if isinstance(node, dict) else node
        nodes += [each for each in inner if isinstance(each, dict | list) and each]
    node = rng.choice(nodes[:4096])
    if not node:
        return
    keys: list[Any] = list(node) if isinstance(node, dict) else list(range(len(node)))
    key = rng.choice(keys)
    change = rng.randrange(6)
    if change == 0:
        del node[key]
    elif change == 1 and isinstance(node, dict):
        node[rng.choice(("x", "", "value", str(key)[:-1], str(key) + "s"))] = node.pop(key)
    elif change == 2 and isinstance(node, list):  # noqa: PLR2004 - the third of six
        node.append(copy.deepcopy(node[key]))
    elif change == 3 and isinstance(node[key], int | float):  # noqa: PLR2004 - the fourth of six
        node[key] = node[key] * rng.choice((-1, 0.5, 2, 1e6)) + rng.choice((-1, 0, 1))
    else:
        node[key] = copy.deepcopy(rng.choice(_VALUES))  # a later change must not change the value for good


def _flip_bit(data: bytearray, _samples: Sequence[bytes], rng: random.Random) -> None:
    if data:
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def _set_byte(data: bytearray, _samples: Sequence[bytes], rng: random.Random) -> None:
    if data:
        data[rng.randrange(len(data))] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))


def _set_number(data: bytearray, _samples: Sequence[bytes], rng: random.Random) -> None:
    """Puts a number at a limit where a length, a count or an offset may be."""
    form = rng.choice(_FORMATS)
    size = struct.calcsize(form)
    if len(data) >= size:
        place = rng.choice((rng.randrange(len(data) - size + 1), min(rng.randrange(64), len(data) - size)))
        limit = 1 << (8 * size - 1)
        value = (rng.choice(_NUMBERS) + limit) % (2 * limit) - limit
        struct.pack_into(form, data, place, value)


def _cut(data: bytearray, _samples: Sequence[bytes], rng: random.Random) -> None:
    del data[rng.randint(0, len(data)) :]


def _delete(data: bytearray, _samples: Sequence[bytes], rng: random.Random) -> None:
    start = rng.randint(0, len(data))
    del data[start : start + rng.choice((1, 2, 4, 16, 200))]


def _repeat(data: bytearray, _samples: Sequence[bytes], rng: random.Random) -> None:
    start = rng.randint(0, len(data))
    data[start:start] = data[start : start + rng.choice((1, 4, 16, 1000))] * rng.choice((1, 1, 2, 40))


def _insert(data: bytearray, _samples: Sequence[bytes], rng: random.Random) -> None:
    place = rng.randint(0, len(data))
    data[place:place] = rng.randbytes(rng.choice((1, 2, 4, 16)))


def _splice(data: bytearray, samples: Sequence[bytes], rng: random.Random) -> None:
    other = rng.choice(samples)
    data[rng.randint(0, len(data)) :] = other[rng.randint(0, len(other)) :]


_BYTE_CHANGES: Final = (
    _flip_bit, _flip_bit, _flip_bit, _set_byte, _set_byte, _set_number, _set_number, _cut, _delete, _repeat, _insert,
    _splice,
)  # fmt: skip
