"""GEPA: an adapter for ``gepa.optimize``, and evaluators for ``optimize_anything``. The scenarios of a suite are the examples."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import windtunnel
from windtunnel import Report
from windtunnel.evolve._common import FAILED, error_text, feedback, not_scored

if TYPE_CHECKING:
    from gepa import EvaluationBatch

Example = Mapping[str, str]
"""A scenario: its ``split`` and its ``scenario``."""

Candidate = str | Mapping[str, str]
"""A policy's text, or texts by component; a component called after a hook fills that hook."""

_HOOKS = ("admission", "routing", "priority", "scheduler", "preemption", "disaggregation", "batching", "dispatch")


def scenarios(suite: str, split: str = "train") -> list[dict[str, str]]:
    """The scenarios of a split as examples for GEPA."""
    told = windtunnel.suite(suite)["scenarios"]
    if split not in told:
        raise windtunnel.InputError(f'unknown split "{split}"; valid: {", ".join(told)}')
    return [{"split": split, "scenario": scenario["id"], "family": scenario["family"]} for scenario in told[split]]


def minibatch_size(examples: Sequence[Any]) -> int:
    """A size of minibatches that divides the examples; GEPA fills up the last one with scenarios that the prompt then shows twice."""
    n = len(examples)
    return next(size for size in (3, 4, 2, 5, 1) if n % size == 0)


class _Pairs:
    """Scores pairs of candidate and example, many at a time."""

    def __init__(self, suite: str, jobs: int | None, options: Mapping[str, Any]) -> None:
        self.suite, self.jobs, self.options = suite, jobs, dict(options)
        self.objectives: list[str] = [objective["name"] for objective in windtunnel.suite(suite)["objectives"]]

    def score(self, pairs: Sequence[tuple[Candidate, Example | None]]) -> list[Report]:
        """Reports in the order of the pairs. An example of ``None`` means the whole split train."""
        reports: dict[int, Report] = {}
        by_split: dict[str, list[int]] = {}
        for k, (_, example) in enumerate(pairs):
            by_split.setdefault(example["split"] if example else "train", []).append(k)
        for split, members in by_split.items():
            requests = []
            for k in members:
                candidate, example = pairs[k]
                requests.append((_policy(candidate), example["scenario"] if example else None))
            try:
                made = windtunnel.score_batch(requests, self.suite, split=split, jobs=self.jobs, **self.options)
            except Exception as error:  # noqa: BLE001
                made = [not_scored(error)] * len(members)
            reports.update(zip(members, made, strict=True))
        return [reports[k] for k in range(len(pairs))]

    def objective_scores(self, report: Report) -> dict[str, float]:
        if report["ok"] and not report["stopped"]:
            return dict(report["objectives"])
        return dict.fromkeys(self.objectives, FAILED)


def _policy(candidate: Candidate) -> str | dict[str, str]:
    """What ``windtunnel.score`` takes."""
    if isinstance(candidate, str):
        return candidate if "\n" in candidate else candidate + "\n"
    if set(candidate) <= set(_HOOKS):
        return dict(candidate)
    if len(candidate) == 1:
        return _policy(next(iter(candidate.values())))
    unknown = ", ".join(sorted(set(candidate) - set(_HOOKS)))
    raise windtunnel.InputError(f"components {unknown} are no hooks; valid: {', '.join(_HOOKS)}")


