"""Generators that a stranger has made: drawn with, or refused on one line, in bounded memory and time."""

from __future__ import annotations

import time
import tracemalloc

import numpy as np
import pytest

from tflite_by_hand import FLOAT32, INT8, INT32, NONE, RELU6, RELU_N1_TO_1, Model, generator, numbers
from twin_edge.bundle.graph_reader import read_graph
from twin_edge.errors import BundleError
from twin_edge.models import Quantization
from twin_edge.twin.exact import ExactGenerator, NearEncoder
from twin_edge.twin.exact.compiler import MOST_BYTES

LATENT = Quantization(2 / 255, -1)
WILD = (0.0, 1e-38, 2.0**-60, 1e-3, 1.0, -1.0, 2.0**23 * 1.5, 1e9, 2.0**60, 3e38)
SCALES = (2.0**-60, 2.0**-9, 2 / 255, 0.02, 1.0, 2.0**60)
ACTIVATIONS = (NONE, NONE, 1, RELU_N1_TO_1, RELU6, 4)


def refuse(content: bytes, match: str) -> None:
    with pytest.raises(BundleError, match=match) as caught:
        ExactGenerator(content, LATENT)
    assert "\n" not in str(caught.value)


def finished(model: Model, at: int, shape: tuple[int, ...], scale: float = 2 / 255) -> bytes:
    """Returns a model after it was given int8 and what is dequantized of tensor `at`, which is of reals."""
    model.node("QUANTIZE", [at], model.tensor(shape, INT8, scale, -1))
    model.node("DEQUANTIZE", [len(model.tensors) - 1], model.tensor(shape, FLOAT32))
    return model.content()


def test_a_constant_without_dimensions_is_refused() -> None:
    model = Model()
    model.tensor((1, 4), FLOAT32)
    alone = model.tensor((), FLOAT32, values=np.array(1, np.float32))
    refuse(finished(model, alone, ()), r"QUANTIZE has a tensor of shape \(\)")


def test_reals_beyond_all_bounds_are_refused() -> None:
    model = Model()
    x = model.tensor((1, 4), FLOAT32)
    large = model.tensor((1,), FLOAT32, values=np.array([3e38], np.float32))
    x = model.node("MUL", [x, large], model.tensor((1, 4), FLOAT32), {0: ("<b", NONE)})
    for _ in range(4):
        x = model.node("MUL", [x, x], model.tensor((1, 4), FLOAT32), {0: ("<b", NONE)})
    weights = model.tensor((4, 4), FLOAT32, values=np.ones((4, 4), np.float32))
    bias = model.tensor((4,), FLOAT32, values=np.ones(4, np.float32))
    x = model.node("FULLY_CONNECTED", [x, weights, bias], model.tensor((1, 4), FLOAT32), {0: ("<b", NONE)})
    refuse(finished(model, x, (1, 4)), "MUL has reals out of all proportion")


@pytest.mark.parametrize("scale", [3e38, float("inf"), float("nan")])
def test_latents_beyond_all_bounds_are_refused(scale: float) -> None:
    with pytest.raises(BundleError, match="out of all proportion"):
        ExactGenerator(generator(0).content(), Quantization(scale, -1))


def memory_of(content: bytes) -> int:
    """Returns the most bytes that were allocated at once while a generator was made, or refused."""
    read_graph(content)
    tracemalloc.start()
    began = time.process_time()
    try:
        ExactGenerator(content, LATENT)
    except BundleError as error:
        assert "\n" not in str(error)  # noqa: PT017 - both ends are in order
    finally:
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert time.process_time() - began < 20
    return most


