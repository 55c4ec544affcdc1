"""SkyDiscover: the function ``evaluate`` of an evaluator file, and the program inside its container."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

import windtunnel
from windtunnel import Report
from windtunnel.evolve._common import feedback, scored, worst

_Path = str | os.PathLike[str]


def skydiscover_evaluate(program_path: _Path, suite: str = "routing-mixed", **options: Any) -> dict[str, Any]:
    """Scores a program for SkyDiscover: ``combined_score``, ``worst_scenario`` and ``artifacts`` in one dict.

    Args:
        program_path: File with the program.
        suite: Suite, by name or file.
        **options: As for :func:`windtunnel.score`.
    """
    report = scored(program_path, suite=suite, **options)
    return {**_metrics(report), "artifacts": {"feedback": feedback(report)}}


def skydiscover_evaluator(suite: str = "routing-mixed", **options: Any) -> Callable[[_Path], dict[str, Any]]:
    """``evaluate = skydiscover_evaluator("routing-mixed")`` makes a file an evaluator. A wrong suite is found here, before the run."""
    windtunnel.suite(suite)

    def evaluate(program_path: _Path) -> dict[str, Any]:
        return skydiscover_evaluate(program_path, suite, **options)

    return evaluate


def skydiscover_main(suite: str = "routing-mixed", *, argv: Sequence[str] | None = None, **options: Any) -> None:
    """The program that ``evaluate.sh`` of a container runs with a program's path and a mode, in either order.

    In the mode ``train`` it scores the split train. In the mode ``test``, which SkyDiscover asks for once at the end, it scores the split
    val. It prints SkyDiscover's JSON object, and nothing else on stdout.
    """
    given = list(sys.argv[1:] if argv is None else argv)
    modes = [argument for argument in given if argument in ("train", "test")]
    paths = [argument for argument in given if argument not in ("train", "test")]
    if len(paths) != 1 or len(modes) > 1:
        sys.exit("expected PROGRAM train|test")
    split = "val" if modes == ["test"] else "train"
    report = scored(paths[0], suite=suite, split=split, **options)
    print(
        json.dumps(
            {
                "status": "success" if report["ok"] else "error",
                "combined_score": report["score"],
                "metrics": _metrics(report),
                "artifacts": {"feedback": feedback(report)},
            }
        )
    )


def _metrics(report: Report) -> dict[str, float]:
    return {"combined_score": report["score"], "worst_scenario": worst(report)}
