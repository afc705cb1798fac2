"""Video codecs at their best: slow presets, any latency, one intra frame for the whole clip, lower rates held."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final

import av
import cv2
import numpy as np
import numpy.typing as npt

from comparison.clips import Clip, Views
from comparison.points import Measured, Point, pareto
from comparison.quality import mean_quality
from comparison.wire import video_wire_bytes
from twin_edge.images import Image

_WORKERS: Final = 2
_PIXELS: Final = "yuv420p"
_START_CODE: Final = b"\x00\x00\x01"
_H264_SEI: Final = 6
_SECOND: Final = 2


os.environ.setdefault("SVT_LOG", "1")  # SVT-AV1 writes to the screen by itself: errors only.


@dataclass(frozen=True, slots=True)
class VideoCodec:
    """An encoder and how it is driven."""

    method: str
    """Name in the tables."""
    encoder: str
    """Name of the encoder in FFmpeg."""
    decoder: str
    """Name of a decoder for it."""
    options: Mapping[str, str]
    """What does not change from point to point."""
    rates: tuple[int, ...]
    """Constant rate factors at the full frame rate, finest first."""
    low_rates: tuple[int, ...]
    """Constant rate factors at lower frame rates and sizes."""


CODECS: Final = (
    VideoCodec(
        "x264", "libx264", "h264", {"preset": "veryslow", "g": "9999", "sc_threshold": "0"},
        (28, 32, 36, 40, 44, 48), (36, 40, 44, 48, 51),
    ),
    VideoCodec(
        "x265", "libx265", "hevc", {"preset": "slower", "x265-params": "log-level=none:info=0:keyint=-1:scenecut=0"},
        (30, 35, 40, 45, 50), (37, 42, 47, 51),
    ),
    VideoCodec(
        "vp9", "libvpx-vp9", "vp9",
        {"b": "0", "deadline": "good", "cpu-used": "0", "lag-in-frames": "25", "auto-alt-ref": "6", "g": "9999"},
        (36, 44, 51, 57, 63), (44, 51, 57, 63),
    ),
    VideoCodec(
        "av1", "libsvtav1", "libdav1d", {"preset": "2", "g": "-1", "svtav1-params": "keyint=-1"},
        (40, 48, 55, 60, 63), (48, 55, 60, 63),
    ),
)  # fmt: skip

HOLDS: Final = (2, 4, 8, 12)
"""Every n-th view is coded and held until the next one."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One way to use a codec."""

    rate: int
    """Constant rate factor."""
    hold: int = 1
    """Every n-th view is coded."""
    shrink: int = 1
    """The views are coded at 1/n of their size."""

    def __str__(self) -> str:
        held = f", every {self.hold}th" if self.hold > _SECOND else ", every 2nd" if self.hold == _SECOND else ""
        small = f", 1/{self.shrink} size" if self.shrink > 1 else ""
        return f"crf {self.rate}{held}{small}"


def settings(codec: VideoCodec) -> list[Setting]:
    """Returns the settings that are tried of a codec."""
    full = [Setting(rate) for rate in codec.rates]
    held = [Setting(rate, hold) for hold in HOLDS for rate in codec.low_rates]
    # Half the size pays at the lowest rates only.
    small = [Setting(rate, hold, 2) for hold in (1, *HOLDS) for rate in codec.low_rates[-2:]]
    return full + held + small


def video_points(clip: Clip, codec: VideoCodec, advance: Callable[[], None] = lambda: None) -> list[Measured]:
    """Returns the best points of a codec.

    Args:
        clip: What to code.
        codec: The codec.
        advance: Called when a setting is done, `len(settings(codec))` times.
    """

    def measure(setting: Setting) -> Measured:
        measured = _measure(clip, codec, setting)
        advance()
        return measured

    with ThreadPoolExecutor(_WORKERS) as pool:
        return pareto(pool.map(measure, settings(codec)))


