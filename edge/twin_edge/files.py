"""Files that are either the old ones or the new ones, never half of one."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from twin_edge.errors import ConfigError, TwinEdgeError


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turns the ways in which writing `path` can fail into one error.

    Raises:
        TwinEdgeError: The disk is full, the folder cannot be written, or the like; what was there before still is.
    """
    try:
        yield
    except OSError as error:
        raise TwinEdgeError(
            f"cannot write {path} ({error.strerror or error})",
            fix="free some space or choose another place, then run it again",
        ) from error


def refuse_unwritable(path: Path, *, folder: bool = False) -> None:
    """Refuses a place where nothing can be written, before there is anything to write; makes nothing.

    Args:
        path: A file or a folder that is to be written; need not be there, nor the folders above it.
        folder: Whether it is a folder.

    Raises:
        ConfigError: It, or what is above it, is of another kind or belongs to others.
    """
    try:
        if path.exists() and path.is_dir() != folder:
            what, fix = ("a file", "name a folder") if folder else ("a folder", "name a file")
            raise ConfigError(f"{path} is {what}", fix=fix)
        above = path if folder else path.absolute().parent
        there = next(each for each in (above.absolute(), *above.absolute().parents) if each.exists())
        if not there.is_dir():
            raise ConfigError(f"cannot write {path}: {there} is a file", fix="choose another place")
        if not os.access(there, os.W_OK | os.X_OK):
            raise ConfigError(f"cannot write {path}: no permission to write in {there}", fix="choose another place")
    except OSError as error:
        raise ConfigError(f"cannot write {path} ({error.strerror})", fix="choose another place") from error


@contextlib.contextmanager
def replacing(path: Path, *, suffix: str = "", mode: int = 0o644) -> Iterator[Path]:
    """Gives a file beside `path` to write to, which takes its place in the end; on an error, it is removed.

    Args:
        path: What to replace; its folder is made when it is not there.
        suffix: What the name of the file ends with, for those who go by it.
        mode: Permissions of the file in its place; until then nobody else may read it.

    Raises:
        TwinEdgeError: It could not be written; the old file is untouched.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=suffix)
        os.close(descriptor)
    temporary = Path(name)
    try:
        yield temporary
        with writing(path):
            temporary.chmod(mode)
            temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_atomic(path: Path, data: bytes, *, durable: bool = True, mode: int = 0o644) -> None:
    """Replaces a file by `data` in one step that survives a crash or a full disk.

    Args:
        path: The file; its folder is made when it is not there.
        data: All of its bytes.
        durable: Whether to wait until the disk has it, some 10 ms; without, a power cut may take it back.
        mode: Its permissions; never more than these, not even for a moment.

    Raises:
        TwinEdgeError: It could not be written; the old file is untouched.
    """
    with replacing(path, mode=mode) as temporary, writing(path), temporary.open("wb") as file:
        file.write(data)
        file.flush()
        if durable:
            os.fsync(file.fileno())
