"""A subject that moves is followed: to where it is known to be, and always to the same place."""

from __future__ import annotations

import numpy as np
import pytest

import moving_subject
from twin_edge.models.networks import State
from twin_edge.models.pose import Pose
from twin_edge.twin.tracking import Cropper, Tracker
from twin_training.start import OUTPUT

SPEC_VALUES = 4
UNSEEN = 60


class CountingEncoder:
    """The linear encoder of a start; counts how often it is asked."""

    def __init__(self) -> None:
        self.asked = 0
        self._map = moving_subject.prepared()[2].encoder

    def __call__(self, crop: np.ndarray) -> State:
        self.asked += 1
        return OUTPUT.quantize(self._map(crop.reshape(1, -1).astype(np.float32) / 255)[0])


@pytest.fixture
def encoder() -> CountingEncoder:
    return CountingEncoder()


@pytest.fixture
def tracker(encoder: CountingEncoder) -> Tracker:
    scene = moving_subject.prepared()[2].scene
    assert scene is not None
    return Tracker(encoder, OUTPUT, scene.pose, moving_subject.SIZE, moving_subject.MODEL.encoder_side)


def pose_of(state: State) -> Pose:
    scene = moving_subject.prepared()[2].scene
    assert scene is not None
    return scene.pose.dequantize(state[:SPEC_VALUES])


def follow(tracker: Tracker, views: np.ndarray) -> list[State]:
    states: list[State] = []
    for view in views:
        states.append(tracker(view, states[-1] if states else None))
    return states


def test_known_shifts_are_found_within_half_a_pixel(tracker: Tracker) -> None:
    """On frames that the encoder has not seen, in which the square goes where it never went in that order."""
    where = moving_subject.poses(240 + UNSEEN)[240:]
    found = [pose_of(state) for state in follow(tracker, moving_subject.views(where))]
    # The canvas may lie anywhere on the square: what is known is how far it is from one frame to another.
    offset = [pose.then(true.inverse()) for pose, true in zip(found, where, strict=True)]
    middle = np.median([each.values() for each in offset], axis=0)
    errors = np.abs([np.array(each.values()) - middle for each in offset])
    assert np.percentile(errors[:, :2], 95) < 0.5
    assert np.percentile(errors[:, 2], 95) < 0.03


def test_a_subject_that_rests_is_looked_at_once(tracker: Tracker, encoder: CountingEncoder) -> None:
    view = moving_subject.prepared()[0][100]
    state = tracker(view, None)
    settled = tracker(view, state)
    encoder.asked = 0
    again = tracker(view, settled)
    assert encoder.asked <= 2
    assert np.abs(again[:SPEC_VALUES].astype(int) - settled[:SPEC_VALUES]).max() <= 1


def test_search_ends_even_where_there_is_nothing(tracker: Tracker, encoder: CountingEncoder) -> None:
    for view in (np.zeros((64, 64, 3), np.uint8), np.random.default_rng(1).integers(0, 256, (64, 64, 3), np.uint8)):
        encoder.asked = 0
        state = tracker(view, None)
        assert encoder.asked <= 10
        encoder.asked = 0
        assert tracker(view, state).shape == (SPEC_VALUES + moving_subject.MODEL.latent,)
        assert encoder.asked <= 4


def test_reading_at_the_pose_of_a_state_gives_that_state(tracker: Tracker, encoder: CountingEncoder) -> None:
    views = moving_subject.prepared()[0][::24]
    for view, state in zip(views, follow(tracker, views), strict=True):
        encoder.asked = 0
        np.testing.assert_array_equal(tracker.read_at(view, state), state)
        assert encoder.asked == 1


def test_a_subject_that_jumped_is_found_from_the_start(tracker: Tracker) -> None:
    here, there = moving_subject.views([Pose(-4, -3), Pose(4, 3)])
    tracker(here, None)
    first, second = pose_of(tracker(here, None)), pose_of(tracker(there, None))
    assert (second.tx - first.tx, second.ty - first.ty) == pytest.approx((8, 6), abs=1.0)


def test_crop_at_the_identity_is_the_shrunk_view() -> None:
    view = moving_subject.wall()
    crop = Cropper(64, 16)
    crop.look_at(view)
    averaged = view.reshape(16, 4, 16, 4, 3).mean((1, 3))
    assert np.abs(crop(Pose()) - averaged).max() <= 1


def test_crop_follows_the_subject() -> None:
    """What is seen at a pose is what the identity shows of a subject that stays in the middle."""
    resting, moved = moving_subject.views([Pose(), Pose(6, -4, 0.2)])
    crop = Cropper(64, 32)
    crop.look_at(resting)
    wanted = crop(Pose())[10:22, 10:22].astype(int)
    crop.look_at(moved)
    assert (
        np.abs(crop(Pose(6, -4, 0.2))[10:22, 10:22] - wanted).mean()
        < 0.3 * np.abs(crop(Pose())[10:22, 10:22] - wanted).mean()
    )


def test_a_crop_as_large_as_the_view_is_the_view() -> None:
    view = moving_subject.wall()
    crop = Cropper(64, 64)
    crop.look_at(view)
    np.testing.assert_array_equal(crop(Pose()), view)
