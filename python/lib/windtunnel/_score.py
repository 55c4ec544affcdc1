"""``score`` and what belongs to it."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from windtunnel import _native
from windtunnel._page import Page, page
from windtunnel._scenarios import SCENARIOS
from windtunnel._table import Table
from windtunnel._types import Lua

Candidate = str | os.PathLike[str] | Lua | Mapping[str, str] | _native.LoadedCandidate
"""What can be scored: a path, a policy's name, the text of a Lua policy (:class:`windtunnel.Lua`, or a str with a line break), or such texts by hook."""


class Report(dict[str, Any]):
    """What ``windtunnel score --json`` prints, as a dict; its schema is ``docs/reference/score.schema.json``."""

    @property
    def score(self) -> float:
        """100 x mean log-ratio of costs to the best tuned reference: 0 is as good, higher is better, -100 is a candidate that fails."""
        return float(self["score"])

    @property
    def ok(self) -> bool:
        """Did the candidate work?"""
        return bool(self["ok"])

    @property
    def feedback(self) -> str:
        """For the author of the next attempt, most useful first."""
        return str(self["feedback"])

    @property
    def scenarios(self) -> Table:
        """A row per scenario; nested figures have names with dots, such as ``metrics.ttft_ms.p99``. What the split does not tell is absent."""
        rows = []
        for scenario in self["scenarios"]:
            row = {name: value for name, value in scenario.items() if name not in ("instances", "ci95")}
            row["ci95_low"], row["ci95_high"] = scenario.get("ci95") or (None, None)
            rows.append({name: value for name, value in row.items() if value is not None})
        own = {f"objectives.{name}": "number" for row in rows for name in row.get("objectives", {})}
        return Table.of_rows(rows, {**SCENARIOS, **own})

    def __repr__(self) -> str:
        where = f"{self.get('candidate')} on {self.get('suite')} {self.get('split')}"
        return f"<Report: {where}: {'' if self.ok else 'does not work, '}score {self.score:.2f}>"


def score(
    candidate: Candidate,
    suite: str | os.PathLike[str] = "routing-mixed",
    *,
    split: str = "train",
    stage: str = "auto",
    seeds: int | str | None = None,
    scenarios: Sequence[str] | None = None,
    jobs: int | None = None,
    incumbent: float | None = None,
    params: Mapping[str, float] | None = None,
    traces: str | os.PathLike[str] | None = None,
    time_limit: int = 20,
    allow_native: bool = False,
    cache: bool = True,
    holdout_salt_file: str | os.PathLike[str] | None = None,
    train_salt: str | None = None,
) -> Report:
    """Scores a candidate, as ``windtunnel score`` does. It runs in sandboxed child processes; a candidate that fails is a result.

    Args:
        candidate: Path of a .lua, .so or bundle file or of a folder, name of a policy, text of a Lua policy (a str with a line break), or
            such texts by hook.
        suite: Suite, by name or .yaml file.
        split: ``train`` tells everything, ``val`` only scores, ``holdout`` only the total.
        stage: How far to go: ``auto`` stops at what cannot get good; ``smoke``, ``quick``, ``full``.
        seeds: Seeds per scenario, or ``auto`` to add some until the score is certain [default: the suite's].
        scenarios: Only these scenarios of the split.
        jobs: Processes at once [default: the number of cores].
        incumbent: Score to beat: a candidate that surely does not is stopped early.
        params: Values of declared parameters, by name or ``hook.name``.
        traces: Folder with the trace files that some scenarios replay; without it they are left out.
        time_limit: Longest time for a process to make one run, seconds.
        allow_native: Let compiled plugins run.
        cache: Give earlier reports again, and keep new ones.
        holdout_salt_file: File with the salt that the holdout is drawn with [default: what the variable ``WINDTUNNEL_HOLDOUT_SALT_FILE``
            names, else a salt of this machine's own].
        train_salt: Text from which the seeds of train and val are drawn, another one for each search [default: the seeds of the suite].

    Raises:
        InputError: The suite or an argument is wrong, or there is no such candidate.
    """
    loaded = loaded_candidate(candidate, params)
    salts = (holdout_salt_file, train_salt)
    options = _options(suite, split, stage, seeds, jobs, incumbent, traces, time_limit, allow_native, cache, salts)
    return _reports([(loaded, _listed(scenarios))], options)[0]


