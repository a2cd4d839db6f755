"""Projections: what events come to, kept as a table of facts in the same store, its position committed with it.

A projection is a function of a table and an event, or a Datalog query; `update` brings its table up to date.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any

from tourlog.connection import Connection, check_connection
from tourlog.database import Database, check_database
from tourlog.errors import ArgumentError, TransactionError, shown
from tourlog.event_store import AGGREGATE_ID
from tourlog.query.rows import Rows
from tourlog.storage.overlay import OverlayLog
from tourlog.stream import ID_KEY, SYSTEM_PREFIX
from tourlog.values import decode, decode_documents, ordered_bytes

Row = dict[str, Any]

CHUNK = 1_000
"""So many transactions of the log are taken in before the table and the position are committed."""
_IDLE = 100
"""So many transactions without an event of the projection are passed before that is worth a commit."""

_PREFIX, _ID = "projection/", b"projection\0"
_OF, _KEY, _NAME, _VERSION, _POSITION = (f"{_PREFIX}{name}" for name in ("of", "key", "name", "version", "position"))


@dataclass(frozen=True, kw_only=True)
class Projection:
    """What to keep under a `name`: by `apply(table, event)`, called for each event of the streams ordered `by` these
    attributes, a tuple, in the order of the log; or by a `query`, with its `inputs` after the database, whose rows,
    named by its `:keys`, are the table. ArgumentError for both or neither, and for a part that
    is not of its kind.

    In `apply`, the table maps keys to rows, dicts; a row counts as changed when it is assigned. Rows can be queried:
    column `total` of the projection `sales` is the attribute `sales/total`, the row's key `projection/key`. Raise
    `version` when `apply` or the query changes: the table is then made anew.
    """

    name: str
    apply: Callable[[Table, dict[str, Any]], None] | None = None
    by: tuple[str, ...] = (AGGREGATE_ID,)
    query: Any = None
    inputs: tuple[Any, ...] = ()
    version: int = 1

    def __post_init__(self) -> None:
        if type(self.name) is not str or not self.name or f"{self.name}/".startswith((SYSTEM_PREFIX, _PREFIX)):
            raise ArgumentError(f"expected a name for the projection, got {shown(self.name)}", argument="name")
        if (self.apply is None) == (self.query is None):
            raise ArgumentError(f"expected either apply or query for the projection {self.name}", argument="query")
        where = f"in the projection {self.name}"
        if self.apply is not None and not callable(self.apply):
            raise ArgumentError(f"expected apply to be a function, got {shown(self.apply)}, {where}", argument="apply")
        if type(self.by) is not tuple or not self.by or not all(type(name) is str for name in self.by):
            message = f"expected by to be a tuple of names of attributes, got {shown(self.by)}"
            raise ArgumentError(f"{message}, {where}", argument="by")
        if type(self.version) is not int:
            message = f"expected version to be a whole number, got {shown(self.version)}"
            raise ArgumentError(f"{message}, {where}", argument="version")

    @property
    def id(self) -> bytes:
        """The entity that has the projection's position; the ids of its rows begin with it."""
        return _ID + ordered_bytes(self.name) + b"\0"

    def row_id(self, key: Any) -> bytes:
        """The entity that has the row of a `key`, a value a document can hold; DocumentError for another."""
        return self.id + ordered_bytes(key)

    def row(self, entity: Mapping[str, Any]) -> Row:
        """The columns of a row, of what its `entity` states."""
        prefix = f"{self.name}/"
        return {name.removeprefix(prefix): value for name, value in entity.items() if name.startswith(prefix)}


