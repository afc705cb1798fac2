import json
import os
import subprocess
import sys
import time

import pytest

from twin_edge.errors import ConfigError
from twin_edge.sync.device.counters import REV_BLOCK, Counters, default_folder
from twin_edge.sync.wire.topics import TwinId

TWIN = TwinId("org.acme", "cam-01")


def test_session_and_rev_grow_over_restarts(tmp_path):
    sessions, revs = [], []
    for _ in range(3):
        with Counters.open(TWIN, tmp_path) as counters:
            sessions.append(counters.session)
            revs += [counters.next_rev() for _ in range(10)]
    assert sessions == [sessions[0] + n for n in range(3)]
    assert revs == sorted(set(revs))


def test_crash_never_takes_rev_back(tmp_path):
    script = (
        "import os, sys; from pathlib import Path; from twin_edge.sync.device.counters import Counters\n"
        "from twin_edge.sync.wire.topics import TwinId\n"
        f"c = Counters.open(TwinId('org.acme', 'cam-01'), Path({str(tmp_path)!r}))\n"
        f"revs = [c.next_rev() for _ in range({REV_BLOCK + 7})]\n"
        "print(c.session, revs[-1], flush=True); os.kill(os.getpid(), 9)\n"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    last = (0, 0)
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", script], stdout=subprocess.PIPE, check=False, env=environment, text=True
        )
        session, rev = map(int, done.stdout.split())
        assert session > last[0]
        assert rev > last[1]
        last = session, rev
    with Counters.open(TWIN, tmp_path) as counters:
        assert counters.next_rev() > last[1]


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b'{"session":1}', b'{"session":-1,"rev":"x"}', b"[]", b"1"])
def test_corrupt_file_is_set_aside_and_nothing_goes_back(tmp_path, content, caplog, monkeypatch):
    with Counters.open(TWIN, tmp_path) as counters:
        session, rev = counters.session, counters.next_rev()
    path = tmp_path / "counters.json"
    path.write_bytes(content)
    later = time.time() + 1  # the floor is made of whole seconds
    monkeypatch.setattr("twin_edge.sync.device.counters.time.time", lambda: later)
    with Counters.open(TWIN, tmp_path) as counters:
        assert counters.session > session
        assert counters.next_rev() > rev
    assert (tmp_path / "counters.json.corrupt").read_bytes() == content
    assert json.loads(path.read_bytes())["session"] > session
    assert "corrupt" in caplog.text


def test_numbers_fit_their_places(tmp_path):
    with Counters.open(TWIN, tmp_path) as counters:
        assert 0 < counters.session < 2**32
        assert 0 < counters.next_rev() < 2**53


def test_two_processes_cannot_be_one_twin(tmp_path):
    with Counters.open(TWIN, tmp_path):
        with pytest.raises(ConfigError, match="--twin"):
            Counters.open(TWIN, tmp_path)
        Counters.open(TwinId("org.acme", "cam-02"), tmp_path / "other").close()
    Counters.open(TWIN, tmp_path).close()


def test_unwritable_folder_is_one_warning(tmp_path, caplog):
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    with Counters.open(TWIN, blocked / "folder") as counters:
        revs = [counters.next_rev() for _ in range(2 * REV_BLOCK + 2)]
        assert counters.session >= int(time.time()) - 5
    assert revs == sorted(set(revs))
    assert len([record for record in caplog.records if record.levelname == "WARNING"]) <= 2


def test_default_folder_follows_xdg(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert default_folder(TWIN) == tmp_path / "twin-edge" / "org.acme" / "cam-01"
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_folder(TWIN) == tmp_path / ".local/state/twin-edge/org.acme/cam-01"
