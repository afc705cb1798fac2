"""Registration finds the shifts and turns that a picture is known to have made."""

from __future__ import annotations

import numpy as np

import moving_subject
from twin_edge.models.pose import Pose
from twin_training.registration import register


def between(poses: list[Pose]) -> np.ndarray:
    """Returns each pose as seen from the first: where the canvas lies on the subject is anybody's choice."""
    return np.array([pose.then(poses[0].inverse()).values() for pose in poses])


def test_known_random_poses_are_recovered() -> None:
    rng = np.random.default_rng(3)
    steps = np.cumsum(rng.normal(0, (0.7, 0.6, 0.012), (60, 3)), axis=0)
    poses = [Pose(*(float(value) for value in row)) for row in np.clip(steps, (-6, -6, -0.2), (6, 6, 0.2))]
    found = register(moving_subject.views(poses))
    errors = np.abs(between(found) - between(poses))
    assert np.percentile(errors[:, :2], 95) < 0.4
    assert np.percentile(errors[:, 2], 95) < 0.02
    assert not any(pose.log_scale for pose in found)


def test_a_subject_that_rests_has_one_pose() -> None:
    found = register(moving_subject.views([Pose()] * 30))
    assert np.abs(between(found)).max() < 0.2  # the lamp on it moves the optimum a little


def test_nothing_to_align_with_ends_in_numbers() -> None:
    views = np.random.default_rng(1).integers(0, 256, (12, 32, 32, 3), np.uint8)
    assert np.isfinite([pose.values() for pose in register(views)]).all()
    gray = np.full((12, 32, 32, 3), 90, np.uint8)
    assert np.isfinite([pose.values() for pose in register(gray)]).all()


def test_a_cut_starts_the_search_anew() -> None:
    poses = [Pose(-5, -4)] * 15 + [Pose(5, 4)] * 15
    found = register(moving_subject.views(poses), np.arange(30) == 15)
    errors = np.abs(between(found) - between(poses))
    assert np.median(errors[15:, :2]) < 0.5
