"""What ``sweep`` returns."""

from __future__ import annotations

import os
from typing import Any

from windtunnel import _native
from windtunnel._call import Call
from windtunnel._page import Page, page
from windtunnel._table import Table, Tabular


class Sweep(Tabular):
    """The rows of a sweep.

    Attributes:
        runs: A row per run: the values of the grid, the seed, what it ran on, and its figures. ``to_pandas`` and the like take this one.
        cells: A row per combination of values: means over the seeds, and standard deviations as ``..._sd``.
        notes: What the command would say on stderr.
    """

    runs: Table
    cells: Table
    notes: list[str]

    def __init__(self, runs: Table, cells: Table, notes: list[str]) -> None:
        self.runs = runs
        self.cells = cells
        self.notes = notes
        self._finished: _native.FinishedSweep | None = None

    def _table(self) -> Table:
        return self.runs

    def __len__(self) -> int:
        return len(self.runs)

    def html(self, path: str | os.PathLike[str] | None = None) -> Page:
        """The page that ``--html`` writes: figures over the values of the grid, with a band over the seeds. With a path it is written there, too."""
        if self._finished is None:
            raise RuntimeError("this sweep comes from another process, without what a page needs")
        return page(self._finished.page(), path)

    def __reduce__(self) -> tuple[Any, ...]:
        return (Sweep, (self.runs, self.cells, self.notes))

    def __repr__(self) -> str:
        return f"<Sweep: {len(self.runs)} runs of {len(self.cells)} combinations>"

    def _repr_html_(self) -> str:
        shown = [name for name in self.cells.schema if self._is_worth_showing(name)]
        columns = self.cells.columns()
        table = Table({name: columns[name] for name in shown}, {name: self.cells.schema[name] for name in shown})
        return table._repr_html_() + "<p><code>.html()</code> shows plots; <code>.cells</code> has all columns.</p>"

    def _is_worth_showing(self, name: str) -> bool:
        names = list(self.cells.schema)
        of_the_grid = names.index(name) <= names.index("seeds")
        return of_the_grid or name in ("requests_per_s", "ttft_p50_ms", "ttft_p99_ms", "tpot_mean_ms", "e2e_p99_ms")


def swept(arguments: dict[str, Any]) -> Sweep:
    """The rows of a call of ``sweep``."""
    call = Call("sweep", arguments)
    return of_finished(_native.sweep(call.given, call.text, None, []), call.notes)


def of_finished(finished: _native.FinishedSweep, notes: list[str]) -> Sweep:
    """The rows of what the engine did."""
    runs, cells = finished.tables()
    sweep = Sweep(Table.of_native(runs), Table.of_native(cells), notes + finished.notes)
    sweep._finished = finished
    return sweep
