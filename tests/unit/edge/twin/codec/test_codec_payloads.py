"""Payloads: the same states at both ends, few bytes, and refused when anything is not as it was."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from codec_states import IMPORTANCE, LENGTH, MSE, walk
from twin_converters.codec_tables import LOSSES_DB, Recorded, fit
from twin_edge.errors import MessageError
from twin_edge.twin.codec import CodecTables, PayloadDecoder, PayloadEncoder, Position
from twin_edge.twin.codec.coder import MAX_STATES

HEADER = bytes(range(24))
_OVERHEAD_BITS = 21
"""Check and flush, 17 bits, and on average half a byte that is not full."""


def encode(
    encoder: PayloadEncoder, states: np.ndarray, *, key: bool, interval_ms: int = 83
) -> tuple[bytes, np.ndarray]:
    return encoder.encode(states, HEADER, interval_ms, key=key)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    batches=st.lists(
        st.tuples(st.integers(1, MAX_STATES), st.booleans(), st.integers(0, 4), st.integers(0, 1000)),
        min_size=1,
        max_size=6,
    ),
    seed=st.integers(0, 2**32),
    wild=st.booleans(),
)
def test_both_ends_have_the_same_states(
    tables: CodecTables, batches: list[tuple[int, bool, int, int]], seed: int, *, wild: bool
) -> None:
    random = np.random.default_rng(seed)
    total = sum(count for count, *_ in batches)
    states = random.integers(-128, 128, (total, LENGTH)).astype(np.int8) if wild else walk(total, seed)
    encoder, decoder = PayloadEncoder(tables), PayloadDecoder(tables)
    position: Position | None = None
    row = 0
    for count, key, level, interval in batches:
        encoder.level = level
        key = key or position is None  # noqa: PLW2901
        payload, seen = encode(encoder, states[row : row + count], key=key, interval_ms=interval)
        got, offsets, position = decoder.decode(payload, count, HEADER, None if key else position)
        np.testing.assert_array_equal(got, seen)
        assert offsets == tuple(interval * place for place in range(count))
        assert encoder.position is not None
        np.testing.assert_array_equal(position.state, encoder.position.state)
        assert (position.activity, position.level, position.shift) == (
            encoder.position.activity,
            encoder.position.level,
            encoder.position.shift,
        )
        row += count


def test_quantization_costs_what_the_level_says(tables: CodecTables) -> None:
    states = walk(400, 77)
    sizes = []
    for level, wanted_db in enumerate(LOSSES_DB):
        encoder = PayloadEncoder(tables, level)
        payload, seen = encode(encoder, states[:1], key=True)
        bits = error = 0.0
        for row in range(1, 397, 6):
            payload, seen = encode(encoder, states[row : row + 6], key=False)
            bits += 8 * len(payload)
            error += float((((states[row : row + 6].astype(int) - seen) ** 2) @ IMPORTANCE).sum())
        loss_db = 10 * np.log10(1 + error / 396 / MSE)
        assert loss_db == pytest.approx(wanted_db, rel=0.35)
        assert tables.levels[level].loss_db == pytest.approx(wanted_db, rel=0.1)
        # Check and flush, 17 bits, and one byte that is not full, for six states.
        assert bits / 396 == pytest.approx(tables.levels[level].bits + 3.5, rel=0.2, abs=2.5)
        sizes.append(bits)
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] > 2 * sizes[-1]


def test_a_payload_costs_little_beside_its_states() -> None:
    slow = walk(800, 3)[:, :1]
    encoder = PayloadEncoder(fit([Recorded(slow)], IMPORTANCE[:1], MSE), 4)
    encode(encoder, np.repeat(slow[:1], 12, axis=0), key=True)
    payload, _ = encode(encoder, np.repeat(slow[:1], 12, axis=0), key=False)
    assert len(payload) <= 4


@pytest.mark.parametrize("key", [True, False])
def test_whatever_is_changed_is_refused(tables: CodecTables, *, key: bool) -> None:
    states = walk(30, 5)
    encoder, decoder = PayloadEncoder(tables), PayloadDecoder(tables)
    first, _ = encode(encoder, states[:10], key=True)
    _, _, position = decoder.decode(first, 10, HEADER, None)
    payload, _ = encode(encoder, states[10:20], key=key)
    before = None if key else position
    decoder.decode(payload, 10, HEADER, before)
    wrong = [(payload[:cut], 10, HEADER) for cut in range(len(payload))]
    wrong += [(payload + bytes(extra), 10, HEADER) for extra in (1, 2, 7)]
    wrong += [(payload, count, HEADER) for count in (1, 9, 11, 64)]
    for bit in range(8 * len(payload)):
        flipped = bytearray(payload)
        flipped[bit // 8] ^= 1 << bit % 8
        wrong.append((bytes(flipped), 10, HEADER))
    for bit in range(8 * len(HEADER)):
        header = bytearray(HEADER)
        header[bit // 8] ^= 1 << bit % 8
        wrong.append((payload, 10, bytes(header)))
    for data, count, header in wrong:
        with pytest.raises(MessageError):
            decoder.decode(data, count, bytes(header), before)


def test_a_wrong_reference_is_refused(tables: CodecTables) -> None:
    states = walk(40, 6)
    encoder, decoder = PayloadEncoder(tables), PayloadDecoder(tables)
    first, _ = encode(encoder, states[:10], key=True)
    _, _, old = decoder.decode(first, 10, HEADER, None)
    second, _ = encode(encoder, states[10:20], key=False)
    third, _ = encode(encoder, states[20:30], key=False)
    _, _, right = decoder.decode(second, 10, HEADER, old)
    decoder.decode(third, 10, HEADER, right)
    for place in range(LENGTH):
        state = right.state.copy()
        state[place] ^= 1
        with pytest.raises(MessageError):
            decoder.decode(third, 10, HEADER, Position(state, right.activity, right.level, right.shift, 83))
    for before in (None, old):
        with pytest.raises(MessageError):
            decoder.decode(third, 10, HEADER, before)


def test_ten_thousand_random_payloads_are_refused_fast(tables: CodecTables) -> None:
    random = np.random.default_rng(8)
    decoder = PayloadDecoder(tables)
    position = Position(np.zeros(LENGTH, np.int8))
    passed = 0
    began = time.process_time()
    for number in range(10_000):
        data = random.bytes(int(random.integers(0, 40)))
        try:
            decoder.decode(data, number % MAX_STATES + 1, HEADER, position if number % 2 else None)
        except MessageError:
            continue
        passed += 1
    # One in some hundred thousand passes a check of 16 bits that is at the very end.
    assert passed <= 1
    assert time.process_time() - began < 20


@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=300), count=st.integers(1, 300), key=st.booleans())
def test_any_bytes_are_states_or_refused(tables: CodecTables, data: bytes, count: int, *, key: bool) -> None:
    position = None if key else Position(np.full(LENGTH, 7, np.int8), 100, 2, 1, 33)
    try:
        states, offsets, after = PayloadDecoder(tables).decode(data, count, HEADER, position)
    except MessageError:
        return
    assert states.shape == (count, LENGTH)
    assert offsets[-1] <= 65535
    assert after.activity < 2048


def test_more_states_than_fit_and_a_first_payload_that_is_no_key(tables: CodecTables) -> None:
    with pytest.raises(MessageError, match="65 states"):
        PayloadDecoder(tables).decode(bytes(10), 65, HEADER, None)
    with pytest.raises(ValueError, match="must be a key"):
        PayloadEncoder(tables).encode(walk(3, 1), HEADER, 83, key=False)


def test_a_sparse_source_says_that_its_states_are_further_apart(tables: CodecTables) -> None:
    for apart, shifts in ((1, {0}), (40, {1, 2, 3})):
        states = walk(200 * apart, 9)[::apart]
        encoder = PayloadEncoder(tables, 1)
        encode(encoder, states[:10], key=True)
        for row in range(10, 200, 5):
            encode(encoder, states[row : row + 5], key=False)
        assert encoder.position is not None
        assert encoder.position.shift in shifts


def test_states_that_go_together_take_fewer_bytes() -> None:
    slow = np.repeat(walk(80, 11), 6, axis=0).astype(float)
    smooth = np.stack([np.convolve(column, np.ones(12) / 12, "same") for column in slow.T], axis=1)
    states = np.rint(smooth).astype(np.int8)
    made = fit([Recorded(states)], IMPORTANCE, MSE)
    sizes, errors = [], []
    for together in (1, 8):
        encoder = PayloadEncoder(made, 2)
        size = error = 0.0
        for row in range(0, 480, together):
            payload, seen = encode(encoder, states[row : row + together], key=row == 0)
            size += 8 * len(payload) - _OVERHEAD_BITS
            error += float((((states[row : row + together].astype(int) - seen) ** 2) @ IMPORTANCE).sum())
        sizes.append(size)
        errors.append(error)
    assert sizes[1] < 0.8 * sizes[0]
    assert errors[1] < 1.3 * errors[0]
