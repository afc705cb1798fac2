"""One twin: encoder, generator and gap of a bundle, ready to run in one thread."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from twin_edge.bundle.archive import ENCODER, GENERATOR, Bundle
from twin_edge.bundle.graph import Graph
from twin_edge.bundle.graph_reader import read_graph
from twin_edge.bundle.manifest import Manifest
from twin_edge.errors import IntegrityError
from twin_edge.images import Image
from twin_edge.models.engine import Quantization
from twin_edge.models.networks import State
from twin_edge.models.runtimes import Runtime, load_runtime
from twin_edge.models.scene import SCENE_VALUES, SHIFT_VALUES
from twin_edge.preprocess.view import Viewer
from twin_edge.twin.exact import ExactGenerator
from twin_edge.twin.gap import Gap, GapMeter
from twin_edge.twin.known import KnownStates
from twin_edge.twin.models import TwinModels, TwinSpec
from twin_edge.twin.shift import shift_tolerance, without_edge

STATE_TOLERANCE: Final = 2
"""Most steps by which a golden state may differ on another runtime or processor."""
PIXEL_TOLERANCE: Final = 4
"""Most 1/255 by which a golden rendering may differ: twice what healthy kernels do, far less than broken ones."""


@dataclass(frozen=True, slots=True)
class SelfTest:
    """How far the golden samples came out from what they should be."""

    state_steps: int
    """Largest difference of a state value, int8 steps."""
    pixel_levels: int
    """Largest difference of a rendering, 1/255."""
    allowed_steps: int = STATE_TOLERANCE
    """Largest difference of a state value that is in order: more where the runtimes differed by more from the start."""
    allowed_levels: int = PIXEL_TOLERANCE
    """Largest difference of a rendering that is in order, likewise."""

    @property
    def passed(self) -> bool:
        """Whether both are within tolerance."""
        return self.state_steps <= self.allowed_steps and self.pixel_levels <= self.allowed_levels


class Twin:
    """Runs a bundle; one thread uses one twin.

    Args:
        bundle: What to run.
        runtime: The TFLite runtime; when None the preferred installed one, or none at all for one who only renders.
        threads: CPU threads for one inference.
        encodes: Whether to load the encoder; a subscriber only renders.
        native: Whether a runtime may read this bundle where none is given; without one, renderings are the same to the
            bit, and states within a step or two.

    Raises:
        IncompatibleRuntimeError: The runtime cannot run this bundle.
        IntegrityError: The models are not the ones that the manifest describes.
        BundleError: It is to do without a runtime, and is shown on devices only.
    """

    def __init__(
        self,
        bundle: Bundle,
        runtime: Runtime | None = None,
        *,
        threads: int = 1,
        encodes: bool = True,
        native: bool = True,
    ) -> None:
        self.bundle = bundle
        # No native parser sees the bytes of a bundle that is only looked at: anybody may have made it.
        self.runtime = load_runtime() if runtime is None and encodes and native else runtime
        if self.runtime is not None:
            bundle.check_runtime(self.runtime)
        manifest = bundle.manifest
        spec = manifest.view
        self.make_view = Viewer(spec)
        self.measure_gap = GapMeter(manifest.gap, spec.height, spec.width, lit=manifest.parts is not None)
        known = bundle.known() if encodes else None  # Who only renders compares nothing.
        self._known = None if known is None else KnownStates(known, np.array(manifest.gap.state_limits, np.float32))
        for name in (GENERATOR, ENCODER) if encodes else (GENERATOR,):
            _check_edges(name.removesuffix(".tflite"), read_graph(bundle.members[name]), manifest)
        self._models = TwinModels(
            TwinSpec(
                bundle.members[GENERATOR],
                bundle.members[ENCODER] if encodes else None,
                Quantization(manifest.state.scale, manifest.state.zero_point),
                (spec.height, spec.width),
                manifest.pose,
                bundle.plate(),
                bundle.labels(),
                np.array([manifest.state.low, manifest.state.high], np.int8),
            ),
            self.runtime,
            threads=threads,
        )

    @property
    def certain(self) -> bool:
        """Whether this renders every state as every runtime does, to the bit; only known without a runtime."""
        generator = self._models.generator
        return isinstance(generator, ExactGenerator) and generator.certain

    @property
    def state_length(self) -> int:
        """Bytes of a raw state."""
        return self.bundle.manifest.state.length

    def encode(self, view: Image, near: State | None = None) -> State:
        """Returns the state of a view.

        Args:
            view: uint8 RGB of shape (height, width, 3), made by `make_view`.
            near: The state of the frame before, near which a moving subject is looked for; without it the search
                starts from the middle, and takes longer. A fixed subject needs none.

        Returns:
            int8 of shape (state length,).
        """
        return self._models.encode(view, near)

    def render(self, state: State) -> Image:
        """Returns the rendering of a state.

        Args:
            state: int8 of shape (state length,).

        Returns:
            uint8 RGB of shape (height, width, 3), 0-255.
        """
        return self._models.render(state)

    def read_at(self, view: Image, state: State) -> State:
        """Returns the state of a view whose pose is known to be that of `state`; see `encode`."""
        return self._models.read_at(view, state)

    def compare(self, view: Image, rendering: Image, state: State | None = None) -> Gap:
        """Returns the gap between a view and its rendering.

        Args:
            view: uint8 RGB of shape (height, width, 3).
            rendering: uint8 RGB of the same shape.
            state: What was rendered. A part whose state is far from all that it was in training is strange, however
                well it is drawn; and where a camera was moved, what came in at the edge is nothing that the twin can
                know, and does not count, and the rest is looked at with some leniency. The pictures alone count when
                None.
        """
        if state is None or self._known is None:
            return self.measure_gap(view, rendering)
        strangeness = float(self._known(state[SCENE_VALUES:]).max())
        shift = state[:SHIFT_VALUES]
        return self.measure_gap(view, without_edge(view, rendering, shift), strangeness, shift_tolerance(shift))

    def self_test(self) -> SelfTest:
        """Runs the golden samples.

        Returns:
            How far they came out from what they should be.
        """
        golden = self.bundle.golden()
        steps = levels = 0
        for view, state, rendering in zip(golden.views, golden.states, golden.renderings, strict=True):
            if self._models.encoder is not None:
                steps = max(steps, int(np.abs(self.read_at(view, state).astype(int) - state).max()))
            levels = max(levels, int(np.abs(self.render(state).astype(int) - rendering).max()))
        quality = self.bundle.manifest.quality
        return SelfTest(
            steps,
            levels,
            max(STATE_TOLERANCE, quality.runtime_steps),
            max(PIXEL_TOLERANCE, quality.runtime_levels),
        )

    def require_self_test(self) -> None:
        """Refuses to go on when the golden samples do not come out right.

        Raises:
            IntegrityError: By how much they are off.
        """
        result = self.self_test()
        if not result.passed:
            on = self.runtime or "the exact renderer"
            raise IntegrityError(
                f"the self-test failed on {on}: states off by {result.state_steps} steps, "
                f"renderings by {result.pixel_levels}/255",
                fix="try the other runtime with TWIN_EDGE_RUNTIME=tflite or =litert, and convert the run again",
            )


def _check_edges(name: str, graph: Graph, manifest: Manifest) -> None:
    """Refuses a model whose tensors are not the ones that the manifest describes, before anything is made of it."""
    for edge, at in ((f"{name}.input", graph.input), (f"{name}.output", graph.output)):
        tensor, spec = graph.tensors[at], manifest.tensors[edge]
        if tensor.shape != spec.shape or tensor.dtype != np.dtype(spec.dtype):
            raise IntegrityError(
                f"{edge} has shape {tensor.shape} and type {tensor.dtype}, "
                f"the manifest says {spec.shape} and {spec.dtype}",
                fix="get the bundle again from where it was made",
            )
