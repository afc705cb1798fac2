"""What is drawn of a moving subject is the same whether it is kept or made anew."""

from __future__ import annotations

import numpy as np

from twin_edge.models.pose import Pose
from twin_training.scene import seen_parts, warp_to_canvas
from twin_training.targets import Canvases, WholeViews

SIZE = 32
RNG = np.random.default_rng(5)
VIEWS = RNG.integers(0, 256, (20, SIZE, SIZE, 3), dtype=np.uint8)
PLATE = RNG.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
POSES = [Pose(float(x), float(y)) for x, y in RNG.normal(0, 3, (20, 2))]
ROWS = np.array([3, 3, 17])


def test_canvases_are_the_same_kept_or_made_anew() -> None:
    kept, anew = Canvases(VIEWS, POSES, PLATE), Canvases(VIEWS, POSES, PLATE, most_kept=0)
    np.testing.assert_array_equal(kept.pictures(ROWS), anew.pictures(ROWS))
    np.testing.assert_array_equal(kept.plates(ROWS), anew.plates(ROWS))
    before = kept.pictures(ROWS)
    kept.forget()
    np.testing.assert_array_equal(kept.pictures(ROWS), before)


def test_canvases_are_the_views_moved() -> None:
    found = Canvases(VIEWS, POSES, PLATE)
    poses = [POSES[row] for row in ROWS]
    pictures = found.pictures(ROWS)
    assert pictures.shape == (3, SIZE, SIZE, 4)
    np.testing.assert_array_equal(pictures[..., :3], warp_to_canvas(VIEWS[ROWS], poses))
    assert pictures[..., 3].mean() > 0
    assert found.often.shape == (SIZE, SIZE)
    np.testing.assert_array_equal(found.seen(ROWS), seen_parts(SIZE, poses))
    np.testing.assert_array_equal(found.plates(ROWS), warp_to_canvas(PLATE[np.newaxis], poses))


def test_of_a_fixed_subject_the_views_are_drawn() -> None:
    found = WholeViews(VIEWS)
    np.testing.assert_array_equal(found.pictures(ROWS), VIEWS[ROWS])
    assert found.seen(ROWS) is None
    assert found.plates(ROWS) is None
