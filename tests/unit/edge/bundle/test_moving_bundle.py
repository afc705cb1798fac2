"""The bundle of a moving subject holds a pose and a plate, that of a fixed one neither; and nothing in between."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from twin_edge.bundle import Bundle, Manifest, seal
from twin_edge.bundle.archive import GOLDEN, MANIFEST, PLATE, packed_zip
from twin_edge.errors import BundleError, IntegrityError, ManifestError
from twin_edge.models.pose import POSE_VALUES, PoseSpec
from twin_edge.pictures import encode_png
from twin_edge.twin import Twin

SPEC = PoseSpec((0.25, 0.25, 0.01, 0.01), (4.0, 4.0, 0.25, 0.15))


@pytest.fixture(scope="module")
def fixed(bundle_path: Path) -> Bundle:
    return Bundle.open(bundle_path)


def moving_manifest(fixed: Bundle) -> Manifest:
    """Returns the manifest of a fixed subject, told as that of a moving one with the same state length."""
    manifest = fixed.manifest
    latent = manifest.state.latent - len(POSE_VALUES)
    size = (1, manifest.view.height, manifest.view.width)
    tensors = dict(manifest.tensors)
    tensors["generator.input"] = replace(tensors["generator.input"], shape=(1, latent))
    tensors["generator.output"] = replace(tensors["generator.output"], shape=(*size, 4))
    state = manifest.state
    state = replace(state, pose=POSE_VALUES, latent=latent, low=state.low[:latent], high=state.high[:latent])
    return replace(manifest, state=state, pose=SPEC, tensors=tensors)


def plate(side: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (side, side, 3), np.uint8)


@pytest.fixture(scope="module")
def moving(fixed: Bundle) -> Bundle:
    members = {**fixed.members, PLATE: encode_png(plate(fixed.manifest.view.height))}
    return Bundle.from_bytes(seal(moving_manifest(fixed), members))


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


def test_pose_and_plate_survive_the_round_trip(moving: Bundle) -> None:
    assert moving.manifest.pose == SPEC
    assert moving.manifest.state.length == len(POSE_VALUES) + moving.manifest.state.latent
    found = moving.plate()
    assert found is not None
    np.testing.assert_array_equal(found, plate(moving.manifest.view.height))
    assert Manifest.from_bytes(moving.manifest.to_bytes()) == moving.manifest


def test_a_fixed_subject_has_neither(fixed: Bundle) -> None:
    assert fixed.manifest.pose is None
    assert fixed.plate() is None


def test_plate_that_is_missing(moving: Bundle) -> None:
    members = {name: data for name, data in moving.members.items() if name != PLATE}
    with pytest.raises(IntegrityError, match="other members"):
        Bundle.from_bytes(resealed(manifest_tree(moving), members))
    with pytest.raises(IntegrityError, match="other members"):
        Bundle.from_bytes(packed_zip({MANIFEST: json.dumps(manifest_tree(moving)).encode(), **members}))


def test_plate_that_does_not_belong(fixed: Bundle, moving: Bundle) -> None:
    with pytest.raises(IntegrityError, match="other members"):
        Bundle.from_bytes(resealed(manifest_tree(fixed), dict(moving.members)))
    unlisted = packed_zip({MANIFEST: json.dumps(manifest_tree(fixed)).encode(), **moving.members})
    with pytest.raises(IntegrityError, match="other members"):
        Bundle.from_bytes(unlisted)


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_a_moving_subject_without_coverage(moving: Bundle, channels: int) -> None:
    tree = manifest_tree(moving)
    tree["tensors"]["generator.output"]["shape"][3] = channels
    with pytest.raises(IntegrityError, match=r"generator\.output has shape"):
        Bundle.from_bytes(resealed(tree, dict(moving.members)))


@pytest.mark.parametrize("channels", [2, 4])
def test_a_fixed_subject_with_other_channels(fixed: Bundle, channels: int) -> None:
    tree = manifest_tree(fixed)
    tree["tensors"]["generator.output"]["shape"][3] = channels
    with pytest.raises(IntegrityError, match=r"generator\.output has shape"):
        Bundle.from_bytes(resealed(tree, dict(fixed.members)))


@pytest.mark.parametrize("side", [1, 4, 24, 63, 65, 128])
def test_an_encoder_side_that_does_not_divide_the_view(fixed: Bundle, side: int) -> None:
    tree = manifest_tree(fixed)
    tree["tensors"]["encoder.input"]["shape"] = [1, side, side, 3]
    with pytest.raises(IntegrityError, match="do not divide"):
        Bundle.from_bytes(resealed(tree, dict(fixed.members)))


@pytest.mark.parametrize("side", [8, 16, 64])
def test_an_encoder_side_that_its_model_has_not(fixed: Bundle, side: int) -> None:
    """The manifest may say so; the model itself is asked before the twin runs."""
    tree = manifest_tree(fixed)
    tree["tensors"]["encoder.input"]["shape"] = [1, side, side, 3]
    with pytest.raises(IntegrityError, match=r"encoder\.input has shape"):
        Twin(Bundle.from_bytes(resealed(tree, dict(fixed.members))))


def test_models_of_a_fixed_subject_do_not_run_as_those_of_a_moving_one(moving: Bundle) -> None:
    with pytest.raises(IntegrityError, match=r"generator\.input has shape"):
        Twin(moving)


@pytest.mark.parametrize("shape", [(32, 32, 3), (64, 63, 3), (128, 128, 3)])
def test_a_plate_of_another_size(moving: Bundle, shape: tuple[int, int, int]) -> None:
    members = {**moving.members, PLATE: encode_png(np.zeros(shape, np.uint8))}
    opened = Bundle.from_bytes(resealed(manifest_tree(moving), members))
    with pytest.raises(IntegrityError, match="not of the view's size"):
        opened.plate()


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (("pose",), None, "does not fit"),
        (("state", "pose"), [], "does not fit"),
        (("state", "pose"), ["ty", "tx", "rotation", "log_scale"], "does not fit"),
        (("pose", "steps"), [0.25, 0.25, 0.01], "array of 4"),
        (("pose", "steps"), [0.25, 0.0, 0.01, 0.01], "number from"),
        (("pose", "steps"), [0.25, 0.25, 0.01, 6.0], "number from"),
        (("pose", "reach"), [4, 4, -1, 1], "number from"),
        (("pose", "reach"), [4, 4, "far", 1], "number from"),
        (("pose", "more"), 1, "exactly the keys"),
        (("view", "width"), 128, "must be square"),
    ],
)
def test_poses_that_are_none(moving: Bundle, path: tuple[str, ...], value: object, words: str) -> None:
    tree = inner = manifest_tree(moving)
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    with pytest.raises(ManifestError, match=words):
        Manifest.from_bytes(json.dumps(tree).encode())


def test_golden_samples_of_another_state_length(moving: Bundle) -> None:
    golden = moving.golden()
    shorter = replace(golden, states=golden.states[:, :-1]).to_bytes()
    opened = Bundle.from_bytes(resealed(manifest_tree(moving), {**moving.members, GOLDEN: shorter}))
    with pytest.raises(BundleError, match="golden samples"):
        opened.golden()
