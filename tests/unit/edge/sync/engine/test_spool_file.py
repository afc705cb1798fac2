"""The file on the disk: what was written is there, and whatever the disk does, it is an error that says so."""

import math
import os
import sqlite3
import stat

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twin_edge.errors import ConfigError
from twin_edge.sync.engine.config import EngineConfig
from twin_edge.sync.engine.history import History
from twin_edge.sync.engine.spool import FILE_NAME, CorruptSpoolError, Spool, SpoolChanges, SpoolError, StoredMessage
from twin_edge.twin.packet import HEADER_BYTES, Codec, Flags, PacketHeader


def message(serial, size=20, kind="critical"):
    return StoredMessage(serial, kind, f"t/{serial}", os.urandom(size), False, b"c", 1.5, 0)


@pytest.fixture
def config(tmp_path):
    return EngineConfig(tmp_path / "spool", 512 * 1024, free_floor_bytes=0)


@pytest.fixture
def spool(config):
    one = Spool(config)
    yield one
    one.close()


def test_what_was_written_is_there_after_a_restart(spool, config):
    kept = [message(3), message(1), message(2, kind="state")]
    spool.write(SpoolChanges(tuple(kept), parts=((4, 1, b"b"), (4, 0, b"a"), (2, 0, b"z")), durable=True))
    spool.write(SpoolChanges(removed=(1,), dropped=(2,)))
    spool.close()
    again = Spool(config)
    messages, parts = again.load()
    assert messages == [kept[2], kept[0]]
    assert parts == [(4, 0, b"a"), (4, 1, b"b")]
    assert stat.S_IMODE((config.folder / FILE_NAME).stat().st_mode) == 0o600
    again.close()


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(b"this is no database, but long enough to be looked at as one" * 100),
        lambda path: path.write_bytes(path.read_bytes()[:4096] + os.urandom(path.stat().st_size - 4096)),
        lambda path: sqlite3.connect(path).execute("DROP TABLE messages").connection.close(),
        lambda path: sqlite3.connect(path).execute("PRAGMA user_version = 99").connection.close(),
    ],
)
def test_a_damaged_file_is_set_aside_and_a_new_one_begun(spool, config, damage):
    spool.write(SpoolChanges(tuple(message(n, 900) for n in range(1, 100)), durable=True))
    spool.close()
    damage(config.folder / FILE_NAME)
    with pytest.raises(CorruptSpoolError, match="set aside"):
        spool.load()
    assert (config.folder / f"{FILE_NAME}.corrupt").exists()
    spool.write(SpoolChanges((message(5),)))
    assert [one.serial for one in spool.load()[0]] == [5]


def test_rows_whose_values_have_changed_type_are_left_out(spool, config):
    spool.write(SpoolChanges((message(1), message(2)), parts=((0, 0, b"a"),)))
    spool.close()
    loose = """
        ALTER TABLE messages RENAME TO old;
        CREATE TABLE messages (serial INTEGER PRIMARY KEY, kind, topic, payload, retain, correlation, waited_s,
            failures);
        INSERT INTO messages SELECT * FROM old;
        DROP TABLE old;
        ALTER TABLE history RENAME TO old;
        CREATE TABLE history (block, part, frames);
        INSERT INTO history SELECT * FROM old;
        INSERT INTO history VALUES (1, 0, 'text');
    """
    spoiled = [
        ("critical", 7, b"p", 0, None, 1.0, 0),
        ("critical", "t", "text", 0, None, 1.0, 0),
        ("critical", "t", b"p", 0, 5, 1.0, 0),
        ("critical", "t", b"p", 0, None, None, 0),
        ("critical", "t", b"p", 0, None, math.inf, 0),
        ("critical", "t", b"p", 0, None, 1.0, "x"),
        ("other", "t", b"p", 0, None, 1.0, 0),
    ]
    base = sqlite3.connect(config.folder / FILE_NAME)
    base.executescript(loose)
    base.executemany("INSERT INTO messages VALUES (NULL, ?, ?, ?, ?, ?, ?, ?)", spoiled)
    base.commit()
    base.close()
    messages, parts = spool.load()
    assert [one.serial for one in messages] == [1, 2]
    assert parts == [(0, 0, b"a")]


def test_a_complaint_of_the_database_is_one_line(spool, config):
    spool.write(SpoolChanges((message(1),)))
    spool.close()
    path = config.folder / FILE_NAME
    path.write_bytes(path.read_bytes().replace(b"CREATE TABLE messages", b'CREATE TABLE "essages', 1))
    with pytest.raises(CorruptSpoolError) as caught:
        spool.load()
    assert "\n" not in str(caught.value)


