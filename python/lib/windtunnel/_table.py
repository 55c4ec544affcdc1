"""Tables by column, which pandas, Polars and Arrow take as they are; none of them is needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas
    import pyarrow


class Table:
    """Rows of equal columns. Absent values are ``None``.

    ``pandas.DataFrame(table.columns())``, ``polars.DataFrame(table.columns())`` and ``pyarrow.table(table.columns())`` work;
    ``to_pandas`` and ``to_arrow`` are short for two of them.
    """

    __slots__ = ("_columns", "_length", "_load")

    def __init__(self, columns: Mapping[str, list[Any]]) -> None:
        self._columns: dict[str, list[Any]] | None = dict(columns)
        self._load: Callable[[], dict[str, list[Any]]] | None = None
        self._length = len(next(iter(self._columns.values()), []))
        uneven = {name: len(column) for name, column in self._columns.items() if len(column) != self._length}
        if uneven:
            raise ValueError(f"columns of different lengths: {uneven}, others have {self._length}")

    @classmethod
    def lazy(cls, length: int, load: Callable[[], dict[str, list[Any]]]) -> Table:
        """A table whose columns are made when they are needed."""
        table = cls({})
        table._columns, table._load, table._length = None, load, length
        return table

    @classmethod
    def of_rows(cls, rows: list[Mapping[str, Any]]) -> Table:
        """A table of rows; nested dicts become columns with dots in their names."""
        flat = [dict(_flat(row)) for row in rows]
        names = dict.fromkeys(name for row in flat for name in row)
        return cls({name: [row.get(name) for row in flat] for name in names})

    def columns(self) -> dict[str, list[Any]]:
        """Column name -> values."""
        if self._columns is None:
            assert self._load is not None
            self._columns, self._load = self._load(), None
        return self._columns

    def __getitem__(self, name: str) -> list[Any]:
        return self.columns()[name]

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """The rows."""
        columns = self.columns()
        for values in zip(*columns.values(), strict=True):
            yield dict(zip(columns, values, strict=True))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Table) and self.columns() == other.columns()

    __hash__ = None  # type: ignore[assignment]

    def __reduce__(self) -> tuple[type[Table], tuple[dict[str, list[Any]]]]:
        return (type(self), (self.columns(),))

    def __repr__(self) -> str:
        return f"<Table: {len(self)} rows of {', '.join(self.columns())}>"

    def to_pandas(self) -> pandas.DataFrame:
        """A ``pandas.DataFrame``; pandas must be installed."""
        import pandas

        return pandas.DataFrame(self.columns())

    def to_arrow(self) -> pyarrow.Table:
        """A ``pyarrow.Table``; pyarrow must be installed."""
        import pyarrow

        return pyarrow.table(self.columns())


def _flat(row: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in row.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
