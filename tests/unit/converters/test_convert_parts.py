"""A scene of parts: from a video through training, conversion and bundle to both runtimes."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from machines import SIZE, draw_machine, machine_views
from twin_converters.known import MOST_KNOWN
from twin_converters.run import Run
from twin_edge.bundle import Bundle, seal
from twin_edge.bundle.archive import KNOWN, MANIFEST, PARTS, packed_zip
from twin_edge.errors import BundleError, IntegrityError
from twin_edge.models import installed_runtimes, load_runtime
from twin_edge.models.scene import SCENE_VALUES, SHIFT_NAMES
from twin_edge.quality import psnr
from twin_edge.twin import Twin

pytestmark = pytest.mark.training


@pytest.fixture(scope="module")
def bundle(parts_path: Path) -> Bundle:
    return Bundle.open(parts_path)


def test_the_run_hands_plate_and_parts_over(parts_path: Path, bundle: Bundle) -> None:
    run = Run.open(parts_path.parents[1] / "runs" / "machine")
    assert run.pose is None
    np.testing.assert_array_equal(bundle.plate(), run.plate)
    np.testing.assert_array_equal(bundle.labels(), run.labels)
    manifest = bundle.manifest
    assert manifest.parts is not None
    assert manifest.parts.count == run.labels.max() == 3
    assert manifest.state.pose == SHIFT_NAMES
    assert manifest.state.latent_start == SCENE_VALUES
    assert len(manifest.state.low) == manifest.state.latent


@pytest.mark.parametrize("name", installed_runtimes())
def test_it_is_drawn_on_every_runtime(bundle: Bundle, name: str) -> None:
    twin = Twin(bundle, load_runtime(name))  # type: ignore[arg-type]
    twin.require_self_test()
    state, better = None, []
    for view in machine_views(80, seed=11):
        state = twin.encode(view, state)
        better.append(psnr(view, twin.render(state)) - psnr(view, bundle.plate()))
    assert np.mean(better) > 5


def test_runtimes_draw_the_same_to_the_bit(bundle: Bundle) -> None:
    rng = np.random.default_rng(4)
    states = rng.integers(-128, 128, (60, bundle.manifest.state.length)).astype(np.int8)
    digests = set()
    for name in installed_runtimes():
        twin = Twin(bundle, load_runtime(name), encodes=False)
        digests.add(hashlib.sha256(b"".join(twin.render(state).tobytes() for state in states)).hexdigest())
    assert len(digests) == 1
    assert bundle.manifest.quality.runtime_levels == 0


def test_another_day(bundle: Bundle) -> None:
    """Less light and a camera that was moved: the same machine, drawn where and as it is now."""
    twin, state, drawn = Twin(bundle), None, []
    for angle in np.linspace(0, 6, 30):
        view = draw_machine(angle, 1, 0.6, 0.85, (2, -1))
        state = twin.encode(view, state)
        drawn.append(psnr(view, twin.render(state)))
    assert np.abs(state[:2].astype(int) - (16, -8)).max() <= 3
    assert state[2] < -20
    straight = draw_machine(1.0, 1, 0.6)
    assert np.median(drawn) > psnr(straight, twin.render(twin.encode(straight))) - 3


def test_latents_are_held_within_what_training_has_seen(bundle: Bundle) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3)).astype(np.uint8)
    latent = Twin(bundle).encode(noise)[SCENE_VALUES:]
    assert (latent >= bundle.manifest.state.low).all()
    assert (latent <= bundle.manifest.state.high).all()


@pytest.mark.parametrize(
    "change", ["label-missing", "label-too-many", "other-size", "colours", "fewer-pixels", "no-png"]
)
def test_a_map_that_does_not_fit_is_refused(bundle: Bundle, change: str) -> None:
    labels = bundle.labels()
    assert labels is not None
    image: np.ndarray = labels.copy()
    if change == "label-missing":
        image[image == 2] = 0
    elif change == "label-too-many":
        image[0, 0] = 9
    elif change == "other-size":
        image = image[:-1]
    elif change == "colours":
        image = np.repeat(image[..., np.newaxis], 3, -1)
    elif change == "fewer-pixels":
        image[tuple(np.argwhere(image == 1)[0])] = 0
    content = b"no picture" if change == "no-png" else cv2.imencode(".png", image)[1].tobytes()
    members = {**bundle.members, PARTS: content}
    with pytest.raises(IntegrityError):
        seal(bundle.manifest, members)


@pytest.mark.parametrize("content", [b"\0" * 13, b"\0" * 12 * 1025])
def test_known_states_that_do_not_fit_are_refused(bundle: Bundle, content: bytes) -> None:
    assert bundle.manifest.state.latent == 12
    with pytest.raises(IntegrityError, match="states of training"):
        seal(bundle.manifest, {**bundle.members, KNOWN: content})


def test_a_bundle_without_known_states_is_refused(bundle: Bundle) -> None:
    with pytest.raises(IntegrityError, match="other members"):
        seal(bundle.manifest, {name: data for name, data in bundle.members.items() if name != KNOWN})


def test_a_part_that_is_drawn_well_from_a_state_it_never_had_is_strange(parts_path: Path, bundle: Bundle) -> None:
    twin, near, normal, strange = Twin(bundle), None, [], []
    known = bundle.known()
    assert known is not None
    assert 1 <= len(known) <= MOST_KNOWN
    low, high = (np.array(one, np.int8) for one in (bundle.manifest.state.low, bundle.manifest.state.high))
    for view in Run.open(parts_path.parents[1] / "runs" / "machine").test[:60]:
        near = twin.encode(view, near)
        normal.append(twin.compare(view, twin.render(near), near).score)
        away = near.copy()
        away[SCENE_VALUES:] = np.where(away[SCENE_VALUES:] > 0, low, high)
        drawn = twin.render(away)
        # View and rendering are the same: only the state says that something is off.
        strange.append(twin.compare(drawn, drawn, away).score)
    assert np.median(normal) < 0.9
    assert np.mean(np.array(strange) > 0.99) > 0.9


def test_parts_and_pose_exclude_each_other(bundle: Bundle) -> None:
    tree = json.loads(bundle.manifest.to_bytes())
    tree["pose"] = {"steps": [1, 1, 0.1, 0.1], "reach": [1, 1, 0.1, 0.1]}
    data = packed_zip({MANIFEST: json.dumps(tree).encode(), **bundle.members})
    with pytest.raises(BundleError):
        Bundle.from_bytes(data)
