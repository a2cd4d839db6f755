"""What holds for every test: how Hypothesis looks for examples, and the stores tests write to."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

import tourlog

# Times on a shared machine say nothing, so no deadline. In CI every run looks at the same examples; elsewhere
# each looks at new ones.
settings.register_profile("tourlog", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, database=None, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "tourlog")


@pytest.fixture(params=["memory", "file"])
def conn(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tourlog.Connection]:
    """An empty store, once in memory and once in a file."""
    with tourlog.connect(None if request.param == "memory" else tmp_path / "conn.tourlog") as connection:
        yield connection
