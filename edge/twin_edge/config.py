"""What `twin-edge run` is told: defaults, then a TOML file, then flags, each checked before anything is opened."""

from __future__ import annotations

import math
import re
import socket
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

from twin_edge.errors import BundleError, ConfigError

DEFAULT_BROKER: Final = "mqtt://localhost:1883"
BUNDLES_FOLDER: Final = Path("bundles")
_NAMESPACE: Final = "org.twin-edge"
_MAX_FILE_BYTES: Final = 64 * 1024
MAX_FPS: Final = 1000.0
_MAX_FRAMES: Final = 2**32 - 1
_MAX_DURATION_S: Final = 1e9
_MAX_THREADS: Final = 16
MAX_GAP_EVERY: Final = 100
MAX_BATCH_MS: Final = 10_000.0
_MAX_QUALITY: Final = 7
MAX_KBPS: Final = 1e6
_CODECS: Final = ("delta", "raw")
RENDERING: Final = "rendering"
CAMERA: Final = "camera"
_SOURCES: Final = (RENDERING, CAMERA)
_PROTOCOLS: Final = ("auto", "5", "3.1.1")
_MAX_DEVICE: Final = 64
_MIN_SPOOL_MB: Final = 0.25
_MAX_SPOOL_MB: Final = 4096.0


@dataclass(frozen=True, slots=True)
class RunConfig:
    """How a device runs its twin.

    Raises:
        ConfigError: A value is out of range; names the key and what is allowed.
    """

    bundle: Path | None = None
    """The `.twin` file; the only one in `./bundles` when None."""
    camera: str = "rig:"
    """URI of the camera, see `twin_edge.cameras.open_camera`."""
    broker: str = DEFAULT_BROKER
    """`mqtt://[USER@]HOST[:PORT]`, `mqtts://`, `ws://`, `wss://`, or `embedded:[PORT]` for a broker of our own."""
    twin: str = ""
    """Twin id, `NAMESPACE/DEVICE`; made from the host's name when empty."""
    fps: float | None = None
    """States per second at most, above 0 up to 1000; infinity for as fast as possible; the source's own when None."""
    frames: int | None = None
    """Ends after this many frames, 1 to 2**32 - 1; None goes on."""
    duration_s: float | None = None
    """Ends this many seconds after the first frame, above 0; None goes on."""
    threads: int = 1
    """CPU threads for one inference, 1-16."""
    gap_every: int = 5
    """Renders every n-th frame and measures its gap, 1-100; sooner at a low frame rate or when something is strange."""
    codec: str = "delta"
    """How states are sent: `delta`, predicted and entropy-coded, or `raw`."""
    batch_ms: float = 250.0
    """How long a state may wait for others, to share a packet, milliseconds, 0-10000; 0 sends each at once."""
    quality: int = 1
    """Level of the codec `delta`, 0-7 and as many as the bundle has; 0 is the finest. With `kbps`, the first one."""
    kbps: float | None = None
    """Rate to keep to by choosing the level, packets with their headers, kbit/s, above 0; None keeps to `quality`."""
    preview: bool = False
    """Whether a picture for people is published every 5 s at most; can be switched from afar."""
    preview_source: str = RENDERING
    """What it shows: `rendering`, or `camera`, which lets frames of the camera leave the device."""
    homeassistant: bool = True
    """Whether the device is announced to Home Assistant."""
    ditto: bool = True
    """Whether the device makes itself known to Eclipse Ditto, and asks it what is desired."""
    wait_for_broker: bool = False
    """Whether to start without a broker and keep trying, as a service does."""
    ca_file: Path | None = None
    """PEM file of the authorities that may have signed the broker's certificate; the system's when None."""
    cert_file: Path | None = None
    """PEM file of the certificate to log in with (mTLS); none when None."""
    key_file: Path | None = None
    """PEM file of its private key, which nobody else may read; the certificate's file when None."""
    password_file: Path | None = None
    """File with the password, which nobody else may read; the environment or systemd's credential when None."""
    protocol: str = "auto"
    """MQTT version: `auto` (5, else 3.1.1), `5` or `3.1.1`."""
    state_dir: Path | None = None
    """Where the counters of the twins are kept; `$XDG_STATE_HOME/twin-edge` when None."""
    spool_mb: float = 8.0
    """What may wait for the broker, in memory and on the disk, MB (2**20 bytes), 0.25-4096; 0 keeps nothing on disk."""
    spool_dir: Path | None = None
    """Where it waits on the disk; beside the counters when None."""

    def __post_init__(self) -> None:
        _check("fps", self.fps, above=0.0, most=MAX_FPS, infinite=True)
        _check("frames", self.frames, above=0, most=_MAX_FRAMES)
        _check("duration-s", self.duration_s, above=0.0, most=_MAX_DURATION_S)
        _check("threads", self.threads, above=0, most=_MAX_THREADS)
        _check("gap-every", self.gap_every, above=0, most=MAX_GAP_EVERY)

        _check("batch-ms", self.batch_ms, least=0, most=MAX_BATCH_MS)
        _check("quality", self.quality, least=0, most=_MAX_QUALITY)
        _check("kbps", self.kbps, above=0.0, most=MAX_KBPS)
        if self.spool_mb:
            _check("spool-mb", self.spool_mb, least=_MIN_SPOOL_MB, most=_MAX_SPOOL_MB)
        if self.codec not in _CODECS:
            raise ConfigError(f"codec is {self.codec!r:.40}", fix=f"choose {' or '.join(_CODECS)}")
        if self.preview_source not in _SOURCES:
            raise ConfigError(f"preview-source is {self.preview_source!r:.40}", fix=f"choose {' or '.join(_SOURCES)}")
        if self.protocol not in _PROTOCOLS:
            raise ConfigError(f"protocol is {self.protocol!r:.40}", fix=f"choose {', '.join(_PROTOCOLS)}")

    @property
    def twin_name(self) -> str:
        """The twin id, `NAMESPACE/DEVICE`."""
        return self.twin or default_twin()

    def bundle_path(self) -> Path:
        """Returns the bundle to run.

        Raises:
            BundleError: None is given and `./bundles` does not hold exactly one.
        """
        return find_bundle() if self.bundle is None else self.bundle


