"""The time machine from the command line."""

from __future__ import annotations

import csv
import json
import signal
import sqlite3
import time
from pathlib import Path

import cv2
import pytest

from recordings import TWIN, add, report
from twin_edge.bundle import Bundle
from twin_edge.recording import RecordingWriter
from twin_edge.sync import TwinId

pytestmark = pytest.mark.broker


@pytest.fixture
def recording(tmp_path, bundle_path):
    """A recording of ten seconds."""
    path = tmp_path / "ten.twinrec"
    with RecordingWriter(path) as writer:
        bundle = Bundle.open(bundle_path)
        add(writer, bundle, 100)
        for seq in range(0, 100, 10):
            report(writer, seq, 0.25, properties={"level": 60.0 + seq, "light": "=run" if seq else "stop"})
    return path


def test_a_running_twin_is_recorded_and_shown_again(command, mosquitto, bundle_path, tmp_path, until):
    run = command("run", "--bundle", bundle_path, "--broker", mosquitto.url, "--twin", "org.acme/a", "--json")
    assert until(lambda: run.objects("stats"), 30), run.err
    record = command("record", "day.twinrec", "--broker", mosquitto.url, "--twin", "org.acme/*", "--json")
    assert until(lambda: any(each["states"] > 60 for each in record.objects("stats")), 30), record.err
    record.signal(signal.SIGINT)
    assert record.wait() == 0, record.err
    run.signal(signal.SIGTERM)
    assert run.wait() == 0
    (summary,) = record.objects("summary")
    assert (summary["reason"], summary["twins"], summary["dropped"]) == ("stopped", 1, 0)
    assert sorted(path.name for path in tmp_path.glob("day.twinrec*")) == ["day.twinrec"]
    listed = command("replay", "day.twinrec", "--json")
    assert listed.wait() == 0, listed.err
    (twin,) = listed.objects("twin")
    assert (twin["twin"], twin["states"]) == ("org.acme/a", summary["states"])
    assert twin["bytes"] / twin["states"] < 40
    wanted = twin["end"] - 0.5
    after = f"+{wanted - twin['begin']:.6f}"
    shown = command("replay", "day.twinrec", "--at", after, "--save", "then.png", "--json")
    assert shown.wait() == 0, shown.err
    (state,) = shown.objects("state")
    assert wanted - 0.5 < state["time"] <= wanted + 1e-5
    assert cv2.imread(str(tmp_path / "then.png")).shape[2] == 3


@pytest.mark.parametrize(("options", "reason"), [(("--frames", 30), "frames"), (("--duration-s", 3), "duration")])
def test_it_ends_by_itself(command, mosquitto, bundle_path, options, reason, until):
    run = command("run", "--bundle", bundle_path, "--broker", mosquitto.url, "--json")
    assert until(lambda: run.objects("stats"), 30), run.err
    record = command("record", "some.twinrec", "--broker", mosquitto.url, *options, "--json")
    assert record.wait(30) == 0, record.err
    (summary,) = record.objects("summary")
    assert summary["reason"] == reason
    assert summary["states"] > 20
    run.signal(signal.SIGTERM)
    run.wait()


def test_a_killed_recorder_leaves_a_recording(command, mosquitto, bundle_path, until):
    run = command("run", "--bundle", bundle_path, "--broker", mosquitto.url, "--json")
    record = command("record", "killed.twinrec", "--broker", mosquitto.url, "--json")
    assert until(lambda: any(each["states"] > 50 for each in record.objects("stats")), 40), record.err
    states = record.objects("stats")[-1]["states"]
    record.signal(signal.SIGKILL)
    record.wait()
    for _ in range(2):
        listed = command("replay", "killed.twinrec", "--json")
        assert listed.wait() == 0, listed.err
        assert listed.objects("twin")[0]["states"] >= states
    again = command("record", "killed.twinrec", "--broker", mosquitto.url, "--frames", 10, "--json")
    assert again.wait(30) == 0, again.err
    listed = command("replay", "killed.twinrec", "--json")
    assert listed.wait() == 0, listed.err
    assert listed.objects("twin")[0]["states"] >= states + 10
    run.signal(signal.SIGTERM)
    run.wait()


