"""The twin: the same on every runtime, and honest about what it was given."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from twin_edge.bundle import Bundle
from twin_edge.bundle.golden import Golden
from twin_edge.cameras.rig import Fault, Rig, RigConfig
from twin_edge.errors import IntegrityError
from twin_edge.models import installed_runtimes, load_runtime
from twin_edge.twin import Twin
from twin_edge.twin.twin import PIXEL_TOLERANCE


@pytest.fixture(scope="module")
def bundle(bundle_path: Path) -> Bundle:
    return Bundle.open(bundle_path)


@pytest.mark.parametrize("runtime", installed_runtimes())
def test_golden_samples_pass_on_every_runtime(bundle: Bundle, runtime: str) -> None:
    twin = Twin(bundle, load_runtime(runtime))  # type: ignore[arg-type]
    assert twin.self_test().passed


def test_both_runtimes_are_installed_for_the_tests() -> None:
    assert set(installed_runtimes()) == {"litert", "tflite"}


def test_same_states_same_renderings_on_both_runtimes(bundle: Bundle) -> None:
    tflite, litert = (Twin(bundle, load_runtime(name)) for name in ("tflite", "litert"))
    rig = Rig(RigConfig(seed=4242))
    differences = []
    for _ in range(40):
        rig.step(15)
        state = litert.encode(litert.make_view(rig.draw()))
        differences.append(np.abs(tflite.render(state).astype(int) - litert.render(state)))
    assert np.max(differences) <= PIXEL_TOLERANCE
    assert np.mean(np.array(differences) > 2) < 1e-3


def test_rendering_resembles_the_view_more_than_another_one(bundle: Bundle) -> None:
    twin = Twin(bundle)
    rig = Rig(RigConfig(seed=4243, nuisance=0))
    seen = []
    for _ in range(12):
        rig.step(60)
        seen.append(twin.make_view(rig.draw()))
    renderings = [twin.render(twin.encode(view)).astype(int) for view in seen]
    own = np.mean([np.square(r - v).mean() for r, v in zip(renderings, seen, strict=True)])
    other = np.mean([np.square(r - v).mean() for r, v in zip(renderings, seen[1:] + seen[:1], strict=True)])
    assert own < 0.7 * other


def test_hand_in_front_is_a_gap_and_a_bright_frame_is_not(bundle: Bundle) -> None:
    twin = Twin(bundle)
    rig = Rig(RigConfig(seed=4244, nuisance=0, faults=(Fault("hand", at_s=4),)))

    def score() -> float:
        rig.step(10)
        view = twin.make_view(rig.draw())
        return twin.compare(view, twin.render(twin.encode(view))).score

    before = [score() for _ in range(10)]
    rig.step(60)
    during = [score() for _ in range(5)]
    assert np.mean(before) < 0.97
    assert min(during) > 0.99


def test_render_only_twin_has_no_encoder(bundle: Bundle) -> None:
    twin = Twin(bundle, encodes=False)
    assert twin.self_test().passed
    with pytest.raises(RuntimeError, match="render only"):
        twin.encode(np.zeros((64, 64, 3), np.uint8))


def test_self_test_fails_on_other_golden_samples(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    golden = bundle.golden()
    wrong = replace(golden, renderings=cv2.GaussianBlur(golden.renderings[0], (9, 9), 3)[np.newaxis])
    monkeypatch.setattr(Bundle, "golden", lambda _self: wrong)
    with pytest.raises(IntegrityError, match="self-test failed"):
        Twin(bundle).require_self_test()
    assert isinstance(wrong, Golden)


def test_outputs_are_not_overwritten_by_the_next_run(bundle: Bundle) -> None:
    twin = Twin(bundle)
    state = bundle.golden().states[0]
    first = twin.render(state)
    kept = first.copy()
    twin.render(-state)
    np.testing.assert_array_equal(first, kept)
