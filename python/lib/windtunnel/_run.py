"""What ``run`` and ``replay`` return."""

from __future__ import annotations

import json
import os
from typing import Any

from windtunnel import _native
from windtunnel._call import Call
from windtunnel._page import Page, page
from windtunnel._table import Table


class Results(dict[str, Any]):
    """What the command prints with ``--json``, as a dict.

    Attributes:
        requests: A row per request in order of arrival, with the columns of ``--results-path``. Empty with ``summary_only=True``.
        notes: What the command would say on stderr.
    """

    requests: Table
    notes: list[str]
    _finished: _native.Finished | None = None

    def html(self, path: str | os.PathLike[str] | None = None) -> Page:
        """The page that ``--html`` writes: distributions, what the instances did over time, what was simulated. With a path it is written there, too."""
        if self._finished is None:
            raise RuntimeError("these results come from another process, without what a page needs; give html=FILE there")
        return page(self._finished.page(), path)

    def __reduce__(self) -> tuple[Any, ...]:
        return (_again, (dict(self), self.requests, self.notes))

    def _repr_html_(self) -> str:
        rows = [
            {"": name.upper(), **{key: of.get(key) for key in ("mean", "p50", "p90", "p99")}}
            for name, of in self.get("latency_ms", {}).items()
            if isinstance(of, dict)
        ]
        text = f"<p>{self.get('completed_requests')} requests completed"
        if "responses_per_sec" in self:
            text += f", {self['responses_per_sec']:.4g} per second"
        table = Table.of_rows(rows)._repr_html_() if rows else ""
        return f"{text}; latencies in ms</p>{table}<p><code>.html()</code> shows plots.</p>"


def simulated(command: str, arguments: dict[str, Any]) -> Results:
    """The results of a call of ``run`` or ``replay``."""
    call = Call(command, arguments)
    kept = call.given.setdefault("series", _has_series(call.given))
    if not kept:
        del call.given["series"]
    finished = _native.simulate(call.given, call.functions, call.text)
    results = Results(json.loads(finished.report))
    results.requests = Table.of_native(finished.requests())
    results.notes = call.notes + finished.notes
    results._finished = finished
    return results


def _has_series(given: dict[str, Any]) -> bool:
    """Is it kept what instances do over time, if nothing is said?"""
    other_time = given.get("latency_model") == "ticks" or given.get("engine") == "xpusim"
    return not (given.get("summary_only") or other_time)


def _again(report: dict[str, Any], requests: Table, notes: list[str]) -> Results:
    results = Results(report)
    results.requests = requests
    results.notes = notes
    return results
