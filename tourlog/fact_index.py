"""Access paths to the facts of a log: one index an attribute, loaded from the log when first asked for and
grown after appends. Shared by every database value of a log; says nothing of which position one looks from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from threading import Lock
from time import monotonic
from typing import Any, Protocol, TypeVar

from tourlog.errors import TourlogError
from tourlog.facts import document_facts, path_under, roots, select
from tourlog.query.deadline import pulse
from tourlog.storage.log import Batch, Log, StreamRecord
from tourlog.stream import INSTANT_KEY, OFFSET_KEY, ORDER_KEY, document_id
from tourlog.values import MISSING, columns_decoder, decode, decode_documents, identity

Extension = TypeVar("Extension")

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

VersionRow = tuple[Any, Any, int, int | None]
"""(entity, value, transaction that asserted it, transaction that ended it or None)."""


class Version:
    """One fact of an attribute over time; `ended` is the transaction that superseded or retracted it."""

    __slots__ = ("e", "e_key", "ended", "tx", "v", "v_key")

    def __init__(self, e: Any, e_key: Any, v: Any, v_key: Any, tx: int) -> None:
        self.e, self.e_key, self.v, self.v_key, self.tx = e, e_key, v, v_key, tx
        self.ended: int | None = None


class AttributeIndex(Protocol):
    """What a query asks of one attribute: its versions by entity and by value (keys are `identity`)."""

    def find(self, e_key: Any, v_key: Any, bound: tuple[bool, bool]) -> Iterator[VersionRow]: ...


class LoadedAttribute:
    """The versions of one attribute, in the order of the log. Only ever grows, so readers need no lock."""

    __slots__ = ("_live", "by_entity", "by_value", "versions")

    def __init__(self) -> None:
        self._live: dict[Any, list[Version]] = {}
        """What holds of entities that changed, so that a change does not go through all of an entity's past."""
        self.versions: list[Version] = []
        self.by_entity: dict[Any, list[Version]] = {}
        self.by_value: dict[Any, list[Version]] = {}

    def add(self, version: Version) -> None:
        self.versions.append(version)
        self.by_entity.setdefault(version.e_key, []).append(version)
        self.by_value.setdefault(version.v_key, []).append(version)

    def state(self, e: Any, values: Iterable[Any], t: int) -> None:
        """Make `values` all that holds of `e` from `t` on: unchanged facts stay, the others end."""
        e_key = identity(e)
        wanted = {identity(value): value for value in values}
        held = self._live[e_key] if e_key in self._live else self._open(e_key)
        kept = []
        for version in held:
            if wanted.pop(version.v_key, self) is self:
                version.ended = t
            else:
                kept.append(version)
        for v_key, value in wanted.items():
            kept.append(Version(e, e_key, value, v_key, t))
            self.add(kept[-1])
        if kept or held:
            self._live[e_key] = kept

    def _open(self, e_key: Any) -> list[Version]:
        return [version for version in self.by_entity.get(e_key, ()) if version.ended is None]

    def candidates(self, e_key: Any, v_key: Any, bound: tuple[bool, bool]) -> list[Version]:
        if bound[0]:
            found = self.by_entity.get(e_key, [])
            return [version for version in found if version.v_key == v_key] if bound[1] else found
        return self.by_value.get(v_key, []) if bound[1] else self.versions

    def find(self, e_key: Any, v_key: Any, bound: tuple[bool, bool]) -> Iterator[VersionRow]:
        for version in self.candidates(e_key, v_key, bound):
            yield version.e, version.v, version.tx, version.ended


_UNLOADED = (0, LoadedAttribute())

_PATIENCE_SECONDS = 0.02
"""Within a transaction that has been loading for less, nobody looks at the time: to stop there is to begin anew."""


class _Stopped(Exception):
    """What stopped the loading of indexes that are complete up to `t`. Never leaves this module."""

    def __init__(self, t: int, reason: Exception) -> None:
        super().__init__(t)
        self.t, self.reason = t, reason


