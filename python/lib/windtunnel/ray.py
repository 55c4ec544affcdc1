"""Scoring on a Ray cluster. Ray is no dependency of windtunnel: install it, and windtunnel on every node."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from windtunnel._score import Candidate, Report, loaded_candidate
from windtunnel._score import score_batch as _here

if TYPE_CHECKING:
    from windtunnel._native import LoadedCandidate

TASKS_PER_CPU = 4
"""Tasks are made for so many per CPU: few enough that each is worth its millisecond of overhead, enough to keep all busy to the end."""


def score_batch(
    candidates: Iterable[Candidate | tuple[Candidate, str | Sequence[str] | None]],
    suite: str = "routing-mixed",
    *,
    per_task: int | None = None,
    **options: Any,
) -> list[Report]:
    """Scores candidates in Ray tasks of one CPU each; the reports come in the order of the candidates.

    They are those of :func:`windtunnel.score_batch`, wherever the tasks ran, but for ``wall_ms``. Scripts are read here, so no node needs their
    files; a suite or traces in files must be in the same place on every node. ``ray.init`` is called unless it was.

    Args:
        candidates: As for :func:`windtunnel.score_batch`.
        suite: Suite, by name or .yaml file.
        per_task: Candidates per task. A task costs Ray about a millisecond, so tasks should take 50 ms or more [default: so many that there
            are four tasks per CPU].
        **options: As for :func:`windtunnel.score_batch`, but not ``jobs``.
    """
    import ray

    if "jobs" in options:
        raise TypeError(
            "jobs has no effect here: a task scores with one process, and Ray runs as many tasks as there are CPUs"
        )
    if per_task is not None and per_task < 1:
        raise ValueError(f"per_task must be at least 1, found {per_task}")
    params = options.pop("params", None)
    requests: list[tuple[LoadedCandidate, Any]] = []
    for one in candidates:
        candidate, scenarios = one if isinstance(one, tuple) else (one, options.get("scenarios"))
        requests.append((loaded_candidate(candidate, params), scenarios))
    if not requests:
        return []
    if not ray.is_initialized():
        ray.init()
    if per_task is None:
        tasks = TASKS_PER_CPU * max(1, int(ray.cluster_resources().get("CPU", 1)))
        per_task = -(-len(requests) // tasks)
    task = ray.remote(num_cpus=1)(_score)
    parts = [requests[k : k + per_task] for k in range(0, len(requests), per_task)]
    reports = ray.get([task.remote(part, suite, options) for part in parts])
    return [report for part in reports for report in part]


def _score(part: list[tuple[LoadedCandidate, Any]], suite: str, options: dict[str, Any]) -> list[Report]:
    return _here(part, suite, jobs=1, **options)