class Table(MutableMapping[Any, Row]):
    """A projection's table while it is being brought up to date: rows as stored, and as changed since. Made by
    `update`. Maps keys to dicts: KeyError for a key without a row, ArgumentError for a row that is no dict, empty,
    or has columns that are not named by strings, or for a key that no dict can have."""

    def __init__(self, db: Database, projection: Projection, *, empty: bool = False) -> None:
        self._db, self._projection, self._empty = db, projection, empty
        self._changed: dict[bytes, tuple[Any, Row | None]] = {}

    def __getitem__(self, key: Any) -> Row:
        row_id = self._projection.row_id(key)
        row = self._changed[row_id][1] if row_id in self._changed else self._stored(row_id)
        if row is None:
            raise KeyError(key)
        return dict(row)

    def __setitem__(self, key: Any, row: Any) -> None:
        if not isinstance(row, dict) or not row:
            raise ArgumentError(f"expected a row as a dict of columns, got {shown(row)}", argument="row")
        if not all(type(name) is str and name for name in row):
            raise ArgumentError(f"expected the names of columns as strings, got {shown(list(row))}", argument="row")
        if not _is_hashable(key):
            raise ArgumentError(f"expected a key that a dict can have, got {shown(key)}", argument="key")
        self._changed[self._projection.row_id(key)] = (key, dict(row))

    def __delitem__(self, key: Any) -> None:
        self[key]
        self._changed[self._projection.row_id(key)] = (key, None)

    def __iter__(self) -> Iterator[Any]:
        for row_id in self._stored_ids():
            if row_id not in self._changed:
                yield self._db.entity(row_id)[_KEY]  # type: ignore[index]  # it is there: it has the attribute
        yield from [key for key, row in self._changed.values() if row is not None]

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def changes(self) -> list[Any]:
        """Transaction data that leaves the rows as they are here."""
        found: list[Any] = []
        if self._empty:
            kept = {row_id for row_id, (_, row) in self._changed.items() if row is not None}
            found += [("db/retract-entity", row_id) for row_id in _row_ids(self._db, self._projection) - kept]
        for row_id, (key, row) in self._changed.items():
            found += _change(self._projection, row_id, key, row, self._db.entity(row_id))
        return found

    def _stored(self, row_id: bytes) -> Row | None:
        entity = None if self._empty else self._db.entity(row_id)
        return None if entity is None else self._projection.row(entity)

    def _stored_ids(self) -> set[bytes]:
        return set() if self._empty else _row_ids(self._db, self._projection)


def update(conn: Connection, projection: Projection) -> int:
    """Bring the table of a `projection` up to date with what the store of `conn` holds now; how many of its rows were
    changed. ArgumentError for what is no connection or no projection, or a query without `:keys`; a query's own errors
    are those of `Database.q`.

    Table and position are committed together, every so many transactions of the log. Not to be called in a transaction
    that has already changed something, as what it appends after that would be missed: TransactionError.

    >>> import tourlog
    >>> def count(table, event):
    ...     table[event["type"]] = {"seen": table.get(event["type"], {"seen": 0})["seen"] + 1}
    >>> counts = Projection(name="counts", apply=count)
    >>> conn = tourlog.connect()
    >>> made = [{"aggregate-id": "a", "type": "made"}, {"aggregate-id": "b", "type": "made"}]
    >>> report = tourlog.event_store.save_events(conn, made)
    >>> update(conn, counts), table(conn.db(), counts), update(conn, counts)
    (1, {'made': {'seen': 2}}, 0)
    >>> conn.db().q('[:find ?seen . :where [?row :projection/key "made"] [?row :counts/seen ?seen]]')
    2
    """
    check_connection(conn)
    _check_projection(projection)
    step = _follow if projection.query is None else _answer
    target, changed = conn.db().t, 0
    reached = -1
    while reached < target:
        steps: list[tuple[int, int]] = []
        conn.run(lambda: steps.append(step(conn, projection)))  # noqa: B023  # run at once
        reached, count = steps[0]
        changed += count
    return changed


def table(db: Database, projection: Projection) -> dict[Any, Row]:
    """The rows in `db` of a `projection`, as they were last brought up to date, by their keys; those of a query by the
    tuple of their values. ArgumentError for what is no database or no projection, or for keys that no dict can have
    beside each other, such as 1 and True, or at all: `rows` gives those."""
    check_database(db)
    _check_projection(projection)
    found: dict[Any, Row] = {}
    for entity in _entities(db, projection):
        key = entity[_KEY]
        if not _is_hashable(key) or key in found:
            message = f"expected keys that are apart in a dict, got {shown(key)}, in the projection {projection.name}"
            raise ArgumentError(f"{message}: take its rows", argument="projection")
        found[key] = projection.row(entity)
    return found


def rows(db: Database, projection: Projection) -> list[Row]:
    """The rows in `db` of a `projection`, as they were last brought up to date, in the order of their keys.
    ArgumentError for what is no database or no projection."""
    check_database(db)
    _check_projection(projection)
    return [projection.row(entity) for entity in _entities(db, projection)]


def position(db: Database, projection: Projection) -> int:
    """The position of the log that the table in `db` of a `projection` is of; 0 if there is none, or one of another
    version. ArgumentError for what is no database or no projection."""
    check_database(db)
    _check_projection(projection)
    kept = db.entity(projection.id)
    return kept[_POSITION] if kept is not None and kept[_VERSION] == projection.version else 0


def _is_hashable(key: Any) -> bool:
    try:
        hash(key)
    except TypeError:
        return False
    return True


def _check_projection(projection: object) -> None:
    if not isinstance(projection, Projection):
        raise ArgumentError(f"expected a Projection, got {shown(projection)}", argument="projection")


