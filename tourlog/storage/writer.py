"""The writing connection of a store: one thread at a time has it, and threads that wait for it share a commit.

Knows how transactions begin and end, not what they write.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from threading import Lock
from time import monotonic
from typing import TYPE_CHECKING, Any

from tourlog.errors import StorageError, UnknownOutcomeError
from tourlog.storage.checkpoints import Checkpoints
from tourlog.storage.common import Lifetime, WriterPlace
from tourlog.storage.log import Given, Result
from tourlog.storage.room import Room

if TYPE_CHECKING:
    from apsw import Connection

_MOST_MEMBERS = 1_000
_MOST_SECONDS = 0.05
"""A group that is so old or large is committed, however many more wait."""

_NUDGE_SECONDS = 0.05
"""Who waits for a commit looks so often whether the thread that was to do it is still there."""

Statement = tuple[str, Sequence[tuple[Any, ...]]]


class Group:
    """Transactions that one COMMIT makes durable, or none of them. `turnstile` is locked until then."""

    __slots__ = ("error", "is_committed", "is_over", "members", "turnstile", "until")

    def __init__(self) -> None:
        self.turnstile = Lock()
        self.turnstile.acquire()
        self.until = monotonic() + _MOST_SECONDS
        self.members, self.is_committed, self.is_over = 0, False, False
        self.error: Callable[[], StorageError] | None = None


class Writer:
    """Hands the writing connection to one thread after the other. With `shares`, a thread that is done leaves the
    commit to those that wait behind it, if any do, and returns when it has been made.

    `known` is what its user knows of the committed store: it lasts while nobody else has written. What becomes
    known by a transaction goes to `learnt` and takes effect with it.
    """

    def __init__(
        self,
        connection: Connection,
        lifetime: Lifetime,
        *,
        checkpoints: Checkpoints,
        room: Room | None,
        driver_error: type[Exception],
        failure: Callable[[Exception], StorageError],
        shares: bool,
        patience: float,
    ) -> None:
        self.connection = connection
        self.known: Any = None
        self.learnt: Any = None
        self.place = WriterPlace()
        self._taken = self.place.taken(patience)
        self._lifetime, self._driver_error, self._failure, self._shares = lifetime, driver_error, failure, shares
        self._checkpoints, self._room = checkpoints, room
        self._group: Group | None = None
        self._version = -1
        self._wrote = self._failed = False

    @property
    def sees_more(self) -> bool:
        """Whether the calling thread writes on top of transactions that are not committed yet."""
        group = self._group
        return group is not None and group.members > 0 and self.place.is_mine

    @contextmanager
    def writing(self, *, alone: bool) -> Iterator[None]:
        """One transaction: committed at the end, undone by an exception. `alone` shares no commit."""
        with self._taken:
            self._lifetime.check()
            group = self._begun(alone)
            try:
                yield
                self._lifetime.check()
                self._keep(group)
            except BaseException as error:
                self._undo(error)
                raise
            finally:
                self._commit_unless_others_do(group, alone)
        self._wait_for(group)

    def written(self, work: Callable[[*Given], Result], *given: *Given) -> Result:
        """What `work` gives, done inside one transaction as `writing` has them: its lines again, for the block of a
        generator takes a twentieth of a small append."""
        with self._taken:
            self._lifetime.check()
            group = self._begun(False)
            try:
                result = work(*given)
                self._lifetime.check()
                self._keep(group)
            except BaseException as error:
                self._undo(error)
                raise
            finally:
                self._commit_unless_others_do(group, False)
        self._wait_for(group)
        return result

    def write(self, statements: Iterable[Statement]) -> None:
        """Execute statements, each for every row of its own, inside `writing`. An error undoes all of that
        transaction at once: SQLite itself does for some, and what it leaves of it must not be committed."""
        group = self._group
        if group is None or self._failed or not self.connection.in_transaction:
            raise StorageError("expected a write inside writing(), got one after a write that failed", path=None)
        try:
            if group.members and not self._wrote:
                self.connection.execute("SAVEPOINT member")
            self._wrote = True
            for sql, rows in statements:
                if len(rows) == 1:
                    self.connection.execute(sql, rows[0])
                else:
                    self.connection.executemany(sql, rows)
        except BaseException as error:
            self._failed = True
            self._undo(error)
            if isinstance(error, self._driver_error):
                raise self._failure(error) from error
            raise

    def close(self) -> None:
        """End what is under way, and the connection. The caller holds the place."""
        if self._group is not None and self._group.members:
            self._commit(self._group)
        self.connection.close()
        if self._room is not None:
            self._room.close()

    # Inside.

    def _begun(self, alone: bool) -> Group:
        """The group this transaction belongs to: a new one, or one that others wait for already."""
        self._wrote = self._failed = False
        self.learnt = None
        if self._group is not None and (alone or not self.connection.in_transaction):
            self._commit(self._group)  # or, where an interrupt came right after its end, settle it
        if self._group is None:
            try:
                self._end_abandoned()
                self._keep_log_short()
                self._execute("BEGIN IMMEDIATE")
                if self._room is not None:
                    self._room.make()
                version = self.connection.data_version()
                if version != self._version:  # somebody else has written, or we did in vain
                    self.known, self._version = None, version
                self._group = Group()
            except BaseException:
                self._end_abandoned()
                raise
        return self._group

    def _end_abandoned(self) -> None:
        """End a transaction that belongs to no group: Ctrl-C came between its beginning and the group's, now or in an
        earlier attempt."""
        if self._group is None and self.connection.in_transaction:
            self._execute("ROLLBACK")

    def _keep(self, group: Group) -> None:
        """Make what was written part of the group."""
        if not self._wrote or self._failed:
            return
        if group.members:
            self._execute("RELEASE member")
        group.members += 1
        if self.learnt is not None:
            self.known = self.learnt
        self._wrote = False

    def _undo(self, reason: BaseException) -> None:
        """Undo what this transaction wrote, and no other's, unless SQLite has undone them all."""
        group = self._group
        if group is None or not self._wrote or self._lifetime.forked:
            return
        self._wrote = False
        if group.members and self.connection.in_transaction:
            try:
                self.connection.execute("ROLLBACK TO member; RELEASE member")
            except self._driver_error as error:
                self._undo_all(group, error)
        else:
            self._undo_all(group, reason)

    def _undo_all(self, group: Group, reason: BaseException) -> None:
        try:
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK")
        except self._driver_error as error:
            if group.error is None and not group.members:
                raise self._failure(error) from error
            reason = error
        finally:
            if group.error is None and group.members:
                group.error = _undone(reason)
            self.known, self._version = None, -1
            self._end(group)

    def _commit_unless_others_do(self, group: Group, alone: bool) -> None:
        if self._group is not group or self._lifetime.forked:
            return
        if not group.members:
            if self.connection.in_transaction:
                self._execute("ROLLBACK")
            self._end(group)
        elif alone or not self._shares or not self.place.is_wanted or self._is_full(group):
            self._commit(group)

    def _is_full(self, group: Group) -> bool:
        return group.members >= _MOST_MEMBERS or monotonic() >= group.until

    def _commit(self, group: Group) -> None:
        try:
            self._try_to_commit(group)
        finally:
            if self._group is group:  # interrupted on the way: others wait for it
                self._try_to_commit(group)

    def _try_to_commit(self, group: Group) -> None:
        try:
            if self.connection.in_transaction:
                self.connection.execute("COMMIT")
                group.is_committed = True
            self._version = self.connection.data_version()
        except self._driver_error as error:
            group.error = _unknown(self._failure(error), error)
            self._undo_all(group, error)
            return
        if group.is_committed:
            self._end(group)
            return
        # SQLite has ended the transaction by itself, or an interrupt came right after its end.
        cause = StorageError("the transaction was over before its commit", path=None)
        group.error = _unknown(cause, cause)
        self._undo_all(group, cause)

    def _end(self, group: Group) -> None:
        self._group, group.is_over = None, True
        group.turnstile.release()

    def _wait_for(self, group: Group) -> None:
        """Return once the group is committed; raise what became of it otherwise."""
        while not group.is_over:
            if group.turnstile.acquire(timeout=_NUDGE_SECONDS):
                group.turnstile.release()
            elif not self.place.is_wanted:
                with self.place.taken():
                    if self._group is group:
                        self._commit(group)
        if group.error is not None:
            raise group.error()

    def _keep_log_short(self) -> None:
        try:
            self._checkpoints.look()
        except self._driver_error as error:
            raise self._failure(error) from error

    def _execute(self, sql: str) -> None:
        try:
            self.connection.execute(sql)
        except self._driver_error as error:
            raise self._failure(error) from error


def _unknown(reason: StorageError, cause: Exception) -> Callable[[], StorageError]:
    """Makes an error for each transaction of a group whose COMMIT failed: what reached the disk may yet be found
    there when the store is opened after a crash."""

    def make() -> StorageError:
        message = f"expected a commit, got a failure that leaves open whether it was made: {reason}"
        error = UnknownOutcomeError(message, **reason.details)
        error.__cause__ = cause
        return error

    return make


def _undone(reason: BaseException) -> Callable[[], StorageError]:
    """Makes an error for each transaction of a group that was undone before its COMMIT."""

    def make() -> StorageError:
        error = StorageError(f"expected a commit, got it undone by another transaction's failure: {reason}", path=None)
        error.__cause__ = reason
        return error

    return make
