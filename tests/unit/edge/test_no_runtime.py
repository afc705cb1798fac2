"""Whoever only looks needs no TFLite runtime: none is there, and everything that shows a twin works."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from recordings import BEGIN_US, add
from twin_edge.bundle import Bundle
from twin_edge.recording import RecordingWriter
from twin_edge.twin import Twin

ROOT = Path(__file__).parents[3]

PROGRAM = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in ('tflite_runtime', 'ai_edge_litert', 'tensorflow', 'tflite', 'flatbuffers'):
            raise ModuleNotFoundError('blocked: ' + name, name=name)

sys.meta_path.insert(0, Blocker())
"""

COMMAND = f"""{PROGRAM}
from twin_edge.cli.app import main
sys.argv = ['twin-edge', *sys.argv[1:]]
main()
"""

SUBSCRIBER = f"""{PROGRAM}
from pathlib import Path
import numpy as np
from twin_edge.bundle import Bundle
from twin_edge.sync import TwinId
from view_feed import Feed, packets_of

bundle, folder = Bundle.open(Path(sys.argv[1])), Path(sys.argv[2])
feed, twin = Feed(folder), TwinId('org.acme', 'cam-01')
feed.announce(twin, bundle)
feed.send_bundle(twin, bundle)
for packet in packets_of(bundle, 20)[0]:
    feed.hear(twin.topics.stream, packet.encode())
np.savez(folder / 'seen.npz', states=[u.state for u in feed.updates], renderings=[u.rendering for u in feed.updates])
"""


def run(program: str, *arguments: object) -> str:
    folders = ("edge", "training", "converters", "tests/support")
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(str(ROOT / folder) for folder in folders)},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


PATHS = pytest.mark.parametrize("path", ["bundle_path", "moving_path", "parts_path"])


@PATHS
def test_a_subscriber(path: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    bundle_path = request.getfixturevalue(path)
    run(SUBSCRIBER, bundle_path, tmp_path)
    seen, twin = np.load(tmp_path / "seen.npz"), Twin(Bundle.open(bundle_path))
    assert len(seen["states"]) == 20
    for state, rendering in zip(seen["states"], seen["renderings"], strict=True):
        np.testing.assert_array_equal(twin.render(state), rendering)


@PATHS
def test_inspect(path: str, request: pytest.FixtureRequest) -> None:
    output = run(COMMAND, "inspect", request.getfixturevalue(path))
    assert "to the bit" in output
    assert "passed" in output


def test_replay(bundle_path: Path, tmp_path: Path) -> None:
    recording = tmp_path / "small.twinrec"
    with RecordingWriter(recording) as writer:
        add(writer, Bundle.open(bundle_path), 30, begin_us=BEGIN_US)
    run(COMMAND, "replay", recording, "--at", "+1", "--save", tmp_path / "one.png")
    run(COMMAND, "replay", recording, "--mp4", tmp_path / "film.mp4")
    assert (tmp_path / "one.png").stat().st_size > 100
    assert (tmp_path / "film.mp4").stat().st_size > 100


def test_imagine(bundle_path: Path, tmp_path: Path) -> None:
    run(COMMAND, "imagine", bundle_path, "--random", 4, "--rounds", 2, "--out", tmp_path / "sheet.png")
    assert (tmp_path / "sheet.png").stat().st_size > 100


def test_nothing_else_was_tried(bundle_path: Path) -> None:
    """A device needs a runtime, and finds none here: what is blocked is what would be used."""
    with pytest.raises(AssertionError, match="blocked: ai_edge_litert"):
        run(COMMAND, "bench", bundle_path)
