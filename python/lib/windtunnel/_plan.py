"""What ``plan`` returns."""

from __future__ import annotations

import json
import os
from typing import Any

from windtunnel import _native
from windtunnel._call import Call
from windtunnel._page import Page, page
from windtunnel._table import Table, Tabular


class Plan(dict[str, Any], Tabular):
    """What ``windtunnel plan --json`` prints, as a dict, and its parts.

    Attributes:
        text: What the command prints for people.
        unit: What the number of an answer is: ``instances``, ``requests_per_s`` or ``rate_scale``.
        manifest: Kubernetes objects that run the best answer; ``None`` if there is none, or a load was looked for.
        notes: What the command would say on stderr.
    """

    text: str
    unit: str
    manifest: str | None
    notes: list[str]
    _page: str
    _names: tuple[list[str], list[str]]

    @property
    def best(self) -> dict[str, Any] | None:
        """The first answer; ``None`` if nothing meets the targets."""
        answers = self["answers"]
        return dict(answers[0]) if answers else None

    @property
    def answers(self) -> Table:
        """A row per configuration that meets the targets, the cheapest first. ``to_pandas`` and the like take this one."""
        rows = []
        for answer in self["answers"]:
            row = {name: value for name, value in answer.items() if name != "by_seed"}
            row["least_by_seed"], row["most_by_seed"] = min(answer["by_seed"]), max(answer["by_seed"])
            rows.append(row)
        return Table.of_rows(rows, self._schema())

    @property
    def losers(self) -> Table:
        """A row per configuration that is no answer, and why."""
        return Table.of_rows(self["others"], {"choice": "text", "reason": "text"})

    @property
    def commands(self) -> list[str]:
        """The run of each answer, as it is typed."""
        return [str(answer["command"]) for answer in self["answers"]]

    def _schema(self) -> dict[str, str]:
        dimensions, targets = self._names
        choice = {f"choice.{name}": "text" for name in dimensions}
        number = "whole" if self.unit == "instances" else "number"
        figures = {f"figures.{name}": "number" for name in targets}
        return {
            **choice,
            self.unit: number,
            "least_by_seed": number,
            "most_by_seed": number,
            "gpus": "whole",
            "prefill_instances": "whole",
            "usd_per_hour": "number",
            "usd_per_million_good_tokens": "number",
            "good_tokens_per_s": "number",
            "good_tokens_per_s_per_gpu": "number",
            "busy_joules_per_token": "number",
            **figures,
            "limited_by": "text",
            "command": "text",
        }

    def _table(self) -> Table:
        return self.answers

    def html(self, path: str | os.PathLike[str] | None = None) -> Page:
        """The page that ``--html`` writes: what is enough, at what cost, and why not the others. With a path it is written there, too."""
        return page(self._page, path)

    def __reduce__(self) -> tuple[Any, ...]:
        return (_made, (dict(self), self.text, self._page, self.manifest, self.unit, self._names, self.notes))

    def __repr__(self) -> str:
        best = self.best
        if best is None:
            return f"<Plan: nothing meets {', '.join(self['targets'])}>"
        choice = ", ".join(f"{name}={value}" for name, value in best["choice"].items())
        return f"<Plan: {best[self.unit]} {self.unit}{' of ' if choice else ''}{choice}>"

    def _repr_html_(self) -> str:
        shown = self.answers
        columns, schema = shown.columns(), shown.schema
        wanted = [name for name in schema if name not in ("command", "least_by_seed", "most_by_seed")]
        wanted = [name for name in wanted if any(value is not None for value in columns[name])]
        table = Table({name: columns[name] for name in wanted}, {name: schema[name] for name in wanted})
        return (
            f"<p>Targets: {', '.join(self['targets']).replace('<', '&lt;')}</p>{table._repr_html_()}"
            "<p><code>.html()</code> shows plots, <code>.losers</code> has the others.</p>"
        )


def planned(arguments: dict[str, Any]) -> Plan:
    """The answer of a call of ``plan``."""
    call = Call("plan", arguments)
    return of_finished(_native.plan(call.given, call.text, None), call.notes)


def of_finished(finished: _native.FinishedPlan, notes: list[str]) -> Plan:
    """The plan of what the engine found."""
    report = json.loads(finished.report)
    names = (finished.dimensions, finished.figures)
    return _made(report, finished.text, finished.page, finished.manifest, finished.unit, names, notes + finished.notes)


def _made(
    report: dict[str, Any],
    text: str,
    page_text: str,
    manifest: str | None,
    unit: str,
    names: tuple[list[str], list[str]],
    notes: list[str],
) -> Plan:
    plan = Plan(report)
    plan.text, plan._page, plan.manifest = text, page_text, manifest
    plan.unit, plan._names, plan.notes = unit, names, notes
    return plan