def test_exports(command, recording, tmp_path):
    done = command(
        "replay", recording, "--from", "+2", "--to", "+4.95", "--csv", "t.csv", "--mp4", "t.mp4", "--json"
    )  # fmt: skip
    assert done.wait() == 0, done.err
    assert [(each["file"], each.get("states"), each.get("pictures")) for each in done.objects("written")] == [
        ("t.csv", 30, None),
        ("t.mp4", None, 30),
    ]
    with (tmp_path / "t.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["seq"]) for row in rows] == list(range(20, 50))
    assert rows[0]["time"] == "2023-11-14T22:13:22.000Z"
    assert (rows[0]["property.level"], rows[0]["property.light"]) == ("80.0", "'=run")
    assert (rows[0]["gap"], rows[0]["in_sync"], rows[0]["historical"]) == ("0.25", "True", "False")
    assert {name for name in rows[0] if name.startswith("z")} == {f"z{place}" for place in range(16)}
    film = cv2.VideoCapture(str(tmp_path / "t.mp4"))
    assert film.get(cv2.CAP_PROP_FPS) == pytest.approx(10, abs=0.5)
    assert int(film.get(cv2.CAP_PROP_FRAME_COUNT)) == 30
    assert film.read()[1].any()
    film.release()
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == ["t.csv", "t.mp4", "ten.twinrec"]


def test_parquet(command, recording, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    where = Path(parquet.__file__).parents[2]
    done = command("replay", recording, "--parquet", "t.parquet", env={"PYTHONPATH": f"{command_path()}:{where}"})
    assert done.wait() == 0, done.err
    assert done.out == ["100 states in t.parquet\n"]
    table = parquet.read_table(tmp_path / "t.parquet").to_pydict()
    assert table["seq"] == list(range(100))
    assert table["property.level"][15] == 70.0
    assert table["time"][10].isoformat() == "2023-11-14T22:13:21+00:00"
    assert len(table["z15"]) == 100


def test_parquet_without_pyarrow_says_what_to_install(command, recording, tmp_path):
    (tmp_path / "pyarrow.py").write_text("raise ImportError('not here')")
    path = {"PYTHONPATH": f"{tmp_path}:{command_path()}"}
    done = command("replay", recording, "--parquet", "t.parquet", env=path)
    assert done.wait() == 2
    assert done.errors == [
        "error: Parquet takes pyarrow, which is not installed: pip install 'twin-edge[parquet]', or write --csv"
    ]
    assert not (tmp_path / "t.parquet").exists()


def command_path():
    return Path(__file__).parents[2] / "edge"


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("none.twinrec",), 2, "does not exist"),
        ((".",), 2, "is a folder"),
        (("ten.twinrec", "--at", "noon"), 2, "is not a time"),
        (("ten.twinrec", "--at", "2020-01-01"), 2, "no state"),
        (("ten.twinrec", "--twin", "org.acme/x"), 2, "it has org.acme/cam-01"),
        (("ten.twinrec", "--twin", "nonsense"), 2, "not a twin id"),
        (("ten.twinrec", "--save", "x.png"), 2, "--at TIME"),
        (("ten.twinrec", "--fps", "5"), 2, "--mp4 FILE"),
        (("ten.twinrec", "--at", "+1", "--csv", "x.csv"), 2, "leave out"),
        (("ten.twinrec", "--from", "+3", "--to", "+2", "--csv", "x.csv"), 2, "exchange"),
        (("ten.twinrec", "--from", "+50", "--mp4", "x.mp4"), 2, "no state"),
        (("ten.twinrec", "--csv", "ten.twinrec/x.csv"), 2, "cannot write"),
        (("text.twinrec",), 1, "is not a recording"),
        (("cut.twinrec",), 1, "damaged"),
        (("nothing.twinrec",), 1, "is not a recording"),
        (("empty.twinrec",), 1, "is empty"),
        (("trap.twinrec",), 1, "is not a recording"),
    ],
)
def test_errors_are_one_line(command, recording, tmp_path, arguments, code, said):
    (tmp_path / "text.twinrec").write_text("a text\n" * 50)
    (tmp_path / "cut.twinrec").write_bytes(recording.read_bytes()[:-8000])
    (tmp_path / "nothing.twinrec").touch()
    RecordingWriter(tmp_path / "empty.twinrec").close()
    RecordingWriter(tmp_path / "trap.twinrec").close()
    with sqlite3.connect(tmp_path / "trap.twinrec") as database:
        database.execute("CREATE TRIGGER trap AFTER INSERT ON events BEGIN DELETE FROM chunks; END")
    database.close()
    done = command("replay", *arguments)
    assert done.wait() == code, done.err
    assert len(done.errors) == 1
    assert said in done.errors[0]
    assert not (tmp_path / "x.csv").exists()
    assert not (tmp_path / "x.mp4").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("x.twinrec", "--broker", "nowhere"), 2, "mqtt://"),
        (("x.twinrec", "--broker", "embedded:"), 2, "inside of"),
        (("x.twinrec", "--twin", "org/+"), 2, "names no twins"),
        (("x.twinrec", "--timeout-s", "0.5"), 5, "no twin"),
        (("text.twinrec",), 1, "is not a recording"),
        (("text.twinrec/x",), 2, "cannot write"),
    ],
)
def test_recording_errors_are_one_line(command, mosquitto, tmp_path, arguments, code, said):
    (tmp_path / "text.twinrec").write_text("a text\n" * 50)
    options = () if "--broker" in arguments else ("--broker", mosquitto.url)
    done = command("record", *arguments, *options)
    assert done.wait() == code, done.err
    assert len(done.errors) == 1
    assert said in done.errors[0]
    assert (tmp_path / "text.twinrec").read_text() == "a text\n" * 50


