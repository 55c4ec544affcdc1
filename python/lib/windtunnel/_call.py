"""From the arguments of a function to what the engine takes."""

from __future__ import annotations

import difflib
import functools
import inspect
import os
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, ParamSpec, TypeVar

from windtunnel import _native
from windtunnel._frame import is_frame, trace
from windtunnel._types import Lua

P = ParamSpec("P")
R = TypeVar("R")

ALIASES = {
    "num_requests": "max_prompts",
    "max_num_seqs": "max_num_running_reqs",
    "max_num_batched_tokens": "max_num_scheduled_tokens",
    "block_size": "block_size_in_tokens",
}
"""vLLM's names of settings, and short ones."""

FUNCTIONS = {"admission_policy": "admission", "routing_policy": "routing"}
"""Settings that may be functions, and the hooks that these fill."""


def names_are_checked(function: Callable[P, R]) -> Callable[P, R]:
    """The function, whose ``TypeError`` for a keyword that it does not have names the nearest one."""
    known = inspect.signature(function).parameters

    @functools.wraps(function)
    def checked(*args: P.args, **kwargs: P.kwargs) -> R:
        check_names(function.__name__, known, kwargs)
        return function(*args, **kwargs)

    return checked


def check_names(function: str, known: Collection[str], given: Iterable[str]) -> None:
    """Refuses keywords that a function does not have."""
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise TypeError(f"{function}() got an unexpected keyword argument {name!r}{hint}")


class Call:
    """A call of a command.

    Attributes:
        given: Settings by name.
        functions: Policies that are functions: hook, name, function.
        text: The call as it could be written.
        notes: What its caller should know.
    """

    def __init__(self, command: str, arguments: Mapping[str, Any]) -> None:
        self.given = {name: value for name, value in arguments.items() if value is not None}
        self.functions: list[tuple[str, str, Callable[..., Any]]] = []
        self.notes: list[str] = []
        self._held: list[_native.HeldText] = []
        parts = (f"{name}={_shown(value)}" for name, value in self.given.items())
        self.text = f"windtunnel.{command}({', '.join(parts)})"
        for alias, name in ALIASES.items():
            if alias in self.given and name in self.given:
                raise _native.InputError(f"{alias} and {name} are the same setting; give one of them")
        self._requests_of_a_table(command)
        for name, value in list(self.given.items()):
            if name == "grid":
                self.given[name] = self._grid(value)
            elif callable(value) and not isinstance(value, (str, os.PathLike, Lua)):
                self._function(command, name, value)
            else:
                self.given[name] = self._by_name(value)

    def _requests_of_a_table(self, command: str) -> None:
        setting = "trace" if command == "replay" else "workload"
        frame = self.given.get(setting)
        if not is_frame(frame):
            return
        held, notes = trace(setting, frame)
        self._held.append(held)
        self.notes += notes
        if setting == "trace":
            self.given["trace"] = str(held.name)
        else:
            self.given["workload"] = "traces"
            self.given["workload_traces_filepath"] = str(held.name)

    def _function(self, command: str, name: str, function: Callable[..., Any]) -> None:
        hook = FUNCTIONS.get(name)
        if hook is None:
            raise _native.InputError(f"{name} cannot be a function; {' and '.join(FUNCTIONS)} can, others are Lua")
        if command not in ("run", "replay"):
            raise _native.InputError(
                f"{name}: a function is a policy of single runs; {command} takes names, files and windtunnel.Lua"
            )
        del self.given[name]
        self.functions.append((hook, getattr(function, "__name__", type(function).__name__), function))

    def _by_name(self, value: Any) -> Any:
        """The value, with the name of a text in place of the text."""
        if not isinstance(value, Lua):
            return value
        held = _native.HeldText(value.name, "lua", value.text.encode())
        self._held.append(held)
        return str(held.name)

    def _grid(self, grid: Any) -> list[str]:
        if not isinstance(grid, Mapping):
            raise _native.InputError(f"grid is {type(grid).__name__}; expected a dict of lists of values")
        return [self._axis(name, values) for name, values in grid.items()]

    def _axis(self, name: str, values: Any) -> str:
        flag = name if name.startswith("bundle:") else name.replace("_", "-")
        if isinstance(values, str):
            return f"{flag}={values}"
        texts = []
        for value in values:
            if callable(value) and not isinstance(value, (str, os.PathLike, Lua)):
                raise _native.InputError(f"grid {name}: a function is a policy of single runs; use windtunnel.Lua")
            text = _typed(self._by_name(value))
            if ";" in text:
                raise _native.InputError(f"grid {name}: a value must not contain a semicolon, found {text!r}")
            texts.append(text)
        listed = ";" if any("," in text for text in texts) or flag == "flags" else ","
        end = ";" if len(texts) == 1 and listed == ";" else ""
        return f"{flag}={listed.join(texts)}{end}"


def _typed(value: Any) -> str:
    """A value as it is typed behind a flag."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, (list, tuple)):
        return ",".join(_typed(one) for one in value)
    return str(value)


def _shown(value: Any) -> str:
    """A value in the text of a call."""
    if isinstance(value, Mapping) and not is_frame(value):
        return "{" + ", ".join(f"{key!r}: {_shown(one)}" for key, one in value.items()) + "}"
    if isinstance(value, (list, tuple)) and not is_frame(value):
        return "[" + ", ".join(_shown(one) for one in value) + "]"
    if isinstance(value, (str, int, float)):
        return repr(value)
    if isinstance(value, os.PathLike):
        return repr(os.fspath(value))
    if isinstance(value, Lua):
        return repr(value)
    if callable(value):
        return getattr(value, "__name__", type(value).__name__)
    return f"<{type(value).__name__}>"