def default_twin(host: str | None = None) -> str:
    """Returns the twin id of a host, without the characters of its name that topics do not allow.

    Args:
        host: Name of the host; that of this one when None.
    """
    name = (socket.gethostname() if host is None else host).split(".", maxsplit=1)[0]
    device = re.sub("[^A-Za-z0-9_-]+", "-", name).strip("-")[:_MAX_DEVICE]
    return f"{_NAMESPACE}/{device or 'device'}"


def find_bundle(folder: Path = BUNDLES_FOLDER) -> Path:
    """Returns the only bundle of a folder.

    Raises:
        BundleError: There is none, or more than one; lists them.
    """
    found = sorted(folder.glob("*.twin"))
    if not found:
        raise BundleError(
            f"there is no bundle in ./{folder}", fix="give one with --bundle, or make one with 'make demo'"
        )
    if len(found) > 1:
        names = ", ".join(path.name for path in found[:10]) + (", ..." if len(found) > 10 else "")  # noqa: PLR2004
        raise BundleError(f"there are {len(found)} bundles in ./{folder} ({names})", fix="choose one with --bundle")
    return found[0]


def load_run_config(path: Path | None, flags: Mapping[str, Any]) -> RunConfig:
    """Puts a configuration together.

    Args:
        path: A TOML file whose keys are the names of the flags, such as `duration-s`; none when None.
        flags: What was given on the command line, by field name; None values were not given. They win over the file.

    Raises:
        ConfigError: The file cannot be read or a value cannot be used; names file, key, value and what is allowed.
    """
    values: dict[str, Any] = {}
    if path is not None:
        values = _read(path)
        try:
            RunConfig(**values)
        except ConfigError as error:
            raise ConfigError(f"{path}: {error.message}", fix=error.fix) from error
    return RunConfig(**{**values, **{name: value for name, value in flags.items() if value is not None}})


def parse_fps(value: object) -> float:
    """Reads a frame rate: a number, or `max` for as fast as possible.

    Raises:
        ConfigError: It is neither.
    """
    if value == "max":
        return math.inf
    try:
        fps = float(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else math.nan
    except ValueError:
        fps = math.nan
    if not 0 < fps <= MAX_FPS:
        raise ConfigError(f"fps is {value!r:.40}", fix=f"give a number above 0 up to {MAX_FPS:g}, or max")
    return fps


def _read(path: Path) -> dict[str, Any]:
    """Reads the values of a file by field name."""
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_FILE_BYTES + 1)
        if len(data) > _MAX_FILE_BYTES:
            raise ConfigError(f"{path} is larger than {_MAX_FILE_BYTES >> 10} KiB", fix="give a twin-edge TOML file")
        tree = tomllib.loads(data.decode())
    except OSError as error:
        raise ConfigError(f"cannot read {path} ({error.strerror})", fix="check its path") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path} is not TOML ({error})", fix="correct the file") from error
    values: dict[str, Any] = {}
    for key, value in tree.items():
        if key not in _READERS:
            raise ConfigError(f"{path}: unknown key {key!r:.40}", fix=f"use only {', '.join(sorted(_READERS))}")
        try:
            values[key.replace("-", "_")] = _READERS[key](value)
        except ConfigError as error:
            raise ConfigError(f"{path}: {error.message}", fix=error.fix) from error
        except TypeError as error:
            raise ConfigError(f"{path}: {key} is {value!r:.40}", fix=f"give {error}") from error
    return values


# Each reader raises TypeError with what it wants instead.


def _text(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise TypeError("a text in quotes")
    return value


def _path(value: object) -> Path:
    return Path(_text(value)).expanduser()


def _whole(value: object) -> int:
    if type(value) is not int:
        raise TypeError("a whole number")
    return value


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError("a number")
    return float(value)


def _truth(value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError("true or false")
    return value


_BY_TYPE: Final[Mapping[str, Callable[[object], Any]]] = {
    "Path | None": _path,
    "str": _text,
    "int": _whole,
    "int | None": _whole,
    "float": _number,
    "float | None": _number,
    "bool": _truth,
}
_READERS: Final[Mapping[str, Callable[[object], Any]]] = {
    item.name.replace("_", "-"): parse_fps if item.name == "fps" else _BY_TYPE[str(item.type)]
    for item in fields(RunConfig)
}


def _check(
    key: str,
    value: float | None,
    *,
    most: float,
    above: float = 0.0,
    least: float | None = None,
    infinite: bool = False,
) -> None:
    """Refuses a value that is not above the one limit, or, where that is given, at least the other."""
    if value is None or (infinite and value == math.inf):
        return
    if not (above < value if least is None else least <= value) or not value <= most:
        low = f"above {above:g}" if least is None else f"from {least:g}"
        raise ConfigError(f"{key} is {value}", fix=f"give a value {low} up to {most:.10g}")
