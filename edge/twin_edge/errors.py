"""Every error that twin-edge raises on purpose, one tree.

```
TwinEdgeError                     exit 1
├── ConfigError                   exit 2   a flag, a file or an environment variable is wrong
├── BundleError                   exit 3
│   ├── ManifestError                      the manifest does not say what this release can read
│   ├── IntegrityError                     members, sizes or digests do not agree with the manifest
│   └── IncompatibleRuntimeError           the installed runtime cannot run these models
├── CameraError                   exit 4
│   ├── CameraOpenError                    nothing to open, or not a camera
│   ├── CameraTimeoutError                 open, but no frame came in time
│   └── CameraEndedError                   a finite source has no more frames
├── SyncError                     exit 5
│   ├── BrokerUnreachableError             nobody answers at that address
│   ├── BrokerRefusedError                 the broker answered, and said no
│   └── MessageError                       a payload from outside that this release refuses
│       └── LostPacketError                a packet that follows one which has not come
├── RecordingError                exit 1   a recording cannot be written, or is not one that can be read
├── TrainingError                 exit 1   training cannot go on
└── ConversionError               exit 1   no bundle was made
```

An error is one line for the person who reads it: what is wrong, then what to do about it (``fix``). The command line
prints that line and exits with ``exit_code``; the traceback is shown with ``--debug`` only.
"""

from __future__ import annotations

from typing import ClassVar


class TwinEdgeError(Exception):
    """Root of all errors raised on purpose.

    Args:
        message: What is wrong, without a period at its end; made one line, because it may quote what libraries say.
        fix: What the reader can do about it, an imperative; empty when there is nothing to do.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, fix: str = "") -> None:
        super().__init__(message)
        self.message = " ".join(message.splitlines())
        self.fix = fix

    def __str__(self) -> str:
        return f"{self.message}: {self.fix}" if self.fix else self.message


class ConfigError(TwinEdgeError):
    """A flag, a file or an environment variable has a value that cannot be used."""

    exit_code = 2


class BundleError(TwinEdgeError):
    """A bundle cannot be used."""

    exit_code = 3


class ManifestError(BundleError):
    """The manifest is not one that this release can read."""


class IntegrityError(BundleError):
    """Members, sizes or digests do not agree with the manifest."""


class IncompatibleRuntimeError(BundleError):
    """The installed TFLite runtime cannot run the models of this bundle."""


class CameraError(TwinEdgeError):
    """A camera cannot be used."""

    exit_code = 4


class CameraOpenError(CameraError):
    """There is nothing at this URI, or it is not a camera."""


class CameraTimeoutError(CameraError):
    """The camera is open, but no frame came before the read deadline."""


class CameraEndedError(CameraError):
    """A finite source (video file, image folder) has no more frames."""


class SyncError(TwinEdgeError):
    """The broker, or what came through it, cannot be used."""

    exit_code = 5


class BrokerUnreachableError(SyncError):
    """Nobody answers at the broker's address."""


class BrokerRefusedError(SyncError):
    """The broker answered and refused the connection."""


class MessageError(SyncError):
    """A payload from outside that is refused: counted, never decoded."""


class LostPacketError(MessageError):
    """A packet follows one that has not come: it takes the next key packet to go on."""


class RecordingError(TwinEdgeError):
    """A recording cannot be written, or is not one that can be read."""


class TrainingError(TwinEdgeError):
    """Training cannot go on."""


class ConversionError(TwinEdgeError):
    """No bundle was made."""
