"""OpenEvolve: the function ``evaluate`` of an evaluator file."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import windtunnel
from windtunnel.evolve._common import feedback, scored, worst

if TYPE_CHECKING:
    from openevolve.evaluation_result import EvaluationResult

_Path = str | os.PathLike[str]


def openevolve_evaluate(
    program_path: _Path, suite: str = "routing-mixed", *, jobs: int | None = 1, **options: Any
) -> EvaluationResult:
    """Scores a program for OpenEvolve.

    The metrics are ``combined_score`` and ``worst_scenario``. OpenEvolve tells the model that a child improved when all of its metrics are
    higher than its parent's, so nothing else is among them. The artifact ``feedback`` holds the report's feedback, at most 8 kB.

    Args:
        program_path: File with the program.
        suite: Suite, by name or file.
        jobs: Processes per evaluation. OpenEvolve evaluates several programs at a time (``evaluator.parallel_evaluations``).
        **options: As for :func:`windtunnel.score`.
    """
    from openevolve.evaluation_result import EvaluationResult

    report = scored(program_path, suite=suite, jobs=jobs, **options)
    return EvaluationResult(
        metrics={"combined_score": report["score"], "worst_scenario": worst(report)},
        artifacts={"feedback": feedback(report)},
    )


def openevolve_evaluator(suite: str = "routing-mixed", **options: Any) -> Callable[[_Path], EvaluationResult]:
    """``evaluate = openevolve_evaluator("routing-mixed")`` makes a file an evaluator. A wrong suite is found here, before the run."""
    windtunnel.suite(suite)

    def evaluate(program_path: _Path) -> EvaluationResult:
        return openevolve_evaluate(program_path, suite, **options)

    return evaluate
