"""What can be asked of a device, whichever way the question comes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from twin_edge.errors import MessageError
from twin_edge.sync.wire.messages import Request

Operation = Callable[[Request], Mapping[str, Any]]
"""Carries a request out in the network thread, without waiting for anything; returns what else the answer says."""


class Operations:
    """The operations of a device by name."""

    def __init__(self) -> None:
        self._operations: dict[str, Operation] = {}

    def add(self, name: str, operation: Operation) -> None:
        """Makes an operation known; a name that is known already gets the new one."""
        self._operations[name] = operation

    def knows(self, name: str) -> bool:
        """Returns whether there is such an operation."""
        return name in self._operations

    def run(self, request: Request) -> Mapping[str, Any]:
        """Carries a request out.

        Returns:
            What the answer says besides that it was done.

        Raises:
            MessageError: The device does not know the operation, or cannot carry it out now.
        """
        operation = self._operations.get(request.op)
        if operation is None:
            raise MessageError(f"this device does not know the op {request.op}")
        return operation(request)
