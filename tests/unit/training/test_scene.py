"""The scene: what is behind a moving subject is learned where it was ever seen, and what is subject is covered."""

from __future__ import annotations

import cv2
import numpy as np

from twin_edge.models.pose import Pose
from twin_training.scene import learn_plate, seen_parts, warp_to_canvas
from twin_training.targets import Canvases

SIZE, RADIUS = 64, 11
ACROSS = np.linspace(30, 180, SIZE).astype(np.uint8)
GRADIENT = np.stack(np.broadcast_arrays(ACROSS[np.newaxis], ACROSS[:, np.newaxis], np.uint8(80)), axis=-1)
POSES = [
    Pose(float(x), float(y))
    for x, y in zip(14 * np.sin(np.arange(80) * 0.17), 9 * np.sin(np.arange(80) * 0.29), strict=True)
]


def disc(pose: Pose) -> np.ndarray:
    rows, columns = np.mgrid[:SIZE, :SIZE] - (SIZE - 1) / 2
    return np.hypot(columns - pose.tx, rows - pose.ty) < RADIUS


def views() -> np.ndarray:
    result = np.stack([GRADIENT] * len(POSES))
    for view, pose in zip(result, POSES, strict=True):
        view[disc(pose)] = (240, 20, 220)
    return result


def test_background_is_recovered_where_it_is_visible() -> None:
    hidden = np.stack([cv2.dilate(disc(pose).astype(np.uint8), np.ones((15, 15), np.uint8)) for pose in POSES])
    visible = hidden.mean(0) < 0.7
    assert visible.mean() > 0.6
    difference = np.abs(learn_plate(views(), POSES).astype(int) - GRADIENT)
    assert difference[visible].max() <= 3


def test_what_is_always_hidden_is_painted_in_from_around_it() -> None:
    poses = [Pose(0.5 * (row % 3), 0.0) for row in range(40)]
    still = np.stack([GRADIENT] * len(poses))
    for view, pose in zip(still, poses, strict=True):
        view[disc(pose)] = (240, 20, 220)
    # It looks like the background to everybody who saw no other; but it has to be an image all the same.
    plate = learn_plate(still, poses)
    assert plate.shape == GRADIENT.shape
    assert np.abs(plate[:8].astype(int) - GRADIENT[:8]).max() <= 3


def test_what_is_always_hidden_is_taken_from_the_empty_scene() -> None:
    poses = [Pose(0.5 * (row % 3), 0.0) for row in range(40)]
    scene = GRADIENT.copy()
    scene[26:38, 26:38] = (20, 200, 30)  # behind the disc
    still = np.stack([scene] * len(poses))
    for view, pose in zip(still, poses, strict=True):
        view[disc(pose)] = (240, 20, 220)
    # Taken in less light, with the colors of the evening.
    empty = (scene * np.array((0.8, 0.7, 0.6))).astype(np.uint8)
    plate = learn_plate(still, poses, empty)
    assert np.abs(plate.astype(int) - scene).mean() < 1.5
    assert np.abs(plate[28:36, 28:36].astype(int) - (20, 200, 30)).max() <= 6
    assert np.abs(learn_plate(still, poses)[28:36, 28:36].astype(int) - (20, 200, 30)).max() > 50


def test_coverage_is_the_disc_and_not_the_corners() -> None:
    seen = views()
    plate = learn_plate(seen, POSES)
    coverage = Canvases(seen, POSES, plate).pictures(np.arange(len(POSES)))[..., 3]
    assert coverage.shape == (len(POSES), SIZE, SIZE)
    inside = disc(Pose())
    assert coverage[:, inside].min() > 200
    rows, columns = np.mgrid[:SIZE, :SIZE] - (SIZE - 1) / 2
    far = np.hypot(columns, rows) > RADIUS + 14
    assert coverage[:, far].mean() < 10


def test_canvas_shows_the_subject_in_one_place() -> None:
    canvases = warp_to_canvas(views(), POSES)
    inner = disc(Pose()) & (np.abs(np.mgrid[:SIZE, :SIZE] - (SIZE - 1) / 2).max(0) < RADIUS * 0.6)
    assert (np.abs(canvases[:, inner].astype(int) - (240, 20, 220)) <= 6).all()


def test_seen_parts_are_those_within_the_view() -> None:
    whole, right, turned = seen_parts(SIZE, [Pose(), Pose(10, 0), Pose(rotation=np.pi / 4)])
    assert (whole == 255).all()
    assert (right[:, : SIZE - 11] == 255).all()
    assert not right[:, SIZE - 9 :].any()
    assert not turned[0, 0]
    assert turned[SIZE // 2, SIZE // 2] == 255