@pytest.mark.parametrize("outputs", [400, 2000])
def test_what_is_known_of_many_values_takes_no_more_memory_than_is_said(outputs: int) -> None:
    """Rounded reals that each have thousands of values, copied to many outputs, again and again."""
    model = Model()
    x = model.tensor((1, 4), FLOAT32)
    mean = model.tensor((4, 4), FLOAT32, values=np.full((4, 4), 0.24, np.float32))
    x = model.node("FULLY_CONNECTED", [x, mean], model.tensor((1, 4), FLOAT32), {0: ("<b", NONE)})
    up, down = (model.tensor((1,), FLOAT32, values=np.array([n * 1.5 * 2**13], np.float32)) for n in (1, -1))
    x = model.node("ADD", [x, up], model.tensor((1, 4), FLOAT32), {0: ("<b", NONE)})
    x = model.node("ADD", [x, down], model.tensor((1, 4), FLOAT32), {0: ("<b", NONE)})
    copied = np.zeros((outputs, 4), np.float32)
    copied[np.arange(outputs), np.arange(outputs) % 4] = np.linspace(0.1, 0.9, outputs)
    weights = model.tensor((outputs, 4), FLOAT32, values=copied)
    for _ in range(180):
        y = model.node("FULLY_CONNECTED", [x, weights], model.tensor((1, outputs), FLOAT32), {0: ("<b", NONE)})
    for _ in range(40):
        one = model.tensor((1,), FLOAT32, values=np.array([1.0], np.float32))
        y = model.node("MUL", [y, one], model.tensor((1, outputs), FLOAT32), {0: ("<b", NONE)})
    finished(model, y, (1, outputs))
    # Nodes share the entries of the table of operators, of which there are few.
    codes = [tuple(sorted(code.items())) for code in model.codes]
    distinct = sorted(set(codes))
    for node in model.nodes:
        node[0] = ("<I", distinct.index(codes[node[0][1]]))
    model.codes = [dict(code) for code in distinct]
    assert memory_of(model.content()) < MOST_BYTES


def test_zeros_around_a_picture_are_counted() -> None:
    """A picture of one row and one column, and as many channels as make its margins large."""
    model = Model()
    x = model.tensor((1, 1 << 12), FLOAT32)
    x = model.node("QUANTIZE", [x], model.tensor((1, 1 << 12), INT8, 2 / 255, -1))
    shape = model.tensor((4,), INT32, values=np.array([1, 1, 1, 1 << 12], np.int32))
    x = model.node("RESHAPE", [x, shape], model.tensor((1, 1, 1, 1 << 12), INT8, 2 / 255, -1))
    kernel = model.tensor((1, 63, 63, 1 << 12), INT8, 2.0**-9, 0, np.zeros((1, 63, 63, 1 << 12), np.int8))
    options = {0: ("<b", 0), 1: ("<i", 1), 2: ("<i", 1)}
    x = model.node("CONV_2D", [x, kernel], model.tensor((1, 1, 1, 1), INT8, 2 / 255, -1), options)
    model.node("DEQUANTIZE", [x], model.tensor((1, 1, 1, 1), FLOAT32))
    content = model.content()
    refuse(content, "more memory than twins do")
    assert memory_of(content) < MOST_BYTES


def test_margins_alone_are_counted() -> None:
    """Kernels of few weights whose margins, on either side, make much of a small picture."""
    model, channels = Model(), 1 << 16
    x = model.tensor((1, channels), FLOAT32)
    x = model.node("QUANTIZE", [x], model.tensor((1, channels), INT8, 2 / 255, -1))
    shape = model.tensor((4,), INT32, values=np.array([1, 1, 1, channels], np.int32))
    x = model.node("RESHAPE", [x, shape], model.tensor((1, 1, 1, channels), INT8, 2 / 255, -1))
    options = {0: ("<b", 0), 1: ("<i", 1), 2: ("<i", 1)}
    for high, wide in ((63, 1), (1, 63)):
        kernel = model.tensor((1, high, wide, channels), INT8, 2.0**-9, 0, np.zeros((high * wide * channels), np.int8))
        y = model.node("CONV_2D", [x, kernel], model.tensor((1, 1, 1, 1), INT8, 2 / 255, -1), options)
    model.node("DEQUANTIZE", [y], model.tensor((1, 1, 1, 1), FLOAT32))
    content = model.content()
    refuse(content, "RESHAPE takes more memory than twins do")
    assert memory_of(content) < MOST_BYTES // 4


