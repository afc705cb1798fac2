"""Checks of the machine: the libraries, the bundle, the camera and the disk."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np

from twin_edge.doctor.finding import Finding, ok, skipped, warn
from twin_edge.doctor.patient import Patient
from twin_edge.errors import BundleError, CameraTimeoutError, ConfigError, TwinEdgeError

_LEAST_FREE: Final = 64 * 1024 * 1024
_LITTLE_FREE: Final = 512 * 1024 * 1024
_FRAME_S: Final = 10.0
_MIB: Final = 1024 * 1024


def check_runtime(_patient: Patient, name: str) -> Iterator[Finding]:
    """Imports the TFLite runtime beside the installed NumPy."""
    from twin_edge.models.runtimes import load_runtime

    runtime = load_runtime()
    yield ok(name, f"{runtime} with NumPy {np.__version__}")


def check_opencv(_patient: Patient, name: str) -> Iterator[Finding]:
    """Lets OpenCV resize and encode a picture: built for another NumPy, it imports and then fails."""
    try:
        import cv2

        picture = cv2.resize(np.zeros((16, 16, 3), np.uint8), (8, 8))
        whole, _ = cv2.imencode(".png", picture)
    except Exception as error:
        raise ConfigError(
            f"OpenCV does not work with NumPy {np.__version__} ({type(error).__name__})",
            fix="pip install 'opencv-python-headless<4.12' 'numpy<2' (Python 3.11), or newer ones of both",
        ) from error
    if not whole:
        raise ConfigError("OpenCV cannot encode pictures", fix="pip install opencv-python-headless")
    yield ok(name, f"OpenCV {cv2.__version__}")


def check_bundle(patient: Patient, name: str) -> Iterator[Finding]:
    """Reads the bundle and runs its golden samples."""
    if not patient.config.has_bundle:
        yield skipped(name, "none was given, and ./bundles does not hold exactly one")
        return
    from twin_edge.bundle import Bundle
    from twin_edge.twin import Twin

    bundle = Bundle.open(patient.config.run.bundle_path())
    Twin(bundle).require_self_test()
    patient.bundle = bundle
    seen = f"{bundle.manifest.name}, {bundle.digest[:12]}, {len(bundle.data) / _MIB:.2f} MiB, self-test passed"
    if bundle.manifest.quality.beats_baseline:
        yield ok(name, seen)
    else:
        yield warn(name, f"{seen}; {bundle.manifest.quality.against_baseline.text}", "train it again, with more frames")


def check_camera(patient: Patient, name: str) -> Iterator[Finding]:
    """Opens the camera and takes a frame."""
    from twin_edge.cameras import Capture, open_camera

    camera = open_camera(patient.config.run.camera)
    began = time.monotonic()
    with Capture(camera) as capture:
        frame = capture.get(_FRAME_S)
    if frame is None:
        raise CameraTimeoutError(f"{camera.uri} gave no frame within {_FRAME_S:g} s", fix="check cable and power")
    height, width = frame.image.shape[:2]
    seen = f"{camera.uri}: a frame of {width}x{height} after {time.monotonic() - began:.1f} s"
    if not frame.image.any():
        yield warn(name, f"{seen}, all black", "take the lens cap off, or give it light")
    else:
        yield ok(name, seen)


def check_state_folder(patient: Patient, name: str) -> Iterator[Finding]:
    """Writes a file where the counters are kept."""
    folder = state_folder(patient)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".doctor-") as file:
            file.write(b"x")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise TwinEdgeError(
            f"cannot write in {folder} ({error.strerror})", fix="give a folder of this user with --state-dir"
        ) from error
    yield ok(name, f"{folder} can be written")


def check_free_space(patient: Patient, name: str) -> Iterator[Finding]:
    """Looks how much room there is where the counters are kept."""
    folder = state_folder(patient)
    free = shutil.disk_usage(folder).free
    seen = f"{free / _MIB:.0f} MiB free at {folder}"
    if free < _LEAST_FREE:
        raise TwinEdgeError(seen, fix="free some space: 'journalctl --vacuum-size=50M', old recordings")
    yield warn(name, seen, "free some space before it runs out") if free < _LITTLE_FREE else ok(name, seen)


def state_folder(patient: Patient) -> Path:
    """Returns where the counters of the twin are kept."""
    from twin_edge.sync.device.counters import default_folder

    twin, folder = patient.twin, patient.config.run.state_dir
    return default_folder(twin) if folder is None else folder / twin.namespace / twin.device


def find_only_bundle() -> bool:
    """Returns whether `./bundles` holds exactly one bundle."""
    from twin_edge.config import find_bundle

    try:
        find_bundle()
    except BundleError:
        return False
    return True
