"""The bundle's member: exact, canonical, bounded, and refused in one line."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from codec_states import IMPORTANCE, LENGTH, MSE, walk
from twin_converters.codec_tables import LOSSES_DB, Recorded, fit, sensitivity
from twin_edge.errors import ConversionError, IntegrityError
from twin_edge.twin.codec import CodecTables, PayloadEncoder
from twin_edge.twin.codec.tables import SYMBOLS, TOTAL


def changed(tables: CodecTables, change: Any) -> bytes:
    tree = json.loads(tables.to_bytes())
    change(tree)
    return json.dumps(tree).encode()


def test_round_trip_and_size(tables: CodecTables) -> None:
    data = tables.to_bytes()
    again = CodecTables.from_bytes(data, state_length=LENGTH)
    assert again == tables
    assert again.to_bytes() == data
    assert len(data) < 30_000
    assert all(sum(table) == TOTAL and len(table) == SYMBOLS for table in tables.frequencies)
    assert len(tables.levels) == len(LOSSES_DB)
    steps = np.array([level.steps for level in tables.levels])
    assert (np.diff(steps[:, 0]) >= 0).all()


def test_fitting_again_gives_the_same_bytes(tables: CodecTables) -> None:
    again = fit([Recorded(walk(200, 1)), Recorded(walk(400, 2)[::8], sparse=True)], IMPORTANCE, MSE)
    assert again.to_bytes() == tables.to_bytes()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda t: t.pop("means"), "exactly the keys"),
        (lambda t: t.update(schema=1), "schema 1, .* with 'twin-convert runs/NAME --force'"),
        (lambda t: t.update(schema="2"), "schema '2', .* with 'twin-convert runs/NAME --force'"),
        (lambda t: t.update(schema=99), "schema 99, .*: a later release made them: upgrade twin-edge"),
        (lambda t: t["means"].append(0), "means"),
        (lambda t: t["means"].__setitem__(0, 128), r"means\[0\]"),
        (lambda t: t["weights"][0].__setitem__(0, 1), "zeros"),
        (lambda t: t["weights"][1].__setitem__(0, 17), "weights"),
        (lambda t: t.update(weights=t["weights"][:8]), "weights"),
        (lambda t: t["frequencies"][0].__setitem__(0, 0), "from 1"),
        (lambda t: t["frequencies"][0].__setitem__(0, t["frequencies"][0][0] + 1), "add up to 4096"),
        (lambda t: t.update(frequencies=t["frequencies"] * 30), "frequencies"),
        (lambda t: t.update(levels=[]), "levels"),
        (lambda t: t["levels"][0]["steps"].__setitem__(0, 1.5), "steps"),
        (lambda t: t["levels"][0]["steps"].__setitem__(0, -1), "steps"),
        (lambda t: t["levels"][0].update(tradeoff=float("1e9")), "tradeoff"),
        (lambda t: t["levels"][0]["tables"][0].__setitem__(0, "0"), "9 characters"),
        (lambda t: t["levels"][0]["tables"][0].__setitem__(0, "z" * LENGTH), "number of a table"),
        (lambda t: t["levels"][0]["tables"][0].__setitem__(0, 7), "characters"),
        (lambda t: t["levels"][0]["tables"].pop(), "tables"),
    ],
)
def test_each_value_is_checked(tables: CodecTables, change: Any, reason: str) -> None:
    with pytest.raises(IntegrityError, match=reason):
        CodecTables.from_bytes(changed(tables, change), state_length=LENGTH)


def test_tables_of_another_state_are_refused(tables: CodecTables) -> None:
    with pytest.raises(IntegrityError, match=str(LENGTH + 1)):
        CodecTables.from_bytes(tables.to_bytes(), state_length=LENGTH + 1)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_tree_is_tables_or_refused(tables: CodecTables, data: st.DataObject) -> None:
    tree = json.loads(tables.to_bytes())
    key = data.draw(st.sampled_from(sorted(tree)))
    place = tree
    while isinstance(place[key], dict | list) and place[key] and data.draw(st.booleans()):
        place = place[key]
        key = data.draw(st.sampled_from(sorted(place)) if isinstance(place, dict) else st.integers(0, len(place) - 1))
    place[key] = data.draw(JSON)
    try:
        read = CodecTables.from_bytes(json.dumps(tree).encode(), state_length=LENGTH)
    except IntegrityError:
        return
    assert read.length == LENGTH


@settings(deadline=None, max_examples=200)
@given(st.binary(max_size=200))
def test_any_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(IntegrityError):
        CodecTables.from_bytes(data, state_length=LENGTH)


def test_sensitivity_is_the_squared_error_of_one_step() -> None:
    def render(state: np.ndarray) -> np.ndarray:
        image = np.zeros((4, 4, 3), np.float32)
        image[0] = 100 + state[0]
        image[1:] = 120 + state[1]
        return np.rint(image).astype(np.uint8)

    states = np.array([[-10, 8, 0], [4, 0, 5], [0, -8, 1]], np.int8)
    np.testing.assert_allclose(sensitivity(render, states), [0.25, 0.75, 1e-6], rtol=0.01)


def test_a_subject_that_never_moves_and_too_few_states() -> None:
    still = np.full((40, 3), 4, np.int8)
    tables = fit([Recorded(still)], np.array([1.0, 0.1, 1e-6]), MSE)
    assert CodecTables.from_bytes(tables.to_bytes(), state_length=3) == tables
    assert tables.levels[0].bits < 1
    assert all(tables.levels[0].steps)
    with pytest.raises(ConversionError, match="too few"):
        fit([Recorded(still[:10])], np.ones(3), MSE)
    with pytest.raises(ConversionError, match="too few"):
        fit([Recorded(still, sparse=True)], np.ones(3), MSE)


def test_what_says_where_things_are_is_sent_from_wherever_it_rests() -> None:
    """Another day the camera stands elsewhere: far from the recording's mean, and as cheap as on the day itself."""
    rng = np.random.default_rng(5)

    def states(place: int) -> np.ndarray:
        shakes = rng.normal(place, 1.0, (300, 2))
        still = np.full((300, 1), 3 + place)
        moves = np.clip(np.cumsum(rng.normal(0, 2, (300, 3)), axis=0), -90, 90)
        return np.rint(np.concatenate([shakes, still, moves], axis=1)).astype(np.int8)

    tables = fit([Recorded(states(0))], np.ones(6), MSE, places=3)
    assert all(all(level.steps[:3]) for level in tables.levels)

    def cost(place: int) -> tuple[float, float]:
        encoder, coded, total = PayloadEncoder(tables, 1), states(place), 0
        for start in range(0, 300, 6):
            payload, decoded = encoder.encode(coded[start : start + 6], b"", 33, key=start == 0)
            total += len(payload) * (start > 0)
        return total / 294, float(np.abs(decoded[:, :3].astype(int) - coded[-6:, :3]).mean())

    (here, _), (elsewhere, off) = cost(0), cost(40)
    assert elsewhere < 1.3 * here
    assert off < 2
