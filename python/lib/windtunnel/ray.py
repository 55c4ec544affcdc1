"""Scoring, sweeps, plans and single runs on a Ray cluster, with the results that this machine alone would find.

Ray is no dependency of windtunnel: install it, and windtunnel on every node. ``ray.init`` is called unless it was. Files that calls name must be
in the same place on every node; texts (:class:`windtunnel.Lua`), tables of requests and the scripts of candidates travel with the tasks.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import windtunnel
from windtunnel import _native
from windtunnel._call import Call, check_names
from windtunnel._plan import Plan, of_finished
from windtunnel._run import Results
from windtunnel._score import Candidate, Report, loaded_candidate
from windtunnel._score import score_batch as _here
from windtunnel._sweep import Sweep
from windtunnel._sweep import of_finished as swept

if TYPE_CHECKING:
    from windtunnel._native import LoadedCandidate

P = ParamSpec("P")
R = TypeVar("R")

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
    files; a suite or traces in files must be in the same place on every node.

    Args:
        candidates: As for :func:`windtunnel.score_batch`.
        suite: Suite, by name or .yaml file.
        per_task: Candidates per task. A task costs Ray about a millisecond, so tasks should take 50 ms or more [default: so many that there
            are four tasks per CPU].
        **options: As for :func:`windtunnel.score_batch`, but not ``jobs``.
    """
    _refuse_jobs(options)
    params = options.pop("params", None)
    requests: list[tuple[LoadedCandidate, Any]] = []
    for one in candidates:
        candidate, scenarios = one if isinstance(one, tuple) else (one, options.get("scenarios"))
        requests.append((loaded_candidate(candidate, params), scenarios))
    parts = [requests[begin:end] for begin, end in _parts(len(requests), per_task)]
    return [report for part in _tasks(_score, [(part, suite, options) for part in parts]) for report in part]


def map(calls: Iterable[Mapping[str, Any]], *, per_task: int | None = None) -> list[Results]:
    """Simulates many runs in Ray tasks of one CPU each; the results come in the order of the calls, and are those of :func:`windtunnel.run`.

    Args:
        calls: Keywords of :func:`windtunnel.run`, or, with ``trace``, of :func:`windtunnel.replay`. ``summary_only=True`` keeps requests from
            travelling.
        per_task: Runs per task [default: so many that there are four tasks per CPU].
    """
    listed = [dict(call) for call in calls]
    parts = [listed[begin:end] for begin, end in _parts(len(listed), per_task)]
    return [results for part in _tasks(_simulate, [(part,) for part in parts]) for results in part]


def _like(function: Callable[P, R]) -> Callable[[Callable[[dict[str, Any]], R]], Callable[P, R]]:
    """Gives a function the signature of another one, and its check of names."""

    def made(own: Callable[[dict[str, Any]], R]) -> Callable[P, R]:
        signature = inspect.signature(function)

        @functools.wraps(function)
        def called(*args: P.args, **kwargs: P.kwargs) -> R:
            check_names(own.__name__, signature.parameters, kwargs)
            given = dict(signature.bind(*args, **kwargs).arguments)
            _refuse_jobs(given)
            return own(given)

        called.__doc__ = own.__doc__
        return called

    return made


@_like(windtunnel.sweep)
def sweep(given: dict[str, Any]) -> Sweep:
    """Carries out a sweep in Ray tasks of one CPU each. Its rows are those of :func:`windtunnel.sweep`, whose settings it takes, but ``jobs``.

    Mistakes are found here, before the first task. ``out`` gets the rows when all of them are there.
    """
    call = Call("sweep", given)
    here = {name: value for name, value in given.items() if name not in ("out", "fresh")}
    # Nothing is run yet: it is checked, and counted.
    checked = Call("sweep", here)
    parts = _parts(_native.runs_of_sweep(checked.given), None)
    made = _tasks(_rows, [(here, part) for part in parts])
    rows = [row for part in made for row in part]
    return swept(_native.sweep(call.given, call.text, None, rows), call.notes)


@_like(windtunnel.plan)
def plan(given: dict[str, Any]) -> Plan:
    """Finds a plan with its runs in Ray tasks of one CPU each. It is the one of :func:`windtunnel.plan`, whose settings it takes, but ``jobs``
    and ``resume``."""
    if given.get("resume") is not None:
        raise TypeError("resume has no effect here: the runs are made elsewhere")
    ray = _ray()
    task = ray.remote(num_cpus=1)(_trial)
    shared = ray.put(given)

    def elsewhere(choice: int, number: int, seed: int) -> str:
        return str(ray.get(task.remote(shared, choice, number, seed)))

    call = Call("plan", given)
    settings = {**call.given, "jobs": _cpus(ray)}
    return of_finished(_native.plan(settings, call.text, elsewhere), call.notes)


def _score(part: list[tuple[LoadedCandidate, Any]], suite: str, options: dict[str, Any]) -> list[Report]:
    return _here(part, suite, jobs=1, **options)


def _simulate(part: list[dict[str, Any]]) -> list[Results]:
    return [windtunnel.replay(**call) if "trace" in call else windtunnel.run(**call) for call in part]


def _rows(given: dict[str, Any], part: tuple[int, int]) -> list[list[str]]:
    call = Call("sweep", given)
    return _native.sweep({**call.given, "jobs": 1}, "", part, []).rows()


def _trial(given: dict[str, Any], choice: int, number: int, seed: int) -> str:
    call = Call("plan", given)
    return _native.trial(call.given, choice, number, seed)


def _refuse_jobs(options: Mapping[str, Any]) -> None:
    if options.get("jobs") is not None:
        raise TypeError("jobs has no effect here: a task works in one process, and Ray runs as many tasks as there are CPUs")


def _ray() -> Any:
    import ray

    if not ray.is_initialized():
        ray.init()
    return ray


def _cpus(ray: Any) -> int:
    return max(1, int(ray.cluster_resources().get("CPU", 1)))


def _parts(count: int, per_task: int | None) -> list[tuple[int, int]]:
    """Begin and end of each task's part of so many things."""
    if per_task is not None and per_task < 1:
        raise ValueError(f"per_task must be at least 1, found {per_task}")
    if count == 0:
        return []
    if per_task is None:
        per_task = -(-count // (TASKS_PER_CPU * _cpus(_ray())))
    return [(begin, min(begin + per_task, count)) for begin in range(0, count, per_task)]


def _tasks(work: Callable[..., Any], arguments: Sequence[tuple[Any, ...]]) -> list[Any]:
    """What the tasks return, in the order of their arguments. What they raise is raised here as it was."""
    if not arguments:
        return []
    ray = _ray()
    task = ray.remote(num_cpus=1)(work)
    try:
        return list(ray.get([task.remote(*one) for one in arguments]))
    except ray.exceptions.RayTaskError as error:
        raise error.cause from error
