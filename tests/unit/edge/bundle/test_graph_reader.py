"""Models from strangers: read as they are, or refused on one line, in little time, whatever they hold."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tflite_by_hand import FLOAT32, INT8, INT32, OPTION_TYPES, Fields, Model, generator, numbers, table, tables
from twin_edge.bundle import Bundle
from twin_edge.bundle.graph_reader import read_graph
from twin_edge.errors import IntegrityError
from twin_edge.models.operators import NAMES

CONTENT = generator(0).content()


def refuse(content: bytes, match: str = "a model is not") -> None:
    began = time.process_time()
    with pytest.raises(IntegrityError, match=match) as caught:
        read_graph(content)
    assert time.process_time() - began < 2
    assert "\n" not in str(caught.value)


def test_a_model_is_read_as_it_was_written() -> None:
    graph = read_graph(CONTENT)
    assert [node.name for node in graph.nodes] == [
        "QUANTIZE", "STRIDED_SLICE", "FULLY_CONNECTED", "RESHAPE", "CONV_2D", "CONCATENATION", "CONV_2D",
        "DEPTH_TO_SPACE", "ADD", "DEQUANTIZE",
    ]  # fmt: skip
    assert graph.tensors[graph.input].shape == (1, 6)
    assert graph.tensors[graph.output].shape == (1, 10, 10, 2)
    conv = graph.nodes[4]
    assert (conv.options["padding"], conv.options["stride_w"], conv.options["dilation_h"]) == (0, 1, 1)
    kernel, bias = (graph.tensors[at] for at in conv.inputs[1:])
    assert (kernel.dtype, kernel.shape, bias.dtype, bias.shape) == (np.int8, (3, 3, 3, 4), np.int32, (3,))
    assert kernel.constant is not None
    assert bias.constant is not None
    assert not (kernel.constant % 4).any()
    assert (bias.constant % 4 == 2).all()
    assert kernel.scales is not None
    assert kernel.scales.scale.shape == (3,)
    with pytest.raises(ValueError, match="read-only"):
        kernel.constant[0] = 0


@pytest.mark.parametrize("path", ["bundle_path", "moving_path", "parts_path", "gray_path"])
def test_models_of_every_kind_of_twin_are_read(path: str, request: pytest.FixtureRequest) -> None:
    bundle = Bundle.open(request.getfixturevalue(path))
    for name in ("encoder", "generator"):
        graph = read_graph(bundle.members[f"{name}.tflite"])
        assert graph.tensors[graph.input].shape == bundle.manifest.tensors[f"{name}.input"].shape
        assert graph.tensors[graph.output].shape == bundle.manifest.tensors[f"{name}.output"].shape


Change = Callable[[Model], object]


def _quantized(scale: float, zero_point: int, **more: tuple[str, object]) -> Change:
    fields = {2: numbers([scale], "<f4"), 3: numbers([zero_point], "<i8")}
    return lambda model: model.tensors[1].update({4: table(fields | {int(slot[1:]): v for slot, v in more.items()})})


FORGERIES: dict[str, tuple[Change, str]] = {
    "an offset that wraps around": (lambda m: m.buffers[4].update({1: ("<Q", 2**64 - 64), 2: ("<Q", 64)}), "outside"),
    "a buffer behind the end": (lambda m: m.buffers[4].update({1: ("<Q", 4096), 2: ("<Q", 64)}), "outside"),
    "an offset alone": (lambda m: m.buffers[4].update({1: ("<Q", 1)}), "outside"),
    "a size alone": (lambda m: m.buffers[4].update({2: ("<Q", 2**63)}), "outside"),
    "external buffers": (lambda m: m.model.update({9: tables([{}])}), "newer format"),
    "a tensor's external buffer": (lambda m: m.tensors[1].update({10: ("<I", 1)}), "newer format"),
    "another version": (lambda m: m.model.update({0: ("<I", 4)}), "another version"),
    "two graphs": (lambda m: m.model.update({2: tables([{}, {}])}), "2 entries"),
    "no graph": (lambda m: m.model.update({2: tables([])}), "no graph"),
    "a custom operator": (lambda m: m.codes[0].update({1: numbers(b"evil", "S4")}), "no twin uses"),
    "an unknown operator": (lambda m: m.codes[0].update({3: ("<i", 121)}), "operator 121"),
    "a negative operator": (lambda m: m.codes[0].update({0: ("<b", -1), 3: ("<i", -1)}), "operator -1"),
    "an operator that is not there": (lambda m: m.nodes[0].update({0: ("<I", 99)}), "not there"),
    "a variable": (lambda m: m.tensors[3].update({5: ("<B", 1)}), "variable"),
    "sparsity": (lambda m: m.tensors[3].update({6: table({})}), "no twin uses"),
    "an unknown type": (lambda m: m.tensors[3].update({1: ("<b", 5)}), "type 5"),
    "a buffer that is not there": (lambda m: m.tensors[3].update({2: ("<I", 4000)}), "not there"),
    "a size of 0": (lambda m: m.tensors[1].update({0: numbers([1, 0], "<i4")}), "shape"),
    "a negative size": (lambda m: m.tensors[1].update({0: numbers([1, -6], "<i4")}), "shape"),
    "a size that overflows": (lambda m: m.tensors[1].update({0: numbers([2**31 - 1] * 6, "<i4")}), "shape"),
    "too many dimensions": (lambda m: m.tensors[1].update({0: numbers([1] * 7, "<i4")}), "7 entries"),
    "too many values": (lambda m: [m.tensor((1, 2**25), INT8) for _ in range(3)], "million values"),
    "more data than the shape": (lambda m: m.tensors[3].update({0: numbers([3], "<i4")}), "8 bytes"),
    "less data than the shape": (lambda m: m.tensors[3].update({0: numbers([1], "<i4")}), "8 bytes"),
    "a scale of 0": (_quantized(0.0, 0), "out of range"),
    "a negative scale": (_quantized(-0.1, 0), "out of range"),
    "a scale that is no number": (_quantized(float("nan"), 0), "out of range"),
    "an infinite scale": (_quantized(float("inf"), 0), "out of range"),
    "a scale out of all proportion": (_quantized(1e-38, 0), "out of range"),
    "a zero point of 128": (_quantized(0.1, 128), "out of range"),
    "a zero point of 2 ** 40": (_quantized(0.1, 2**40), "out of range"),
    "no zero point": (lambda m: m.tensors[1].update({4: table({2: numbers([0.1], "<f4")})}), "0 zero points"),
    "as many scales as nothing": (
        lambda m: m.tensors[1].update({4: table({2: numbers([0.1] * 3, "<f4"), 3: numbers([0] * 3, "<i8")})}),
        "3 scales",
    ),
    "custom quantization": (_quantized(0.1, 0, _4=("<B", 1), _5=table({})), "no twin uses"),
    "a scale of reals": (
        lambda m: m.tensors[0].update({4: table({2: numbers([1], "<f4"), 3: numbers([0], "<i8")})}),
        "1 scales",
    ),
    "a constant that is not finite": (
        lambda m: m.tensor((1,), FLOAT32, values=np.array([np.inf], np.float32)),
        "not finite",
    ),
    "two inputs": (lambda m: m.inputs.append(1), "2 inputs"),
    "no output": (lambda m: m.outputs.clear(), "0 outputs"),
    "an input that is not there": (lambda m: m.inputs.__setitem__(0, 400), "input is none"),
    "an input that is constant": (lambda m: m.inputs.__setitem__(0, 2), "input is none"),
    "an output that is constant": (lambda m: m.outputs.__setitem__(0, 2), "makes its output"),
    "an output that is the input": (lambda m: m.outputs.__setitem__(0, 0), "makes its output"),
    "an output that is not there": (lambda m: m.outputs.__setitem__(0, -7), "makes its output"),
    "a cycle": (lambda m: m.nodes.reverse(), "not there yet"),
    "a node of itself": (lambda m: m.nodes[0].update({1: numbers([1], "<i4")}), "not there yet"),
    "a node of a tensor that is not there": (lambda m: m.nodes[0].update({1: numbers([-2], "<i4")}), "not there yet"),
    "a node that makes a constant": (lambda m: m.nodes[0].update({2: numbers([2], "<i4")}), "there already"),
    "a node that makes it twice": (lambda m: m.nodes.append(m.nodes[-1]), "there already"),
    "a node that makes what is no tensor": (lambda m: m.nodes[0].update({2: numbers([4000], "<i4")}), "there already"),
    "a node of two outputs": (lambda m: m.nodes[0].update({2: numbers([1, 2], "<i4")}), "2 outputs"),
    "custom options": (lambda m: m.nodes[0].update({5: numbers([1], "u1")}), "no twin uses"),
    "large custom options": (lambda m: m.nodes[0].update({9: ("<Q", 2**64 - 8), 10: ("<Q", 8)}), "no twin uses"),
    "options of another kind": (lambda m: m.nodes[4].update({3: ("<B", 8)}), "another operator"),
    "options without a kind": (lambda m: m.nodes[4].update({3: ("<B", 0)}), "another operator"),
    "more options than there are": (lambda m: m.nodes[7].update({4: table({0: ("<i", 2), 5: ("<i", 1)})}), "newer"),
    "a new shape outside": (
        lambda m: m.nodes[3].update({3: ("<B", 17), 4: table({0: ("<I", 0x7FFFFF00)})}),
        "out of the file",
    ),
    "a new shape of many dimensions": (
        lambda m: m.nodes[3].update({3: ("<B", 17), 4: table({0: numbers([1] * 100, "<i4")})}),
        "100 entries",
    ),
    "no input for a device": (lambda m: m.node("TANH", [-1], m.tensor((1, 6), FLOAT32)), "TANH lacks an input"),
    "a slope that is no number": (
        lambda m: m.node("LEAKY_RELU", [0], m.tensor((1, 6), FLOAT32), {0: ("<f", float("nan"))}),
        "real number is out of range",
    ),
    "a stride of 0 for a device": (
        lambda m: m.node("MAX_POOL_2D", [16], m.tensor((1, 5, 5, 4), INT8, 0.02, -128), {1: ("<i", 1)}),
        "stride_h 0",
    ),
    "a height from an older format": (
        lambda m: m.node("RESIZE_BILINEAR", [16, 17], m.tensor((1, 5, 5, 4), INT8), {0: ("<i", 9)}),
        "no twin uses",
    ),
    "a dilation": (lambda m: m.nodes[4].update({4: table({1: ("<i", 1), 2: ("<i", 1), 4: ("<i", 2)})}), "dilated"),
    "a stride of 0": (lambda m: m.nodes[4].update({4: table({1: ("<i", 0), 2: ("<i", 1)})}), "stride"),
    "another stride": (lambda m: m.nodes[4].update({4: table({1: ("<i", 2), 2: ("<i", 2)})}), "other shapes"),
    "another padding": (lambda m: m.nodes[4].update({4: table({0: ("<b", 7), 1: ("<i", 1), 2: ("<i", 1)})}), "padding"),
    "another block": (lambda m: m.nodes[7].update({4: table({0: ("<i", 4)})}), "block"),
    "a block of 0": (lambda m: m.nodes[7].update({4: table({0: ("<i", 0)})}), "block"),
    "a negative block": (lambda m: m.nodes[7].update({4: table({0: ("<i", -2)})}), "block"),
    "another axis": (lambda m: m.nodes[5].update({4: table({0: ("<i", 1)})}), "last axis"),
    "shuffled weights": (lambda m: m.nodes[2].update({4: table({1: ("<b", 1)})}), "another way"),
    "a slice of nothing": (lambda m: m.nodes[1].update({4: table({})}), "more than ranges"),
    "a slice that drops dimensions": (lambda m: m.nodes[1].update({4: table({4: ("<i", 1)})}), "more than ranges"),
    "a missing input": (lambda m: m.nodes[8].update({1: numbers([16, -1], "<i4")}), "lacks an input"),
    "one input too few": (lambda m: m.nodes[8].update({1: numbers([16], "<i4")}), "number of inputs"),
    "another shape made": (lambda m: m.tensors[-1].update({0: numbers([1, 5, 20, 2], "<i4")}), "other shapes"),
    "another type made": (lambda m: m.tensors[-1].update({1: ("<b", INT32)}), "other types"),
    "10,000 tensors": (lambda m: m.tensors.extend([{}] * 10_000), "vector has"),
    "10,000 nodes": (lambda m: m.nodes.extend([{}] * 10_000), "vector has"),
    "10,000 buffers": (lambda m: m.buffers.extend([{}] * 10_000), "vector has"),
    "10,000 operators": (lambda m: m.codes.extend([{}] * 10_000), "vector has"),
}  # fmt: skip


@pytest.mark.parametrize("name", FORGERIES)
def test_forgeries_are_refused(name: str) -> None:
    change, match = FORGERIES[name]
    model = generator(0)
    change(model)
    refuse(model.content(), match)


def _one_node(name: str, inputs: list[int], fields: Fields) -> bytes:
    """Returns a model of one node, whatever its operator makes of it."""
    code = next(number for number, other in NAMES.items() if other == name)
    model = Model()
    for _ in range(5):
        model.tensor((1, 6), FLOAT32)
    model.tensors[1:4] = [model.tensors[at] | {2: ("<I", 1)} for at in range(1, 4)]
    model.buffers.append({0: numbers(np.zeros(24), "u1", 16)})
    model.codes.append({0: ("<b", min(code, 127)), 3: ("<i", code)})
    model.nodes.append({0: ("<I", 0), 1: numbers(inputs, "<i4"), 2: numbers([4], "<i4")} | fields)
    model.outputs = [4]
    return model.content()


@pytest.mark.parametrize("name", NAMES.values())
@pytest.mark.parametrize("kind", [0, 1, 8, 49, 75, 255])
def test_options_of_every_operator_are_followed(name: str, kind: int) -> None:
    """A runtime follows them, whether or not anything here makes use of them."""
    outside = "another operator|out of the file"
    refuse(_one_node(name, [0], {3: ("<B", kind), 4: ("<I", 0x7FFFFF00)}), outside)
    own = OPTION_TYPES.get(name)
    if own is not None:
        refuse(_one_node(name, [0], {3: ("<B", own), 4: ("<I", 0x7FFFFF00)}), "out of the file")
        refuse(_one_node(name, [0], {3: ("<B", own), 4: table({20: ("<i", 1)})}), "newer format")


@pytest.mark.parametrize("name", NAMES.values())
def test_only_a_bias_may_be_left_out(name: str) -> None:
    for count in range(1, 5):
        for place in range(count):
            inputs = [0, 1, 2, 3][:count]
            inputs[place] = -1
            content = _one_node(name, inputs, _least_options(name))
            if place == {"CONV_2D": 2, "FULLY_CONNECTED": 2, "DEPTHWISE_CONV_2D": 2, "TRANSPOSE_CONV": 3}.get(name):
                read_or_refuse(content)
            else:
                refuse(content, f"{name} lacks an input")
        inputs = [0, 1, 2, 3][:count]
        read_or_refuse(_one_node(name, inputs, _least_options(name)))


def _least_options(name: str) -> Fields:
    """Returns options that are in range for operators which have some that must be there."""
    if name in {"DEPTHWISE_CONV_2D", "MAX_POOL_2D", "TRANSPOSE_CONV"}:
        sizes: Fields = dict.fromkeys(range(1, 3 if name != "MAX_POOL_2D" else 5), ("<i", 1))
        return {3: ("<B", OPTION_TYPES[name]), 4: table(sizes)}
    if name == "SPACE_TO_DEPTH":
        return {3: ("<B", OPTION_TYPES[name]), 4: table({0: ("<i", 2)})}
    return {}


def test_a_table_of_many_fields_is_refused_at_once() -> None:
    content = bytearray(CONTENT)
    root = struct.unpack_from("<I", content)[0]
    # A layout that says that the first table has 32,766 fields, none of which is there.
    while len(content) % 4:
        content.append(0)
    vtable = len(content)
    content += struct.pack("<HH", 65534, 4) + bytes(65530)
    struct.pack_into("<i", content, root, root - vtable)
    refuse(bytes(content), "more than 64 fields")


def test_what_forgeries_are_made_of_is_in_order() -> None:
    read_graph(generator(0).content())


@pytest.mark.parametrize("at", range(0, 200, 4))
@pytest.mark.parametrize("value", [0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFC, 0xFFFFFFFF])
def test_offsets_that_lead_elsewhere(at: int, value: int) -> None:
    content = bytearray(CONTENT)
    root = struct.unpack_from("<I", content)[0]
    place = min(max(0, root - 40), len(content) - 204) + at
    struct.pack_into("<I", content, place, value)
    read_or_refuse(bytes(content))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"TFL3",
        bytes(8),
        bytes(4) + b"TFL3",
        b"\xff\xff\xff\xffTFL3",
        b"\x08\0\0\0TFL3",
        b"\x08\0\0\0TFL3" + bytes(1 << 22),
        b"\x08\0\0\0TFL3" + b"\xff" * (1 << 22),
        b"\x08\0\0\0TFL3" + struct.pack("<iHH", -4, 4, 4) + bytes(1 << 22),
        CONTENT[:-1],
        CONTENT[: len(CONTENT) // 2],
        b"\x08\0\0\0TFL3" + bytes((1 << 25) + 1),
    ],
    ids=range(12),
)
def test_what_is_no_model(content: bytes) -> None:
    refuse(content)


def test_a_model_that_takes_too_long_is_refused() -> None:
    model = Model()
    x, kernel = model.tensor((1, 1024, 1024, 8), INT8, 1, 0), np.zeros((8, 16, 16, 8), np.int8)
    options = {0: ("<b", 0), 1: ("<i", 1), 2: ("<i", 1)}
    weights = model.tensor(kernel.shape, INT8, 1, 0, kernel)
    model.node("CONV_2D", [x, weights], model.tensor((1, 1024, 1024, 8), INT8, 1, 0), options)
    refuse(model.content(), "million multiplications")


def test_vectors_that_overlap_make_no_more_of_a_file_than_it_is() -> None:
    shared = Model()
    shared.buffers = [{0: ("<I", 0)} for _ in range(900)]
    shared.tensor((1,), FLOAT32)
    shared.node("TANH", [0], shared.tensor((1,), FLOAT32))
    whole = bytearray(shared.content())
    end = len(whole)
    whole += struct.pack("<I", 1 << 20) + bytes(1 << 20)
    pattern = struct.pack("<I", 0)
    root = struct.unpack_from("<I", whole)[0]
    for place in _buffer_fields(bytes(whole), root):
        assert whole[place : place + 4] == pattern
        struct.pack_into("<I", whole, place, end - place)
    refuse(bytes(whole), "overlap")


def _buffer_fields(content: bytes, root: int) -> list[int]:
    """Returns where the field `data` of each buffer lies."""

    def field(at: int, slot: int) -> int:
        vtable = at - int(struct.unpack_from("<i", content, at)[0])
        return at + int(struct.unpack_from("<H", content, vtable + 4 + 2 * slot)[0])

    def follow(at: int) -> int:
        return at + int(struct.unpack_from("<I", content, at)[0])

    vector = follow(field(root, 4))
    count = struct.unpack_from("<I", content, vector)[0]
    return [field(follow(vector + 4 + 4 * number), 0) for number in range(count)]


def read_or_refuse(content: bytes) -> None:
    began = time.process_time()
    try:
        read_graph(content)
    except IntegrityError as error:
        assert "\n" not in str(error)  # noqa: PT017 - both ends are in order
    assert time.process_time() - began < 2


@given(st.data())
@settings(max_examples=300)
def test_changed_models_are_read_or_refused(data: st.DataObject) -> None:
    content = bytearray(CONTENT)
    for _ in range(data.draw(st.integers(1, 6))):
        kind = data.draw(st.sampled_from("bwcd"))
        at = data.draw(st.integers(0, len(content) - 5))
        if kind == "b":
            content[at] = data.draw(st.integers(0, 255))
        elif kind == "w":
            struct.pack_into("<I", content, at - at % 4, data.draw(st.integers(0, 2**32 - 1)))
        elif kind == "c":
            del content[at:]
            content += bytes(8)
        else:
            size = data.draw(st.integers(1, 32))
            other = data.draw(st.integers(0, len(content) - 1))
            content[at : at + size] = content[other : other + size]
        content = content or bytearray(8)
        if len(content) < 16:
            content += bytes(16)
    read_or_refuse(bytes(content))


def test_real_models_that_were_changed_are_read_or_refused(bundle_path: Path) -> None:
    whole = Bundle.open(bundle_path).members["generator.tflite"]
    rng = np.random.default_rng(5)
    for _ in range(100):
        content = bytearray(whole)
        for _ in range(rng.integers(1, 8)):
            # Tables stand at either end, weights between them.
            place = int(rng.integers(0, 4096)) * int(rng.choice([1, -1]))
            struct.pack_into("<I", content, place % (len(content) - 4), int(rng.integers(0, 2**32)))
        read_or_refuse(bytes(content))
