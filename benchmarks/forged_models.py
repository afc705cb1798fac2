"""What the TFLite runtimes make of models that a forger has changed: refused, run, or the end of the process.

    python benchmarks/forged_models.py bundles/rig.twin

A bundle's digests prove that nothing was damaged, not who made it. So a forger who may write a twin's `up/bundle/#` can
bring any bytes to whoever gives them to an interpreter, as long as the operators are those of the manifest. Each model
runs in a process of its own, on each installed runtime; so do those that the project's own reader lets pass, which are
all that a device's runtime sees. The counts go to benchmarks/results/forged_models.json.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import sys
from collections import Counter
from pathlib import Path
from typing import NoReturn

import numpy as np

from fuzzing.mutate import words_of
from twin_edge.bundle import Bundle
from twin_edge.bundle.archive import ENCODER, GENERATOR
from twin_edge.bundle.graph_reader import read_graph
from twin_edge.errors import TwinEdgeError
from twin_edge.files import write_atomic
from twin_edge.models.operators import read_operators
from twin_edge.models.runtimes import Runtime, installed_runtimes, load_runtime

MODELS = 400
SECONDS = 20
RESULTS = Path(__file__).parent / "results" / "forged_models.json"


def forged(bundle: Bundle, count: int) -> list[bytes]:
    """Returns changed models that still list the operators of the manifest.

    Words are changed where offsets, sizes and numbers of tensors stand: bytes anywhere would mostly be weights.
    """
    models: list[bytes] = []
    samples = [bundle.members[name] for name in (ENCODER, GENERATOR)]
    mutators = [words_of([sample]) for sample in samples]
    for seed in range(100 * count):
        rng = random.Random(seed)
        which = rng.randrange(len(samples))
        model, changed = samples[which], mutators[which](rng)
        with contextlib.suppress(TwinEdgeError):
            if changed != model and read_operators(changed) == read_operators(model):
                models.append(changed)
        if len(models) == count:
            break
    return models


def passed(models: list[bytes]) -> list[bytes]:
    """Returns those that the project's own reader takes for models."""
    found = []
    for model in models:
        with contextlib.suppress(TwinEdgeError):
            read_graph(model)
            found.append(model)
    return found


def outcome(runtime: Runtime, model: bytes) -> str:
    """Returns what came of a model, in a process of its own."""
    child = os.fork()
    if child == 0:
        _run(runtime, model)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return signal.Signals(os.WTERMSIG(status)).name
    return "ran" if status == 0 else "refused"


def _run(runtime: Runtime, model: bytes) -> NoReturn:
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    signal.alarm(SECONDS)
    status = 1
    with contextlib.suppress(Exception):
        interpreter = runtime.interpreter(model_content=model, num_threads=1)
        interpreter.allocate_tensors()
        for tensor in interpreter.get_input_details():
            interpreter.set_tensor(tensor["index"], np.zeros(tensor["shape"], tensor["dtype"]))
        interpreter.invoke()
        status = 0
    os._exit(status)


def main() -> int:
    """Counts, prints and writes."""
    models = forged(Bundle.open(Path(sys.argv[1] if len(sys.argv) > 1 else "bundles/rig.twin")), MODELS)
    read = passed(models)
    counts: dict[str, dict[str, dict[str, int]]] = {"runtimes": {}, "behind_our_reader": {}}
    for name in installed_runtimes():
        runtime = load_runtime(name)
        for what, some in zip(counts, (models, read), strict=True):
            counts[what][str(runtime)] = dict(Counter(outcome(runtime, model) for model in some).most_common())
            print(f"{runtime}, {what}: {counts[what][str(runtime)]}")
    result = {"models": len(models), "passed_by_our_reader": len(read), **counts}
    write_atomic(RESULTS, (json.dumps(result, indent=1) + "\n").encode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
