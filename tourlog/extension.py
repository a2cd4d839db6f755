"""What IPython calls for `%load_ext tourlog`. Imports the rest when it does, so that `import tourlog` stays
instant.
"""

from __future__ import annotations

from typing import Any


def load_ipython_extension(shell: Any) -> None:
    """What `%load_ext tourlog` does in the IPython `shell`: gives `%%datalog` cells with completion, and shows
    documents as tables."""
    from tourlog.notebook import load

    load(shell)


def unload_ipython_extension(shell: Any) -> None:
    """What `%unload_ext tourlog` does in the IPython `shell`: takes all of that back."""
    from tourlog.notebook import unload

    unload(shell)