def _pulse_at(t: int) -> None:
    try:
        pulse()
    except TourlogError as reason:
        raise _Stopped(t, reason) from reason


class _Shared:
    """Access paths of an engine's own, kept with the facts they are of."""

    def __init__(self) -> None:
        self._extensions: dict[Any, Any] = {}
        self._extensions_lock = Lock()

    def shared(self, kind: type[Extension], make: Callable[[], Extension]) -> Extension:
        """The one object of this kind, made when first asked for."""
        with self._extensions_lock:
            if kind not in self._extensions:
                self._extensions[kind] = make()
            found: Extension = self._extensions[kind]
            return found


class FactIndex(_Shared):
    """The attribute indexes of one log."""

    def __init__(self, log: Log) -> None:
        super().__init__()
        self._log = log
        self._lock = Lock()
        self._loaded: dict[str, tuple[int, LoadedAttribute]] = {}
        self._complete: tuple[int, dict[str, LoadedAttribute]] = (0, {})
        self._streams: dict[int, StreamRecord] = {}

    def is_loaded(self, attribute: str, t: int) -> bool:
        """Whether `attribute` can be read at `t` without touching the log."""
        return self._loaded.get(attribute, _UNLOADED)[0] >= t

    def load(self, attributes: Iterable[str], t: int) -> None:
        """Bring these attributes up to position `t`, in as few passes over the log as possible."""
        with self._lock:
            self._load(attributes, t)

    def _load(self, attributes: Iterable[str], t: int) -> None:
        behind: dict[int, list[str]] = {}
        for attribute in dict.fromkeys(attributes):
            position = self._loaded.get(attribute, _UNLOADED)[0]
            if position < t:
                behind.setdefault(position, []).append(attribute)
        for position, names in behind.items():
            self._extend(names, position, t)

    def attribute(self, attribute: str, t: int) -> AttributeIndex:
        """The index of one attribute, complete up to `t` at least."""
        position, index = self._loaded.get(attribute, _UNLOADED)
        if position >= t:
            return index
        with self._lock:
            self._load((attribute,), t)
            return self._loaded[attribute][1]

    def attributes(self, t: int) -> Mapping[str, AttributeIndex]:
        """The index of every attribute documents state, complete up to `t` at least."""
        with self._lock:
            position, indexes = self._complete
            if position < t:
                try:
                    self._extend_all(indexes, position, t)
                except BaseException:
                    self._complete = (0, {})
                    raise
                self._complete = (t, indexes)
            return dict(indexes)

    def _extend(self, names: list[str], after: int, upto: int) -> None:
        """Grow these indexes. Where time runs out between two transactions they are kept as far as they are, for the
        next query to go on; one that is left half grown is forgotten. Whoever reads it already looks no further than
        the position it was good for."""
        indexes = {name: self._loaded[name][1] if name in self._loaded else LoadedAttribute() for name in names}
        try:
            self._grow(indexes, after, upto)
        except _Stopped as stopped:
            self._loaded.update((name, (stopped.t, index)) for name, index in indexes.items())
            raise stopped.reason from None
        except BaseException:
            for name in names:
                self._loaded.pop(name, None)
            raise
        self._loaded.update((name, (upto, index)) for name, index in indexes.items())

    def _grow(self, indexes: Mapping[str, LoadedAttribute], after: int, upto: int) -> None:
        names = [name for name in indexes if name != INSTANT_KEY]
        columns = tuple(dict.fromkeys(root for name in names for root in roots(name)))
        readers = [(indexes[name], _reader(name, columns)) for name in names]
        state_readers = [(indexes[name], _state_reader(name)) for name in names]
        decoder = columns_decoder(columns)
        done, patient_until = after, monotonic() + _PATIENCE_SECONDS
        for batch in self._log.tail(after, upto) if readers else ():
            if batch.t - 1 > done and INSTANT_KEY not in indexes:
                done, patient_until = batch.t - 1, monotonic() + _PATIENCE_SECONDS
                _pulse_at(done)
            elif monotonic() > patient_until:
                pulse()
            if batch.stream:
                self._add_documents(batch, decoder(batch.body), readers)
            else:
                _add_states(batch, state_readers)
        if INSTANT_KEY in indexes:
            self._add_instants(indexes[INSTANT_KEY], after, upto)

    def _add_documents(
        self, batch: Batch, rows: list[tuple[Any, ...]], readers: list[tuple[LoadedAttribute, _Reader]]
    ) -> None:
        stream = self._stream(batch.stream)
        for offset, row in enumerate(rows, batch.first):
            e = document_id(stream.prefix, offset)
            for index, reader in readers:
                seen = set()
                for value in reader(row, e, offset, stream, batch.t):
                    v_key = identity(value)
                    if v_key not in seen:
                        seen.add(v_key)
                        index.add(Version(e, e, value, v_key, batch.t))

    def _add_instants(self, index: LoadedAttribute, after: int, upto: int) -> None:
        for t in range(after + 1, upto + 1):
            transaction = self._log.transaction(t)
            assert transaction is not None, "positions are dense"
            index.state(t, [instant_of(transaction.instant)], t)

    def _extend_all(self, indexes: dict[str, LoadedAttribute], after: int, upto: int) -> None:
        for batch in self._log.tail(after, upto):
            pulse()
            if batch.stream:
                prefix = self._stream(batch.stream).prefix
                for offset, document in enumerate(decode_documents(batch.body), batch.first):
                    e = document_id(prefix, offset)
                    for a, v in document_facts({OFFSET_KEY: offset, **document}):
                        index = indexes.setdefault(a, LoadedAttribute())
                        index.add(Version(e, e, v, identity(v), batch.t))
            else:
                for e, state in decode(batch.body):
                    stated: dict[str, list[Any]] = {}
                    for a, v in document_facts(state or {}):
                        stated.setdefault(a, []).append(v)
                    held = {a for a, index in indexes.items() if identity(e) in index.by_entity}
                    for a in (*stated, *(held - stated.keys())):
                        indexes.setdefault(a, LoadedAttribute()).state(e, stated.get(a, ()), batch.t)

    def _stream(self, stream: int) -> StreamRecord:
        if stream not in self._streams:
            record = self._log.stream_by_id(stream)
            assert record is not None, "a batch's stream exists"
            self._streams[stream] = record
        return self._streams[stream]


