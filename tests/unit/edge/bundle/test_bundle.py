"""A bundle is what it says it is, or it is refused in one line."""

from __future__ import annotations

import hashlib
import io
import json
import re
import struct
import tracemalloc
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from twin_edge.bundle import Bundle, Manifest, seal
from twin_edge.bundle.archive import GENERATOR, MANIFEST, packed_zip
from twin_edge.bundle.golden import Golden
from twin_edge.bundle.layout import FIXED_TIME, MODE
from twin_edge.errors import BundleError, IncompatibleRuntimeError, IntegrityError, ManifestError


@pytest.fixture(scope="module")
def bundle(bundle_path: Path) -> Bundle:
    return Bundle.open(bundle_path)


def rezipped(bundle: Bundle, **changed: bytes | None) -> bytes:
    """Returns the bundle with members replaced, added or (None) left out."""
    members = {MANIFEST: _manifest_bytes(bundle), **bundle.members}
    for name, data in changed.items():
        if data is None:
            del members[name]
        else:
            members[name] = data
    return packed_zip(members)


def _manifest_bytes(bundle: Bundle) -> bytes:
    with zipfile.ZipFile(io.BytesIO(bundle.data)) as archive:
        return archive.read(MANIFEST)


def resealed(bundle: Bundle, **members: bytes) -> bytes:
    """Returns the bundle with members replaced and the manifest's digests made to fit, as an attacker would."""
    tree = json.loads(_manifest_bytes(bundle))
    for name, data in members.items():
        tree["files"][name] = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    return rezipped(bundle, **members, **{MANIFEST: json.dumps(tree).encode()})


def test_manifest_survives_a_round_trip(bundle: Bundle) -> None:
    again = Manifest.from_bytes(bundle.manifest.to_bytes())
    assert again == bundle.manifest
    assert again.digest == bundle.digest == hashlib.sha256(_manifest_bytes(bundle)).hexdigest()


def test_sealing_the_same_parts_gives_the_same_bytes(bundle: Bundle) -> None:
    members = dict(reversed(bundle.members.items()))
    assert seal(bundle.manifest, members) == bundle.data


def test_model_id_is_the_first_four_bytes_of_the_digest(bundle: Bundle) -> None:
    assert struct.pack("<I", bundle.model_id).hex() == bundle.digest[:8]


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="make one with 'make train convert'"):
        Bundle.open(tmp_path / "none.twin")


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99, 0.9999])
def test_truncated(bundle: Bundle, share: float) -> None:
    with pytest.raises(IntegrityError):
        Bundle.from_bytes(bundle.data[: int(len(bundle.data) * share)])


def test_tampered_model(bundle: Bundle) -> None:
    model = bytearray(bundle.members[GENERATOR])
    model[-100] ^= 1
    with pytest.raises(IntegrityError, match=r"generator\.tflite has been changed"):
        Bundle.from_bytes(rezipped(bundle, **{GENERATOR: bytes(model)}))


@pytest.mark.parametrize("name", ["encoder.tflite", "golden.npz", "manifest.json", "preview.png"])
def test_missing_member(bundle: Bundle, name: str) -> None:
    with pytest.raises(IntegrityError, match=re.escape(name)):
        Bundle.from_bytes(rezipped(bundle, **{name: None}))


@pytest.mark.parametrize("name", ["../evil.py", "/etc/passwd", "a/../../b", "C:\\x", "extra.txt"])
def test_other_members(bundle: Bundle, name: str) -> None:
    with pytest.raises(IntegrityError, match=r"has a path for a name|does not belong"):
        Bundle.from_bytes(rezipped(bundle, **{name: b"x"}))


def test_member_twice(bundle: Bundle) -> None:
    buffer = io.BytesIO(bundle.data)
    with zipfile.ZipFile(buffer, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("preview.png", b"again")
    with pytest.raises(IntegrityError, match="twice"):
        Bundle.from_bytes(buffer.getvalue())


def test_stored_members_are_read_as_well(bundle: Bundle) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, data in {MANIFEST: _manifest_bytes(bundle), **bundle.members}.items():
            info = zipfile.ZipInfo(name, FIXED_TIME)
            info.external_attr = MODE
            archive.writestr(info, data)
    assert Bundle.from_bytes(buffer.getvalue()).digest == bundle.digest


def test_other_packing_is_refused(bundle: Bundle) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_LZMA) as archive:
        for name, data in {MANIFEST: _manifest_bytes(bundle), **bundle.members}.items():
            archive.writestr(name, data)
    with pytest.raises(IntegrityError, match="unknown way"):
        Bundle.from_bytes(buffer.getvalue())


