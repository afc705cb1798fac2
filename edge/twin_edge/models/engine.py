"""One model in one interpreter, for one thread."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from twin_edge.errors import IncompatibleRuntimeError
from twin_edge.models.quiet import chatter_hidden
from twin_edge.models.runtimes import Runtime

INT8_MIN, INT8_MAX = -128, 127

_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class Quantization:
    """The affine map between int8 and real numbers: ``real = scale * (int8 - zero_point)``."""

    scale: float
    """Size of one step, > 0."""
    zero_point: int
    """The int8 value that stands for 0, -128 to 127."""

    def quantize(self, real: npt.ArrayLike) -> npt.NDArray[np.int8]:
        """Returns the nearest int8 values, saturated at the ends of the range (never wrapped around)."""
        steps = np.rint(np.asarray(real, np.float32) / np.float32(self.scale)) + self.zero_point
        values: npt.NDArray[np.int8] = np.clip(steps, INT8_MIN, INT8_MAX).astype(np.int8)
        return values

    def dequantize(self, values: npt.NDArray[np.int8]) -> npt.NDArray[np.float32]:
        """Returns the real numbers that int8 values stand for, float32 of the same shape."""
        return (values.astype(np.float32) - np.float32(self.zero_point)) * np.float32(self.scale)


class Model:
    """A TFLite model with one input and one output tensor, ready to run.

    Args:
        content: The bytes of a `.tflite` file that has been verified already.
        runtime: What to run it on.
        threads: CPU threads for one inference, 1-16.

    Attributes:
        input_shape: Shape of the input tensor, batch included.
        output_shape: Shape of the output tensor, batch included.

    Raises:
        IncompatibleRuntimeError: The runtime cannot run this model, or the model has other than one input and output.
    """

    def __init__(self, content: bytes, runtime: Runtime, *, threads: int = 1) -> None:
        try:
            with chatter_hidden():
                self._interpreter = runtime.interpreter(model_content=content, num_threads=threads)
                self._interpreter.allocate_tensors()
        # A runtime reports through whatever its binding makes of a C++ error; SystemError is one of them.
        except (ValueError, RuntimeError, SystemError, MemoryError) as error:
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise IncompatibleRuntimeError(
                f"{runtime} cannot load the model ({reason})", fix="convert it again, or upgrade the runtime"
            ) from error
        inputs, outputs = self._interpreter.get_input_details(), self._interpreter.get_output_details()
        if len(inputs) != 1 or len(outputs) != 1:
            raise IncompatibleRuntimeError(
                f"a model has {len(inputs)} inputs and {len(outputs)} outputs, one of each is expected",
                fix="make the bundle with twin-convert",
            )
        self._input: dict[str, Any] = inputs[0]
        self._output: dict[str, Any] = outputs[0]
        self._write: Callable[[], npt.NDArray[Any]] = self._interpreter.tensor(self._input["index"])
        self._read: Callable[[], npt.NDArray[Any]] = self._interpreter.tensor(self._output["index"])
        self.input_shape: tuple[int, ...] = tuple(int(n) for n in self._input["shape"])
        self.output_shape: tuple[int, ...] = tuple(int(n) for n in self._output["shape"])

    @property
    def input_dtype(self) -> np.dtype[Any]:
        """Element type of the input tensor."""
        return np.dtype(self._input["dtype"])

    @property
    def output_dtype(self) -> np.dtype[Any]:
        """Element type of the output tensor."""
        return np.dtype(self._output["dtype"])

    @property
    def input_quantization(self) -> Quantization:
        """Scale and zero point of the input tensor; scale 0 for a float tensor."""
        return _quantization(self._input)

    @property
    def output_quantization(self) -> Quantization:
        """Scale and zero point of the output tensor; scale 0 for a float tensor."""
        return _quantization(self._output)

    def run(self, value: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Runs the model once.

        Args:
            value: The input, of the tensor's shape and type.

        Returns:
            A copy of the output: a view into the interpreter would be overwritten by the next run.
        """
        self._interpreter.set_tensor(self._input["index"], value)
        self._interpreter.invoke()
        output: npt.NDArray[Any] = self._interpreter.get_tensor(self._output["index"])
        return output

    def run_through(
        self, fill: Callable[[npt.NDArray[Any]], object], use: Callable[[npt.NDArray[Any]], _Result]
    ) -> _Result:
        """Runs the model once, and neither copies the input there nor the output back: both are used where they lie.

        Args:
            fill: Gets the input, to write to.
            use: Gets the output. Neither of the two may keep its array or a view of it: they are the interpreter's
                memory, and it refuses to run as long as one is alive.

        Returns:
            What `use` returns.
        """
        fill(self._write())
        self._interpreter.invoke()
        return use(self._read())


def _quantization(details: dict[str, Any]) -> Quantization:
    scale, zero_point = details["quantization"]
    return Quantization(float(scale), int(zero_point))
