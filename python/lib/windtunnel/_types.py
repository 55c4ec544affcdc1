"""What settings may be."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, Union

if TYPE_CHECKING:
    from windtunnel._table import Table
    from windtunnel._views import Cluster, Instance, Request


class Lua:
    """The text of a policy in Lua, in place of a file: ``run(routing_policy=Lua("return { route = ... }"))``.

    Args:
        text: The script, as a file would have it.
        name: How reports and rows call it; a hash of the text stands behind it.
    """

    __slots__ = ("name", "text")

    def __init__(self, text: str, name: str = "policy") -> None:
        if not name.replace("-", "").replace("_", "").isalnum():
            raise ValueError(f"name is {name!r}; expected letters, digits, - and _")
        self.text = text
        self.name = name

    def __repr__(self) -> str:
        return f"Lua({self.name})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Lua) and (self.text, self.name) == (other.text, other.name)

    def __hash__(self) -> int:
        return hash((self.text, self.name))


class ArrowTable(Protocol):
    """A table that Arrow can read: a DataFrame of pandas or Polars, a table of pyarrow."""

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object: ...


StrPath = str | os.PathLike[str]

Policy = str | os.PathLike[str] | Lua
"""A policy by name, file or text."""

FrontFunction = Callable[["Request", "Cluster"], Union[int, "Instance", bool, str]]
"""A policy as a function: of routing it returns an instance or its position, of admission whether the request is admitted (or a text that says why
not)."""

FrontPolicy = Policy | FrontFunction
"""A policy of the front end: admission or routing."""

Frame = Union["ArrowTable", "Table", Sequence[Mapping[str, Any]], Mapping[str, Sequence[Any]]]
"""A table of requests."""

Grid = Mapping[str, Sequence[Any]]
"""Values by setting; a text is what ``--grid`` takes behind ``=``, such as ``10:50:10``."""
