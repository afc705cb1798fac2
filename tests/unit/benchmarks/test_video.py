"""Video codecs through PyAV, on a few small views."""

import numpy as np
import pytest

pytest.importorskip("av")

from comparison.video import (
    CODECS,
    Setting,
    VideoCodec,
    decode,
    encode,
    from_yuv420,
    settings,
    to_yuv420,
    without_messages,
)
from twin_edge.quality import psnr


def moving_views(count: int = 9, side: int = 64) -> np.ndarray:
    across = np.arange(side)
    views = [
        128
        + 60 * np.sin((across[np.newaxis] + 2 * k) / 9)[..., np.newaxis] * (1, 0.7, 0.3)
        + across[:, np.newaxis, np.newaxis] / 2
        for k in range(count)
    ]
    return np.clip(np.stack(views), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("codec", CODECS, ids=lambda codec: codec.method)
@pytest.mark.parametrize("setting", [Setting(40), Setting(40, 2, 2)], ids=str)
def test_what_is_coded_comes_back(codec: VideoCodec, setting: Setting) -> None:
    views = moving_views()
    packets, extra = encode(codec, views, 12.0, setting)
    pictures = list(decode(codec, packets, extra, 64))
    assert len(pictures) == -(-len(views) // setting.hold)
    for view, picture in zip(views[:: setting.hold], pictures, strict=True):
        assert picture.shape == view.shape
        assert psnr(view, picture) > 25


def test_halving_the_chroma_costs_little_on_smooth_views() -> None:
    view = moving_views()[0]
    assert psnr(view, from_yuv420(to_yuv420(view))) > 45


def test_settings_are_all_different() -> None:
    for codec in CODECS:
        tried = settings(codec)
        assert len(set(tried)) == len(tried) > 20


def test_messages_are_taken_out_of_a_stream() -> None:
    parameters, message, picture = b"\0\0\0\1\x67abc", b"\0\0\1\x06signed by", b"\0\0\1\x65slice"
    assert without_messages(parameters + message + picture) == parameters + picture
    assert without_messages(b"") == b""