class ForkedIndex(_Shared):
    """The facts of `base` as of `base_t` with a few later transactions of another log on top of them."""

    def __init__(self, base: FactIndex | ForkedIndex, base_t: int, log: Log) -> None:
        super().__init__()
        self.base, self.base_t = base, base_t
        self._log = log
        self._lock = Lock()
        self._attributes: dict[str, AttributeIndex] = {}

    def is_loaded(self, attribute: str, t: int) -> bool:
        """Whether `attribute` can be read at `t` without touching the log."""
        return self.base.is_loaded(attribute, min(t, self.base_t))

    def load(self, attributes: Iterable[str], t: int) -> None:  # noqa: ARG002  # what forks is complete
        """Bring these attributes up to position `t`."""
        self.base.load(attributes, self.base_t)

    def attribute(self, attribute: str, t: int) -> AttributeIndex:  # noqa: ARG002  # what forks is complete
        """The index of one attribute, complete up to `t` at least."""
        with self._lock:
            if attribute not in self._attributes:
                base = self.base.attribute(attribute, self.base_t)
                self._attributes[attribute] = self._fork(attribute, base)
            return self._attributes[attribute]

    def attributes(self, t: int) -> Mapping[str, AttributeIndex]:
        """The index of every attribute documents state, complete up to `t` at least."""
        names = dict.fromkeys(self.base.attributes(min(t, self.base_t)))
        for batch in self._log.tail(self.base_t, t):
            documents = decode_documents(batch.body) if batch.stream else _states(batch)
            names.update((a, None) for document in documents for a, _ in document_facts(document))
            if batch.stream:
                names[OFFSET_KEY] = None
        self.load(names, t)
        return {name: self.attribute(name, t) for name in names}

    def _fork(self, attribute: str, base: AttributeIndex) -> ForkedAttribute:
        head = self._log.head().t
        changed = {
            identity(e): e
            for batch in self._log.tail(self.base_t, head)
            if not batch.stream
            for e, _ in decode(batch.body)
        }
        own = _Seeded(self._log, attribute)
        for e_key in changed:
            for e, v, tx, ended in base.find(e_key, None, (True, False)):
                if tx <= self.base_t:
                    version = Version(e, e_key, v, identity(v), tx)
                    version.ended = ended if ended is not None and ended <= self.base_t else None
                    own.seed.add(version)
        return ForkedAttribute(base, self.base_t, changed.keys(), own.grown(self.base_t, head))


