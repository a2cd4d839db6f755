"""Appends with nothing beside them: no invariant, no listener, no condition but whether a value is stated. Most are
such, and go straight to the log; the others go through a draft.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tourlog.combining import Combining
from tourlog.conditions import Conditions, hold, simple_conditions
from tourlog.invariants import Standing
from tourlog.listeners import Listeners
from tourlog.presence import Presence
from tourlog.snapshot import Snapshot
from tourlog.storage.log import Commit, Log, Transaction
from tourlog.tails import NewTail, extensions, tails_of


class PlainAppends:
    """Those of one connection."""

    def __init__(
        self, log: Log, standing: Standing, listeners: Listeners, snapshot_at: Callable[[int], Snapshot]
    ) -> None:
        self._log, self._standing, self._listeners, self._at = log, standing, listeners, snapshot_at
        self._presence = Presence(log)
        self._combining = Combining(log, self._is_plain)

    def append(
        self, documents: list[Any], names: tuple[str, ...], unless: Any, only_if: Any
    ) -> tuple[Commit, list[NewTail]] | None:
        """Append documents; the transaction, committed, and what it appended. None, and nothing done, when that is
        not all there is to do, or when a condition may not hold: who asks the query then says why."""
        if self._standing.are_any or not self._listeners.is_empty:
            return None
        conditions = simple_conditions(unless, only_if)
        tails = tails_of(self._log, documents, names) if conditions is not None else None
        if conditions is None or tails is None:
            return None
        is_shared = self._log.path is not None and not conditions  # in memory nothing is worth being handed over
        commit = self._combining.append(tails) if is_shared else self._append_if(tails, conditions)
        if commit is None:
            return None
        self._standing.committed(commit.transaction.t, ())
        return commit, tails

    def _append_if(self, tails: Sequence[NewTail], conditions: Conditions) -> Commit | None:
        commit = self._log.written(self._extended, tails, conditions)
        if conditions and commit is not None:
            self._presence.committed(commit)
        return commit

    def _extended(self, tails: Sequence[NewTail], conditions: Conditions) -> Commit | None:
        head = self._log.head()
        if not self._is_plain(head):
            return None
        if conditions and not hold(conditions, self._presence, self._at(head.t)):
            return None
        (commit,) = extensions(self._log, head, [tails])
        self._log.append(commit)
        return commit

    def _is_plain(self, head: Transaction) -> bool:
        """Whether nobody listens, and no invariant is to be enforced after this transaction."""
        return self._listeners.is_empty and not self._standing.at(head.t, self._at)
