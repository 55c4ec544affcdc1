"""Tables of requests as traces."""

from __future__ import annotations

import csv
import datetime
import difflib
import io
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from windtunnel import _native
from windtunnel._table import Table

NAMES: dict[str, tuple[str, ...]] = {
    "arrival_time_us": ("arrival", "arrival_s", "arrival_us", "arrival_time_us"),
    "input_tokens": ("prompt_tokens", "input_tokens"),
    "output_tokens": ("output_tokens",),
    "request_id": ("request_id",),
    "client_id": ("client_id", "client"),
    "tenant_id": ("tenant_id", "tenant"),
    "slo_class": ("slo_class",),
    "session_id": ("session_id", "session"),
    "round_index": ("round_index", "round"),
    "prefix_group": ("prefix_group",),
    "prefix_length": ("prefix_length", "prefix_tokens"),
    "model": ("model",),
    "deadline_us": ("deadline_us",),
    "adapter": ("adapter",),
    "slo_target_us": ("slo_target_us",),
    "think_time_us": ("think_time_us",),
    "vllm_priority": ("vllm_priority", "priority"),
}
"""Columns of a TraceV2 trace, and what a table may call them."""

NEEDED = ("arrival_time_us", "input_tokens", "output_tokens")
OPTIONAL = ("adapter", "slo_target_us", "think_time_us", "vllm_priority")

TRACE = {
    "request_id": "",
    "client_id": "",
    "tenant_id": "",
    "slo_class": "",
    "session_id": "",
    "round_index": "0",
    "prefix_group": "",
    "prefix_length": "0",
    "streaming": "true",
    "input_tokens": "0",
    "output_tokens": "0",
    "text_tokens": "0",
    "image_tokens": "0",
    "audio_tokens": "0",
    "video_tokens": "0",
    "reason_ratio": "0",
    "model": "",
    "deadline_us": "0",
    "server_input_tokens": "0",
    "arrival_time_us": "0",
    "send_time_us": "0",
    "first_chunk_time_us": "0",
    "last_chunk_time_us": "0",
    "num_chunks": "0",
    "status": "",
    "error_message": "",
    "finish_reason": "",
}
"""The columns of a TraceV2 trace, and what stands in them if nothing is said."""

EPOCH_S = 1e8
"""Seconds above this are points in time, not times since the beginning."""


def is_frame(value: Any) -> bool:
    """Is it a table, and no path?"""
    if value is None or isinstance(value, (str, bytes)) or hasattr(value, "__fspath__"):
        return False
    return isinstance(value, (Mapping, Sequence)) or any(
        hasattr(value, name) for name in ("to_pydict", "iloc", "get_columns", "__arrow_c_stream__")
    )


def trace(what: str, frame: Any) -> tuple[_native.HeldText, list[str]]:
    """The table as a TraceV2 trace in memory, and what its owner should know. ``what`` is how messages call it."""
    columns = _columns(what, frame)
    lengths = {len(values) for values in columns.values()}
    if len(lengths) > 1:
        raise _native.InputError(f"{what}: the columns have different lengths")
    if lengths <= {0}:
        raise _native.InputError(f"{what}: there is no request in the table")
    found, notes = _found(what, columns)
    rows = len(columns[found["arrival_time_us"]])
    read = _Reader(what, columns)
    made: dict[str, list[Any]] = {}
    shift_us = 0
    if (name := found["arrival_time_us"]) in ("arrival", "arrival_s"):
        seconds = read.each(name, _seconds, "seconds, or a point in time")
        first = min(seconds)
        shift_us = round(first * 1e6) if first > EPOCH_S else 0
        made["arrival_time_us"] = [round(s * 1e6) - shift_us for s in seconds]
    else:
        made["arrival_time_us"] = read.each(name, _time, "microseconds, 0 or more")
    for column, name in found.items():
        if column in ("arrival_time_us", "request_id"):
            continue
        if column.endswith(("_tokens", "_length", "_index")):
            made[column] = read.each(name, _count, "a whole number of 0 or more", column not in NEEDED)
        elif column.endswith("_us"):
            made[column] = read.each(name, _time, "microseconds, 0 or more", True)
        elif column == "vllm_priority":
            made[column] = read.each(name, _whole, "a whole number", True)
        else:
            made[column] = ["" if _absent(value) else str(value) for value in columns[name]]
    if found["input_tokens"] == "prompt_tokens" and "prefix_length" in made:
        # A trace counts what is behind the prefix.
        for row, (whole, prefix) in enumerate(zip(made["input_tokens"], made["prefix_length"], strict=True)):
            if prefix > whole:
                found_ = f"prefix of {prefix} tokens in a prompt of {whole}"
                raise _native.InputError(f"{what}: row {row}: a {found_}; expected at most the prompt")
            made["input_tokens"][row] = whole - prefix
    if shift_us and "deadline_us" in made:
        made["deadline_us"] = [max(us - shift_us, 0) for us in made["deadline_us"]]
    ids = found.get("request_id")
    made["request_id"] = [
        row if ids is None or _absent(columns[ids][row]) else str(columns[ids][row]) for row in range(rows)
    ]
    made["send_time_us"] = made["arrival_time_us"]
    header = [*TRACE, *(name for name in OPTIONAL if name in made)]
    text = io.StringIO()
    out = csv.writer(text, lineterminator="\n")
    out.writerow(header)
    out.writerows(zip(*(made.get(name) or [TRACE[name]] * rows for name in header), strict=True))
    return _native.HeldText("table", "csv", text.getvalue().encode()), notes


