"""The compiled part. Use the package, not this."""

from collections.abc import Mapping, Sequence
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
