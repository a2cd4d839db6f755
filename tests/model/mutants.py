"""Faults put into tourlog, one at a time, that the machine must find: each makes a store a little wrong."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from threading import get_ident
from time import sleep
from typing import Any

import pytest

import tourlog.connection
import tourlog.consumers
import tourlog.database
import tourlog.draft
import tourlog.invariants
import tourlog.listeners
import tourlog.past
import tourlog.plain_appends
import tourlog.presence
import tourlog.storage.backup
import tourlog.storage.compaction
import tourlog.storage.memory
import tourlog.storage.overlay
import tourlog.storage.sqlite
import tourlog.storage.verify
import tourlog.subscription
from model.further import Machine
from tourlog.snapshot import Snapshot


class Quick(Machine):
    """The machine, but for the slower engine, for none of these faults is in an engine, and with a look at everything
    at every third step only."""

    engines = ("pydatalog", "pydatalog")
    seldom = 3


class Undone(Exception):
    """Leaves a block that only looked."""


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


def metadata_of_an_inner_block_lost(patch: pytest.MonkeyPatch) -> None:
    run = tourlog.connection.Connection.run

    def running(self: Any, work: Any, *, tx_id: Any = None, meta: Any = None) -> Any:
        return run(self, work, tx_id=tx_id, meta=None if self._block is not None else meta)

    transaction = tourlog.connection.Connection.transaction

    def block(self: Any, *, meta: Any = None) -> Any:
        return transaction(self, meta=None if self._block is not None else meta)

    patch.setattr(tourlog.connection.Connection, "run", running)
    patch.setattr(tourlog.connection.Connection, "transaction", block)


def metadata_stated_of_another_transaction(patch: pytest.MonkeyPatch) -> None:
    def annotate(draft: Any, meta: Any) -> None:
        draft.put(draft.t - 1, {"db/meta": True, **(draft.state(draft.t - 1) or {}), **meta})

    patch.setattr(tourlog.connection, "annotate", annotate)


def work_run_again_under_a_known_id(patch: pytest.MonkeyPatch) -> None:
    run = tourlog.connection.Connection.run

    def running(self: Any, work: Any, *, tx_id: Any = None, meta: Any = None) -> Any:
        with self.transaction():
            work()
        return run(self, lambda: None, tx_id=tx_id, meta=meta)

    patch.setattr(tourlog.connection.Connection, "run", running)


def since_one_transaction_off(patch: pytest.MonkeyPatch) -> None:
    since = tourlog.database.Database.since

    def later(self: Any, t: Any) -> Any:
        return since(self, t + 1 if type(t) is int else t)

    patch.setattr(tourlog.database.Database, "since", later)


def history_without_what_ended(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(tourlog.database.Database, "history", lambda self: self)


def instant_of_a_transaction_before_it(patch: pytest.MonkeyPatch) -> None:
    for log in (tourlog.storage.memory.MemoryLog, tourlog.storage.sqlite.SqliteLog):
        position_at = log.position_at
        patch.setattr(log, "position_at", lambda self, instant, at=position_at: at(self, instant - 1))


def facts_of_a_transaction_without_its_retractions(patch: pytest.MonkeyPatch) -> None:
    between = tourlog.past.facts_between
    patch.setattr(tourlog.past, "facts_between", lambda *given: (fact for fact in between(*given) if fact.added))


def entity_history_without_its_end(patch: pytest.MonkeyPatch) -> None:
    versions = tourlog.database.versions
    patch.setattr(
        tourlog.database, "versions", lambda *given: [each for each in versions(*given) if each.document is not None]
    )


def difference_blind_to_what_went(patch: pytest.MonkeyPatch) -> None:
    difference = tourlog.database.fact_difference
    patch.setattr(tourlog.database, "fact_difference", lambda *given: difference(*given)._replace(went=[]))


def speculation_that_forgets_the_one_below(patch: pytest.MonkeyPatch) -> None:
    result = tourlog.draft.Draft.result

    def alone(self: Any) -> Any:
        base = self.base
        if isinstance(base.log, tourlog.storage.overlay.OverlayLog):
            self.base = Snapshot(base.log.base, base.index.base, base.log.base_t)
        return result(self)

    patch.setattr(tourlog.draft.Draft, "result", alone)


def invariants_of_other_connections_not_seen(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(tourlog.invariants.Standing, "at", lambda self, *_: self._known[1])


def dropped_invariant_still_enforced(patch: pytest.MonkeyPatch) -> None:
    at = tourlog.invariants.Standing.at

    def all_ever(self: Any, *given: Any) -> Any:
        known = self.__dict__.setdefault("ever", {})
        known.update({each.invariant.name: each for each in at(self, *given)})
        return tuple(known.values())

    patch.setattr(tourlog.invariants.Standing, "at", all_ever)


def report_told_twice(patch: pytest.MonkeyPatch) -> None:
    committed = tourlog.listeners.Listeners.committed

    def twice(self: Any, report: Any) -> None:
        committed(self, report)
        for deliver in self._listeners:
            deliver(report)

    patch.setattr(tourlog.listeners.Listeners, "committed", twice)


def report_before_the_commit(patch: pytest.MonkeyPatch) -> None:
    append = tourlog.connection.Connection._append

    def early(self: Any, draft: Any, *given: Any) -> Any:
        listeners, self._listeners = self._listeners, tourlog.listeners.Listeners()
        try:
            for deliver in () if draft.is_empty() else listeners._listeners:
                deliver(self._report(draft, True))
            return append(self, draft, *given)
        finally:
            self._listeners = listeners

    patch.setattr(tourlog.connection.Connection, "_append", early)


def plain_appends_not_told(patch: pytest.MonkeyPatch) -> None:
    original = tourlog.plain_appends.PlainAppends.__init__

    def deaf(self: Any, log: Any, standing: Any, _listeners: Any, snapshot_at: Any) -> None:
        original(self, log, standing, tourlog.listeners.Listeners(), snapshot_at)

    patch.setattr(tourlog.plain_appends.PlainAppends, "__init__", deaf)


def reports_in_the_order_threads_come_back(patch: pytest.MonkeyPatch) -> None:
    def at_once(self: Any, report: Any) -> None:
        sleep(0.002 * (get_ident() // 64 % 5))
        for deliver in self._listeners:
            deliver(report)

    patch.setattr(tourlog.listeners.Listeners, "expect", lambda _: None)
    patch.setattr(tourlog.listeners.Listeners, "committed", at_once)


def backup_of_the_file_without_its_log(patch: pytest.MonkeyPatch) -> None:
    def copied(file: Any, made: Path) -> None:
        shutil.copy(file.path, made)

    patch.setattr(tourlog.storage.backup, "_copy", copied)


def verification_blind_to_transactions(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(tourlog.storage.verify, "_transactions", lambda *_: iter(()))


def expectation_looked_at_before_the_queue(patch: pytest.MonkeyPatch) -> None:
    """Right as long as nobody else writes."""
    append = tourlog.connection.Connection.append

    def early(self: Any, documents: Any, *names: str, expect: Any = None, **options: Any) -> Any:
        if expect is None or self._block is not None or options.get("tx_id") is not None:
            return append(self, documents, *names, expect=expect, **options)
        try:
            with self.transaction():
                append(self, documents, *names, expect=expect, **options)
                raise Undone
        except Undone:
            sleep(0.01)
        return append(self, documents, *names, **options)

    patch.setattr(tourlog.connection.Connection, "append", early)


MUTANTS: dict[Mutant, int] = {
    dropped_transactions_at_a_crash: 0,
    stale_condition: 0,
    simple_condition_taken_for_granted: 1,
    condition_blind_to_other_writers: 1,
    expectation_not_looked_at: 0,
    invariant_not_enforced_on_plain_appends: 4,
    transaction_id_forgotten_when_reopened: 0,
    document_delivered_twice_to_a_consumer: 0,
    document_skipped_by_a_consumer: 1,
    consumer_done_twice: 0,
    subscription_that_repeats: 1,
    past_one_transaction_off: 0,
    document_lost_by_compaction: 7,
    metadata_of_an_inner_block_lost: 3,
    metadata_stated_of_another_transaction: 0,
    work_run_again_under_a_known_id: 0,
    since_one_transaction_off: 0,
    history_without_what_ended: 2,
    instant_of_a_transaction_before_it: 1,
    facts_of_a_transaction_without_its_retractions: 2,
    entity_history_without_its_end: 2,
    difference_blind_to_what_went: 5,
    speculation_that_forgets_the_one_below: 1,
    invariants_of_other_connections_not_seen: 3,
    dropped_invariant_still_enforced: 1,
    report_told_twice: 0,
    report_before_the_commit: 0,
    plain_appends_not_told: 1,
    reports_in_the_order_threads_come_back: 2,
    backup_of_the_file_without_its_log: 0,
    verification_blind_to_transactions: 0,
    expectation_looked_at_before_the_queue: 0,
}
"""Each with the seed to begin at, for it was found there."""
