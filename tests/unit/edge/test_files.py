"""A file is either the old one or the new one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from twin_edge.errors import TwinEdgeError
from twin_edge.files import write_atomic


def test_replaces(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file"
    write_atomic(path, b"old")
    write_atomic(path, b"new")
    assert path.read_bytes() == b"new"
    assert list(path.parent.iterdir()) == [path]


def test_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(TwinEdgeError, match="cannot write"):
        write_atomic(tmp_path / "file" / "inner", b"x")


def test_full_disk_keeps_the_old_file(tmp_path: Path) -> None:
    """A process that may write 1 kB at most stands in for a full disk: the write fails half way through."""
    path = tmp_path / "file"
    path.write_bytes(b"old")
    program = (
        "import resource, signal, sys, pathlib\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1024, 1024))\n"
        "from twin_edge.errors import TwinEdgeError\n"
        "from twin_edge.files import write_atomic\n"
        "try:\n    write_atomic(pathlib.Path(sys.argv[1]), b'x' * 100_000)\n"
        "except TwinEdgeError as error:\n    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=True, timeout=60
    )
    assert "free some space" in done.stdout
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
