"""``run`` and ``replay``: the commands of the same names as functions."""

from __future__ import annotations

import json
import os
from typing import Any

from windtunnel import _native
from windtunnel._table import Table


class Results(dict[str, Any]):
    """What the command prints with ``--json``, as a dict.

    Attributes:
        requests: A row per request in order of arrival, with the columns of ``--results-path``. Empty with ``summary_only=True``.
        notes: What the command would say on stderr.
    """

    requests: Table
    notes: list[str]


def run(model: str | None = None, **settings: Any) -> Results:
    """Simulates a cluster, as ``windtunnel run`` does.

    A setting goes by its flag's name with underscores (``num_instances=4``); ``None`` leaves it out. Coefficients are lists, parameters of
    policies a dict (``policy_param={"routing.weight": 2}``), changes of pools and events texts (``scale=["30:decode:4"]``, ``event=["30:fail:1:60"]``). Where time is abstract
    (``latency_model="ticks"``), keys and columns end in ``_ticks``.

    Args:
        model: Model, by full or short name; none where time is abstract or a profile says it.
        **settings: Settings of ``windtunnel run``, and the files that it is to write.

    Raises:
        InputError: The command would have ended with exit code 2.
    """
    return _simulate({"model": model, **settings})


def replay(trace: str | os.PathLike[str], *, model: str, **settings: Any) -> Results:
    """Simulates a cluster on a recorded trace, as ``windtunnel replay`` does; see :func:`run`."""
    return _simulate({"trace": trace, "model": model, **settings})


def _simulate(settings: dict[str, Any]) -> Results:
    report, notes, rows = _native.simulate(settings)
    results = Results(json.loads(report))
    results.requests = Table.lazy(len(rows), rows.columns)
    results.notes = notes
    return results
