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


def run(model: str, **flags: Any) -> Results:
    """Simulates a cluster, as ``windtunnel run`` does with these flags.

    A flag goes by its name with underscores (``num_instances=4``), a flag without value takes ``True`` or ``False``, and ``None`` leaves a
    flag out. Lists are joined with commas, or the flag is repeated if it may be; of a dict every entry becomes ``NAME=VALUE``
    (``policy_param={"routing.weight": 2}``).

    Args:
        model: Model, by full or short name.
        **flags: Any flag of ``windtunnel run`` but those about printing.

    Raises:
        InputError: The command would have ended with exit code 2; the message is the command's.
    """
    return _simulate("run", {"model": model, **flags})


def replay(trace: str | os.PathLike[str] | None = None, *, model: str, **flags: Any) -> Results:
    """Simulates a cluster on a recorded trace, as ``windtunnel replay`` does with these flags; see :func:`run`."""
    return _simulate("replay", {"trace": trace, "model": model, **flags})


def _simulate(command: str, flags: dict[str, Any]) -> Results:
    report, notes, rows = _native.simulate(command, flags)
    results = Results(json.loads(report))
    results.requests = Table.lazy(len(rows), rows.columns)
    results.notes = notes
    return results
