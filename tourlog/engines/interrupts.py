"""Ctrl-C while a module of C++ initialises: kept until that is done. Knows nothing of the modules."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def deferred_interrupt() -> Iterator[None]:
    """Ctrl-C inside the block reaches the handler there was after the block.

    An exception of the Python code that DuckDB's initialiser runs comes out as ImportError, "Encountered an error
    while initializing the extension", or ends the process. Handlers run in the main thread alone, so other threads
    need no guard; the signal's mask would not do, as another thread may take the signal and the handler still run here.
    """
    handler = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(handler):
        yield
        return
    arrived: list[int] = []

    def remember(number: int, _frame: Any) -> None:
        arrived.append(number)

    signal.signal(signal.SIGINT, remember)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
        if arrived:
            signal.raise_signal(signal.SIGINT)
