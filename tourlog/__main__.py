"""`python -m tourlog` is the command `tourlog`."""

from __future__ import annotations

from tourlog.cli import main

if __name__ == "__main__":
    main()
