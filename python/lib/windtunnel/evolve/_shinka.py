"""ShinkaEvolve: the evaluator program, and Lua as a language that it knows."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import windtunnel
from windtunnel.evolve._common import error_text, feedback, scored, worst


def shinka_main(
    suite: str = "routing-mixed",
    *,
    argv: Sequence[str] | None = None,
    jobs: int | None = None,
    private_split: str | None = "val",
    **options: Any,
) -> None:
    """The evaluator program: scores ``--program_path``, writes ``correct.json`` and ``metrics.json`` into ``--results_dir``.

    ``public`` holds the scores by scenario, which the model sees; ``private`` the score on ``private_split``, which it does not see;
    ``text_feedback`` the report's feedback, which it sees with ``use_text_feedback=True``. A candidate that fails or was stopped early is
    not correct.

    Args:
        suite: Suite, by name or file.
        argv: The arguments [default: those of the process].
        jobs: Processes [default: the number of cores].
        private_split: Split to score for the private metrics; ``None`` = none.
        **options: As for :func:`windtunnel.score`.
    """
    parser = argparse.ArgumentParser(description=f"Scores a policy on {suite} for ShinkaEvolve.")
    parser.add_argument("--program_path", required=True, type=Path)
    parser.add_argument("--results_dir", required=True, type=Path)
    arguments = parser.parse_args(argv)
    has_private = private_split is not None and bool(windtunnel.suite(suite)["scenarios"][private_split])

    report = scored(arguments.program_path, suite=suite, jobs=jobs, **options)
    correct = report["ok"] and not report["stopped"]
    private: dict[str, float] = {}
    if correct:
        private = {f"objective_{name}": value for name, value in report["objectives"].items()}
        if has_private:
            unseen = scored(arguments.program_path, suite=suite, jobs=jobs, split=private_split, **options)
            private[f"{private_split}_score"] = unseen["score"]
    stopped = report["stopped"]["reason"] if report["stopped"] else None
    error = None if correct else error_text(report) or stopped or "it does not work"
    metrics = {
        "combined_score": report["score"],
        "public": {"worst_scenario": worst(report)} | {s["id"]: s["score"] for s in report["scenarios"]}
        if correct
        else {},
        "private": private,
        "text_feedback": feedback(report),
    }
    arguments.results_dir.mkdir(parents=True, exist_ok=True)
    _write(arguments.results_dir / "correct.json", {"correct": correct, "error": error})
    _write(arguments.results_dir / "metrics.json", metrics)


def _write(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=1), encoding="utf-8")


_EXAMPLE = """for i, inst in ipairs(insts) do
  score[i] = -inst.queue_depth
end
=======
for i, inst in ipairs(insts) do
  score[i] = -inst.queue_depth - 0.5 * inst.in_flight
end
"""


def register_lua_in_shinka() -> None:
    """Teaches ShinkaEvolve 0.0.7 Lua, in this process: its tables of languages have no entry for it.

    Files end in .lua, code blocks are fenced as lua, and ``-- EVOLVE-BLOCK-START`` and ``-- EVOLVE-BLOCK-END`` are understood as markers. The
    prompts that show Python, or a placeholder that was left in, show Lua. Calling it again changes nothing.

    Raises:
        RuntimeError: ShinkaEvolve is there, but not as this function knows it.
    """
    import shinka.core.sampler as sampler
    import shinka.edit.apply_diff as diff
    import shinka.edit.apply_full as full
    import shinka.utils.languages as languages

    try:
        if "lua" not in languages._LANGUAGE_EXTENSIONS:
            languages._LANGUAGE_EXTENSIONS["lua"] = "lua"
            languages._LANGUAGE_ALIASES["luau"] = "lua"
            languages._LANGUAGE_FENCE_TAGS["lua"] = ("lua", "luau")
            languages._EVOLVE_COMMENT_PREFIXES["lua"] = "--"
            languages._EVOLVE_MARKER_PATTERNS["lua"] = (_line("START"), _line("END"))
            languages._EVOLVE_MARKER_EXAMPLES["lua"] = ("-- EVOLVE-BLOCK-START", "-- EVOLVE-BLOCK-END")
        for name in ("EVOLVE_START", "EVOLVE_END"):
            known = getattr(diff, name)
            if "(?:#|--|" not in known.pattern:
                # Its marker begins with one of the comment signs it knows, or with none: then the
                # sign stays behind.
                with_lua = re.compile(known.pattern.replace("(?:#|", "(?:#|--|", 1))
                if with_lua.pattern == known.pattern:
                    raise AttributeError(f"{name} = {known.pattern}")
                setattr(diff, name, with_lua)
                setattr(full, name, with_lua)
        clean = diff._clean_evolve_markers
        if not hasattr(clean, "knows_lua"):

            def with_lua_markers(text: str) -> str:
                return re.sub(r"^[ \t]*--[ \t]*EVOLVE-BLOCK-(?:START|END)[ \t]*$", "", clean(text), flags=re.MULTILINE)

            with_lua_markers.knows_lua = True  # type: ignore[attr-defined]
            diff._clean_evolve_markers = with_lua_markers
        sampler.FULL_SYS_FORMATS = [_in_lua(text) for text in sampler.FULL_SYS_FORMATS]
        sampler.CROSS_SYS_FORMAT = _in_lua(sampler.CROSS_SYS_FORMAT)
        sampler.DIFF_SYS_FORMAT = _in_lua(sampler.DIFF_SYS_FORMAT)
    except AttributeError as error:
        raise RuntimeError(
            f"this ShinkaEvolve is not laid out as version 0.0.7: {error}; install shinka-evolve==0.0.7"
        ) from error


def _line(which: str) -> re.Pattern[str]:
    return re.compile(rf"^\s*--\s*EVOLVE-BLOCK-{which}\s*$")


def _in_lua(prompt: str) -> str:
    prompt = prompt.replace("```{language}\n# ", "```lua\n-- ")
    head, sign, rest = prompt.partition("Example of a valid diff format:\n<DIFF>\n<<<<<<< SEARCH\n")
    if sign and "range(" in rest:
        prompt = head + sign + _EXAMPLE + rest[rest.index(">>>>>>> REPLACE") :]
        prompt = prompt.replace("SEARCH\n# Original", "SEARCH\n-- Original").replace(
            "=======\n# New", "=======\n-- New"
        )
    return prompt
