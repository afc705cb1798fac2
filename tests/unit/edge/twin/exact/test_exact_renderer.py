"""The exact renderer: what both runtimes draw, to the bit, without them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tflite_by_hand import INT8, RELU6, generator, numbers, table
from twin_edge.bundle import Bundle
from twin_edge.errors import BundleError, IntegrityError
from twin_edge.models import Generator, Model, Quantization, State, load_runtime
from twin_edge.models.networks import Encoder
from twin_edge.twin import Twin
from twin_edge.twin.exact import ExactGenerator, NearEncoder

LATENT = Quantization(2 / 255, -1)
STATES = 1000
NAMES = ("tflite", "litert")


def states_of(length: int, count: int, seed: int = 0, middle: int = 0) -> list[State]:
    """Returns states: the ends of the range, what is usual, and anything."""
    rng = np.random.default_rng(seed)
    ends = rng.choice(np.array([-128, 127], np.int8), (count // 4, length))
    usual = np.clip(rng.normal(middle, 25, (count // 4, length)), -128, 127).astype(np.int8)
    any_ = rng.integers(-128, 128, (count - 2 * (count // 4), length)).astype(np.int8)
    whole = np.concatenate([ends, usual, any_])
    whole[0], whole[1] = -128, 127
    return list(whole)


def different(content: bytes, latent: Quantization, states: list[State], name: str) -> tuple[int, int]:
    """Returns how many values, and pixels, come out otherwise than on a runtime."""
    exact = ExactGenerator(content, latent)
    runtime = load_runtime(name)  # type: ignore[arg-type]
    model, native = Model(content, runtime), Generator(content, runtime, latent)
    values = pixels = 0
    for state in states:
        values += int((model.run(latent.dequantize(state)[np.newaxis]) != exact.values(state)).sum())
        pixels += int((native(state) != exact(state)).sum())
    return values, pixels


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("seed", range(8))
def test_random_generators(seed: int, name: str) -> None:
    rng = np.random.default_rng(seed)
    content = generator(seed, int(rng.integers(2, 40)), int(rng.integers(3, 12))).content()
    exact = ExactGenerator(content, LATENT)
    assert exact.certain
    assert np.unique(exact.values(states_of(exact.input_shape[1], 4)[3])).size > 8
    assert different(content, LATENT, states_of(exact.input_shape[1], 60, seed), name) == (0, 0)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("path", ["bundle_path", "moving_path", "parts_path"])
def test_bundles(path: str, name: str, request: pytest.FixtureRequest) -> None:
    bundle = Bundle.open(request.getfixturevalue(path))
    spec = bundle.manifest.state
    latent, content = Quantization(spec.scale, spec.zero_point), bundle.members["generator.tflite"]
    assert ExactGenerator(content, latent).certain
    states = states_of(spec.latent, STATES, 1, spec.zero_point)
    assert different(content, latent, states, name) == (0, 0)


@pytest.mark.parametrize("path", ["bundle_path", "moving_path", "parts_path"])
def test_twins_that_are_only_shown_render_the_same(path: str, request: pytest.FixtureRequest) -> None:
    bundle = Bundle.open(request.getfixturevalue(path))
    shown, native = Twin(bundle, encodes=False), Twin(bundle)
    assert shown.runtime is None
    assert shown.certain
    assert shown.self_test().pixel_levels == 0
    for state in states_of(bundle.manifest.state.length, 40, 2):
        np.testing.assert_array_equal(shown.render(state), native.render(state))
    shown.require_self_test()


@pytest.mark.parametrize("path", ["bundle_path", "moving_path", "parts_path"])
def test_encoders_are_within_two_steps(path: str, request: pytest.FixtureRequest) -> None:
    bundle = Bundle.open(request.getfixturevalue(path))
    content, rng = bundle.members["encoder.tflite"], np.random.default_rng(3)
    near, natives = NearEncoder(content), [Encoder(content, load_runtime(name)) for name in NAMES]  # type: ignore[arg-type]
    for _ in range(20):
        view = rng.integers(0, 256, near.input_shape[1:]).astype(np.uint8)
        for native in natives:
            assert np.abs(near(view).astype(int) - native(view)).max() <= 2
    assert Twin(bundle, native=False).self_test().passed


@pytest.mark.parametrize("edge", ["generator.input", "generator.output"])
def test_other_edges_than_the_manifest_says_are_found_before_anything_is_made_of_a_model(
    bundle_path: Path, edge: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = Bundle.open(bundle_path)
    tensors = dict(bundle.manifest.tensors)
    tensors[edge] = replace(tensors[edge], shape=(1, 9))
    forged = replace(bundle, manifest=replace(bundle.manifest, tensors=tensors))
    monkeypatch.setattr("twin_edge.twin.twin.TwinModels", None)
    with pytest.raises(IntegrityError, match=rf"{edge} has shape \(1, .*, the manifest says \(1, 9\)"):
        Twin(forged, encodes=False)


def test_a_twin_of_the_article_is_shown_on_devices_only(gray_path: Path) -> None:
    bundle = Bundle.open(gray_path)
    with pytest.raises(BundleError, match="shown on devices only, LEAKY_RELU") as caught:
        Twin(bundle, encodes=False)
    assert "\n" not in str(caught.value)
    assert Twin(bundle).render(bundle.golden().states[0]).shape == bundle.golden().renderings[0].shape


def test_outputs_are_not_overwritten_by_the_next_run() -> None:
    exact = ExactGenerator(generator(1).content(), LATENT)
    first, second, *_ = states_of(6, 8)
    drawn, values = exact(first), exact.values(first)
    kept = drawn.copy(), values.copy()
    exact(second)
    np.testing.assert_array_equal(drawn, kept[0])
    np.testing.assert_array_equal(values, kept[1])


@given(st.integers(0, 1000), st.integers(0, 3))
@settings(max_examples=30)
def test_a_rendering_is_of_its_state_whatever_came_before(seed: int, before: int) -> None:
    content = generator(2).content()
    used, fresh = ExactGenerator(content, LATENT), ExactGenerator(content, LATENT)
    *others, state = states_of(6, 8, seed)[-before - 1 :]
    for other in others:
        used(other)
    np.testing.assert_array_equal(used(state), fresh(state))


def test_weights_that_runtimes_round_in_different_ways_are_refused() -> None:
    with pytest.raises(BundleError, match="FULLY_CONNECTED has scales that are no powers of two apart"):
        ExactGenerator(generator(0, drift=1.01).content(), LATENT)


def test_sums_near_a_tie_are_drawn_and_said_to_be() -> None:
    """Multiples of 4 with 2 more than one, times a quarter: every sum is a tie."""
    content = generator(0, exponent=-2).content()
    exact = ExactGenerator(content, LATENT)
    assert not exact.certain
    assert exact(states_of(6, 8)[3]).shape == (10, 10, 2)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (
            lambda m: (
                m.codes[-2].update({0: ("<b", 28), 3: ("<i", 28)}),
                m.nodes[-2].update({1: numbers([len(m.tensors) - 4], "<i4")}),
                m.nodes[-2].pop(3),
                m.nodes[-2].pop(4),
            ),
            "TANH has no form",
        ),
        (lambda m: m.nodes.pop(), "makes its output"),
        (lambda m: (m.nodes.pop(), m.outputs.append(m.outputs.pop() - 1)), "what is dequantized"),
        (lambda m: m.nodes[2].update({4: table({0: ("<b", 4)})}), "the activation 4"),
        (lambda m: m.nodes[5].update({4: table({0: ("<i", -1), 1: ("<b", RELU6)})}), "CONCATENATION has an activation"),
        (lambda m: m.tensors[-1].update({0: numbers([1, 200], "<i4")}), "other shapes"),
    ],
)
def test_other_graphs_are_refused(change, match) -> None:
    model = generator(0)
    change(model)
    with pytest.raises((BundleError, IntegrityError), match=match):
        ExactGenerator(model.content(), LATENT)


def test_scales_that_differ_are_refused() -> None:
    model = generator(0)
    # What is added has another step than the sum.
    anchor = len(model.tensors) - 3
    fields = {2: numbers([0.01], "<f4"), 3: numbers([0], "<i8")}
    model.tensors[anchor] |= {4: table(fields)}
    assert model.tensors[anchor][1] == ("<b", INT8)
    with pytest.raises(BundleError, match="ADD has tensors of several scales"):
        ExactGenerator(model.content(), LATENT)
