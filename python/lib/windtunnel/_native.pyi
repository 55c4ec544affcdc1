"""The compiled part. Use the package, not this."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

VERSION: str

class InputError(ValueError):
    """Wrong input: the message says what was found, what is expected, and the nearest valid name."""

class HeldText:
    """A text with a name, under which it can be read as long as this object is there."""

    def __init__(self, stem: str, ending: str, text: bytes) -> None: ...
    @property
    def name(self) -> Path: ...

class Columns:
    """A table that stays in the engine until somebody wants its values."""

    def __len__(self) -> int: ...
    def schema(self) -> list[tuple[str, str]]:
        """Names of the columns, and what they hold: ``text``, ``whole`` or ``number``."""

    def columns(self) -> dict[str, list[Any]]:
        """Column name -> values; absent ones are None."""

class Finished:
    """A run that is over."""

    @property
    def report(self) -> str: ...
    @property
    def notes(self) -> list[str]: ...
    def __len__(self) -> int: ...
    def requests(self) -> Columns: ...
    def page(self) -> str: ...

class FinishedSweep:
    """A sweep that is over."""

    @property
    def notes(self) -> list[str]: ...
    def __len__(self) -> int: ...
    def tables(self) -> tuple[Columns, Columns]: ...
    def rows(self) -> list[list[str]]: ...
    def page(self) -> str: ...

class FinishedPlan:
    """A plan that is over."""

    @property
    def report(self) -> str: ...
    @property
    def text(self) -> str: ...
    @property
    def page(self) -> str: ...
    @property
    def manifest(self) -> str | None: ...
    @property
    def unit(self) -> str: ...
    @property
    def dimensions(self) -> list[str]: ...
    @property
    def figures(self) -> list[str]: ...
    @property
    def notes(self) -> list[str]: ...

def main(arguments: Sequence[str]) -> int:
    """Runs a command line, the program's name first, and returns its exit code."""

def simulate(
    given: Mapping[str, Any], functions: Sequence[tuple[str, str, Callable[..., Any]]], call: str
) -> Finished:
    """Simulates as the command would. Functions are policies: hook, name, and what is called."""

def sweep(
    given: Mapping[str, Any], call: str, only: tuple[int, int] | None, made: Sequence[Sequence[str]]
) -> FinishedSweep:
    """Carries out a sweep, or only the runs of these positions. ``made`` are rows of others."""

def runs_of_sweep(given: Mapping[str, Any]) -> int:
    """How many runs a sweep has; it is checked, and nothing is run."""

def plan(given: Mapping[str, Any], call: str, elsewhere: Callable[[int, int, int], str] | None) -> FinishedPlan:
    """Carries out a plan. ``elsewhere`` carries out its runs, as ``trial`` does."""

def trial(given: Mapping[str, Any], choice: int, number: int, seed: int) -> str:
    """One run of a plan, in JSON."""

def write_table(path: str, table: Sequence[tuple[str, str, list[Any]]]) -> None:
    """Writes a table in the format that the file's ending names."""

def models() -> str: ...
def hardware() -> str: ...
def workloads() -> str: ...
def policies(hook: str | None) -> str: ...
def worker(program: str, args: Sequence[str], env: Sequence[tuple[str, str]]) -> None:
    """How processes for candidates are started, in this process from now on."""

class LoadedCandidate:
    """A candidate with the texts of its scripts. It can be pickled, and scored where its files are not."""

    @staticmethod
    def from_json(text: str) -> LoadedCandidate: ...

class ScoringOptions:
    """Options of all candidates of a call."""

    def __init__(
        self,
        *,
        suite: str,
        traces: Path | None,
        split: str,
        stage: str,
        seeds: str | None,
        incumbent: float | None,
        jobs: int | None,
        allow_native: bool,
        reuse_reports: bool,
        time_limit: int,
        holdout_salt_file: Path | None,
        train_salt: str | None,
    ) -> None: ...

def open_named(name: str, params: Mapping[str, float]) -> LoadedCandidate: ...
def open_text(name: str, text: str, params: Mapping[str, float]) -> LoadedCandidate: ...
def open_hooks(texts: Mapping[str, str], params: Mapping[str, float]) -> LoadedCandidate: ...
def score(candidates: Sequence[tuple[LoadedCandidate, list[str] | None]], options: ScoringOptions) -> list[str]:
    """Scores candidates, each on the scenarios that stand with it or on all of the split. Reports come as JSON, in order."""

def compare(candidates: Sequence[LoadedCandidate], options: ScoringOptions, call: str) -> tuple[str, str]:
    """Compares candidates with the first of them. Gives the report in JSON, and its page."""

def suites() -> str: ...
def suite(name: str, traces: str | os.PathLike[str] | None) -> str: ...
def hook_api(hooks: Sequence[str]) -> str: ...
