from __future__ import annotations

import pytest

from codec_states import fitted
from twin_edge.twin.codec import CodecTables


@pytest.fixture(scope="session")
def tables() -> CodecTables:
    """Returns tables of a made-up subject."""
    return fitted()
