"""Where values are stated, so that a condition such as "nobody has this name" is judged without running a query."""

from __future__ import annotations

from collections.abc import Iterable
from threading import Lock
from typing import TYPE_CHECKING, Any, NamedTuple

from tourlog.facts import COLLECTIONS
from tourlog.snapshot import Snapshot, state_values
from tourlog.storage.log import Batch, Commit, Log
from tourlog.values import MISSING, columns_decoder, decode, identity

if TYPE_CHECKING:
    from tourlog.query.stated import Wanted

_FEW = 50
"""So many entities are looked at, the newest first, for one that states all that is wanted."""

_OFFSET_BITS = 40
_LONGEST = 64
_SCALARS = frozenset({int, float})
_TEXTS = frozenset({str, bytes})
_MOST_REMEMBERED = 1_000


class _Long(NamedTuple):
    """Stands for the values with this hash that are too long to be kept."""

    hash: int


def _key(value: Any) -> Any:
    """What is the same for equal values, and for no others unless it is a `_Long`."""
    if type(value) is int or (type(value) is str and len(value) <= _LONGEST):
        return value  # most are
    key: Any = identity(value)
    if type(key) in _SCALARS or (type(key) in _TEXTS and len(key) <= _LONGEST):
        return key
    return _Long(hash(key))


class _Attribute:
    """Who ever stated each value: documents by their place as a number, other entities by their id in a tuple.
    Whether they state it still the log must tell, and for values that are long whether it is the very value."""

    __slots__ = ("places",)

    def __init__(self) -> None:
        self.places: dict[Any, Any] = {}

    def add(self, content: Any, place: int | tuple[Any]) -> None:
        for value in content if type(content) in COLLECTIONS else (content,):  # `elements`, without its call
            key = value if type(value) is int else _key(value)
            held = self.places.setdefault(key, place)
            if type(held) is list:
                held.append(place)
            elif held is not place:
                self.places[key] = [held, place]


class Presence:
    """The values of some attributes of one log: of those that were asked for. About 150 bytes a value."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._lock = Lock()
        self._attributes: dict[str, _Attribute] = {}
        self._t = 0
        """Each of them is complete up to this position."""
        self._documents: dict[tuple[int, int], dict[str, Any] | None] = {}
        """Some documents as they were appended, by stream and offset."""

    def any_states(self, snapshot: Snapshot, wanted: Wanted) -> bool | None:
        """Whether any entity states these values; None when to know that takes more than a look. For whoever holds
        the writer's place, about the head: it may follow transactions whose commit is still to come."""
        settled, attributes = self._log.settled(), self._attributes
        with self._lock:
            if self._t < settled:
                self._extend(self._log.tail(self._t, settled), settled)
            for name, _ in wanted:
                if name not in attributes:
                    self._load([name for name, _ in wanted if name not in attributes])
                    break
            known = _rarest(attributes, wanted)
        if settled < snapshot.t:
            newer = {name: _Attribute() for name, _ in wanted}
            _grow(newer, self._log.tail(settled, snapshot.t))
            known = [*known, *_rarest(newer, wanted)]
        if not known:
            return False
        for place in known[: -_FEW - 1 : -1]:
            if self._states(snapshot, place, wanted, settled):
                return True
        return False if len(known) <= _FEW else None

    def committed(self, commit: Commit) -> None:
        """Take up what was just committed, if all before it is there: else it will be read off the log."""
        t = commit.transaction.t
        with self._lock:
            if self._t == t - 1:
                self._extend(commit.batches, t)

    def _load(self, names: Iterable[str]) -> None:
        """Have more attributes."""
        more = {name: _Attribute() for name in names}
        _grow(more, self._log.tail(0, self._t))
        self._attributes.update(more)

    def _extend(self, batches: Iterable[Batch], t: int) -> None:
        """Grow the attributes to a position; half grown they are forgotten."""
        try:
            _grow(self._attributes, batches)
        except BaseException:
            self._attributes.clear()
            raise
        self._t = t

    def _states(self, snapshot: Snapshot, place: int | tuple[Any], wanted: Wanted, settled: int) -> bool:
        if isinstance(place, tuple):
            state = snapshot.state(*place)
        else:
            stream, offset = place >> _OFFSET_BITS, place & ((1 << _OFFSET_BITS) - 1)
            is_amended = self._log.amended(stream, offset, offset + 1, snapshot.t)
            if not is_amended and len(wanted) == 1 and type(_key(wanted[0][1])) is not _Long:
                return True
            is_lasting = not is_amended and settled == snapshot.t
            state = self._document(snapshot, stream, offset) if is_lasting else snapshot.document_at(stream, offset)
        if not state:
            return False
        return all(identity(value) in map(identity, state_values(state, name)) for name, value in wanted)

    def _document(self, snapshot: Snapshot, stream: int, offset: int) -> dict[str, Any] | None:
        """A document that is as it was appended, for good; some are remembered."""
        document = self._documents.get((stream, offset))
        if document is None:
            if len(self._documents) >= _MOST_REMEMBERED:
                self._documents.clear()
            document = self._documents[stream, offset] = snapshot.document_at(stream, offset)
        return document


def _rarest(attributes: dict[str, _Attribute], wanted: Wanted) -> list[int | tuple[Any]]:
    """Who ever stated the one of the values that was stated the fewest times, oldest first: whoever states them all
    now is among them, as every state is there as a whole."""
    rarest: list[int | tuple[Any]] | None = None
    for name, value in wanted:
        places = attributes[name].places.get(_key(value))
        if places is None:
            return []
        found = places if type(places) is list else [places]
        if rarest is None or len(found) < len(rarest):
            rarest = found
    return rarest or []


def _grow(attributes: dict[str, _Attribute], batches: Iterable[Batch]) -> None:
    if not attributes:
        return
    decoder = columns_decoder(attributes)
    for batch in batches:
        if not batch.stream:
            for e, state in decode(batch.body):
                for name, attribute in attributes.items():
                    if state and name in state:
                        attribute.add(state[name], (e,))
            continue
        base = batch.stream << _OFFSET_BITS
        for place, row in enumerate(decoder(batch.body), base + batch.first):
            for attribute, content in zip(attributes.values(), row, strict=True):
                if content is not MISSING:
                    attribute.add(content, place)