def test_the_cap_holds_and_nothing_of_what_did_not_fit_is_there(spool, config):
    written = 0

    def write_on():
        nonlocal written
        for serial in range(1, 1000):
            spool.write(SpoolChanges((message(serial, 4000),)))
            written = serial

    with pytest.raises(SpoolError, match="full"):
        write_on()
    assert 50 < written < 130
    assert len(spool.load()[0]) == written
    assert sum(path.stat().st_size for path in config.folder.iterdir()) <= config.max_bytes
    spool.write(SpoolChanges(removed=tuple(range(1, 1000)), empties=True))
    spool.write(SpoolChanges((message(1, 4000),)))
    spool.close()
    assert (config.folder / FILE_NAME).stat().st_size < 64 * 1024


def test_a_file_that_was_taken_away_is_begun_again(spool, config):
    spool.write(SpoolChanges((message(1),)))
    (config.folder / FILE_NAME).unlink()
    assert not spool.is_open
    spool.write(SpoolChanges((message(2),)))
    assert [one.serial for one in spool.load()[0]] == [2]
    assert (config.folder / FILE_NAME).exists()


def test_a_nearly_full_disk_is_not_filled(tmp_path):
    spool = Spool(EngineConfig(tmp_path, free_floor_bytes=1 << 60))
    with pytest.raises(SpoolError, match="nearly full"):
        spool.write(SpoolChanges((message(1),)))
    spool.close()


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    spool = Spool(EngineConfig(tmp_path / "file" / "spool"))
    with pytest.raises(SpoolError, match="--spool-dir"):
        spool.write(SpoolChanges((message(1),)))


@pytest.mark.parametrize("options", [{"max_bytes": 1000}, {"ttl_s": 0}, {"max_message_bytes": 0}])
def test_bounds_that_make_no_sense(options):
    with pytest.raises(ConfigError):
        EngineConfig(**options)


@given(st.binary(max_size=3000), st.integers(0, 60_000))
@settings(max_examples=60, deadline=None)
def test_any_bytes_in_the_file_are_an_error_or_a_spool(tmp_path_factory, rubbish, at):
    folder = tmp_path_factory.mktemp("spool")
    spool = Spool(EngineConfig(folder, free_floor_bytes=0))
    spool.write(SpoolChanges(tuple(message(n, 300) for n in range(1, 100)), durable=True))
    spool.close()
    whole = (folder / FILE_NAME).read_bytes()
    (folder / FILE_NAME).write_bytes(whole[:at] + rubbish + whole[at + len(rubbish) :])
    try:
        messages, parts = spool.load()
        assert all(isinstance(one.payload, bytes) and one.topic for one in messages)
        assert parts == []
        spool.write(SpoolChanges((message(500),)))
    except SpoolError:
        spool.write(SpoolChanges((message(500),)))
        assert [one.serial for one in spool.load()[0]][-1] == 500
    spool.close()


def test_writing_everything_anew_keeps_to_the_cap(spool, config):
    """As after a failure of the disk: the write-ahead log must not become as large as the file."""
    parts = tuple((block, 0, os.urandom(8000)) for block in range(config.payload_bytes // 8000))
    for _ in range(3):
        spool.write(SpoolChanges(parts=parts, dropped=tuple(block for block, _, _ in parts)))
        used = sum(path.stat().st_size for path in config.folder.iterdir() if not path.name.endswith("-shm"))
        assert used <= config.max_bytes
    assert len(spool.load()[1]) == len(parts)


@pytest.mark.parametrize("size", [200, 1740, 2100, 3300])
def test_as_much_history_as_the_config_promises_fits_when_it_comes_second_by_second(spool, config, size):
    """A row of such a size takes up to twice its bytes; blocks that are complete must not."""
    history, written = History(), 0
    for seq in range(config.payload_bytes // size - 1):
        header = PacketHeader(Flags.NONE, int(Codec.RAW), 1, 1, 1, seq, seq * 1_000_000)
        history.add(header.encode() + bytes(size - HEADER_BYTES), 1)
        changes = history.disk_changes()
        spool.write(SpoolChanges(parts=changes.parts, dropped=changes.dropped))
        written += 1
        assert sum(path.stat().st_size for path in config.folder.iterdir()) <= config.max_bytes
    restored = History()
    assert restored.restore(spool.load()[1]) == 0
    assert restored.packets == written