def score_batch(
    candidates: Iterable[Candidate | tuple[Candidate, str | Sequence[str] | None]],
    suite: str | os.PathLike[str] = "routing-mixed",
    *,
    split: str = "train",
    stage: str = "auto",
    seeds: int | str | None = None,
    scenarios: Sequence[str] | None = None,
    jobs: int | None = None,
    incumbent: float | None = None,
    params: Mapping[str, float] | None = None,
    traces: str | os.PathLike[str] | None = None,
    time_limit: int = 20,
    allow_native: bool = False,
    cache: bool = True,
    holdout_salt_file: str | os.PathLike[str] | None = None,
    train_salt: str | None = None,
) -> list[Report]:
    """Scores many candidates at once, in the same processes; the reports come in the order of the candidates.

    Args:
        candidates: Candidates, or pairs of a candidate and a scenario (or several) of its own.
        suite: As for :func:`score`, and so are all others.
    """
    requests = []
    for one in candidates:
        candidate, own = one if isinstance(one, tuple) else (one, scenarios)
        requests.append((loaded_candidate(candidate, params), _listed(own)))
    salts = (holdout_salt_file, train_salt)
    options = _options(suite, split, stage, seeds, jobs, incumbent, traces, time_limit, allow_native, cache, salts)
    return _reports(requests, options) if requests else []


class Comparison(dict[str, Any]):
    """What ``windtunnel compare --json`` prints, as a dict.

    Attributes:
        differences: A row per policy and scenario: 100 x mean log-ratio of costs, baseline to policy, with the ends of its 95 % interval. Above 0
            the policy is better. The scenario is absent of all together.
    """

    _page: str

    @property
    def differences(self) -> Table:
        rows = []
        for one in self["candidates"]:
            total = [{"id": None, **one["total"]}] if one["total"] else []
            for difference in total + one.get("scenarios", []):
                low, high = difference["ci95"] or (None, None)
                rows.append(
                    {
                        "candidate": one["candidate"],
                        "scenario": difference["id"],
                        "difference": difference["difference"],
                        "low": low,
                        "high": high,
                        "significant": difference["significant"],
                    }
                )
        figures = dict.fromkeys(("difference", "low", "high"), "number")
        return Table.of_rows(rows, {"candidate": "text", "scenario": "text", **figures, "significant": "whole"})

    def html(self, path: str | os.PathLike[str] | None = None) -> Page:
        """The page that ``--html`` writes: differences with intervals, and the sources of scripts. With a path it is written there, too."""
        return page(self._page, path)

    def _repr_html_(self) -> str:
        return f"<p>Baseline: {self['baseline']}</p>{self.differences._repr_html_()}"


def compare(
    baseline: Candidate,
    *candidates: Candidate,
    suite: str | os.PathLike[str] = "routing-mixed",
    split: str = "train",
    seeds: int | str | None = None,
    jobs: int | None = None,
    traces: str | os.PathLike[str] | None = None,
    time_limit: int = 20,
    allow_native: bool = False,
    holdout_salt_file: str | os.PathLike[str] | None = None,
    train_salt: str | None = None,
) -> Comparison:
    """Compares policies with a baseline on the same scenarios and seeds, as ``windtunnel compare`` does.

    Args:
        baseline: Policy, as for :func:`score`.
        *candidates: The policies to compare with it.
        suite: As for :func:`score`, and so are all others.

    Raises:
        InputError: The suite or an argument is wrong, or there is no such policy.
    """
    if not candidates:
        raise _native.InputError("compare needs a baseline and at least one policy to compare with it")
    loaded = [loaded_candidate(one) for one in (baseline, *candidates)]
    salts = (holdout_salt_file, train_salt)
    options = _options(suite, split, "auto", seeds, jobs, None, traces, time_limit, allow_native, True, salts)
    report, page_text = _native.compare(loaded, options, f"windtunnel.compare(..., suite={os.fspath(suite)!r})")
    comparison = Comparison(json.loads(report))
    comparison._page = page_text
    return comparison


