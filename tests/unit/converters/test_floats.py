"""Float layers in whole numbers: the same on both runtimes and in NumPy, and nearly what they were."""

from __future__ import annotations

import numpy as np
import pytest

from tflite_by_hand import bent, generator
from twin_converters.floats import whole_floats
from twin_edge.models import Model, Quantization, load_runtime, read_operators
from twin_edge.twin.exact import ExactGenerator

pytestmark = pytest.mark.training

LATENT = Quantization(2 / 255, -1)


@pytest.mark.parametrize("seed", range(4))
def test_a_bent_generator_is_the_same_everywhere(seed: int) -> None:
    content = bent(seed)
    whole = whole_floats(content)
    before, after = (ExactGenerator(one, LATENT) for one in (content, whole))
    assert (before.certain, after.certain) == (False, True)
    natives = [Model(whole, load_runtime(name)) for name in ("tflite", "litert")]  # type: ignore[arg-type]
    states = np.random.default_rng(seed).integers(-128, 128, (300, 8)).astype(np.int8)
    states[0], states[1] = -128, 127
    for state in states:
        drawn = after.values(state)
        for native in natives:
            np.testing.assert_array_equal(native.run(LATENT.dequantize(state)[np.newaxis]), drawn)
        # A feature near a tie may be a step off: 31 * 4 / 2 ** 9 of a step of what comes out, and a rounding.
        assert np.abs(before.values(state) - drawn).max() < 4 * LATENT.scale
    off = np.mean([(before.values(state) != after.values(state)).mean() for state in states])
    assert off < 0.05


def test_operators_are_ones_that_every_runtime_has() -> None:
    names = {str(operator) for operator in read_operators(whole_floats(bent(0)))}
    assert {"ADD v1", "MUL v1", "SUB v1"} <= names


def test_what_has_no_such_layers_is_left_as_it_is() -> None:
    content = generator(0).content()
    assert whole_floats(content) is content
