"""Renderings of updates: a bundle that cannot be shown is looked at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from twin_edge.bundle import Bundle
from twin_edge.errors import BundleError
from twin_edge.sync.view import update
from twin_edge.sync.view.update import Renderer


def test_a_bundle_that_cannot_be_shown_is_tried_once(gray_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle, tries = Bundle.open(gray_path), []
    make = update.Twin

    def count(*args: object, **options: object) -> object:
        tries.append(args)
        return make(*args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(update, "Twin", count)
    renderer, said = Renderer(bundle), []
    for _ in range(3):
        with pytest.raises(BundleError, match="shown on devices only") as caught:
            renderer.render(bundle.golden().states[0])
        said.append(str(caught.value))
    assert len(tries) == 1
    assert len(set(said)) == 1
