"""The bundle of a scene of parts holds known states and a limit for each part; and nothing that cannot be one."""

from __future__ import annotations

import hashlib
import io
import json
import math
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twin_edge.bundle import Bundle, Manifest, seal
from twin_edge.bundle.archive import KNOWN, MANIFEST, MOST_KNOWN, PARTS, PLATE, packed_zip
from twin_edge.bundle.manifest import PartsSpec
from twin_edge.errors import BundleError, IntegrityError, ManifestError
from twin_edge.models.scene import LIGHT_VALUES, SCENE_VALUES, SHIFT_NAMES
from twin_edge.pictures import encode_png
from twin_edge.twin.known import KnownStates

COUNT, SIDE, ROWS = 3, 8, 5
LIMITS = (2.0, 3.5, 1.0)


@pytest.fixture(scope="module")
def fixed(bundle_path: Path) -> Bundle:
    return Bundle.open(bundle_path)


@pytest.fixture(scope="module")
def parts(fixed: Bundle) -> Bundle:
    """Returns a bundle that tells a fixed subject as a scene of three parts with a latent value each."""
    manifest, view = fixed.manifest, fixed.manifest.view
    latent = manifest.state.length - SCENE_VALUES
    labels = np.zeros((view.height, view.width), np.uint8)
    for part in range(COUNT):
        labels[4:12, 10 * part : 10 * part + 6] = part + 1
    tensors = dict(manifest.tensors)
    shapes = {
        "encoder.input": (1, COUNT * SIDE, SIDE, 3),
        "encoder.output": (1, latent),
        "generator.input": (1, latent),
        "generator.output": (1, 3 * int(np.count_nonzero(labels))),
    }
    tensors |= {name: replace(tensors[name], shape=shape) for name, shape in shapes.items()}
    state = manifest.state
    state = replace(
        state, pose=SHIFT_NAMES, light=LIGHT_VALUES, latent=latent, low=state.low[:latent], high=state.high[:latent]
    )
    gap = replace(manifest.gap, state_limits=LIMITS)
    manifest = replace(manifest, state=state, parts=PartsSpec(COUNT, SIDE), tensors=tensors, gap=gap)
    known = np.arange(ROWS * latent, dtype=np.int8).tobytes()
    plate = np.zeros((view.height, view.width, 3), np.uint8)
    members = {**fixed.members, PLATE: encode_png(plate), PARTS: encode_png(labels), KNOWN: known}
    return Bundle.from_bytes(seal(manifest, members))


def manifest_tree(bundle: Bundle) -> dict[str, Any]:
    with zipfile.ZipFile(io.BytesIO(bundle.data)) as archive:
        tree: dict[str, Any] = json.loads(archive.read(MANIFEST))
    return tree


def resealed(tree: dict[str, Any], members: dict[str, bytes]) -> bytes:
    """Returns a bundle whose digests fit whatever is in it, as an attacker would make it."""
    tree["files"] = {
        name: {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()} for name, data in members.items()
    }
    return packed_zip({MANIFEST: json.dumps(tree).encode(), **members})


def test_limits_and_known_states_survive_the_round_trip(parts: Bundle) -> None:
    assert parts.manifest.gap.state_limits == LIMITS
    known = parts.known()
    assert known is not None
    np.testing.assert_array_equal(known, np.arange(ROWS * COUNT, dtype=np.int8).reshape(ROWS, COUNT))
    assert Manifest.from_bytes(parts.manifest.to_bytes()) == parts.manifest


def test_a_subject_without_parts_has_neither(fixed: Bundle) -> None:
    assert fixed.manifest.gap.state_limits == ()
    assert fixed.known() is None


REFUSED = {
    "none at all": [],
    "one too few": [1.0, 2.0],
    "one too many": [1.0, 2.0, 3.0, 4.0],
    "zero": [1.0, 0.0, 2.0],
    "negative": [1.0, -2.0, 2.0],
    "tiny": [1.0, 1e-7, 2.0],
    "huge": [1.0, 1e7, 2.0],
    "not a number": [1.0, math.nan, 2.0],
    "infinite": [1.0, math.inf, 2.0],
    "beyond a float": [1.0, 10**400, 2.0],
    "a text": [1.0, "2", 2.0],
    "a truth": [1.0, True, 2.0],
    "null": [1.0, None, 2.0],
    "nested": [[1.0, 2.0, 2.0]],
    "an object": {"0": 1.0, "1": 1.0, "2": 1.0},
    "one number": 1.0,
    "no array": None,
}


@pytest.mark.parametrize("name", REFUSED)
def test_limits_that_are_none(parts: Bundle, name: str) -> None:
    tree = manifest_tree(parts)
    tree["gap"]["state_limits"] = REFUSED[name]
    with pytest.raises(ManifestError) as caught:
        Bundle.from_bytes(resealed(tree, dict(parts.members)))
    # Numbers that JSON does not have are refused as such, before anybody looks where they stand.
    assert "gap.state_limits" in str(caught.value) or name in {"not a number", "infinite", "beyond a float"}
    assert caught.value.fix


