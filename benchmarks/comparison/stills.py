"""JPEG for each view, and the last JPEG held until it will not do any more."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import cv2
import numpy as np

from comparison.clips import Clip, Views
from comparison.points import Measured, Point, pareto
from comparison.quality import mean_quality
from comparison.wire import publish_bytes
from twin_edge.images import Image
from twin_edge.quality import psnr

JPEG_QUALITIES: Final = (5, 10, 20, 35, 50, 70, 85)
HOLD_QUALITIES: Final = (10, 25, 50)
HOLD_LEAST_DB: Final = (16.0, 18.0, 20.0, 22.0, 24.0, 26.0, 28.0)


def jpeg_points(clip: Clip) -> list[Measured]:
    """Returns the points of coding each view as a JPEG of its own, published over MQTT."""
    measured = []
    for quality in JPEG_QUALITIES:
        coded = [_jpeg(view, quality) for views in clip.test for view in views]
        measured.append(_point(clip, "jpeg", [data for data, _ in coded], [image for _, image in coded], f"q{quality}"))
    return pareto(measured)


def hold_last_points(clip: Clip) -> list[Measured]:
    """Returns the points of sending a JPEG only when the last one, held, has fallen below some PSNR."""
    measured = []
    for quality in HOLD_QUALITIES:
        for least in HOLD_LEAST_DB:
            sent: list[bytes] = []
            shown: list[Image] = []
            for views in clip.test:
                for data, image in hold_last(views, quality, least):
                    sent += [data] if data else []
                    shown.append(image)
            measured.append(_point(clip, "hold-last", sent, shown, f"q{quality} below {least:g} dB"))
    return pareto(measured)


def hold_last(views: Views, quality: int, least_db: float) -> Iterator[tuple[bytes, Image]]:
    """Shows the last JPEG until its PSNR to the view is below a bound, then sends the view's own.

    Args:
        views: Consecutive views.
        quality: JPEG quality, 1-100.
        least_db: Least PSNR of what is held, dB.

    Yields:
        For each view what is sent, empty when nothing is, and what is shown.
    """
    held: Image | None = None
    for view in views:
        data = b""
        if held is None or psnr(view, held) < least_db:
            data, held = _jpeg(view, quality)
        yield data, held


def _jpeg(view: Image, quality: int) -> tuple[bytes, Image]:
    options = (cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_OPTIMIZE, 1)
    coded = cv2.imencode(".jpg", cv2.cvtColor(view, cv2.COLOR_RGB2BGR), options)[1]
    image = cv2.cvtColor(np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR)), cv2.COLOR_BGR2RGB)
    return coded.tobytes(), np.asarray(image, np.uint8)


def _point(clip: Clip, method: str, sent: list[bytes], shown: list[Image], setting: str) -> Measured:
    views = (view for part in clip.test for view in part)
    psnr_db, similarity = mean_quality(views, shown)
    payload = sum(map(len, sent)) / clip.frames
    wire = sum(publish_bytes(len(data)) for data in sent) / clip.frames
    return Measured(Point(clip.name, method, round(payload, 3), round(wire, 3), psnr_db, similarity), setting)
