"""A twin's history: every state at any time, whatever happened to the file."""

import shutil
import sqlite3
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recordings import BEGIN_US, TWIN, add, event, report
from twin_edge.errors import ConfigError, RecordingError, TwinEdgeError
from twin_edge.recording import Recording, RecordingWriter
from twin_edge.recording.schema import APPLICATION_ID
from twin_edge.sync import TwinId
from twin_edge.twin import Twin


def at(seconds):
    return BEGIN_US + round(1e6 * seconds)


def check(updates, decoded):
    for update in updates:
        np.testing.assert_array_equal(update.state, decoded[update.seq])


def test_all_that_was_recorded_is_there(small, bundle):
    path, decoded = small
    with Recording(path) as recording:
        updates = list(recording.updates(TWIN))
        assert [update.seq for update in updates] == list(range(300))
        check(updates, decoded)
        assert [update.time_us for update in updates[::50]] == [at(5.0 * n) for n in range(6)]
        assert all(update.missed == 0 for update in updates)
        assert (updates[0].gap, updates[149].in_sync, updates[-1].gap) == (0.5, True, 0.95)
        contents = recording.contents(TWIN)
        assert (contents.states, contents.historical, contents.reports, contents.events) == (300, 0, 30, 2)
        assert (contents.begin_us, contents.end_us) == (BEGIN_US, at(29.9))
        assert contents.bundles == (bundle.digest,)
        assert [each.event.kind for each in recording.events(TWIN)] == ["gap-high", "gap-normal"]
        assert [each.report.properties["level"] for each in recording.reports(TWIN, at(1), at(3))] == [73.0, 83.0, 93.0]
        assert recording.unreadable == 0


def test_a_state_takes_a_few_bytes_and_a_report_little(small):
    path, decoded = small
    with Recording(path) as recording:
        contents = recording.contents(TWIN)
    assert contents.bytes / contents.states < 30
    assert contents.report_bytes / contents.reports < 120
    assert len(decoded[0]) == 16


@given(begin=st.floats(-5, 35), length=st.floats(0, 20))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_time_is_found(small, begin, length):
    path, decoded = small
    with Recording(path) as recording:
        updates = list(recording.updates(TWIN, max(0, at(begin)), at(begin + length)))
    expected = [seq for seq in range(300) if at(begin) <= at(seq / 10) <= at(begin + length)]
    assert [update.seq for update in updates] == expected
    check(updates, decoded)


def test_the_state_of_a_time_is_rendered_again(small, bundle):
    path, decoded = small
    with Recording(path) as recording:
        update = recording.state_at(TWIN, at(17.34))
        assert (update.seq, update.gap) == (173, 0.95)
        np.testing.assert_array_equal(update.rendering, Twin(bundle, encodes=False).render(decoded[173]))
        assert recording.state_at(TWIN, at(1e6)).seq == 299
        with pytest.raises(ConfigError, match="no state"):
            recording.state_at(TWIN, at(-1))


def test_what_came_late_stands_where_it_belongs(tmp_path, bundle):
    path = tmp_path / "late.twinrec"
    with RecordingWriter(path) as writer:
        live = add(writer, bundle, 50)
        live |= add(writer, bundle, 50, first=100, begin_us=at(10), seed=2)
        writer.commit()
        late = add(writer, bundle, 30, first=60, begin_us=at(6), seed=3, historical=True)
        live |= add(writer, bundle, 10, first=150, begin_us=at(15), seed=4)
    with Recording(path) as recording:
        updates = list(recording.updates(TWIN))
        assert recording.contents(TWIN).historical == 30
        found = recording.state_at(TWIN, at(7.55))
    assert [update.seq for update in updates] == [*range(50), *range(60, 90), *range(100, 160)]
    check(updates, live | late)
    assert [update.seq for update in updates if update.historical] == list(range(60, 90))
    assert {update.seq: update.missed for update in updates if update.missed} == {60: 10, 100: 10}
    assert (found.seq, found.historical) == (75, True)


def test_bundles_are_stored_once_and_each_state_has_its_own(tmp_path, bundle, other_bundle):
    path = tmp_path / "two.twinrec"
    with RecordingWriter(path) as writer:
        first = add(writer, bundle, 20)
        second = add(writer, other_bundle, 20, session=2, begin_us=at(2), seed=5)
        add(writer, bundle, 20, twin=TwinId("org.acme", "cam-02"))
    assert path.stat().st_size < 2 * len(bundle.data) + 60_000
    with Recording(path) as recording:
        updates = list(recording.updates(TWIN))
        assert recording.contents(TWIN).bundles == (bundle.digest, other_bundle.digest)
        assert [update.bundle.digest for update in updates] == [bundle.digest] * 20 + [other_bundle.digest] * 20
        with pytest.raises(ConfigError, match=r"--twin: org\.acme/cam-01, org\.acme/cam-02"):
            recording.only_twin(None)
        assert recording.only_twin("org.acme/cam-02").device == "cam-02"
        with pytest.raises(ConfigError, match="is not in"):
            recording.only_twin("org.acme/cam-03")
    check(updates[:20], first)
    check(updates[20:], second)