def test_a_bomb_is_not_unpacked(bundle: Bundle) -> None:
    """Neither what a directory admits nor what it hides is unpacked: memory stays bounded."""
    members = {MANIFEST: _manifest_bytes(bundle), **bundle.members}
    bomb = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = b"".join(bomb.compress(bytes(1 << 20)) for _ in range(100)) + bomb.flush()
    honest = packed_zip(members | {GENERATOR: bytes(100 << 20)})
    with pytest.raises(IntegrityError, match="unpacks to more"):
        Bundle.from_bytes(honest)
    with io.BytesIO() as buffer:
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
            for name, data in members.items():
                archive.writestr(name, packed if name == GENERATOR else data)
            for entry in archive.infolist():
                if entry.filename == GENERATOR:
                    entry.compress_type, entry.file_size = zipfile.ZIP_DEFLATED, 1000
        lying = buffer.getvalue()
    tracemalloc.start()
    with pytest.raises(IntegrityError):
        Bundle.from_bytes(lying)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20 << 20


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"schema": 99}, "schema 99, this release reads schema 4: a later release made it: upgrade twin-edge"),
        ({"schema": 3}, "an earlier release made it: .* with 'twin-convert runs/quick --force'"),
        ({"schema": 3, "name": "../x;"}, "with 'twin-convert runs/NAME --force'"),
        ({"schema": 0, "name": 7}, "with 'twin-convert runs/NAME --force'"),
        ({"schema": True}, "schema True.*make it again with twin-convert"),
        ({"schema": "4"}, "schema '4'.*make it again with twin-convert"),
        ({"schema": None}, "schema None.*make it again with twin-convert"),
    ],
)
def test_another_schema(bundle: Bundle, changes: dict[str, object], words: str) -> None:
    tree = json.loads(_manifest_bytes(bundle)) | changes
    with pytest.raises(ManifestError, match=words) as caught:
        Bundle.from_bytes(rezipped(bundle, **{MANIFEST: json.dumps(tree).encode()}))
    assert ("upgrade" in str(caught.value)) == (changes["schema"] == 99)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("name",), "../x"),
        (("view", "height"), 0),
        (("view", "resize_mode"), "stretch"),
        (("view", "region"), [0, 0, 1]),
        (("view", "region"), [0, 0, 1, True]),
        (("view", "region"), [0.5, 0, 0.6, 1]),
        (("view", "region"), [0, 0, 0.001, 1]),
        (("view", "region"), [-0.1, 0, 1, 1]),
        (("view", "region"), [0, 0, 1e999, 1]),
        (("view", "region"), [10**400, 0, 1, 1]),
        (("view", "region"), {"x": 0}),
        (("state", "latent"), 0),
        (("state", "scale"), float("inf")),
        (("state", "scale"), True),
        (("state", "deviation"), -0.1),
        (("state", "light"), 3),
        (("state", "low"), []),
        (("state", "high"), [-129] * 16),
        (("parts",), {"count": 3}),
        (("parts",), {"count": 3, "side": 16}),
        (("gap", "rows"), 7),
        (("gap", "quantiles"), [3, 2, 1]),
        (("gap", "mean"), [1.0]),
        (("gap", "deviation"), [0.0]),
        (("gap", "scales"), [1.0, 1.0, 1.0, 0.0]),
        (("gap", "centers"), [1.0, 1.0, 1.0]),
        (("gap", "cell_limit"), "high"),
        (("files", "encoder.tflite", "size"), -1),
        (("tensors", "encoder.input", "shape"), [1, 9_999_999, 3]),
        (("quality", "frames"), "many"),
        (("quality", "runtime_levels"), 256),
        (("quality", "runtime_steps"), -1),
        (("operators", "encoder.tflite"), []),
        (("quality", "baseline_psnr_db"), -1),
        (("quality", "baseline"), "magic"),
        (("quality", "default_psnr_db"), 201),
        (("quality", "default_bytes"), -0.5),
        (("quality", "default_fps"), None),
        (("pose",), {"steps": [1, 1, 1], "reach": [1, 1, 1, 1]}),
        (("pose",), []),
        (("state", "pose"), ["tx", "ty", "rotation", "log_scale"]),
        (("surprise",), 1),
    ],
)
def test_manifest_values_out_of_range(bundle: Bundle, path: tuple[str, ...], value: object) -> None:
    tree = json.loads(_manifest_bytes(bundle))
    inner = tree
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    with pytest.raises(ManifestError):
        Manifest.from_bytes(json.dumps(tree).encode())


