"""What a benchmark run shares: its sizes, its folder, its stores, and the peers that are there."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from rich.console import Console

import tourlog

ORDERS = {"shop": "main"}
"""The key of the stream of orders."""

INSTALL = "pip install -e '.[bench]'"


class MissingPeerError(Exception):
    """A peer that is not there; the message says how to get it."""


@dataclass(frozen=True)
class Sizes:
    """How much of everything: `rounds` are of quick works, `slow_rounds` of those that take seconds."""

    orders: int = 1_000_000
    stream: int = 100_000
    rounds: int = 7
    slow_rounds: int = 5
    nodes: int = 1_000
    program_nodes: int = 200


QUICK = Sizes(orders=50_000, stream=10_000, rounds=3, slow_rounds=1, nodes=200, program_nodes=60)


@dataclass
class Run:
    """One run of the suite."""

    sizes: Sizes
    folder: Path
    console: Console
    closing: ExitStack
    _peers: dict[str, ModuleType | None] = field(default_factory=dict)
    _stores: dict[tuple[str, int], tourlog.Connection] = field(default_factory=dict)

    def peer(self, name: str) -> Any:
        """The module of a peer, None when what it needs is not installed; then a line has said so."""
        if name not in self._peers:
            self._peers[name] = self._load(name)
        return self._peers[name]

    def _load(self, name: str) -> ModuleType | None:
        try:
            return import_module(f"peers.{name}")
        except ModuleNotFoundError as error:
            package = str(error.name).partition(".")[0]
            self.skip(f"{package} is not installed, so it is left out: {INSTALL}")
        return None

    def datascript(self) -> Any:
        """A process that runs DataScript, None when there can be none; then a line has said why."""
        from peers.datascript import start

        try:
            return start(self)
        except MissingPeerError as missing:
            self.skip(str(missing))
        return None

    def skip(self, line: str) -> None:
        """Say that a peer is left out, and how to get it."""
        self.console.print(line, style="yellow")

    def orders(self, place: str, count: int) -> tourlog.Connection:
        """A store in "memory…", or in a file of that name, with so many orders in one stream; made once a run.
        Who appends to one uses a name of his own."""
        key = (place, count)
        if key not in self._stores:
            path = None if place.startswith("memory") else self.orders_path(place, count)
            conn = self.closing.enter_context(tourlog.connect(path))
            for chunk in order_chunks(0, count):
                conn.append(chunk, *ORDERS)
            self._stores[key] = conn
        return self._stores[key]

    def orders_path(self, place: str, count: int) -> Path:
        """Where the file of such a store is."""
        return self.folder / f"{place}-{count}.tour"

    def new_folder(self, name: str) -> Path:
        """An empty folder of that name."""
        folder = self.folder / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        return folder


def order_chunks(start: int, count: int, size: int = 1_000) -> Iterator[list[dict[str, Any]]]:
    """Documents `start` … `start + count - 1` of the stream of orders, in lists of at most `size`."""
    for first in range(start, start + count, size):
        yield [order(n) for n in range(first, min(first + size, start + count))]


def order(n: int) -> dict[str, Any]:
    """The n-th order; `peers/duckdb_sql.py` computes the same columns in SQL."""
    return {
        **ORDERS,
        "n": n,
        "type": _TYPES[n % 10],
        "amount": n * 31 % 1000,
        "price": n % 997 / 8,
        "customer": customer(n * 7919 % CUSTOMERS),
    }


CUSTOMERS = 10_000


@cache
def customer(n: int) -> str:
    return f"customer-{n}"


_TYPES = [f"type-{n}" for n in range(10)]
