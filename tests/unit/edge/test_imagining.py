"""Samples of the prior: repeatable, of the training's spread, on one sheet."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from twin_edge.bundle import Bundle, StateSpec
from twin_edge.cli.app import app
from twin_edge.errors import ConfigError
from twin_edge.imagining import draw_states, imagine, write_sheet
from twin_edge.twin import Twin

SPEC = StateSpec(("tx", "ty"), 3, scale=0.01, zero_point=5, deviation=0.4)


def test_states_have_the_deviations_of_the_prior() -> None:
    states = draw_states(SPEC, 4000, seed=1)
    assert states.dtype == np.int8
    assert not states[:, :2].any()
    latent = (states[:, 2:].astype(float) - SPEC.zero_point) * SPEC.scale
    assert latent.mean(0) == pytest.approx([0, 0, 0], abs=0.02)
    assert latent.std(0) == pytest.approx([0.4, 0.4, 0.4], rel=0.05)


def test_scale_narrows_and_widens() -> None:
    assert (draw_states(SPEC, 8, seed=1, scale=0.0)[:, 2:] == SPEC.zero_point).all()
    narrow, wide = (draw_states(SPEC, 4000, 1, scale)[:, 2].std() for scale in (0.5, 1.0))
    assert wide == pytest.approx(2 * narrow, rel=0.05)


@given(st.integers(1, 50), st.integers(0, 2**32), st.floats(0, 4))
def test_a_longer_draw_starts_with_a_shorter_one(count: int, seed: int, scale: float) -> None:
    np.testing.assert_array_equal(
        draw_states(SPEC, count + 7, seed, scale)[:count], draw_states(SPEC, count, seed, scale)
    )


@pytest.mark.parametrize(("count", "seed", "scale"), [(0, 0, 1.0), (1, -1, 1.0), (1, 0, -0.1), (1, 0, float("nan"))])
def test_draws_that_cannot_be(count: int, seed: int, scale: float) -> None:
    with pytest.raises(ConfigError, match="cannot be drawn"):
        draw_states(SPEC, count, seed, scale)


def test_samples_are_renderings_that_differ(bundle_path: Path) -> None:
    bundle = Bundle.open(bundle_path)
    first, second, *_ = samples = list(imagine(bundle, 4, seed=3))
    view = bundle.manifest.view
    assert all(sample.shape == (view.height, view.width, 3) for sample in samples)
    assert np.abs(first.astype(int) - second).mean() > 0.5
    np.testing.assert_array_equal(first, next(imagine(bundle, 1, seed=3)))


def test_rounds_lead_to_what_the_encoder_reads_as_it_was_drawn(bundle_path: Path) -> None:
    twin = Twin(Bundle.open(bundle_path))

    def misread(rounds: int) -> float:
        """How far the encoder's reading of samples is from what is rendered of it again."""
        total = 0.0
        for sample in imagine(twin.bundle, 6, seed=2, rounds=rounds):
            again = twin.render(twin.encode(sample))
            total += float(np.abs(again.astype(int) - sample).mean())
        return total

    assert misread(8) < 0.7 * misread(0)


@pytest.mark.parametrize("rounds", [-1, 101])
def test_rounds_that_cannot_be(bundle_path: Path, rounds: int) -> None:
    with pytest.raises(ConfigError, match="rounds"):
        next(imagine(Bundle.open(bundle_path), 1, rounds=rounds))


def test_too_many_for_a_sheet(bundle_path: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="256 at most"):
        write_sheet(Bundle.open(bundle_path), tmp_path / "sheet.png", 257)


def test_command_writes_the_sheet(bundle_path: Path, tmp_path: Path) -> None:
    out = tmp_path / "sheet.png"
    done = CliRunner().invoke(app, ["imagine", str(bundle_path), "--random", "10", "--seed", "4", "--out", str(out)])
    assert done.exit_code == 0, done.output
    sheet = cv2.imread(str(out))
    assert sheet.shape[1] > 8 * 112
    again = tmp_path / "again.png"
    CliRunner().invoke(app, ["imagine", str(bundle_path), "--random", "10", "--seed", "4", "--out", str(again)])
    assert out.read_bytes() == again.read_bytes()


def test_command_says_what_is_wrong(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["imagine", str(tmp_path / "none.twin")])
    assert done.exit_code == 3
    assert CliRunner().invoke(app, ["imagine", "x.twin", "--random", "0"]).exit_code == 2
    assert CliRunner().invoke(app, ["imagine", "x.twin", "--scale", "-1"]).exit_code == 2