def test_many_rows_of_weights_take_no_longer_than_as_many_columns() -> None:
    model, outputs = Model(), 300_000
    x = model.tensor((1, 1), FLOAT32)
    weights = model.tensor((outputs, 1), FLOAT32, values=np.ones(outputs, np.float32))
    bias = model.tensor((outputs,), FLOAT32, values=np.ones(outputs, np.float32))
    x = model.node("FULLY_CONNECTED", [x, weights, bias], model.tensor((1, outputs), FLOAT32), {0: ("<b", NONE)})
    content = finished(model, x, (1, outputs))
    began = time.process_time()
    ExactGenerator(content, LATENT)
    assert time.process_time() - began < 1


class Strange:
    """A model of random operators that fit each other in shape, with values and scales out of all proportion."""

    def __init__(self, seed: int) -> None:
        self.rng, self.model = np.random.default_rng(seed), Model()
        self.shape: tuple[int, ...] = (1, int(self.rng.integers(1, 9)))
        self.at = self.model.tensor(self.shape, FLOAT32)
        self.scale, self.zero = 0.0, 0

    def content(self) -> bytes:
        for _ in range(self.rng.integers(0, 6)):
            self._real()
        self._quantize()
        for _ in range(self.rng.integers(0, 7)):
            self._whole()
        self._node("DEQUANTIZE", [self.at], FLOAT32)
        if self.rng.random() < 0.3:
            self._spoil()
        return self.model.content()

    def _pick(self, values: tuple[float, ...]) -> float:
        return float(values[self.rng.integers(len(values))])

    def _activation(self) -> tuple[str, int]:
        return "<b", ACTIVATIONS[self.rng.integers(len(ACTIVATIONS))]

    def _node(self, name: str, inputs: list[int], kind: int, options: dict | None = None) -> None:
        scales = () if kind == FLOAT32 else (self.scale, self.zero)
        self.at = self.model.node(name, inputs, self.model.tensor(self.shape, kind, *scales), options)

    def _real(self) -> None:
        name = ("ADD", "MUL", "FULLY_CONNECTED")[self.rng.integers(3)]
        if name == "FULLY_CONNECTED":
            wide = int(self.rng.integers(1, 9))
            values = self.rng.choice(WILD, (wide, self.shape[1])) * (self.rng.random((wide, self.shape[1])) < 0.5)
            weights = self.model.tensor(values.shape, FLOAT32, values=values.astype(np.float32))
            bias = self.model.tensor((wide,), FLOAT32, values=self.rng.choice(WILD, wide).astype(np.float32))
            self.shape = (1, wide)
            inputs = [self.at, weights, bias][: self.rng.integers(2, 4)]
        else:
            shape = ((), (1,), self.shape)[self.rng.integers(3)]
            values = np.full(shape, self._pick(WILD), np.float32)
            other = self.at if self.rng.random() < 0.3 else self.model.tensor(shape, FLOAT32, values=values)
            inputs = [self.at, other]
        self._node(name, inputs, FLOAT32, {0: self._activation()})

    def _quantize(self) -> None:
        self.scale, self.zero = self._pick(SCALES), int(self.rng.integers(-128, 128))
        self._node("QUANTIZE", [self.at], INT8)

    def _whole(self) -> None:
        name = ("FULLY_CONNECTED", "RESHAPE", "CONV_2D", "DEPTH_TO_SPACE", "CONCATENATION", "ADD")[self.rng.integers(6)]
        if name == "FULLY_CONNECTED" and len(self.shape) == 2:
            wide = int(self.rng.integers(1, 33))
            self._weighted(name, (wide, self.shape[1]), (1, wide), {0: self._activation()})
        elif name == "RESHAPE":
            size = int(np.prod(self.shape))
            self.shape = (1, size) if len(self.shape) == 4 else (1, 1, 1, size)
            self._node(name, [self.at], INT8)
        elif name == "CONV_2D" and len(self.shape) == 4:
            high, wide = (int(n) for n in self.rng.choice([1, 2, 3, 7, 64], 2))
            outputs = int(self.rng.integers(1, 9))
            _, rows, columns, channels = self.shape
            options = {0: ("<b", 0), 1: ("<i", 1), 2: ("<i", 1), 3: self._activation()}
            self._weighted(name, (outputs, high, wide, channels), (1, rows, columns, outputs), options)
        elif name == "DEPTH_TO_SPACE" and len(self.shape) == 4 and self.shape[3] % 4 == 0:
            _, rows, columns, channels = self.shape
            self.shape = (1, 2 * rows, 2 * columns, channels // 4)
            self._node(name, [self.at], INT8, {0: ("<i", 2)})
        elif name == "CONCATENATION":
            self.shape = (*self.shape[:-1], 2 * self.shape[-1])
            self._node(name, [self.at, self.at], INT8, {0: ("<i", -1)})
        elif name == "ADD":
            self._node(name, [self.at, self.at], INT8, {0: self._activation()})

    def _weighted(self, name: str, shape: tuple[int, ...], made: tuple[int, ...], options: dict) -> None:
        kernel = self.scale and np.full(shape[0] if self.rng.random() < 0.5 else 1, self._pick(SCALES))
        weights = self.model.tensor(shape, INT8, kernel, 0, self.rng.integers(-128, 128, shape).astype(np.int8))
        values = self.rng.integers(-(2**31), 2**31, shape[0]).astype(np.int32)
        bias = self.model.tensor((shape[0],), INT32, 1.0, 0, values)
        self.shape, self.scale = made, self._pick(SCALES)
        self._node(name, [self.at, weights, bias][: self.rng.integers(2, 4)], INT8, options)

    def _spoil(self) -> None:
        """Changes a field of a tensor, or of a node, whatever becomes of it."""
        tensor = self.model.tensors[self.rng.integers(len(self.model.tensors))]
        node = self.model.nodes[self.rng.integers(len(self.model.nodes))]
        which = self.rng.integers(4)
        if which == 0:
            tensor[0] = numbers([1] * self.rng.integers(0, 6), "<i4")
        elif which == 1:
            tensor.pop(4, None)
        elif which == 2:
            tensor[1] = ("<b", int(self.rng.choice([FLOAT32, INT8, INT32])))
        else:
            node[1] = numbers(self.rng.integers(-1, len(self.model.tensors), self.rng.integers(1, 4)), "<i4")


@pytest.mark.parametrize("block", range(8))
def test_strange_generators_are_drawn_with_or_refused(block: int) -> None:
    drawn = 0
    for seed in range(100 * block, 100 * block + 100):
        strange = Strange(seed)
        content, rng = strange.content(), np.random.default_rng(seed)
        try:
            exact = ExactGenerator(content, LATENT)
        except BundleError as error:
            assert "\n" not in str(error)  # noqa: PT017 - both ends are in order
            continue
        drawn += 1
        state = rng.integers(-128, 128, exact.input_shape[1]).astype(np.int8)
        assert np.isfinite(exact.values(state)).all()
    assert drawn > 5


@pytest.mark.parametrize("seed", range(60))
def test_strange_encoders_are_used_or_refused(seed: int) -> None:
    rng, model = np.random.default_rng(seed), Model()
    strange = Strange(seed)
    strange.model, strange.shape = model, (1, 4, 4, 3)
    strange.scale = strange._pick(SCALES)
    strange.at = model.tensor(strange.shape, INT8, strange.scale, 0)
    for _ in range(rng.integers(1, 7)):
        strange._whole()
    if len(strange.shape) == 4:
        strange.shape = (1, int(np.prod(strange.shape)))
        strange._node("RESHAPE", [strange.at], INT8)
    if seed % 3 == 0:
        strange._spoil()
    try:
        encoder = NearEncoder(model.content())
    except BundleError as error:
        assert "\n" not in str(error)  # noqa: PT017 - both ends are in order
        return
    assert encoder(rng.integers(0, 256, (4, 4, 3)).astype(np.uint8)).dtype == np.int8
