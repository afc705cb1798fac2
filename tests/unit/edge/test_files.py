"""A file is either the old one or the new one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from twin_edge.errors import ConfigError, TwinEdgeError
from twin_edge.files import refuse_unwritable, write_atomic


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


def test_a_place_where_nothing_can_be_written_is_refused_and_nothing_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "folder").mkdir()
    for path, folder, words in (
        ("folder", False, "is a folder: name a file"),
        ("file", True, "is a file: name a folder"),
        ("file/inner", False, "file is a file: choose another place"),
        ("file/deep/er", True, "file is a file: choose another place"),
        ("x" * 300, False, "File name too long"),
    ):
        with pytest.raises(ConfigError, match=words):
            refuse_unwritable(tmp_path / path, folder=folder)
    for path, folder in (("file", False), ("folder", True), ("new", False), ("a/b/c", False), ("a/b", True)):
        refuse_unwritable(tmp_path / path, folder=folder)
    monkeypatch.chdir(tmp_path)
    refuse_unwritable(Path("new"))
    assert sorted(each.name for each in tmp_path.iterdir()) == ["file", "folder"]
    monkeypatch.setattr("os.access", lambda *_: False)
    with pytest.raises(ConfigError, match="no permission to write in"):
        refuse_unwritable(tmp_path / "new")


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
