"""Turns the failure of a computation into a `QueryError` that shows the call and its values. Knows no
function of the language.
"""

from __future__ import annotations

import reprlib
from collections.abc import Callable
from decimal import DecimalException
from typing import Any

from tourlog.errors import DocumentError, QueryError


def guarded(name: str, compute: Callable[..., Any]) -> Callable[..., Any]:
    """`compute`, its expected failures raised as a `QueryError` with `function` and `arguments`.

    What `compute` refuses it raises as `QueryError("expected a number", value=...)`; a result out of range
    and a value no document could hold are caught too, and nothing else.

    >>> from decimal import Decimal
    >>> guarded("inc", lambda a: a + Decimal("Infinity") - Decimal("Infinity"))(1)
    Traceback (most recent call last):
    tourlog.errors.QueryError: expected a result a Decimal can have (InvalidOperation), in (inc 1)
    """

    def call(*arguments: Any) -> Any:
        try:
            return compute(*arguments)
        except (QueryError, DocumentError, DecimalException, OverflowError) as error:
            message = f"{_reason(error)}, in {_call(name, arguments)}"
            raise QueryError(message, function=name, arguments=arguments) from error

    return call


def shown(value: Any) -> str:
    """A value for an error message: its `repr`, cut short, however large it is."""
    return _SHORT.repr(value)


class _Short(reprlib.Repr):
    def __init__(self) -> None:
        super().__init__()
        self.maxstring = self.maxother = 60

    def repr_int(self, x: int, level: int) -> str:
        """Python refuses to print integers of more than 4,300 digits."""
        return super().repr_int(x, level) if x.bit_length() < 1000 else f"<int of {x.bit_length()} bits>"


_SHORT = _Short()


def _call(name: str, arguments: tuple[Any, ...]) -> str:
    words = [shown(argument) for argument in arguments[:6]] + ["…"] * (len(arguments) > 6)
    return f"({' '.join([name, *words])})"


def _reason(error: Exception) -> str:
    if isinstance(error, QueryError):
        return f"{error}, got {shown(error.details['value'])}" if "value" in error.details else str(error)
    if isinstance(error, OverflowError):
        return "expected a result within range"
    if isinstance(error, DecimalException):
        return f"expected a result a Decimal can have ({type(error).__name__})"
    return str(error)