def test_recording_into_the_same_file_again_adds_to_it(tmp_path, bundle):
    path = tmp_path / "again.twinrec"
    with RecordingWriter(path) as writer:
        decoded = add(writer, bundle, 51)
        report(writer, 0, 0.1)
    size = path.stat().st_size
    with RecordingWriter(path) as writer:
        # The retained key comes once more to one who subscribes again.
        add(writer, bundle, 1, first=50, begin_us=at(5), seed=9)
        decoded |= {
            seq: state for seq, state in add(writer, bundle, 20, first=51, begin_us=at(5.1)).items() if seq > 50
        }
        report(writer, 55, 0.2)
    assert path.stat().st_size - size < 20_000
    with Recording(path) as recording:
        updates = list(recording.updates(TWIN))
        assert [each.report.gap for each in recording.reports(TWIN)] == [0.1, 0.2]
    assert [update.seq for update in updates] == list(range(71))
    check(updates, decoded)


def test_it_is_read_while_it_is_written(tmp_path, bundle):
    path = tmp_path / "live.twinrec"
    with RecordingWriter(path) as writer:
        add(writer, bundle, 20)
        writer.commit()
        with Recording(path) as recording:
            assert len(list(recording.updates(TWIN))) == 20
            add(writer, bundle, 20, first=20, begin_us=at(2))
            writer.commit()
            assert len(list(recording.updates(TWIN))) == 40
    assert not path.with_name("live.twinrec-wal").exists()


def test_a_crash_takes_what_came_after_the_last_commit_and_nothing_else(tmp_path, bundle_path, environment):
    path = tmp_path / "crash.twinrec"
    program = f"""
        import os
        from pathlib import Path
        from twin_edge.bundle import Bundle
        from twin_edge.recording import RecordingWriter
        from twin_edge.sync import TwinId
        from twin_edge.twin.codec import PacketReader
        from view_feed import packets_of
        bundle = Bundle.open(Path({str(bundle_path)!r}))
        writer = RecordingWriter(Path({str(path)!r}))
        reader = PacketReader(bundle.codec)
        packets, _ = packets_of(bundle, 200, begin_us={BEGIN_US}, batch_ms=0.0)
        for place, packet in enumerate(packets):
            writer.packet(TwinId("org.acme", "cam-01"), bundle, packet.encode(), reader.read(packet.encode()))
            if place == 149:
                writer.commit()
        os.kill(os.getpid(), 9)
    """
    environment["PYTHONPATH"] += f":{Path(__file__).parents[3] / 'support'}"
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], env=environment, check=False, timeout=60)
    assert done.returncode == -9
    with Recording(path) as recording:
        assert [update.seq for update in recording.updates(TWIN)] == list(range(150))
    with RecordingWriter(path):
        pass
    assert not path.with_name("crash.twinrec-wal").exists()


def test_a_full_recording_takes_no_more(tmp_path, bundle):
    path = tmp_path / "full.twinrec"
    limit = len(bundle.data) + 100_000
    with RecordingWriter(path, limit) as writer:
        for number in range(200):
            add(writer, bundle, 100, first=100 * number, begin_us=at(10 * number), batch_ms=0.0)
            writer.commit()
            if writer.full:
                break
        states = writer.states
        add(writer, bundle, 10, first=10**6, begin_us=at(10**6))
        assert writer.full
    assert path.stat().st_size < limit + 50_000
    with Recording(path) as recording:
        assert recording.contents(TWIN).states == states


def test_a_bundle_that_does_not_fit_is_not_written(tmp_path, bundle):
    path = tmp_path / "tiny.twinrec"
    with RecordingWriter(path, 100_000) as writer:
        add(writer, bundle, 10)
        assert writer.full
        assert writer.states == 0
    with Recording(path) as recording:
        assert recording.twins == ()
        with pytest.raises(RecordingError, match="is empty"):
            recording.only_twin(None)