def test_limits_that_are_missing(parts: Bundle) -> None:
    tree = manifest_tree(parts)
    del tree["gap"]["state_limits"]
    with pytest.raises(ManifestError, match=r"'gap' must have exactly the keys .*state_limits"):
        Bundle.from_bytes(resealed(tree, dict(parts.members)))


def test_limits_without_parts(fixed: Bundle) -> None:
    tree = manifest_tree(fixed)
    tree["gap"]["state_limits"] = [1.0]
    with pytest.raises(ManifestError, match=r"'gap\.state_limits' must be an array of 0 to 0"):
        Bundle.from_bytes(resealed(tree, dict(fixed.members)))


@pytest.mark.parametrize("count", [1, 2, 4])
def test_limits_of_another_number_of_parts(parts: Bundle, count: int) -> None:
    tree = manifest_tree(parts)
    tree["parts"]["count"] = count
    with pytest.raises(ManifestError, match=r"gap\.state_limits"):
        Bundle.from_bytes(resealed(tree, dict(parts.members)))


@pytest.mark.parametrize("count", [0, 17, "3", 3.0, True])
def test_numbers_of_parts_that_are_none(parts: Bundle, count: object) -> None:
    tree = manifest_tree(parts)
    tree["parts"]["count"] = count
    with pytest.raises(ManifestError, match=r"parts\.count"):
        Bundle.from_bytes(resealed(tree, dict(parts.members)))


def test_known_states_that_are_missing(parts: Bundle) -> None:
    members = {name: data for name, data in parts.members.items() if name != KNOWN}
    with pytest.raises(IntegrityError, match="other members"):
        Bundle.from_bytes(resealed(manifest_tree(parts), members))
    with pytest.raises(IntegrityError, match="other members"):
        Bundle.from_bytes(packed_zip({MANIFEST: json.dumps(manifest_tree(parts)).encode(), **members}))


def test_known_states_that_do_not_belong(fixed: Bundle, parts: Bundle) -> None:
    members = {**fixed.members, KNOWN: parts.members[KNOWN]}
    with pytest.raises(IntegrityError, match="other members"):
        Bundle.from_bytes(resealed(manifest_tree(fixed), members))


@pytest.mark.parametrize("length", [1, COUNT - 1, COUNT + 1, 10 * COUNT - 1, (MOST_KNOWN + 1) * COUNT])
def test_known_states_of_a_length_that_is_none(parts: Bundle, length: int) -> None:
    members = {**parts.members, KNOWN: bytes(length)}
    with pytest.raises(IntegrityError, match=r"known\.bin does not hold 1 to 1024 states"):
        Bundle.from_bytes(resealed(manifest_tree(parts), members))


def test_no_known_state_at_all(parts: Bundle) -> None:
    with pytest.raises(ManifestError, match=r"files\.known\.bin\.size"):
        Bundle.from_bytes(resealed(manifest_tree(parts), {**parts.members, KNOWN: b""}))


@pytest.mark.parametrize("rows", [1, MOST_KNOWN])
def test_the_fewest_and_the_most_known_states(parts: Bundle, rows: int) -> None:
    known = Bundle.from_bytes(resealed(manifest_tree(parts), {**parts.members, KNOWN: bytes(rows * COUNT)})).known()
    assert known is not None
    assert (known.shape, known.dtype) == ((rows, COUNT), np.int8)


@settings(max_examples=150)
@given(data=st.binary(min_size=1, max_size=400), limits=st.lists(st.floats(1e-6, 1e6), min_size=3, max_size=3))
def test_any_bytes_are_known_states_or_refused(parts: Bundle, data: bytes, limits: list[float]) -> None:
    tree = manifest_tree(parts)
    tree["gap"]["state_limits"] = limits
    try:
        opened = Bundle.from_bytes(resealed(tree, {**parts.members, KNOWN: data}))
    except BundleError:
        assert len(data) % COUNT
        return
    known = opened.known()
    assert known is not None
    assert known.tobytes() == data
    distance = KnownStates(known, np.array(opened.manifest.gap.state_limits, np.float32))
    for latent in (np.full(COUNT, -128, np.int8), np.full(COUNT, 127, np.int8)):
        found = distance(latent)
        assert found.shape == (COUNT,)
        assert np.isfinite(found).all()
        assert (found >= 0).all()
    assert (distance(known[0]) == 0).all()


@settings(max_examples=150)
@given(
    limits=st.lists(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3) | st.lists(st.floats()),
        max_size=4,
    )
)
def test_any_limits_are_good_ones_or_refused(parts: Bundle, limits: list[Any]) -> None:
    tree = manifest_tree(parts)
    tree["gap"]["state_limits"] = limits
    try:
        opened = Bundle.from_bytes(resealed(tree, dict(parts.members)))
    except BundleError:
        return
    found = opened.manifest.gap.state_limits
    assert len(found) == COUNT
    assert all(type(limit) is float and 1e-6 <= limit <= 1e6 for limit in found)
