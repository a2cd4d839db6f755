"""Faults put into tourlog, one at a time, that the machine must find: each makes a store a little wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import tourlog.connection
import tourlog.consumers
import tourlog.database
import tourlog.invariants
import tourlog.plain_appends
import tourlog.presence
import tourlog.storage.compaction
import tourlog.subscription
from model.further import Machine
from tourlog.snapshot import Snapshot


class Quick(Machine):
    """The machine, but for the slower engine at every fourth step: none of these faults is in an engine."""

    engines = ("pydatalog", "pydatalog")


Mutant = Callable[[pytest.MonkeyPatch], None]


def stale(snapshot: Snapshot) -> Snapshot:
    """One transaction older."""
    return Snapshot(snapshot.log, snapshot.index, max(0, snapshot.t - 1))


def dropped_transactions_at_a_crash(patch: pytest.MonkeyPatch) -> None:
    leave_behind = Machine.leave_behind

    def without_wal(self: Machine) -> None:
        leave_behind(self)
        Path(f"{self.folder / f'store {self.lives + 1}'}-wal").unlink(missing_ok=True)

    patch.setattr(Machine, "leave_behind", without_wal)


def stale_condition(patch: pytest.MonkeyPatch) -> None:
    rows = tourlog.conditions._rows
    patch.setattr(tourlog.conditions, "_rows", lambda snapshot, condition: rows(stale(snapshot), condition))


def simple_condition_taken_for_granted(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(tourlog.plain_appends, "hold", lambda *_: True)


def condition_blind_to_other_writers(patch: pytest.MonkeyPatch) -> None:
    load = tourlog.presence.Presence._load

    def once(self: Any, names: Any, t: int) -> None:
        for name in names:
            if name in self._attributes:
                self._attributes[name].t = t
        load(self, names, t)

    patch.setattr(tourlog.presence.Presence, "_load", once)


def expectation_not_looked_at(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(tourlog.connection, "check_expected", lambda *_: None)


def invariant_not_enforced_on_plain_appends(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(tourlog.plain_appends.PlainAppends, "_is_plain", lambda *_: True)
    patch.setattr(tourlog.invariants.Standing, "are_any", False)


def transaction_id_forgotten_when_reopened(patch: pytest.MonkeyPatch) -> None:
    opened, known = tourlog.connection.Connection.__init__, tourlog.connection.Connection._known

    def opening(self: Any, log: Any) -> None:
        opened(self, log)
        self.opened_at = log.head().t

    def newer(self: Any, tx_id: str | None) -> Any:
        report = known(self, tx_id)
        return report if report is not None and report.t > self.opened_at else None

    patch.setattr(tourlog.connection.Connection, "__init__", opening)
    patch.setattr(tourlog.connection.Connection, "_known", newer)


def document_delivered_twice_to_a_consumer(patch: pytest.MonkeyPatch) -> None:
    committed_at = tourlog.subscription.committed_at
    patch.setattr(tourlog.subscription, "committed_at", lambda *given: max(0, committed_at(*given) - 1))


def document_skipped_by_a_consumer(patch: pytest.MonkeyPatch) -> None:
    committed_at = tourlog.subscription.committed_at

    def further(*given: Any) -> int:
        offset: int = committed_at(*given)
        return offset and offset + 1

    patch.setattr(tourlog.subscription, "committed_at", further)


def consumer_done_twice(patch: pytest.MonkeyPatch) -> None:
    def moved(_db: Any, name: str, stream: Any, _first: int, following: int) -> Any:
        return tourlog.consumers._entity(name, stream, following)

    patch.setattr(tourlog.consumers, "_moved", moved)


def subscription_that_repeats(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(tourlog.subscription, "following", lambda place: place)


def past_one_transaction_off(patch: pytest.MonkeyPatch) -> None:
    as_of = tourlog.database.Database.as_of

    def earlier(self: Any, t: Any) -> Any:
        return as_of(self, t - 1 if t > 3 else t)

    patch.setattr(tourlog.database.Database, "as_of", earlier)


def document_lost_by_compaction(patch: pytest.MonkeyPatch) -> None:
    joined = tourlog.storage.compaction.joined
    patch.setattr(tourlog.storage.compaction, "joined", lambda batches: joined(batches[:-1]))


MUTANTS: dict[Mutant, int] = {
    dropped_transactions_at_a_crash: 1,
    stale_condition: 0,
    simple_condition_taken_for_granted: 0,
    condition_blind_to_other_writers: 0,
    expectation_not_looked_at: 1,
    invariant_not_enforced_on_plain_appends: 5,
    transaction_id_forgotten_when_reopened: 1,
    document_delivered_twice_to_a_consumer: 1,
    document_skipped_by_a_consumer: 1,
    consumer_done_twice: 2,
    subscription_that_repeats: 3,
    past_one_transaction_off: 0,
    document_lost_by_compaction: 0,
}
"""Each with the seed to begin at, for it was found there."""