class _Seeded(FactIndex):
    """A loader that grows one attribute from versions it is given."""

    def __init__(self, log: Log, attribute: str) -> None:
        super().__init__(log)
        self._name, self.seed = attribute, LoadedAttribute()

    def grown(self, after: int, upto: int) -> LoadedAttribute:
        self._grow({self._name: self.seed}, after, upto)
        return self.seed


class ForkedAttribute:
    """One attribute of a `ForkedIndex`: the base's versions as of its position, but for changed entities."""

    __slots__ = ("base", "base_t", "changed", "own")

    def __init__(self, base: AttributeIndex, base_t: int, changed: Iterable[Any], own: LoadedAttribute) -> None:
        self.base, self.base_t, self.changed, self.own = base, base_t, frozenset(changed), own

    def find(self, e_key: Any, v_key: Any, bound: tuple[bool, bool]) -> Iterator[VersionRow]:
        for e, v, tx, ended in self.base.find(e_key, v_key, bound):
            if tx <= self.base_t and identity(e) not in self.changed:
                yield e, v, tx, ended if ended is not None and ended <= self.base_t else None
        yield from self.own.find(e_key, v_key, bound)


_Reader = Callable[[tuple[Any, ...], Any, int, StreamRecord, int], Iterable[Any]]


def _reader(attribute: str, columns: tuple[str, ...]) -> _Reader:
    """How to read an attribute's values off a stream's document: (row of columns, id, offset, stream, t)."""
    match attribute:
        case "offset":
            return lambda row, e, offset, stream, t: (offset,)
        case "db/id":
            return lambda row, e, offset, stream, t: (e,)
        case "db/key":
            return lambda row, e, offset, stream, t: (list(stream.names),)
        case "db/tx":
            return lambda row, e, offset, stream, t: (t,)
    paths = [(columns.index(root), path_under(root, attribute)) for root in roots(attribute)]
    if len(paths) == 1:
        place = paths[0][0]
        return lambda row, e, offset, stream, t: () if row[place] is MISSING else select(row[place], None)
    return lambda row, e, offset, stream, t: (
        value for place, path in paths if row[place] is not MISSING for value in select(row[place], path)
    )


_StateReader = Callable[[Any, dict[str, Any], int], Iterable[Any]]


def _state_reader(attribute: str) -> _StateReader:
    """How to read an attribute's values off an entity's state: (id, state, t)."""
    match attribute:
        case "db/id":
            return lambda e, state, t: (e,) if state else ()
        case "db/key":
            return lambda e, state, t: (state[ORDER_KEY],) if ORDER_KEY in state else ()
        case "db/tx":
            return lambda e, state, t: (t,) if state else ()
    paths = [(root, path_under(root, attribute)) for root in roots(attribute)]
    return lambda e, state, t: (value for root, path in paths if root in state for value in select(state[root], path))


def _add_states(batch: Batch, readers: Sequence[tuple[LoadedAttribute, _StateReader]]) -> None:
    for e, state in decode(batch.body):
        for index, reader in readers:
            index.state(e, reader(e, state or {}, batch.t), batch.t)


def _states(batch: Batch) -> Iterator[dict[str, Any]]:
    return (state for _, state in decode(batch.body) if state)


def instant_of(microseconds: int) -> datetime:
    """The aware datetime (UTC) of an instant in µs since the epoch."""
    return EPOCH + timedelta(microseconds=microseconds)
