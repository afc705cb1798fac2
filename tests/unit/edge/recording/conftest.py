"""A recording of thirty seconds."""

from __future__ import annotations

import dataclasses

import pytest

from recordings import add, event, report
from twin_edge.bundle import Bundle, seal
from twin_edge.recording import RecordingWriter


@pytest.fixture(scope="session")
def bundle(bundle_path):
    return Bundle.open(bundle_path)


@pytest.fixture(scope="session")
def other_bundle(bundle):
    manifest = dataclasses.replace(bundle.manifest, name="other", files={})
    return Bundle.from_bytes(seal(manifest, bundle.members))


@pytest.fixture(scope="session")
def small(tmp_path_factory, bundle):
    """A recording of 30 seconds, and its states by seq."""
    path = tmp_path_factory.mktemp("recording") / "small.twinrec"
    with RecordingWriter(path) as writer:
        decoded = add(writer, bundle, 300)
        for seq in range(0, 300, 10):
            report(writer, seq, 0.5 if seq < 150 else 0.95)
        event(writer, 1, 150)
        event(writer, 2, 250, "gap-normal")
    return path, decoded