def test_several_twins_in_one_recording(command, tmp_path, bundle_path):
    with RecordingWriter(tmp_path / "two.twinrec") as writer:
        for twin in (TWIN, TwinId("org.acme", "cam-02")):
            add(writer, Bundle.open(bundle_path), 20, twin=twin)
    listed = command("replay", "two.twinrec")
    assert listed.wait() == 0
    assert [line for line in listed.out if not line.startswith(" ")] == ["org.acme/cam-01\n", "org.acme/cam-02\n"]
    done = command("replay", "two.twinrec", "--csv", "t.csv")
    assert done.wait() == 2
    assert "--twin: org.acme/cam-01, org.acme/cam-02" in done.errors[0]
    done = command("replay", "two.twinrec", "--csv", "t.csv", "--twin", "org.acme/cam-02")
    assert done.wait() == 0


def test_all_twins_are_watched(command, mosquitto, bundle_path, tmp_path, until):
    runs = [
        command("run", "--bundle", bundle_path, "--broker", mosquitto.url, "--twin", f"org.acme/{name}", "--json")
        for name in "ab"
    ]
    watch = command(
        "watch", "--broker", mosquitto.url, "--twin", "org.acme/*", "--save", "kept", "--json", "--timeout-s", 30
    )  # fmt: skip
    assert until(lambda: {each["twin"] for each in watch.objects("update")} == {"org.acme/a", "org.acme/b"}, 60), (
        watch.err
    )
    plain = command("watch", "--broker", mosquitto.url, "--twin", "*/*", "--timeout-s", 30)
    assert until(lambda: any("2 of 2 twins online" in line for line in plain.out), 40), plain.err
    for each in (plain, watch):
        each.signal(signal.SIGINT)
        assert each.wait() == 0, each.err
    (summary,) = watch.objects("summary")
    assert (summary["twin"], summary["twins"]) == (None, 2)
    assert len(list((tmp_path / "kept" / "org.acme").iterdir())) == 2
    assert (tmp_path / "kept" / "org.acme" / "a" / "contact-sheet.png").exists()
    assert "updates in" in plain.out[-1]
    for run in runs:
        run.signal(signal.SIGTERM)
        run.wait()


def test_the_live_table_stays_in_place_and_goes(mosquitto, bundle_path, command, tmp_path, until):
    """On a terminal: a table with the twin, and nothing but the summary when it has ended."""
    import os
    import pty
    import subprocess
    import sys

    run = command("run", "--bundle", bundle_path, "--broker", mosquitto.url, "--twin", "org.acme/a", "--json")
    assert until(lambda: run.objects("stats"), 30), run.err
    ours, theirs = pty.openpty()
    environment = {
        **os.environ,
        "PYTHONPATH": str(command_path()),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "TERM": "xterm",
        "COLUMNS": "120",
        "LINES": "30",
    }
    watch = subprocess.Popen(
        [sys.executable, "-m", "twin_edge", "watch", "--broker", mosquitto.url, "--twin", "*/*"],
        stdin=theirs, stdout=theirs, stderr=theirs, env=environment, start_new_session=True,
    )  # fmt: skip
    os.close(theirs)
    seen = bytearray()

    def read_until(text, timeout_s):
        deadline = time.monotonic() + timeout_s
        while text not in seen and time.monotonic() < deadline:
            try:
                seen.extend(os.read(ours, 65536))
            except OSError:
                return

    try:
        read_until(b"in sync", 40)
        assert b"org.acme/a" in seen
        assert b"\x1b[2K" in seen  # a line that is written again
        watch.send_signal(signal.SIGINT)
        read_until(b"updates in", 20)
        assert watch.wait(10) == 0
    finally:
        watch.kill()
        os.close(ours)
    assert b"updates in" in seen
    run.signal(signal.SIGTERM)
    run.wait()


def test_json_lines_are_whole(command, recording):
    done = command("replay", recording, "--json")
    assert done.wait() == 0
    assert [json.loads(line)["type"] for line in done.out] == ["twin"]


def test_without_a_broker_no_file_stays_behind(command, free_port, tmp_path):
    record = command("record", "day.twinrec", "--broker", f"mqtt://127.0.0.1:{free_port()}")
    assert record.wait() == 5
    assert len(record.errors) == 1
    assert not list(tmp_path.rglob("*.twinrec"))
