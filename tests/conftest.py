"""What holds for every test: how Hypothesis looks for examples, that Ctrl-C is heard, the stores tests write to."""

from __future__ import annotations

import os
import signal
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

# What a shell starts in the background is born deaf to Ctrl-C, and so are its children.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(params=["memory", "file"])
def conn(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tourlog.Connection]:
    """An empty store, once in memory and once in a file."""
    with tourlog.connect(None if request.param == "memory" else tmp_path / "conn.tourlog") as connection:
        yield connection
