"""Cameras: everything that delivers frames, behind one protocol, and the thread that reads them."""

from twin_edge.cameras.base import Camera, Frame, Truth
from twin_edge.cameras.capture import Capture
from twin_edge.cameras.csi import CsiCamera
from twin_edge.cameras.device import DeviceCamera
from twin_edge.cameras.folder import FolderCamera
from twin_edge.cameras.rig import FAULT_NAMES, Fault, Rig, RigCamera, RigConfig, parse_rig
from twin_edge.cameras.settings import CaptureConfig, CaptureState, CaptureStats
from twin_edge.cameras.stream import StreamCamera, redact
from twin_edge.cameras.uri import URI_FORMS, open_camera, refuse_unreadable
from twin_edge.cameras.video import VideoCamera

__all__ = [
    "FAULT_NAMES",
    "URI_FORMS",
    "Camera",
    "Capture",
    "CaptureConfig",
    "CaptureState",
    "CaptureStats",
    "CsiCamera",
    "DeviceCamera",
    "Fault",
    "FolderCamera",
    "Frame",
    "Rig",
    "RigCamera",
    "RigConfig",
    "StreamCamera",
    "Truth",
    "VideoCamera",
    "open_camera",
    "parse_rig",
    "redact",
    "refuse_unreadable",
]
