"""What all adapters do with a report."""

from __future__ import annotations

import os
import sys
import traceback
from pathlib import Path
from typing import Any

import windtunnel
from windtunnel import Report

FAILED = -100.0
"""Score of a candidate that does not work."""

LONGEST_FEEDBACK = 8192
"""Bytes of feedback that a prompt takes."""


def scored(program_path: str | os.PathLike[str], **options: Any) -> Report:
    """The report on a program in a file; when no report could be made, one that says why.

    A framework that catches an exception gives the candidate a score of 0, which is a good one. So nothing but Ctrl-C leaves this function.
    """
    try:
        # As a text: the names of temporary files have no place in messages that go into prompts.
        return windtunnel.score(Path(program_path).read_text(encoding="utf-8") + "\n", **options)
    except Exception as error:  # noqa: BLE001
        return not_scored(error)


def not_scored(error: Exception) -> Report:
    """A report that says why there is none. The cause goes to stderr, too: it is not the candidate's fault."""
    traceback.print_exception(error, file=sys.stderr)
    message = f"The candidate was not scored, through no fault of its own: {error}"
    return Report(
        ok=False,
        score=FAILED,
        feedback=message,
        worst=None,
        stopped=None,
        scenarios=[],
        objectives={},
        errors=[{"kind": "evaluator", "message": str(error)}],
    )


def feedback(report: Report) -> str:
    """What is told to the author of the next attempt, at most 8 kB; the most useful comes first."""
    text = report["feedback"] or ""
    untold = [_described(error) for error in report["errors"] if error["message"] not in text]
    text = "\n".join([*untold, text]).strip("\n")
    data = text.encode()
    if len(data) <= LONGEST_FEEDBACK:
        return text
    kept = data[:LONGEST_FEEDBACK].decode(errors="ignore")
    return kept[: kept.rfind("\n") + 1] or kept


def _described(error: dict[str, Any]) -> str:
    """An error with the lines around it and what would probably be right."""
    parts = [f"ERROR ({error['kind']}): {error['message']}", error.get("snippet"), error.get("hint")]
    return "\n".join(part for part in parts if part)


def worst(report: Report) -> float:
    """The score in the worst scenario; -100 for a candidate that was not taken through all."""
    if not report["ok"] or report["stopped"]:
        return FAILED
    return float(report["worst"]["score"] if report["worst"] else report["score"])


def error_text(report: Report) -> str:
    """What went wrong, in one line each."""
    return "\n".join(error["message"] for error in report["errors"])
