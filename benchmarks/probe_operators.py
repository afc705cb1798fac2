"""Finds the newest version of every operator that the installed TFLite runtimes register.

The table in `twin_edge.models.operators` comes from here: each (operator, version) is listed in a model that does not
even use it, and given to the runtime's own builder, which looks it up all the same. Needs the extra `litert`, whose
package has the schema.
"""

from __future__ import annotations

import json
import sys

import flatbuffers
from ai_edge_litert import schema_py_generated as schema

from twin_edge.models import installed_runtimes, load_runtime, newest_version
from twin_edge.models.operators import NAMES as OPERATORS

MOST = 20


def model(code: int, version: int) -> bytes:
    """Returns a model that lists one operator and uses none."""
    tree = schema.ModelT()
    tree.version = 3
    operator = schema.OperatorCodeT()
    operator.builtinCode, operator.deprecatedBuiltinCode, operator.version = code, min(code, 127), version
    tensor = schema.TensorT()
    tensor.shape, tensor.name = [1], "t"
    graph = schema.SubGraphT()
    graph.tensors, graph.inputs, graph.outputs, graph.operators = [tensor], [0], [0], []
    tree.operatorCodes, tree.subgraphs, tree.buffers = [operator], [graph], [schema.BufferT()]
    builder = flatbuffers.Builder(256)
    builder.Finish(tree.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def main() -> int:
    """Prints the table as JSON; returns 1 when it is not the one in the source."""
    differs = False
    for name in installed_runtimes():
        runtime = load_runtime(name)
        newest = {}
        for code, operator in OPERATORS.items():
            newest[operator] = 0
            for version in range(1, MOST):
                try:
                    runtime.interpreter(model_content=model(code, version))
                except ValueError:
                    break
                newest[operator] = version
        differs |= any(newest_version(name, operator) != version for operator, version in newest.items())
        print(json.dumps({"runtime": str(runtime), "newest": newest}, sort_keys=True))
    print("the table in the source is the measured one" if not differs else "the table in the source DIFFERS")
    return int(differs)


if __name__ == "__main__":
    sys.exit(main())
