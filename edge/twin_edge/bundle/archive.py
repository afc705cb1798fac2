"""The `.twin` file: a byte-reproducible zip with the manifest in it.

Nothing of an untrusted bundle reaches an interpreter, or a decoder, before the member list, the sizes, the digests
and the operators have been checked.
"""

from __future__ import annotations

import hashlib
import io
import struct
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from twin_edge.bundle.golden import Golden
from twin_edge.bundle.graph_reader import read_graph
from twin_edge.bundle.layout import FIXED_TIME, MODE, SYSTEM, check_layout, unpacked
from twin_edge.bundle.manifest import FileEntry, Manifest
from twin_edge.bundle.plate import read_labels, read_plate
from twin_edge.errors import BundleError, IntegrityError
from twin_edge.images import Image
from twin_edge.models.operators import check_operators, read_operators
from twin_edge.models.runtimes import Runtime

if TYPE_CHECKING:
    from twin_edge.twin.codec.tables import CodecTables

MANIFEST: Final = "manifest.json"
ENCODER: Final = "encoder.tflite"
GENERATOR: Final = "generator.tflite"
CODEC: Final = "codec.json"
GOLDEN: Final = "golden.npz"
PREVIEW: Final = "preview.png"
PLATE: Final = "plate.png"
PARTS: Final = "parts.png"
KNOWN: Final = "known.bin"
MEMBERS: Final = frozenset({CODEC, ENCODER, GENERATOR, GOLDEN, PREVIEW})
"""What every bundle holds beside its manifest; that of a moving subject holds the plate as well, and that of a scene of
parts the plate, where the parts are, and states that training has seen. None holds more."""

CHANNELS: Final = (3, 1)
"""Channels that a network's images may have: a network without colors has one."""
CANVAS_CHANNELS: Final = (4,)
"""Channels of the canvas of a moving subject: color and coverage."""
MOST_KNOWN: Final = 1024
"""Most states of training that a bundle may carry."""
LEAST_SIDE: Final = 8
"""Least side of what an encoder sees, pixels."""
_COLOURS: Final = 3
MAX_BUNDLE_BYTES: Final = 64 * 1024 * 1024
_AGAIN: Final = "get the bundle again from where it was made"


@dataclass(frozen=True, slots=True)
class Bundle:
    """A verified bundle: its members agree with its manifest."""

    manifest: Manifest
    """What it says of itself."""
    members: Mapping[str, bytes] = field(repr=False)
    """Every member but the manifest, by name."""
    data: bytes = field(repr=False)
    """The whole file."""
    codec: CodecTables = field(repr=False)
    """What its states are coded with on the wire."""

    @property
    def digest(self) -> str:
        """The sha256 of the manifest, 64 hexadecimal characters: what identifies a bundle."""
        return self.manifest.digest

    @property
    def model_id(self) -> int:
        """The first four bytes of the digest, little-endian: what a packet carries."""
        return int.from_bytes(bytes.fromhex(self.digest)[:4], "little")

    @classmethod
    def open(cls, path: Path) -> Bundle:
        """Reads and verifies a bundle.

        Raises:
            BundleError: There is no such file, or it is not a bundle that this release can use.
        """
        try:
            with path.open("rb") as file:
                data = file.read(MAX_BUNDLE_BYTES + 1)
        except OSError as error:
            raise BundleError(
                f"cannot read the bundle {path} ({error.strerror})",
                fix="check the path of the .twin file, or make one with 'make train convert'",
            ) from error
        return cls.from_bytes(data)

    @classmethod
    def from_bytes(cls, data: bytes) -> Bundle:
        """Verifies the bytes of a bundle.

        Raises:
            ManifestError: The manifest is not one that this release can read.
            IntegrityError: Members are missing, extra, of other sizes or of other content than the manifest says.
            IncompatibleRuntimeError: A model uses an operator that no twin may use.
        """
        if len(data) > MAX_BUNDLE_BYTES:
            raise IntegrityError(f"the bundle is larger than {MAX_BUNDLE_BYTES >> 20} MiB", fix=_AGAIN)
        members = _unzip(data)
        if MANIFEST not in members:
            raise IntegrityError("the bundle has no manifest.json", fix=_AGAIN)
        manifest = Manifest.from_bytes(members.pop(MANIFEST))
        expected = _members_of(manifest)
        if set(manifest.files) != expected or set(members) != expected:
            raise IntegrityError("the manifest lists other members than a bundle has", fix=_AGAIN)
        for name, entry in manifest.files.items():
            _check_member(name, members[name], entry)
        _check_models(manifest, members)
        from twin_edge.twin.codec.tables import CodecTables  # the twin's package needs this one first

        codec = CodecTables.from_bytes(members[CODEC], state_length=manifest.state.length)
        return cls(manifest, members, data, codec)

    def check_runtime(self, runtime: Runtime) -> None:
        """Refuses a runtime that lacks an operator of the models.

        Raises:
            IncompatibleRuntimeError: It lacks one; names it.
        """
        for operators in self.manifest.operators.values():
            check_operators(operators, runtime)

    def plate(self) -> Image | None:
        """Returns the background, uint8 RGB of shape (height, width, 3); None for a subject that is drawn as a whole.

        Raises:
            IntegrityError: It is not such an image.
        """
        if PLATE not in self.members:
            return None
        return read_plate(self.members[PLATE], self.manifest.view.height, self.manifest.view.width)

    def labels(self) -> npt.NDArray[np.uint8] | None:
        """Returns where the parts of a scene are, uint8 of shape (height, width), 0 for the plate; None without parts.

        Raises:
            IntegrityError: It is not such a map.
        """
        if self.manifest.parts is None:
            return None
        view = self.manifest.view
        return read_labels(self.members[PARTS], view.height, view.width, self.manifest.parts.count)

    def known(self) -> npt.NDArray[np.int8] | None:
        """Returns states that training has seen, int8 of shape (n, latent); None without parts."""
        if self.manifest.parts is None:
            return None
        return np.frombuffer(self.members[KNOWN], np.int8).reshape(-1, self.manifest.state.latent)

    def golden(self) -> Golden:
        """Returns the samples for the self-test.

        Raises:
            IntegrityError: They are not of this twin's shapes.
        """
        return Golden.from_bytes(self.members[GOLDEN], self.manifest.view, self.manifest.state)


