"""Every error tourlog raises: one base class and its few subclasses.

An error about a wrong type or value of an argument is also a `TypeError` and a `ValueError`. What
an error names (a path, a line, the values compared) is an attribute of the exception too.
"""

from __future__ import annotations

from collections.abc import Iterable
from reprlib import Repr
from typing import Any

_MOST_DIGITS = 1000
_MOST_LISTED = 20


class _Short(Repr):
    """Representations cut short: whatever somebody gave fits a message, be it endless or huge."""

    def __init__(self) -> None:
        super().__init__()
        self.maxstring = self.maxother = self.maxlong = 120

    def repr_int(self, x: int, level: int) -> str:
        """Python refuses to write out thousands of digits; nobody wants to read them."""
        if x.bit_length() > _MOST_DIGITS:
            return f"<int of {x.bit_length()} bits>"
        return super().repr_int(x, level)


def shown(value: object) -> str:
    """A value as an error's message shows it.

    >>> shown({"a": [1, "b"]}), shown(10**5000)
    ("{'a': [1, 'b']}", '<int of 16610 bits>')
    """
    return _Short().repr(value)


def listed(names: Iterable[str]) -> str:
    """Names as an error's message lists them, of many the first.

    >>> listed("abc"), listed(map(str, range(1000)))[-21:]
    ('a, b, c', '18, 19 and 980 others')
    """
    found = list(names)
    many = f" and {len(found) - _MOST_LISTED} others" if len(found) > _MOST_LISTED + 1 else ""
    return ", ".join(found[:_MOST_LISTED] if many else found) + many


class TourlogError(Exception):
    """The base of every error of tourlog: a `message`, and `details`, keyword arguments that become attributes, too."""

    def __init__(self, message: str, **details: Any) -> None:
        super().__init__(message)
        self.details = details
        for name, value in details.items():
            setattr(self, name, value)


class ArgumentError(TourlogError, TypeError, ValueError):
    """An argument has the wrong type or value."""


class DocumentError(TourlogError, TypeError, ValueError):
    """A document cannot be stored; `path` names the offending place, such as `value.items[3]`."""


class TransactionError(TourlogError, TypeError, ValueError):
    """Transaction data is malformed; `operation` is what was refused."""


class QueryError(TourlogError, ValueError):
    """A well-formed query cannot be planned or computed."""


class QuerySyntaxError(QueryError):
    """A query, rule or pull pattern cannot be read; `line` and `column` count from 1, for text."""


class ConflictError(TourlogError):
    """A stream is not where the writer expected it: `stream`, `expected` and `actual` say how, and `appended`
    are the documents that came since, the first hundred of them. For `db/cas`, `entity` and `attribute`."""


class ConditionError(TourlogError):
    """A condition of an append (`unless=`, `only_if=`) did not hold; nothing was written. `rows` are those that
    broke `condition`."""


class InvariantError(TourlogError):
    """A transaction broke a standing invariant, and nothing was written: `invariant` is its name, `rows` are
    those that broke it."""


class BudgetError(TourlogError):
    """A query used up its `timeout=` or `max_rows=`; `budget` names which."""


class StorageError(TourlogError):
    """A store cannot be opened, read or written; `path` names the file."""


class LongReadWarning(UserWarning):
    """Somebody has been reading a store for long, so that its write-ahead log can only grow."""


class UnknownOutcomeError(StorageError):
    """The disk failed at a commit, so that nobody knows whether it was made: neither success nor failure. The store
    goes on without it, but may have it when it is opened after a crash. The same transaction again, with the same
    `tx_id`, settles it: it is stored once, and reported."""