def test_shape_of_another_twin(bundle: Bundle) -> None:
    tree = json.loads(_manifest_bytes(bundle))
    tree["state"]["latent"] += 1
    tree["state"]["low"].append(-128)
    tree["state"]["high"].append(127)
    with pytest.raises(IntegrityError, match=r"encoder\.output has shape"):
        Bundle.from_bytes(rezipped(bundle, **{MANIFEST: json.dumps(tree).encode()}))


def test_operators_of_another_model(bundle: Bundle) -> None:
    tree = json.loads(_manifest_bytes(bundle))
    tree["operators"]["encoder.tflite"][0][1] += 1
    with pytest.raises(IntegrityError, match="other operators"):
        Bundle.from_bytes(rezipped(bundle, **{MANIFEST: json.dumps(tree).encode()}))


def test_a_model_that_is_none(bundle: Bundle) -> None:
    with pytest.raises(IntegrityError, match="not a readable TFLite"):
        Bundle.from_bytes(resealed(bundle, **{GENERATOR: b"\0" * 5000}))


def test_golden_samples_that_lie_about_their_size(bundle: Bundle) -> None:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": (2**40, 64, 64, 3)})
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("changes", "states", "additions"):
            archive.writestr(f"{name}.npy", header.getvalue())
    opened = Bundle.from_bytes(resealed(bundle, **{"golden.npz": buffer.getvalue()}))
    with pytest.raises(IntegrityError, match="golden samples"):
        opened.golden()


@pytest.mark.parametrize(
    "header",
    [
        "{'descr': (",
        "{'descr': '|u1', 'fortran_order': False, 'shape': (\n",
        "{'descr': '|u1', 'fortran_order': False, 'shape': (1, " + "1" * 500,
        "1+" * 500,
        "\0",
        "",
    ],
)
def test_golden_samples_with_a_header_that_no_parser_likes(bundle, header):
    """NumPy would hand it to Python's own parser, and raise `tokenize.TokenError` and the like."""
    with zipfile.ZipFile(io.BytesIO(bundle.members["golden.npz"])) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    members["changes.npy"] = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    with pytest.raises(IntegrityError, match="golden samples are not readable"):
        Golden.from_bytes(buffer.getvalue(), bundle.manifest.view, bundle.manifest.state)


def test_golden_samples_with_a_pickle_are_not_executed(bundle: Bundle, tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (Path.touch, (tmp_path / "executed",))  # type: ignore[return-value]

    buffer = io.BytesIO()
    np.savez(buffer, changes=np.array([Evil()], object), states=np.zeros(1), additions=np.zeros(1))
    opened = Bundle.from_bytes(resealed(bundle, **{"golden.npz": buffer.getvalue()}))
    with pytest.raises(IntegrityError):
        opened.golden()
    assert not (tmp_path / "executed").exists()


def test_golden_round_trip(bundle: Bundle) -> None:
    golden = bundle.golden()
    data = golden.to_bytes()
    assert data == bundle.members["golden.npz"]
    again = Golden.from_bytes(data, bundle.manifest.view, bundle.manifest.state)
    np.testing.assert_array_equal(again.views, golden.views)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_damage_is_refused_with_a_bundle_error(bundle: Bundle, data: st.DataObject) -> None:
    """Flips bytes anywhere: either nothing that counts was hit, or it is a BundleError, nothing else."""
    damaged = bytearray(bundle.data)
    for _ in range(data.draw(st.integers(1, 8))):
        at = data.draw(st.one_of(st.integers(0, len(damaged) - 1), st.integers(len(damaged) - 600, len(damaged) - 1)))
        damaged[at] ^= data.draw(st.integers(1, 255))
    try:
        opened = Bundle.from_bytes(bytes(damaged))
    except BundleError:
        return
    assert opened.manifest == bundle.manifest
    assert dict(opened.members) == dict(bundle.members)


@settings(max_examples=300, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)
    )
)
def test_any_json_is_a_manifest_or_a_manifest_error(tree: object) -> None:
    with pytest.raises(ManifestError):
        Manifest.from_bytes(json.dumps({"schema": 1, "anything": tree}).encode())


def test_operator_too_new_for_the_runtime(bundle: Bundle) -> None:
    from twin_edge.models import Operator, check_operators, load_runtime

    runtime = load_runtime("tflite")
    with pytest.raises(IncompatibleRuntimeError, match=r"FULLY_CONNECTED v12, tflite-runtime 2\.14\.0 has version 10"):
        check_operators((Operator("FULLY_CONNECTED", 12),), runtime)
    bundle.check_runtime(runtime)
