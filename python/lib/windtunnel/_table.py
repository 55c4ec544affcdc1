"""Tables by column with fixed types, which pandas, Polars and Arrow take as they are; none of them is needed."""

from __future__ import annotations

import html
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from windtunnel import _native

if TYPE_CHECKING:
    import pandas
    import polars
    import pyarrow

SHOWN_ROWS = 10
"""Rows that a notebook shows."""


class Table:
    """Rows of equal columns. Absent values are ``None``.

    Each column holds texts, whole numbers or numbers, and has the same type in a DataFrame whether it is full, partly absent or empty:
    whole numbers stay whole.
    """

    __slots__ = ("_columns", "_length", "_load", "_schema")

    def __init__(self, columns: Mapping[str, Sequence[Any]], schema: Mapping[str, str] | None = None) -> None:
        """A table of columns.

        Args:
            columns: Column name -> values.
            schema: Column name -> ``text``, ``whole`` or ``number`` [default: what the values are].
        """
        self._columns: dict[str, list[Any]] | None = {name: list(values) for name, values in columns.items()}
        self._load: Callable[[], dict[str, list[Any]]] | None = None
        self._schema = dict(schema) if schema is not None else {n: _kind(v) for n, v in self._columns.items()}
        self._length = len(next(iter(self._columns.values()), []))
        uneven = {name: len(column) for name, column in self._columns.items() if len(column) != self._length}
        if uneven:
            raise ValueError(f"columns of different lengths: {uneven}, others have {self._length}")

    @classmethod
    def of_native(cls, columns: _native.Columns) -> Table:
        """A table whose values come from the engine when they are needed."""
        table = cls({}, dict(columns.schema()))
        table._columns, table._load, table._length = None, columns.columns, len(columns)
        return table

    @classmethod
    def of_rows(cls, rows: Sequence[Mapping[str, Any]], schema: Mapping[str, str] | None = None) -> Table:
        """A table of rows; nested dicts become columns with dots in their names. Columns of the schema are there even if no row has them."""
        flat = [dict(_flat(row)) for row in rows]
        names = dict.fromkeys([*(schema or {}), *(name for row in flat for name in row)])
        columns = {name: [row.get(name) for row in flat] for name in names}
        kinds = {name: (schema or {}).get(name) or _kind(values) for name, values in columns.items()}
        return cls({name: _as(kinds[name], values) for name, values in columns.items()}, kinds)

    @property
    def schema(self) -> dict[str, str]:
        """Column name -> ``text``, ``whole`` or ``number``."""
        return dict(self._schema)

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
        return isinstance(other, Table) and self._schema == other._schema and self.columns() == other.columns()

    __hash__ = None  # type: ignore[assignment]

    def __reduce__(self) -> tuple[type[Table], tuple[dict[str, list[Any]], dict[str, str]]]:
        return (type(self), (self.columns(), self._schema))

    def __repr__(self) -> str:
        return f"<Table: {len(self)} rows of {', '.join(self._schema)}>"

    def _repr_html_(self) -> str:
        columns = self.columns()
        head = "".join(f"<th>{html.escape(name)}</th>" for name in columns)
        rows = "".join(
            "<tr>" + "".join(f"<td>{_cell(values[row])}</td>" for values in columns.values()) + "</tr>"
            for row in range(min(len(self), SHOWN_ROWS))
        )
        more = f"<p>{len(self)} rows</p>" if len(self) > SHOWN_ROWS else ""
        return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>{more}"

    def to_pandas(self) -> pandas.DataFrame:
        """A ``pandas.DataFrame`` of types ``string``, ``Int64`` and ``float64``; pandas must be installed."""
        import pandas

        types = {"text": "string", "whole": "Int64", "number": "float64"}
        return pandas.DataFrame(
            {
                name: pandas.Series(values, dtype=types[self._schema[name]])
                for name, values in self.columns().items()
            }
        )

    def to_polars(self) -> polars.DataFrame:
        """A ``polars.DataFrame`` of types ``String``, ``Int64`` and ``Float64``; Polars must be installed."""
        import polars

        types = {"text": polars.String, "whole": polars.Int64, "number": polars.Float64}
        return polars.DataFrame(self.columns(), schema={name: types[kind] for name, kind in self._schema.items()})

    def to_arrow(self) -> pyarrow.Table:
        """A ``pyarrow.Table`` of types ``string``, ``int64`` and ``double``; pyarrow must be installed."""
        import pyarrow

        types = {"text": pyarrow.string(), "whole": pyarrow.int64(), "number": pyarrow.float64()}
        fields = [(name, types[kind]) for name, kind in self._schema.items()]
        return pyarrow.table(self.columns(), schema=pyarrow.schema(fields))

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """What DuckDB, Polars, pandas and others read tables by; pyarrow must be installed."""
        return self.to_arrow().__arrow_c_stream__(requested_schema)

    def to_parquet(self, path: str | os.PathLike[str]) -> None:
        """Writes a Parquet file; nothing needs to be installed."""
        if not os.fspath(path).lower().endswith(".parquet"):
            raise _native.InputError(f"{os.fspath(path)}: the file's name must end in .parquet")
        columns = self.columns()
        _native.write_table(os.fspath(path), [(name, kind, columns[name]) for name, kind in self._schema.items()])


class Tabular:
    """What has one table that is meant if none is named."""

    def _table(self) -> Table:
        raise NotImplementedError

    def to_pandas(self) -> pandas.DataFrame:
        """A ``pandas.DataFrame``; see :meth:`Table.to_pandas`."""
        return self._table().to_pandas()

    def to_polars(self) -> polars.DataFrame:
        """A ``polars.DataFrame``; see :meth:`Table.to_polars`."""
        return self._table().to_polars()

    def to_arrow(self) -> pyarrow.Table:
        """A ``pyarrow.Table``; see :meth:`Table.to_arrow`."""
        return self._table().to_arrow()

    def to_parquet(self, path: str | os.PathLike[str]) -> None:
        """Writes a Parquet file; nothing needs to be installed."""
        self._table().to_parquet(path)


def _flat(row: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in row.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _kind(values: Sequence[Any]) -> str:
    """What a column of these values holds."""
    present = [value for value in values if value is not None]
    if all(isinstance(value, int) for value in present) and present:
        return "whole"
    if all(isinstance(value, (int, float)) for value in present):
        return "number"
    return "text"


def _as(kind: str, values: Sequence[Any]) -> list[Any]:
    """The values of a column of this kind."""
    kinds: dict[str, Callable[[Any], Any]] = {"whole": int, "number": float, "text": _text}
    of = kinds[kind]
    return [None if value is None else of(value) for value in values]


def _text(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return ", ".join(str(one) for one in value)
    return str(value)


def _cell(value: Any) -> str:
    """A value as a notebook shows it."""
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.4g}"
    return html.escape(str(value))
