"""Generative digital twins at the edge: cameras, twin, sync.

The names below are the public surface. They are imported when they are first used, so that a command which only
prints its help does not load OpenCV, a TFLite runtime and an MQTT client first.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from twin_edge.bundle import Bundle, Manifest
    from twin_edge.cameras import Camera, Frame, open_camera
    from twin_edge.errors import TwinEdgeError
    from twin_edge.runtime import DeviceRuntime
    from twin_edge.sync import EmbeddedBroker, TwinId, TwinUpdate, TwinView, TwinViews
    from twin_edge.twin import Packet, Twin

__version__ = "0.1.0"

__all__ = [
    "Bundle",
    "Camera",
    "DeviceRuntime",
    "EmbeddedBroker",
    "Frame",
    "Manifest",
    "Packet",
    "Twin",
    "TwinEdgeError",
    "TwinId",
    "TwinUpdate",
    "TwinView",
    "TwinViews",
    "__version__",
    "open_camera",
]

_HOMES = {
    "Bundle": "bundle",
    "Camera": "cameras",
    "DeviceRuntime": "runtime",
    "EmbeddedBroker": "sync",
    "Frame": "cameras",
    "Manifest": "bundle",
    "Packet": "twin",
    "Twin": "twin",
    "TwinEdgeError": "errors",
    "TwinId": "sync",
    "TwinUpdate": "sync",
    "TwinView": "sync",
    "TwinViews": "sync",
    "open_camera": "cameras",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