def _measure(clip: Clip, codec: VideoCodec, setting: Setting) -> Measured:
    sizes: list[int] = []
    shown: list[Image] = []
    for views in clip.test:
        packets, extra = encode(codec, views, clip.fps, setting)
        sizes += [_counted(codec, bytes(packet)) for packet in packets]
        pictures = list(decode(codec, packets, extra, views.shape[1]))
        if len(pictures) != -(-len(views) // setting.hold):
            raise RuntimeError(f"{codec.decoder} gave {len(pictures)} pictures for {len(packets)} packets")
        shown += [pictures[index // setting.hold] for index in range(len(views))]
    psnr_db, similarity = mean_quality((view for part in clip.test for view in part), shown)
    payload, wire = sum(sizes) / clip.frames, video_wire_bytes(sizes) / clip.frames
    point = Point(clip.name, codec.method, round(payload, 3), round(wire, 3), psnr_db, similarity)
    return Measured(point, str(setting))


def encode(codec: VideoCodec, views: Views, fps: float, setting: Setting) -> tuple[list[Any], bytes]:
    """Codes views; returns the packets, and what a decoder must be told beforehand."""
    side = views.shape[1] // setting.shrink
    context: Any = av.CodecContext.create(codec.encoder, "w")
    context.width = context.height = side
    context.pix_fmt = _PIXELS
    rate = Fraction(fps).limit_denominator(1000) / setting.hold
    context.time_base, context.framerate = 1 / rate, rate
    context.thread_count = 1
    context.options = {**codec.options, "crf": str(setting.rate)}
    packets: list[Any] = []
    for number, view in enumerate(views[:: setting.hold]):
        small = cv2.resize(view, (side, side), interpolation=cv2.INTER_AREA) if setting.shrink > 1 else view
        frame = av.VideoFrame.from_ndarray(to_yuv420(np.asarray(small, np.uint8)), format=_PIXELS)
        frame.pts, frame.time_base = number, context.time_base
        packets += context.encode(frame)
    packets += context.encode(None)
    return packets, bytes(context.extradata or b"")


def decode(codec: VideoCodec, packets: list[Any], extra: bytes, side: int) -> Iterator[Image]:
    """Decodes packets into pictures of a size."""
    context: Any = av.CodecContext.create(codec.decoder, "r")
    if extra:
        context.extradata = extra
    for packet in (*packets, None):
        for frame in context.decode(packet):
            picture = from_yuv420(frame.to_ndarray(format=_PIXELS))
            if len(picture) != side:
                picture = np.asarray(cv2.resize(picture, (side, side), interpolation=cv2.INTER_CUBIC), np.uint8)
            yield picture


def to_yuv420(view: Image) -> npt.NDArray[np.uint8]:
    """Returns full-range YUV with halved chroma, planes stacked, uint8 of shape (1.5 * side, side)."""
    side = len(view)
    luma_chroma = cv2.cvtColor(view, cv2.COLOR_RGB2YCrCb)
    # FFmpeg's own conversion costs 10 dB more than this.
    chroma = cv2.resize(luma_chroma[..., 1:], (side // 2, side // 2), interpolation=cv2.INTER_AREA)
    planes = (luma_chroma[..., 0], chroma[..., 1], chroma[..., 0])
    stacked: npt.NDArray[np.uint8] = np.concatenate([plane.ravel() for plane in planes]).reshape(side * 3 // 2, side)
    return stacked


def from_yuv420(planes: npt.NDArray[np.uint8]) -> Image:
    """Returns the picture, uint8 RGB of shape (side, side, 3), of what `to_yuv420` gives."""
    side = planes.shape[1]
    flat, quarter = planes.ravel(), side * side // 4
    blue, red = (
        flat[side * side + k * quarter : side * side + (k + 1) * quarter].reshape(side // 2, -1) for k in (0, 1)
    )
    chroma = cv2.resize(np.dstack([red, blue]), (side, side), interpolation=cv2.INTER_CUBIC)
    luma = flat[: side * side].reshape(side, side, 1)
    picture: Image = np.asarray(cv2.cvtColor(np.concatenate([luma, chroma], axis=2), cv2.COLOR_YCrCb2RGB), np.uint8)
    return picture


def _counted(codec: VideoCodec, packet: bytes) -> int:
    """Returns the bytes of a packet that are needed: x264 signs its work in a message of some 700 bytes."""
    return len(packet) if codec.method != "x264" else len(without_messages(packet))


def without_messages(stream: bytes) -> bytes:
    """Returns an H.264 byte stream without its supplemental messages (NAL units of type 6)."""
    starts = []
    at = stream.find(_START_CODE)
    while at >= 0:
        # A start code may have one more zero byte before it, which belongs to it.
        starts.append(at - 1 if at and stream[at - 1] == 0 else at)
        at = stream.find(_START_CODE, at + 3)
    kept = b""
    for start, end in itertools.pairwise([*starts, len(stream)]):
        unit = stream[start:end]
        if unit[unit.index(_START_CODE) + 3] & 0x1F != _H264_SEI:
            kept += unit
    return kept