def test_missing_packets_are_left_out_until_the_next_key(tmp_path, bundle):
    path = tmp_path / "holes.twinrec"
    with RecordingWriter(path) as writer:
        decoded = add(writer, bundle, 100, batch_ms=0.0)
        event(writer, 1, 5)
    with sqlite3.connect(path) as database:
        # As if what the disk was too slow for had been left out: everything but the key of the first chunk.
        (data,) = database.execute("SELECT data FROM chunks WHERE id = 1").fetchone()
        database.execute("UPDATE chunks SET data = ? WHERE id = 1", (data[: 2 + data[1]],))
        database.execute(
            "INSERT INTO chunks SELECT 9, twin, bundle, 0, states, start_us, last_us, data FROM chunks LIMIT 1"
        )
    database.close()
    with Recording(path) as recording:
        updates = list(recording.updates(TWIN))
    check(updates, decoded)
    assert [update.seq for update in updates] == [0, *range(50, 100)]
    assert updates[1].missed == 49


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TRIGGER t AFTER INSERT ON events BEGIN SELECT 1; END",
        "CREATE VIEW v AS SELECT 1",
        "CREATE TABLE more(x)",
        "DROP TABLE events",
        "ALTER TABLE events ADD COLUMN x",
        "DROP INDEX key_chunks",
        "CREATE INDEX more ON events(data)",
        "PRAGMA user_version = 2",
        "PRAGMA application_id = 7",
    ],
)
def test_another_form_of_database_is_refused(small, tmp_path, statement):
    path = tmp_path / "other.twinrec"
    shutil.copy(small[0], path)
    with sqlite3.connect(path) as database:
        database.execute(statement)
    database.close()
    with pytest.raises(RecordingError):
        Recording(path)
    with pytest.raises(RecordingError):
        RecordingWriter(path)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE chunks SET data = 'text' WHERE id = 2",
        "UPDATE chunks SET data = zeroblob(2000000) WHERE id = 2",
        "UPDATE chunks SET data = x'05' WHERE id = 2",
        "UPDATE chunks SET bundle = 77",
        "UPDATE chunks SET bundle = 'x'",
        "UPDATE chunks SET start_us = -5 WHERE id > 1",
        "UPDATE chunks SET states = 9223372036854775807",
        "UPDATE bundles SET digest = 'beef'",
        "UPDATE bundles SET data = x'00'",
        "UPDATE twins SET name = 'no twin'",
        "UPDATE twins SET name = x'ff'",
        "UPDATE reports SET data = x'00'",
        "UPDATE reports SET base = 77 WHERE base",
        "UPDATE reports SET time_us = 'soon'",
        "UPDATE events SET data = 5",
    ],
)
def test_values_that_cannot_be_are_refused_or_left_out(small, tmp_path, statement):
    path = tmp_path / "other.twinrec"
    shutil.copy(small[0], path)
    with sqlite3.connect(path) as database:
        database.execute(statement)
    database.close()
    look_at_everything(path)


def look_at_everything(path):
    """Reads all of a recording; it must be readable or be refused in one line."""
    try:
        read_everything(path)
    except TwinEdgeError as error:
        said = str(error)
        if "\n" in said or str(path) not in said:
            pytest.fail(said)


def read_everything(path):
    with Recording(path) as recording:
        for twin in recording.twins:
            recording.contents(twin)
            for _ in recording.updates(twin):
                pass
            list(recording.reports(twin))
            list(recording.events(twin))
            recording.state_at(twin, at(20))


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_file_is_readable_or_refused(small, tmp_path_factory, data):
    whole = small[0].read_bytes()
    # Most of the file is the bundle, whose digest tells; the rest is what is to be hit.
    spoiled = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 20))):
        anywhere, ends = st.integers(0, len(whole) - 1), st.integers(-30_000, 30_000)
        place = data.draw(st.one_of(anywhere, ends.map(lambda n: n % len(whole))))
        spoiled[place] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        spoiled = spoiled[: data.draw(st.integers(0, len(spoiled)))]
    path = tmp_path_factory.getbasetemp() / "spoiled.twinrec"
    path.write_bytes(bytes(spoiled))
    look_at_everything(path)


@pytest.mark.parametrize("content", [b"", b"x", b"SQLite format 3\0" + bytes(84), bytes(5000), b"\x89PNG" * 50])
def test_what_is_no_recording_is_refused(tmp_path, content):
    path = tmp_path / "x"
    path.write_bytes(content)
    with pytest.raises(RecordingError, match="is not a recording"):
        Recording(path)
    if content:
        with pytest.raises(RecordingError, match="is not a recording"):
            RecordingWriter(path)
        assert path.read_bytes() == content


def test_a_later_release_says_so(small, tmp_path):
    path = tmp_path / "later.twinrec"
    spoiled = bytearray(small[0].read_bytes())
    assert int.from_bytes(spoiled[68:72], "big") == APPLICATION_ID
    spoiled[63] = 9
    path.write_bytes(bytes(spoiled))
    with pytest.raises(RecordingError, match="a later release made it: upgrade twin-edge"):
        Recording(path)


def test_paths_that_lead_nowhere(tmp_path):
    with pytest.raises(ConfigError, match="does not exist"):
        Recording(tmp_path / "none")
    with pytest.raises(ConfigError, match="is a folder"):
        Recording(tmp_path)
    with pytest.raises(RecordingError, match=r"cannot (read|write)"):
        RecordingWriter(tmp_path)