class GepaAdapter:
    """The adapter of ``gepa.optimize``.

    The examples are :func:`scenarios`, an example's score is the report's on that scenario. Pass ``skip_perfect_score=False``: GEPA's
    ``perfect_score`` of 1.0 is no limit of these scores, and it would not reflect on any candidate better than that.

    Args:
        suite: Suite, by name or file.
        jobs: Processes at once [default: the number of cores].
        **options: As for :func:`windtunnel.score_batch`.
    """

    propose_new_texts = None

    def __init__(self, suite: str = "routing-mixed", *, jobs: int | None = None, **options: Any) -> None:
        self._pairs = _Pairs(suite, jobs, options)

    def evaluate(
        self, batch: list[Example], candidate: dict[str, str], capture_traces: bool = False
    ) -> EvaluationBatch[Any, Any]:
        """Scores a candidate on some scenarios."""
        return self.batch_evaluate([(candidate, batch)], capture_traces)[0]

    def batch_evaluate(
        self, items: list[tuple[dict[str, str], list[Example]]], capture_traces: bool = True
    ) -> list[EvaluationBatch[Any, Any]]:
        """Scores candidates on scenarios, all in one batch."""
        from gepa import EvaluationBatch

        pairs = [(candidate, example) for candidate, batch in items for example in batch]
        reports = iter(self._pairs.score(pairs))
        batches = []
        for _, batch in items:
            own = [next(reports) for _ in batch]
            trajectories = [
                {"example": dict(example), "report": report} for example, report in zip(batch, own, strict=True)
            ]
            batches.append(
                EvaluationBatch(
                    outputs=own,
                    scores=[report["score"] for report in own],
                    trajectories=trajectories if capture_traces else None,
                    objective_scores=[self._pairs.objective_scores(report) for report in own],
                )
            )
        return batches

    def make_reflective_dataset(
        self, candidate: dict[str, str], eval_batch: EvaluationBatch[Any, Any], components_to_update: list[str]
    ) -> dict[str, list[dict[str, Any]]]:
        """What the model is told of each scenario."""
        records = [
            {
                "Inputs": {
                    key: trajectory["example"][key] for key in ("scenario", "family") if key in trajectory["example"]
                },
                "Generated Outputs": _figures(trajectory["report"]),
                "Feedback": feedback(trajectory["report"]),
            }
            for trajectory in eval_batch.trajectories or []
        ]
        return {component: records for component in components_to_update}


def _figures(report: Report) -> dict[str, Any]:
    """A few lines: GEPA renders them as headings and paragraphs."""
    figures: dict[str, Any] = {"score (0 = the best tuned reference, higher is better)": round(report["score"], 2)}
    if not report["ok"]:
        figures["error"] = error_text(report)
    for scenario in report["scenarios"]:
        for name, value in scenario.get("objectives", {}).items():
            figures[f"{name}, points better than the reference"] = round(value, 2)
    return figures


def oa_batch_evaluator(
    suite: str = "routing-mixed", *, jobs: int | None = None, **options: Any
) -> Callable[[list[tuple[Candidate, Example | None]]], list[tuple[float, dict[str, Any]]]]:
    """The ``batch_evaluator`` of ``optimize_anything``: all pending pairs of candidate and scenario are scored at once.

    Args:
        suite: Suite, by name or file.
        jobs: Processes at once [default: the number of cores].
        **options: As for :func:`windtunnel.score_batch`.
    """
    all_pairs = _Pairs(suite, jobs, options)

    def evaluate(pairs: list[tuple[Candidate, Example | None]]) -> list[tuple[float, dict[str, Any]]]:
        told = []
        for (_, example), report in zip(pairs, all_pairs.score(pairs), strict=True):
            info: dict[str, Any] = {}
            if example:
                info["Scenario"] = f"{example['scenario']} ({example.get('family', '')})"
            if not report["ok"]:
                info["Error"] = error_text(report)
            info["Feedback"] = feedback(report)
            objectives = all_pairs.objective_scores(report)
            if objectives:
                info["scores"] = objectives
            told.append((report["score"], info))
        return told

    return evaluate


def oa_evaluator(
    suite: str = "routing-mixed", *, jobs: int | None = 1, **options: Any
) -> Callable[..., tuple[float, dict[str, Any]]]:
    """The ``evaluator`` of ``optimize_anything``, for one candidate and one scenario, or the whole split train without a scenario.

    ``optimize_anything`` calls it from several threads (``max_workers``), so one process per call is enough. See
    :func:`oa_batch_evaluator`, which does the same with less ado.
    """
    batch = oa_batch_evaluator(suite, jobs=jobs, **options)

    def evaluate(candidate: Candidate, example: Example | None = None) -> tuple[float, dict[str, Any]]:
        return batch([(candidate, example)])[0]

    return evaluate
