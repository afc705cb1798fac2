"""Views: geometry, color order, refusal of what is no image."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from twin_edge.errors import CameraError, ManifestError
from twin_edge.preprocess import Viewer, ViewSpec
from twin_edge.quality import psnr


def halves(height: int, width: int) -> np.ndarray:
    """Returns a frame that is blue (BGR) on its left and red on its right."""
    frame = np.zeros((height, width, 3), np.uint8)
    frame[:, : width // 2, 0] = 255
    frame[:, width // 2 :, 2] = 255
    return frame


def test_view_is_rgb() -> None:
    view = Viewer(ViewSpec(32, 32))(halves(64, 64))
    assert view.shape == (32, 32, 3)
    assert view[16, 2].tolist() == [0, 0, 255]
    assert view[16, 30].tolist() == [255, 0, 0]


def test_fit_shortest_crops_the_center() -> None:
    frame = np.zeros((100, 300, 3), np.uint8)
    frame[:, 100:200] = 255
    assert Viewer(ViewSpec(32, 32))(frame).min() == 255
    assert Viewer(ViewSpec(32, 32))(frame.transpose(1, 0, 2).copy()).min() == 255


def test_fit_longest_pads_with_black_also_after_another_size() -> None:
    viewer = Viewer(ViewSpec(32, 32, "fit-longest"))
    viewer(np.full((64, 64, 3), 255, np.uint8))
    view = viewer(np.full((50, 100, 3), 255, np.uint8))
    assert view[16].min() == 255
    assert view[2].max() == 0
    assert view[30].max() == 0


def test_squash_keeps_everything() -> None:
    view = Viewer(ViewSpec(32, 32, "squash"))(halves(40, 200))
    assert view[:, :15, 2].min() == 255
    assert view[:, 17:, 0].min() == 255


@pytest.mark.parametrize("size", [(1, 1), (7, 3), (128, 128), (480, 640), (3000, 11)])
def test_frames_of_any_size(size: tuple[int, int]) -> None:
    for mode in ("fit-shortest", "fit-longest", "squash"):
        view = Viewer(ViewSpec(64, 64, mode))(np.full((*size, 3), 77, np.uint8))
        assert view.shape == (64, 64, 3)
        assert 77 in view


def test_denoise_takes_noise_away() -> None:
    rng = np.random.default_rng(1)
    frame = np.clip(rng.normal(128, 20, (64, 64, 3)), 0, 255).astype(np.uint8)
    plain, gaussian = (Viewer(ViewSpec(64, 64, denoise=kind))(frame).std() for kind in ("none", "gaussian"))
    assert gaussian < 0.8 * plain


@pytest.mark.parametrize("size", [(480, 640), (360, 480), (288, 360), (720, 1280), (1080, 1920), (200, 200)])
def test_resizing_is_close_to_the_mean_of_each_area(size: tuple[int, int]) -> None:
    """Against OpenCV's own, on a picture with fine detail."""
    rows, columns = np.mgrid[: size[0], : size[1]]
    side = min(size)
    waves = np.sin(rows * 80 / side) * np.cos(columns * 50 / side)
    frame = np.repeat((127 + 120 * waves).astype(np.uint8)[..., None], 3, axis=2)
    top, left = (size[0] - side) // 2, (size[1] - side) // 2
    square = frame[top : top + side, left : left + side]
    area = cv2.resize(square, (128, 128), interpolation=cv2.INTER_AREA)
    assert psnr(area, Viewer(ViewSpec())(frame)) > 38


def test_detail_too_fine_for_the_view_becomes_gray() -> None:
    frame = np.zeros((480, 640, 3), np.uint8)
    frame[:, ::2] = 255
    view = Viewer(ViewSpec())(frame).astype(int)
    assert np.abs(view - 127).max() < 10
    squashed = Viewer(ViewSpec(128, 128, "squash"))(np.tile(frame[:140], (1, 2, 1))).astype(int)
    assert np.abs(squashed - 127).max() < 30


def test_frames_of_changing_size_make_the_same_views_as_a_fresh_viewer() -> None:
    rng = np.random.default_rng(3)
    for mode in ("fit-shortest", "fit-longest", "squash"):
        viewer = Viewer(ViewSpec(64, 48, mode))
        for size in [(480, 640), (50, 100), (480, 640), (129, 1000), (64, 48)]:
            frame = rng.integers(0, 256, (*size, 3), np.uint8)
            np.testing.assert_array_equal(viewer(frame), Viewer(ViewSpec(64, 48, mode))(frame))


def test_a_frame_that_is_part_of_a_larger_image() -> None:
    image = np.random.default_rng(4).integers(0, 256, (700, 900, 3), np.uint8)
    part = image[50:530, 100:740]
    np.testing.assert_array_equal(Viewer(ViewSpec())(part), Viewer(ViewSpec())(part.copy()))


def test_out_is_used_and_nothing_else_is_kept() -> None:
    viewer = Viewer(ViewSpec(32, 32))
    out = np.empty((32, 32, 3), np.uint8)
    first = viewer(halves(64, 64), out)
    assert first is out
    kept = viewer(halves(64, 64))
    viewer(np.zeros((64, 64, 3), np.uint8))
    assert kept.max() == 255


@pytest.mark.parametrize(
    "frame",
    [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8), np.zeros((0, 4, 3), np.uint8), np.zeros((4, 4, 3))],
)
def test_what_is_no_color_image_is_refused(frame: np.ndarray) -> None:
    with pytest.raises(CameraError, match="not a color image"):
        Viewer(ViewSpec())(frame)


@pytest.mark.parametrize(
    "change", [{"height": 15}, {"width": 1025}, {"height": True}, {"denoise": "x"}, {"colour": "BGR"}, {"more": 1}]
)
def test_specification_out_of_range(change: dict[str, object]) -> None:
    with pytest.raises(ManifestError):
        ViewSpec.from_json(ViewSpec().to_json() | change)