def loaded_candidate(candidate: Candidate, params: Mapping[str, float] | None = None) -> _native.LoadedCandidate:
    """A candidate with the texts of its scripts read. It can be pickled, and scored where its files are not."""
    values = {name: float(value) for name, value in (params or {}).items()}
    if isinstance(candidate, _native.LoadedCandidate):
        if values:
            raise _native.InputError("a candidate that was opened has its params already")
        return candidate
    if isinstance(candidate, Mapping):
        return _native.open_hooks(dict(candidate), values)
    if isinstance(candidate, Lua):
        return _native.open_text(candidate.name, candidate.text, values)
    if isinstance(candidate, str) and "\n" in candidate:
        return _native.open_text("policy", candidate, values)
    return _native.open_named(os.fspath(candidate), values)


def suites() -> list[dict[str, Any]]:
    """All suites: name, version, description, hooks, and how many scenarios each split has."""
    return list(json.loads(_native.suites()))


def suite(name: str | os.PathLike[str], traces: str | os.PathLike[str] | None = None) -> dict[str, Any]:
    """A suite, by name or .yaml file: its hooks, objectives and references, and the scenarios of each split."""
    return dict(json.loads(_native.suite(_absolute(name), traces)))


def hook_api(hooks: str | Sequence[str]) -> str:
    """What a file for a hook (or several) may define, read, call and return: Markdown, for prompts."""
    return _native.hook_api([hooks] if isinstance(hooks, str) else list(hooks))


def _options(
    suite: str | os.PathLike[str],
    split: str,
    stage: str,
    seeds: int | str | None,
    jobs: int | None,
    incumbent: float | None,
    traces: str | os.PathLike[str] | None,
    time_limit: int,
    allow_native: bool,
    cache: bool,
    salts: tuple[str | os.PathLike[str] | None, str | None],
) -> _native.ScoringOptions:
    holdout_salt_file, train_salt = salts
    return _native.ScoringOptions(
        suite=_absolute(suite),
        traces=None if traces is None else Path(traces).absolute(),
        split=split,
        stage=stage,
        seeds=None if seeds is None else str(seeds),
        incumbent=incumbent,
        jobs=jobs,
        allow_native=allow_native,
        reuse_reports=cache,
        time_limit=time_limit,
        holdout_salt_file=None if holdout_salt_file is None else Path(holdout_salt_file).absolute(),
        train_salt=train_salt,
    )


def _reports(
    requests: list[tuple[_native.LoadedCandidate, list[str] | None]], options: _native.ScoringOptions
) -> list[Report]:
    return [Report(json.loads(text)) for text in _native.score(requests, options)]


def _listed(scenarios: str | Sequence[str] | None) -> list[str] | None:
    if scenarios is None:
        return None
    return [scenarios] if isinstance(scenarios, str) else list(scenarios)


def _absolute(suite: str | os.PathLike[str]) -> str:
    """The absolute path of a file: idle workers may have been started in another folder."""
    name = os.fspath(suite)
    return os.path.abspath(name) if name.endswith((".yaml", ".yml")) else name


def _set_worker_command() -> None:
    """How processes for candidates are started: this interpreter, with one file and no packages."""
    if not sys.executable:
        return
    script = Path(__file__).with_name("_worker.py")
    # Where the interpreter finds its own library, if it needs telling.
    env = [(name, os.environ[name]) for name in ("LD_LIBRARY_PATH",) if name in os.environ]
    _native.worker(sys.executable, ["-I", "-S", str(script)], env)


_set_worker_command()
