"""What a frame costs: the figures add up, and the frame path allocates no more than its results."""

from __future__ import annotations

import gc
import threading
import tracemalloc

import cv2
import numpy as np
import pytest

from twin_edge.bundle import Bundle
from twin_edge.cameras import Frame, RigCamera
from twin_edge.frame_cost import measure_costs
from twin_edge.models import installed_runtimes, load_runtime
from twin_edge.twin import Twin


@pytest.fixture(scope="module")
def bundle(bundle_path) -> Bundle:
    return Bundle.open(bundle_path)


@pytest.fixture(scope="module")
def frames() -> list[Frame]:
    camera = RigCamera("rig:")
    camera.open()
    return [camera.read(1.0) for _ in range(4)]


def test_costs_of_every_runtime_and_share(bundle, frames):
    runtimes = [load_runtime(name) for name in installed_runtimes()]
    threads, opencv_threads = threading.active_count(), cv2.getNumThreads()
    costs = measure_costs(bundle, runtimes, frames, rounds=6, gap_every=(1, 3))
    assert [(cost.runtime, cost.gap_every) for cost in costs] == [
        (str(runtime), every) for runtime in runtimes for every in (1, 3)
    ]
    for cost in costs:
        assert cost.twin_ms > 0
        assert cost.link_ms > 0
        assert 0 < cost.packets <= 1
        value = cost.to_json()
        assert value["ratio_to_jpeg"] == pytest.approx(cost.whole_ms / cost.jpeg_ms, abs=1e-3)
        assert value["cpu_ms"] == pytest.approx(cost.twin_ms + cost.link_ms, abs=1e-3)
    assert threading.active_count() == threads
    assert cv2.getNumThreads() == opencv_threads


@pytest.mark.parametrize("name", installed_runtimes())
def test_a_frame_allocates_little_and_keeps_nothing(bundle, frames, name):
    twin = Twin(bundle, load_runtime(name))
    spec = twin.make_view.spec
    view = np.zeros((spec.height, spec.width, 3), np.uint8)

    def work(frame: Frame) -> None:
        twin.make_view(frame.image, view)
        twin.compare(view, twin.render(twin.encode(view)))

    for frame in frames:
        work(frame)
    gc.collect()
    tracemalloc.start()
    try:
        work(frames[0])
        gc.collect()  # The interpreter's lists of free objects are emptied by that, and are nothing that is kept.
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        for _ in range(10):
            for frame in frames:
                work(frame)
        peak = tracemalloc.get_traced_memory()[1]
        gc.collect()
        after = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    # The rendering is the caller's to keep; NumPy's sums take buffers of a fixed size, whatever the view's.
    assert peak - before < 2 * view.nbytes + 100_000
    assert after - before < 4096


@pytest.mark.parametrize("name", installed_runtimes())
def test_a_rendering_is_no_view_into_the_interpreter(bundle, name):
    twin = Twin(bundle, load_runtime(name))
    rng = np.random.default_rng(1)
    states = rng.integers(-128, 128, (3, twin.state_length), np.int8)
    first = twin.render(states[0])
    kept = first.copy()
    twin.render(states[1])
    twin.render(states[2])
    np.testing.assert_array_equal(first, kept)
    np.testing.assert_array_equal(twin.render(states[0]), kept)