def _members_of(manifest: Manifest) -> frozenset[str]:
    if manifest.parts is not None:
        return MEMBERS | {PLATE, PARTS, KNOWN}
    return MEMBERS if manifest.pose is None else MEMBERS | {PLATE}


def seal(manifest_without_files: Manifest, members: Mapping[str, bytes]) -> bytes:
    """Makes a bundle out of its parts: equal parts give equal bytes.

    Args:
        manifest_without_files: The manifest; its `files` are filled in here.
        members: The members by name.

    Returns:
        The bytes of the `.twin` file, verified by reading them back.

    Raises:
        BundleError: The parts do not make a valid bundle.
    """
    entries = {name: FileEntry(len(data), hashlib.sha256(data).hexdigest()) for name, data in sorted(members.items())}
    values = {
        name: getattr(manifest_without_files, name) for name in Manifest.__slots__ if name not in {"files", "digest"}
    }
    manifest = Manifest(files=entries, **values)
    data = packed_zip({MANIFEST: manifest.to_bytes(), **members})
    Bundle.from_bytes(data)
    return data


def packed_zip(members: Mapping[str, bytes]) -> bytes:
    """Returns a zip whose bytes depend on the members, and the zlib, only: sorted names, fixed times and modes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in sorted(members.items()):
            info = zipfile.ZipInfo(name, FIXED_TIME)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.create_system = SYSTEM
            info.external_attr = MODE
            archive.writestr(info, data, compresslevel=9)
    return buffer.getvalue()


def _unzip(data: bytes) -> dict[str, bytes]:
    """Returns the members of an untrusted zip, refusing whatever a bundle does not have."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            infos = archive.infolist()
            _check_names([info.orig_filename for info in infos])
            for info in infos:
                if info.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
                    raise IntegrityError(f"the member {info.filename} is packed in an unknown way", fix=_AGAIN)
            if sum(info.file_size for info in infos) > MAX_BUNDLE_BYTES:
                raise IntegrityError(f"the bundle unpacks to more than {MAX_BUNDLE_BYTES >> 20} MiB", fix=_AGAIN)
            check_layout(data, infos)
            return {info.filename: unpacked(data, info) for info in infos}
    except (
        zipfile.BadZipFile,
        zipfile.LargeZipFile,
        struct.error,
        zlib.error,
        EOFError,
        NotImplementedError,
        OSError,
        OverflowError,
        RuntimeError,
        UnicodeDecodeError,
        ValueError,
    ) as error:
        raise IntegrityError(f"the file is not a whole bundle ({error})", fix=_AGAIN) from error


