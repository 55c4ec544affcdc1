"""The compiled part. Use the package, not this."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

VERSION: str

class InputError(ValueError):
    """Wrong input: the message says what was found, what is expected, and the nearest valid name."""

class Rows:
    """The rows of a run, one per request."""

    def __len__(self) -> int: ...
    def columns(self) -> dict[str, list[Any]]:
        """Column name -> values; absent ones are None."""

def main(arguments: Sequence[str]) -> int:
    """Runs a command line, the program's name first, and returns its exit code."""

def simulate(command: str, flags: Mapping[str, Any]) -> tuple[str, list[str], Rows]:
    """Simulates as the command would. Returns its report in JSON, its notes, and the requests' rows."""

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
def open_text(text: str, params: Mapping[str, float]) -> LoadedCandidate: ...
def open_hooks(texts: Mapping[str, str], params: Mapping[str, float]) -> LoadedCandidate: ...
def score(candidates: Sequence[tuple[LoadedCandidate, list[str] | None]], options: ScoringOptions) -> list[str]:
    """Scores candidates, each on the scenarios that stand with it or on all of the split. Reports come as JSON, in order."""

def suites() -> str: ...
def suite(name: str, traces: str | os.PathLike[str] | None) -> str: ...
def hook_api(hooks: Sequence[str]) -> str: ...
