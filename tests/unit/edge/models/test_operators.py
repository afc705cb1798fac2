"""The operator reader trusts nothing, and its table is what the runtimes really have."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twin_edge.bundle import Bundle
from twin_edge.errors import BundleError, ConfigError, IncompatibleRuntimeError, IntegrityError
from twin_edge.models import Model, Operator, load_runtime, newest_version, read_operators, runtimes


def flatbuffer(code: int, version: int) -> bytes:
    """Returns the smallest TFLite model there is: one operator code, one empty graph."""
    # Laid out by hand, root table first. Offsets count from where they stand.
    data = bytearray(128)
    data[4:8] = b"TFL3"

    def u32(at: int, value: int) -> None:
        struct.pack_into("<I", data, at, value)

    u32(0, 24)  # root table
    struct.pack_into("<HHHH", data, 12, 8, 12, 4, 8)  # vtable: size, table size, version, operator_codes
    struct.pack_into("<i", data, 24, 24 - 12)
    u32(28, 3)  # schema version
    u32(32, 36 - 32)  # vector of operator codes
    u32(36, 1)
    u32(40, 64 - 40)
    struct.pack_into("<HHHHHH", data, 48, 12, 16, 12, 0, 8, 4)  # OperatorCode: deprecated, custom, version, code
    struct.pack_into("<i", data, 64, 64 - 48)
    struct.pack_into("<i", data, 68, code)
    struct.pack_into("<i", data, 72, version)
    struct.pack_into("<b", data, 76, min(code, 127))
    return bytes(data)


def test_reads_name_and_version() -> None:
    assert read_operators(flatbuffer(3, 5)) == (Operator("CONV_2D", 5),)


def test_refuses_an_operator_that_twins_do_not_use() -> None:
    with pytest.raises(IncompatibleRuntimeError, match="builtin operator 32"):
        read_operators(flatbuffer(32, 1))


@pytest.mark.parametrize("data", [b"", b"\0" * 8, b"\0\0\0\0TFL3", b"\xff\xff\xff\xffTFL3" + b"\xff" * 64])
def test_refuses_what_is_no_model(data: bytes) -> None:
    with pytest.raises(IntegrityError):
        read_operators(data)


@settings(max_examples=2000, deadline=None)
@given(st.data())
def test_damaged_models_give_operators_or_an_error(bundle_bytes: bytes, data: st.DataObject) -> None:
    damaged = bytearray(data.draw(st.sampled_from([bundle_bytes, flatbuffer(3, 5)])))
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, min(len(damaged), 4096) - 1))
        damaged[at] = data.draw(st.integers(0, 255))
    try:
        operators = read_operators(bytes(damaged))
    except BundleError:
        return
    assert all(isinstance(operator, Operator) for operator in operators)


@pytest.fixture(scope="module")
def bundle_bytes(bundle_path: Path) -> bytes:
    return Bundle.open(bundle_path).members["encoder.tflite"]


@pytest.mark.parametrize("runtime_name", ["tflite", "litert"])
@pytest.mark.parametrize("name", ["CONV_2D", "FULLY_CONNECTED", "ADD", "DEPTH_TO_SPACE", "QUANTIZE"])
def test_table_is_what_the_runtime_has(runtime_name: str, name: str) -> None:
    """The newest listed version is registered; the one after it is not."""
    from twin_edge.models.operators import NAMES

    code = next(number for number, known in NAMES.items() if known == name)
    runtime = load_runtime(runtime_name)  # type: ignore[arg-type]
    newest = newest_version(runtime_name, name)
    runtime.interpreter(model_content=whole_model(code, newest))
    with pytest.raises(ValueError, match=f"version '{newest + 1}'"):
        runtime.interpreter(model_content=whole_model(code, newest + 1))


def whole_model(code: int, version: int) -> bytes:
    """Returns a model that lists an operator without using it: the runtime looks it up all the same."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT()
    model.version = 3
    operator = schema.OperatorCodeT()
    operator.builtinCode, operator.deprecatedBuiltinCode, operator.version = code, min(code, 127), version
    tensor = schema.TensorT()
    tensor.shape, tensor.name = [1], "t"
    graph = schema.SubGraphT()
    graph.tensors, graph.inputs, graph.outputs, graph.operators = [tensor], [0], [0], []
    model.operatorCodes, model.subgraphs, model.buffers = [operator], [graph], [schema.BufferT()]
    builder = flatbuffers.Builder(256)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def test_numpy_2_beside_tflite_runtime_is_named_before_it_fails_late(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtimes.np, "__version__", "2.4.6")
    with pytest.raises(IncompatibleRuntimeError, match=r"NumPy 2\.4\.6: pip install 'numpy<2'"):
        load_runtime("tflite")


def test_runtime_override(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TWIN_EDGE_RUNTIME", "tflite")
    assert load_runtime().name == "tflite"
    monkeypatch.setenv("TWIN_EDGE_RUNTIME", "onnx")
    with pytest.raises(ConfigError, match="litert, tflite"):
        load_runtime()


def test_a_model_that_the_runtime_refuses_is_one_line() -> None:
    with pytest.raises(IncompatibleRuntimeError) as caught:
        Model(b"not a model", load_runtime("tflite"))
    assert "\n" not in str(caught.value)