def _check_names(names: list[str]) -> None:
    expected = MEMBERS | {MANIFEST}
    for name in names:
        if name not in expected | {PLATE, PARTS, KNOWN}:
            unsafe = name.startswith(("/", "\\")) or ".." in name or "\\" in name or ":" in name
            what = "has a path for a name" if unsafe else "does not belong in a bundle"
            raise IntegrityError(f"the member {name!r:.80} {what}", fix=_AGAIN)
    if len(names) != len(set(names)):
        raise IntegrityError("a member stands in the bundle twice", fix=_AGAIN)
    for name in sorted(expected - set(names)):
        raise IntegrityError(f"the member {name} is missing from the bundle", fix=_AGAIN)


def _check_member(name: str, data: bytes, entry: FileEntry) -> None:
    if len(data) != entry.size:
        raise IntegrityError(f"{name} has {len(data)} bytes, the manifest says {entry.size}", fix=_AGAIN)
    if hashlib.sha256(data).hexdigest() != entry.sha256:
        raise IntegrityError(f"{name} has been changed: its digest is not the manifest's", fix=_AGAIN)


def _check_models(manifest: Manifest, members: Mapping[str, bytes]) -> None:
    """Checks that models, tensors and state agree, by the manifest and by the models' own operator tables."""
    if set(manifest.operators) != {ENCODER, GENERATOR}:
        raise IntegrityError("the manifest lists the operators of other models", fix=_AGAIN)
    for name, operators in manifest.operators.items():
        if read_operators(members[name]) != tuple(sorted(operators)):
            raise IntegrityError(f"{name} has other operators than the manifest says", fix=_AGAIN)
        # Runtimes check less of it, and some of that wrongly.
        read_graph(members[name])
    view, state = manifest.view, manifest.state
    if manifest.parts is not None:
        _check_parts(manifest, members)
        return
    side = manifest.tensors["encoder.input"].shape[1]
    if side < LEAST_SIDE or view.height % side or view.width % (view.height // side):
        raise IntegrityError(f"the encoder sees {side} rows, which do not divide the view's {view.height}", fix=_AGAIN)
    seen = (side, view.width // (view.height // side))
    drawn = CHANNELS if manifest.pose is None else CANVAS_CHANNELS
    shapes = {
        "encoder.input": tuple((1, *seen, channels) for channels in CHANNELS),
        "encoder.output": ((1, state.length),),
        "generator.input": ((1, state.latent),),
        "generator.output": tuple((1, view.height, view.width, channels) for channels in drawn),
    }
    _check_shapes(manifest, shapes)


def _check_parts(manifest: Manifest, members: Mapping[str, bytes]) -> None:
    """Checks that the map of the parts, tensors and state agree."""
    view, parts = manifest.view, manifest.parts
    assert parts is not None  # noqa: S101 - the caller asks only then
    labels = read_labels(members[PARTS], view.height, view.width, parts.count)
    if manifest.state.latent % parts.count:
        raise IntegrityError(f"{parts.count} parts cannot share {manifest.state.latent} latent values", fix=_AGAIN)
    rows, left = divmod(len(members[KNOWN]), manifest.state.latent)
    if left or not 1 <= rows <= MOST_KNOWN:
        raise IntegrityError(f"{KNOWN} does not hold 1 to {MOST_KNOWN} states of training", fix=_AGAIN)
    shapes = {
        "encoder.input": ((1, parts.count * parts.side, parts.side, _COLOURS),),
        "encoder.output": ((1, manifest.state.latent),),
        "generator.input": ((1, manifest.state.latent),),
        "generator.output": ((1, _COLOURS * int(np.count_nonzero(labels))),),
    }
    _check_shapes(manifest, shapes)


def _check_shapes(manifest: Manifest, shapes: Mapping[str, tuple[tuple[int, ...], ...]]) -> None:
    for name, allowed in shapes.items():
        if manifest.tensors[name].shape not in allowed:
            raise IntegrityError(f"{name} has shape {manifest.tensors[name].shape}, not {allowed[0]}", fix=_AGAIN)
