"""The rows a relation query answers with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from typing import TYPE_CHECKING, Any, overload

from tourlog.frames import to_arrow, to_pandas, to_polars
from tourlog.html import rows_html, rows_text
from tourlog.values import identity

if TYPE_CHECKING:
    import pandas
    import polars
    import pyarrow


class Rows(Sequence[Any]):
    """Rows without duplicates: tuples, or dicts when the query names its columns. Never changes.

    `Rows(columns, rows)`; `columns` are the names in order. Equal to a sequence of the same rows in the same order, and
    to a set of the same tuples.

    >>> Rows(("?x",), [(1,), (2,)]) == {(2,), (1,)}
    True
    """

    __slots__ = ("_rows", "columns")
    __hash__ = None  # type: ignore[assignment]  # rows can hold pulled documents

    def __init__(self, columns: Sequence[str], rows: Sequence[Any]) -> None:
        self.columns: tuple[str, ...] = tuple(columns)
        self._rows = tuple(rows)

    @overload
    def __getitem__(self, place: int) -> Any: ...
    @overload
    def __getitem__(self, place: slice) -> Rows: ...
    def __getitem__(self, place: int | slice) -> Any:
        return Rows(self.columns, self._rows[place]) if isinstance(place, slice) else self._rows[place]

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._rows)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Set):
            return {identity(row) for row in self._rows} == {identity(row) for row in other}
        if isinstance(other, Sequence) and not isinstance(other, str):
            return list(map(identity, self._rows)) == list(map(identity, other))
        return NotImplemented

    def __repr__(self) -> str:
        shown = ", ".join(map(repr, self._rows[:20]))
        more = f", … {len(self) - 20} more" if len(self) > 20 else ""
        return f"Rows({' '.join(self.columns)}: [{shown}{more}])"

    def to_pandas(self) -> pandas.DataFrame:
        """The rows as a pandas DataFrame under the names in `columns`; pulled documents that stand alone become
        columns, one an attribute. A column of values that no type of pandas' holds exactly is one of objects.

        Raises ArgumentError when pandas is not installed: it comes with `tourlog[frames]`.
        """
        return to_pandas(self.columns, self._rows)

    def to_polars(self) -> polars.DataFrame:
        """The rows as a polars DataFrame, as `to_pandas`; raises ArgumentError when polars is not installed."""
        return to_polars(self.columns, self._rows)

    def to_arrow(self) -> pyarrow.Table:
        """The rows as an Arrow Table, as `to_pandas`; raises ArgumentError when pyarrow is not installed, and for a
        column of values that no type of Arrow's holds exactly, such as numbers and texts."""
        return to_arrow(self.columns, self._rows)

    def _repr_html_(self) -> str:
        return rows_html(self.columns, self._rows)

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:  # noqa: ARG002  # the protocol of IPython
        printer.text(rows_text(self.columns, self._rows))
