"""The pure parts of the benchmarks: rates, points, settings, tables."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codec_states import LENGTH, fitted
from comparison.estimates import estimates
from comparison.page import page, table
from comparison.points import (
    METHODS,
    Measured,
    Point,
    at_bytes,
    best_within,
    bytes_reaching,
    pareto,
    read_points,
    write_points,
)
from comparison.states import Stream
from comparison.stills import hold_last
from comparison.timing import in_turns
from comparison.wire import TOPIC, packet_wire_bytes, publish_bytes, states_in_packet, video_wire_bytes
from twin_edge.quality import psnr

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=8),
)


def point(size: float, psnr_db: float, method: str = "twin", clip: str = "face") -> Point:
    return Point(clip, method, size, size + 40, psnr_db, psnr_db / 40)


class TestWire:
    def test_a_small_publish(self) -> None:
        # Fixed header and length, length of the topic, topic, message; TCP and IP.
        assert publish_bytes(29, "a/b") == 2 + 2 + 3 + 29 + 40

    def test_the_length_field_grows(self) -> None:
        assert publish_bytes(122, "abc") - publish_bytes(121, "abc") == 1
        assert publish_bytes(123, "abc") - publish_bytes(122, "abc") == 2

    def test_a_large_publish_takes_several_segments(self) -> None:
        assert publish_bytes(3000, "abc") == 1 + 2 + 2 + 3 + 3000 + 3 * 40

    def test_packets_have_headers(self) -> None:
        assert packet_wire_bytes([10, 20]) == publish_bytes(34, TOPIC) + publish_bytes(44, TOPIC)

    def test_video(self) -> None:
        assert video_wire_bytes([10, 1400, 1401]) == 10 + 40 + 1400 + 40 + 1401 + 80

    @pytest.mark.parametrize(("batch_ms", "fps", "count"), [(250, 12, 3), (0, 30, 1), (250, 3.75, 1), (100, 30, 3)])
    def test_states_in_a_packet(self, batch_ms: float, fps: float, count: int) -> None:
        assert states_in_packet(batch_ms, fps) == count


class TestPoints:
    def test_pareto(self) -> None:
        measured = [Measured(point(*pair), "") for pair in ((5, 30), (4, 28), (6, 29), (5, 29), (9, 31))]
        kept = [(one.point.bytes_per_frame, one.point.psnr_db) for one in pareto(measured)]
        assert kept == [(4, 28), (5, 30), (9, 31)]

    @given(st.lists(st.tuples(st.floats(1, 1e4), st.floats(1, 60)), max_size=20))
    def test_whatever_is_dropped_is_beaten(self, pairs: list[tuple[float, float]]) -> None:
        kept = {
            (one.point.bytes_per_frame, one.point.psnr_db) for one in pareto(Measured(point(*p), "") for p in pairs)
        }
        for size, quality in pairs:
            assert any(a <= size and b >= quality for a, b in kept)

    def test_between_points(self) -> None:
        curve = [point(4, 28), point(16, 32)]
        assert at_bytes(curve, 8) == pytest.approx((30, 0.75))
        assert at_bytes(curve, 3) is None
        assert at_bytes(curve, 100) == pytest.approx((32, 0.8))
        assert bytes_reaching(curve, 30) == pytest.approx(8)
        assert bytes_reaching(curve, 33) is None
        assert best_within(curve, 15) == curve[0]
        assert best_within(curve, 1) is None

    def test_round_trip_in_the_documented_form(self, tmp_path: Path) -> None:
        points = [point(4.5, 29.5), point(25, 26.9, "vp9", "rig")]
        write_points(tmp_path / "rd.json", points)
        assert read_points(tmp_path / "rd.json") == points
        (first, _) = json.loads((tmp_path / "rd.json").read_text())
        assert list(first) == ["clip", "method", "bytes_per_frame", "wire_bytes_per_frame", "psnr_db", "ssim"]

    @given(JSON)
    def test_anything_else_is_refused(self, tree: object) -> None:
        with pytest.raises(ValueError, match="point"):
            Point.from_json(tree)

    def test_an_unknown_method_is_refused(self) -> None:
        tree = {
            "clip": "face", "method": "mpeg", "bytes_per_frame": 1, "wire_bytes_per_frame": 1, "psnr_db": 1, "ssim": 1,
        }  # fmt: skip
        with pytest.raises(ValueError, match="mpeg"):
            Point.from_json(tree)

    def test_the_kept_results_are_readable(self) -> None:
        kept = Path(__file__).parents[3] / "benchmarks" / "results" / "rate_distortion.json"
        if not kept.exists():
            pytest.skip("nothing has been measured yet")
        assert {one.method for one in read_points(kept)} <= set(METHODS)


@pytest.mark.parametrize(("key_every_s", "keys"), [(1.0, [0, 2, 4, 6]), (None, [0]), (0.1, list(range(8)))])
def test_keys_come_as_often_as_asked_for(key_every_s: float | None, keys: list[int]) -> None:
    still = np.full((16, LENGTH), 100, np.int8)
    payloads = Stream(fitted(), batch=2, fps=4.0, key_every_s=key_every_s).code([still], 0).payloads
    assert [number for number, size in enumerate(payloads) if size > 2 * LENGTH] == keys


def test_hold_last_sends_only_what_it_must() -> None:
    rng = np.random.default_rng(0)
    smooth = np.repeat(np.repeat(rng.integers(0, 255, (2, 4, 4, 3)), 16, 1), 16, 2).astype(np.uint8)
    views = smooth[[0, 0, 0, 1, 1, 0]]
    shown = list(hold_last(views, 90, 25.0))
    assert [bool(data) for data, _ in shown] == [True, False, False, True, False, True]
    assert all(psnr(view, image) >= 25 for view, (_, image) in zip(views, shown, strict=True))


def test_things_are_timed_in_turns() -> None:
    calls: list[str] = []
    work = {"a": lambda number: calls.append(f"a{number}"), "b": lambda number: calls.append(f"b{number}")}
    times = in_turns(work, rounds=2, warm_up=1)
    assert calls == ["a0", "b0", "a1", "b1", "a2", "b2"]
    assert set(times) == {"a", "b"}
    assert all(0 <= middle <= high for middle, high in times.values())


def test_estimates_say_that_they_are() -> None:
    rows = estimates(24, 64, 4)
    assert all("estimate" in row.what and row.runtime == "estimate" and row.ratio_to_jpeg is None for row in rows)
    assert rows[0].ms_p50 == pytest.approx(88 / 5.5, abs=0.01)
    assert rows[0].ms_p95 == pytest.approx(88 / 5.0, abs=0.01)


def test_a_table_is_markdown() -> None:
    assert table(("a", "b"), [("1", "2")]) == "| a | b |\n| --- | --- |\n| 1 | 2 |"


def test_the_page_tells_what_each_part_is_worth() -> None:
    numbers = {"psnr_db": 30.1, "ssim": 0.9, "sharpness": 0.5, "frechet": 1.0, "prior_frechet": 2.0}
    coded = {"coded_bytes": 9.5, "coded_psnr_db": 29.9, "seconds": 60.0}
    entries = [{"clip": clip, "steps": 600, "name": "the recipe", **numbers, **coded} for clip in ("face", "rig")]
    text = page([], None, None, None, [], entries)
    assert text.count("| the recipe | 30.10 | 0.9000 | 0.500 | 1.00 | 2.00 | 9.50 | 29.90 | 60 |") == 2


def test_the_page_of_nothing_is_a_page() -> None:
    assert page([], None, None, None, []).startswith("# Benchmarks")


def test_the_page_compares() -> None:
    points = [point(4, 29), point(3, 27, "registered-pca"), point(5, 28, "registered-pca"), point(5, 24.5, "vp9"),
              point(20, 29, "vp9")]  # fmt: skip
    notes = {
        "clips": {
            "face": {
                "fps": 12.0,
                "frames": 576,
                "sequences": 1,
                "states_in_packet": 3,
                "batches": [
                    {
                        "quality": 1,
                        "batch_ms": 250,
                        "states_in_packet": 3,
                        "key_every_s": key_every_s,
                        "bytes_per_frame": 4.0,
                        "wire_bytes_per_frame": 36.0,
                        "psnr_db": 29.0,
                        "ssim": 0.91,
                    }
                    for key_every_s in (10.0, None)
                ],
            }
        },
        "settings": ["quality 0", "32", "64", "crf 63", "crf 50"],
    }
    text = page(points, notes, None, None, [])
    for keys in ("every 10 s", "one"):
        assert f"| 1 | 250 | 3 | {keys} | 4.00 | 36.0 | 29.00 | 0.910 | vp9: 5.0x the bytes |" in text
    assert "vp9: 5.0x the bytes" in text
    assert "best conventional setting (vp9) 24.50 dB, +4.50 dB" in text