def _follow(conn: Connection, projection: Projection) -> tuple[int, int]:
    """Apply the next events: the position reached, and how many rows were changed."""
    assert projection.apply is not None
    db = _settled(conn)
    start, fresh = position(db, projection), _is_fresh(db, projection)
    stop = min(start + CHUNK, db.t)
    kept, count = Table(db, projection, empty=fresh), 0
    for event in _events(db, projection.by, start, stop):
        projection.apply(kept, event)
        count += 1
    changes = kept.changes()
    if count or fresh or stop < db.t or stop - start >= _IDLE:
        conn.transact([*changes, _position(projection, stop)])
    return stop, len({change[ID_KEY] if isinstance(change, dict) else change[1] for change in changes})


def _answer(conn: Connection, projection: Projection) -> tuple[int, int]:
    """Make the table a query's answer: the position reached, and how many rows came and went."""
    db = _settled(conn)
    fresh = _is_fresh(db, projection)
    if not fresh and _is_unchanged(db, projection):
        return db.t, 0
    wanted = {projection.row_id(row): row for row in _named_rows(db, projection)}
    stored = _row_ids(db, projection)
    changes: list[Any] = [("db/retract-entity", row_id) for row_id in stored - wanted.keys()]
    for row_id in wanted.keys() - stored:
        row = wanted[row_id]
        changes += _change(projection, row_id, tuple(row.values()), row, None)
    conn.transact([*changes, _position(projection, db.t)])
    return db.t, len(changes)


def _named_rows(db: Database, projection: Projection) -> list[Row]:
    answer = db.q(projection.query, *projection.inputs)
    named = isinstance(answer, Rows) and all(isinstance(row, dict) for row in answer)
    if not named or (not answer and db.explain(projection.query, *projection.inputs).query.keys is None):
        raise ArgumentError(f"expected a query with :keys for the projection {projection.name}", argument="query")
    return list(answer)


def _change(projection: Projection, row_id: bytes, key: Any, row: Row | None, stored: Row | None) -> list[Any]:
    """Transaction data that leaves a row so, whatever columns it has had."""
    if row is None:
        return [] if stored is None else [("db/retract-entity", row_id)]
    columns = {f"{projection.name}/{name}": value for name, value in row.items()}
    gone = [("db/retract", row_id, name) for name in _columns(projection, stored) if name not in columns]
    return [*gone, {ID_KEY: row_id, _OF: projection.name, _KEY: key, **columns}]


def _columns(projection: Projection, stored: Row | None) -> list[str]:
    """The attributes of a stored row that are columns."""
    return [name for name in stored or {} if name.startswith(f"{projection.name}/")]


def _position(projection: Projection, t: int) -> dict[str, Any]:
    return {ID_KEY: projection.id, _NAME: projection.name, _VERSION: projection.version, _POSITION: t}


def _settled(conn: Connection) -> Database:
    db = conn.db()
    if isinstance(db.snapshot.log, OverlayLog):
        raise TransactionError("a projection cannot be brought up to date with a transaction that is not complete")
    return db


def _is_fresh(db: Database, projection: Projection) -> bool:
    """Whether there is no table of this version."""
    kept = db.entity(projection.id)
    return kept is None or kept[_VERSION] != projection.version


def _is_unchanged(db: Database, projection: Projection) -> bool:
    """Whether nothing came after the table but the transaction that wrote it, and the positions of other projections:
    two that are brought up to date by turns would else find news in each other for ever."""
    start = position(db, projection)
    if db.t - start > _IDLE:
        return False
    return all(
        not batch.stream
        and all(
            _is_position(e, state) or (batch.t == start + 1 and type(e) is bytes and e.startswith(projection.id))
            for e, state in decode(batch.body)
        )
        for batch in db.snapshot.log.tail(start, db.t)
    )


def _is_position(e: Any, state: Mapping[str, Any] | None) -> bool:
    return type(e) is bytes and e.startswith(_ID) and state is not None and _POSITION in state


def _row_ids(db: Database, projection: Projection) -> set[bytes]:
    return {fact.e for fact in db.facts(a=_OF, v=projection.name)}


def _entities(db: Database, projection: Projection) -> list[Row]:
    return [db.entity(row_id) or {} for row_id in sorted(_row_ids(db, projection))]


def _events(db: Database, by: tuple[str, ...], start: int, stop: int) -> Iterator[dict[str, Any]]:
    """The documents of streams ordered by these attributes, in the order of the log, as they were appended."""
    log = db.snapshot.log
    for batch in log.tail(start, stop):
        record = log.stream_by_id(batch.stream) if batch.stream else None
        if record is not None and record.names == by:
            yield from decode_documents(batch.body)
