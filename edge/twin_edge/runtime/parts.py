"""What the device's link does besides packets and reports: settings, Eclipse Ditto, Home Assistant, preview."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from typing import Any, Final, Protocol

from twin_edge.bundle import Bundle
from twin_edge.cameras import Frame
from twin_edge.config import CAMERA, MAX_BATCH_MS, MAX_FPS, MAX_GAP_EVERY, MAX_KBPS, RunConfig
from twin_edge.errors import MessageError
from twin_edge.images import Image
from twin_edge.sync import StateReport, TwinId
from twin_edge.sync.device.ditto import DittoPart
from twin_edge.sync.device.homeassistant import HomeAssistantPart
from twin_edge.sync.device.operations import Operations
from twin_edge.sync.device.part import LinkPart
from twin_edge.sync.device.preview import PreviewPart
from twin_edge.sync.device.settings import Settings
from twin_edge.sync.device.wishes import PATIENCE_S, WishesPart
from twin_edge.sync.wire.homeassistant import DeviceAbout
from twin_edge.sync.wire.messages import Request, codec_value, report_value, software
from twin_edge.sync.wire.reading import Scalar
from twin_edge.sync.wire.setting import Kind, Setting
from twin_edge.twin import Codec
from twin_edge.twin.packet import Packet

RUN: Final = "run"
FPS: Final = "fps"
GAP_EVERY: Final = "gap-every"
QUALITY: Final = "quality"
KBPS: Final = "kbps"
BATCH_MS: Final = "batch-ms"
PREVIEW: Final = "preview"


class Snapshots(Protocol):
    """Who knows the latest state."""

    def snapshot(self) -> Packet | None:
        """Returns the latest state as a raw key packet, from any thread; None before the first one."""


def device_settings(bundle: Bundle) -> tuple[Setting, ...]:
    """Returns the settings of a device that runs a bundle."""
    levels = len(bundle.codec.levels)
    return (
        Setting(RUN, "Run", configures=False),
        Setting(FPS, "Frame rate, 0 for the camera's own", Kind.NUMBER, 0, MAX_FPS, 0.1, "fps", configures=False),
        Setting(QUALITY, "Codec level, 0 is the finest", Kind.WHOLE, 0, levels - 1, configures=False),
        Setting(KBPS, "Rate to keep to, 0 for none", Kind.NUMBER, 0, MAX_KBPS, 0.1, "kbit/s"),
        Setting(BATCH_MS, "Wait to share a packet", Kind.NUMBER, 0, MAX_BATCH_MS, 10, "ms"),
        Setting(GAP_EVERY, "Measure the gap on every n-th frame", Kind.WHOLE, 1, MAX_GAP_EVERY),
        Setting(PREVIEW, "Preview"),
    )


def initial_values(config: RunConfig) -> Mapping[str, Scalar]:
    """Returns what the settings are at the start."""
    fps = 0.0 if config.fps is None else config.fps
    return {
        RUN: True,
        FPS: MAX_FPS if fps == math.inf else fps,
        QUALITY: config.quality,
        KBPS: config.kbps or 0.0,
        BATCH_MS: config.batch_ms,
        GAP_EVERY: config.gap_every,
        PREVIEW: config.preview,
    }


class DeviceParts:
    """The parts of the link of one run; its methods are for the twin thread.

    Args:
        config: What was asked for.
        twin_id: Whose link.
        bundle: What runs.
        session: Number of this process start.
        codec: How states are coded.

    Attributes:
        settings: What can be set from afar.
        operations: What can be asked of the device.
        all: The parts, in the order in which they have their say.
    """

    def __init__(self, config: RunConfig, twin_id: TwinId, bundle: Bundle, session: int, codec: Codec) -> None:
        self._shows_camera = config.preview_source == CAMERA
        self._report: StateReport | None = None
        self.settings = Settings(device_settings(bundle), initial_values(config))
        self.operations = Operations()
        self.preview = PreviewPart(twin_id)
        self.preview.switch(config.preview)
        # Without Ditto nobody tells what is desired, so there is nothing to wait for.
        wishes = WishesPart(twin_id, self.settings, patience_s=PATIENCE_S if config.ditto else 0.0)
        self._ditto = (
            DittoPart(twin_id, session, codec_value(bundle, codec), self.settings, self.operations)
            if config.ditto
            else None
        )
        about = DeviceAbout(bundle.manifest.name, software())
        home = HomeAssistantPart(twin_id, about, self.settings.all) if config.homeassistant else None
        parts: tuple[LinkPart | None, ...] = (wishes, self._ditto, home, self.preview)
        self.all: tuple[LinkPart, ...] = tuple(part for part in parts if part is not None)
        self._home = home

    @property
    def report_every_s(self) -> float:
        """How often a report may be sent at most, seconds."""
        return 1.0 if self._ditto is None else self._ditto.report_every_s

    def take_probe(self) -> bool:
        """Returns whether the report at hand shall ask Ditto for a response."""
        return self._ditto is not None and self._ditto.take_probe()

    def reported(self, report: StateReport) -> None:
        """Takes the report that was sent last."""
        self._report = report
        if self._home is not None and report.properties:
            self._home.show(report.properties)

    def rendered(self, frame: Frame, rendering: Image) -> None:
        """Takes a frame and its rendering, uint8 RGB: the preview may want one of them."""
        if self.preview.is_due():
            self.preview.put(frame.image if self._shows_camera else rendering[..., ::-1])

    def answer_snapshots(self, source: Snapshots) -> None:
        """Makes `snapshot` known as an operation."""

        def snapshot(_request: Request) -> Mapping[str, Any]:
            packet, report = source.snapshot(), self._report
            if packet is None:
                raise MessageError("there is no state yet")
            return {
                "packet": base64.b64encode(packet.encode()).decode(),
                "report": None if report is None else report_value(report),
                "settings": self.settings.reported(),
                "delta": self.settings.delta(),
            }

        self.operations.add("snapshot", snapshot)
