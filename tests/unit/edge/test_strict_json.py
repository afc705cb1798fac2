"""JSON from outside is bounded."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twin_edge import strict_json


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"\xff\xfe", b"NaN", b"[1e999, Infinity]", b'{"a":1,"a":2}', b"[" * 100_000, b"[" * 20 + b"]" * 20],
)
def test_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        strict_json.parse(data, max_bytes=1_000_000)


def test_too_long() -> None:
    with pytest.raises(ValueError, match="at most 10"):
        strict_json.parse(b'"' + b"x" * 20 + b'"', max_bytes=10)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists, max_leaves=8))
def test_round_trip(value: object) -> None:
    assert strict_json.parse(strict_json.dump(value), max_bytes=100_000) == value


@given(st.binary(max_size=64))
def test_any_bytes_are_a_value_or_a_value_error(data: bytes) -> None:
    try:
        strict_json.parse(data, max_bytes=64)
    except ValueError:
        return
