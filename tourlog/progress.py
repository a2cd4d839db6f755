"""Bars where somebody is watching: in the output of a notebook's cell, on a terminal, or nowhere. The only module but
`notebook` that knows IPython, which it uses where a program has imported it already.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

from tourlog.html import escape

_SECONDS_BETWEEN_UPDATES = 0.1
_PATIENCE = 0.5
"""Seconds before it is said that something takes long."""


@dataclass(slots=True)
class Bar:
    """A bar for what is done so far out of `total` (None when that is unknown); calling it says how much is done."""

    total: int | None
    show: Callable[[str, str], None]
    draw: Callable[[int], None]
    updated: float = field(default=0.0)

    def __call__(self, done: int) -> None:
        now = monotonic()
        if now - self.updated <= _SECONDS_BETWEEN_UPDATES:
            return
        self.updated = now
        self.draw(done)
        value = f' max="{self.total}" value="{done}"' if self.total else ""
        share = f" {done / self.total:.0%}" if self.total else ""
        self.show(f"<progress{value}></progress>{share}", share)

    def say(self, text: str) -> None:
        """Put a text in the place of the bar, in a notebook."""
        self.show(escape(text), text)


@contextmanager
def progress(name: str, total: int | None) -> Iterator[Bar]:
    """Show a bar while the block runs; what the block says of its outcome stays, in a notebook. Should it fail, that
    nothing was imported."""
    if _in_notebook():
        handle = _output()

        def show(html: str, text: str) -> None:
            _update(handle, f"<div>{escape(name)}: {html}</div>", f"{name}: {text.strip()}")

        bar = Bar(total, show, _nothing)
        bar(0)
        try:
            yield bar
        except BaseException:
            bar.say("nothing was imported")
            raise
    elif sys.stderr.isatty():
        from tourlog.terminal import progress_bar

        with progress_bar(name, total) as draw:
            yield Bar(total, _nothing, draw)
    else:
        yield Bar(total, _nothing, _nothing)


@contextmanager
def waiting(name: str) -> Iterator[None]:
    """Say that the block takes long, and for how long it has, once it does; nothing of that stays."""
    if _in_notebook():
        with _waiting_in_notebook(name):
            yield
    elif sys.stderr.isatty():
        from tourlog.terminal import waiting as waiting_on_terminal

        with waiting_on_terminal(name):
            yield
    else:
        yield


@contextmanager
def _waiting_in_notebook(name: str) -> Iterator[None]:
    from IPython.display import clear_output

    done, started = threading.Event(), monotonic()
    shown: list[Any] = []

    def tell() -> None:
        while not done.wait(1.0 if shown else _PATIENCE):
            if not shown:
                shown.append(_output())
            text = f"{name} … {monotonic() - started:.0f} s"
            _update(shown[0], f"<div><progress></progress> {escape(text)}</div>", text)

    # In the cell's context: by that the kernel knows whose output it is.
    teller = threading.Thread(target=copy_context().run, args=(tell,), daemon=True)
    teller.start()
    try:
        yield
    finally:
        done.set()
        teller.join()
        if shown:
            clear: Any = clear_output  # which has no types
            clear()


def _in_notebook() -> bool:
    if "IPython" not in sys.modules:
        return False
    from IPython import get_ipython

    return hasattr(get_ipython(), "kernel")


def _output() -> Any:
    """A new output of the running cell, that can be updated."""
    from IPython.display import display

    show: Any = display  # which has no types
    return show({"text/plain": ""}, raw=True, display_id=True)


def _update(handle: Any, html: str, text: str) -> None:
    handle.update({"text/html": html, "text/plain": text}, raw=True)


def _nothing(*_: Any) -> None:
    """Where nobody is watching."""