def _columns(what: str, frame: Any) -> dict[str, list[Any]]:
    """The table by column."""
    if isinstance(frame, Mapping):
        return {str(name): list(values) for name, values in frame.items()}
    if hasattr(frame, "to_pydict"):  # pyarrow
        return dict(frame.to_pydict())
    if hasattr(frame, "iloc"):  # pandas
        return {str(name): frame[name].tolist() for name in frame.columns}
    if hasattr(frame, "get_columns"):  # Polars
        return {column.name: column.to_list() for column in frame.get_columns()}
    if isinstance(frame, Table):
        return frame.columns()
    if hasattr(frame, "__arrow_c_stream__"):
        import pyarrow

        return dict(pyarrow.table(frame).to_pydict())
    rows = list(frame)
    for k, row in enumerate(rows):
        if not isinstance(row, Mapping):
            raise _native.InputError(f"{what}: row {k} is {type(row).__name__}; expected a dict")
    names = dict.fromkeys(name for row in rows for name in row)
    return {str(name): [row.get(name) for row in rows] for name in names}


def _found(what: str, columns: Mapping[str, Any]) -> tuple[dict[str, str], list[str]]:
    """Which column of the table is which of the trace, and notes on those that are none."""
    found = {}
    for column, names in NAMES.items():
        given = [name for name in names if name in columns]
        if len(given) > 1:
            raise _native.InputError(f"{what}: the columns {' and '.join(given)} say the same; keep one of them")
        if given:
            found[column] = given[0]
    known = [name for names in NAMES.values() for name in names]
    strangers = [name for name in columns if name not in known]
    missing = [" or ".join(NAMES[column]) for column in NEEDED if column not in found]
    if missing:
        near = [(name, match) for name in strangers for match in difflib.get_close_matches(name, known, 1)]
        hint = "".join(f"; did you mean {match!r} by {name!r}?" for name, match in near[:1])
        raise _native.InputError(
            f"{what}: there is no column {missing[0]}; found: {', '.join(columns) or 'none'}{hint}"
        )
    notes = []
    if strangers:
        notes.append(f"{what}: columns that say nothing to a simulation: {', '.join(strangers)}")
    return found, notes


class _Reader:
    """Reads values of columns."""

    def __init__(self, what: str, columns: Mapping[str, list[Any]]) -> None:
        self.what = what
        self.columns = columns

    def each(
        self, name: str, read: Callable[[Any], Any], expected: str, may_be_absent: bool = False
    ) -> list[Any]:
        """All values of a column; an absent one is 0 where that may be."""
        values = []
        for row, value in enumerate(self.columns[name]):
            if _absent(value):
                if may_be_absent:
                    values.append(0)
                    continue
                raise _native.InputError(f"{self.what}: row {row}: {name} is missing; expected {expected}")
            try:
                values.append(read(value))
            except (TypeError, ValueError, OverflowError):
                raise _native.InputError(
                    f"{self.what}: row {row}: {name} is {value!r}; expected {expected}"
                ) from None
        return values


def _absent(value: Any) -> bool:
    """None, NaN and the like: what is not equal to itself."""
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(value, float) and math.isnan(value)


def _whole(value: Any) -> int:
    number = int(value)
    if isinstance(value, str) or number != value:
        raise ValueError
    return number


def _count(value: Any) -> int:
    number = _whole(value)
    if number < 0 or isinstance(value, bool):
        raise ValueError
    return number


def _time(value: Any) -> int:
    number = round(float(value))
    if number < 0 or isinstance(value, (str, bool)):
        raise ValueError
    return number


def _seconds(value: Any) -> float:
    if isinstance(value, datetime.datetime):
        return value.replace(tzinfo=value.tzinfo or datetime.timezone.utc).timestamp()
    if isinstance(value, datetime.timedelta):
        return value.total_seconds()
    seconds = float(value)
    if isinstance(value, (str, bool)) or not math.isfinite(seconds) or seconds < 0:
        raise ValueError
    return seconds
