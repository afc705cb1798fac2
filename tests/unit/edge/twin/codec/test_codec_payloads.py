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


def encode(
    encoder: PayloadEncoder, states: np.ndarray, *, key: bool, interval_ms: int = 83
) -> tuple[bytes, np.ndarray]:
    encoder.begin(key=key)
    decoded = np.stack([encoder.add(state) for state in states])
    return encoder.finish(HEADER, interval_ms), decoded


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
        assert (position.activity, position.level, position.mode) == (
            encoder.position.activity,
            encoder.position.level,
            encoder.position.mode,
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
    slow = walk(3000, 3)[:, :1].reshape(-1, 1)
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
            decoder.decode(third, 10, HEADER, Position(state, right.activity, right.level, right.mode, 83))
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
        PayloadEncoder(tables).begin(key=False)


def test_a_sparse_source_takes_the_mode_that_was_fitted_for_it(tables: CodecTables) -> None:
    assert len(tables.weights) == 3
    states = walk(4000, 9)[::40]
    encoder = PayloadEncoder(tables, 1)
    encode(encoder, states[:10], key=True)
    for row in range(10, 100, 10):
        encode(encoder, states[row : row + 10], key=False)
    assert encoder.position is not None
    assert encoder.position.mode == 2
