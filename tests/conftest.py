"""What holds for every test: how Hypothesis looks for examples."""

from __future__ import annotations

import os

from hypothesis import settings

# Times on a shared machine say nothing, so no deadline. In CI every run looks at the same examples; elsewhere
# each looks at new ones.
settings.register_profile("tourlog", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, database=None, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "tourlog")
