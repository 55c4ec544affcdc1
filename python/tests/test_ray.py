"""Scores do not depend on where they are made."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import windtunnel
from model import broken, changed

ray = pytest.importorskip("ray", reason="ray is not installed")

import windtunnel.ray  # noqa: E402


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    ray.init(num_cpus=2, include_dashboard=False, object_store_memory=80 << 20, log_to_driver=False)
    yield
    ray.shutdown()


def without_time(report: windtunnel.Report) -> dict[str, object]:
    return {key: value for key, value in report.items() if key != "wall_ms"}


def test_a_cluster_scores_as_this_process_does(cluster: None, suite: str, seed: str, tmp_path: Path) -> None:
    file = tmp_path / "p.lua"
    file.write_text(changed(seed, 3))
    candidates: list[object] = [changed(seed, n) for n in range(9)]
    candidates += [broken(seed, "loop in a call"), file, (seed, "plain"), {"routing": seed}]
    local = windtunnel.score_batch(candidates, suite, jobs=2, cache=False)
    for per_task in (1, 5, None):
        remote = windtunnel.ray.score_batch(candidates, suite, per_task=per_task, cache=False)
        assert all(isinstance(report, windtunnel.Report) for report in remote)
        assert [without_time(report) for report in remote] == [without_time(report) for report in local]
    assert len({report.score for report in local}) > 5


def test_mistakes_are_found_here(cluster: None, suite: str, seed: str) -> None:
    with pytest.raises(TypeError, match="jobs has no effect"):
        windtunnel.ray.score_batch([seed], suite, jobs=2)
    with pytest.raises(ValueError, match="per_task must be at least 1"):
        windtunnel.ray.score_batch([seed], suite, per_task=0)
    with pytest.raises(windtunnel.InputError, match="cannot read"):
        windtunnel.ray.score_batch(["no-such.lua"], suite)
    assert windtunnel.ray.score_batch([], suite) == []


def test_the_example(suite: str, seed: str, tmp_path: Path) -> None:
    for n in range(3):
        (tmp_path / f"{n}.lua").write_text(changed(seed, n))
    example = Path(__file__).parents[1] / "examples" / "ray_score.py"
    command = [sys.executable, str(example), str(tmp_path), "--suite", suite, "--cpus", "2"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    scores = [float(line.split()[0]) for line in done.stdout.splitlines()]
    assert len(scores) == 3 and scores == sorted(scores, reverse=True)


def test_runs_sweeps_and_plans_are_those_of_this_process(cluster: None) -> None:
    calls = [{"model": "llama-3.1-8b-instruct", "rate": rate, "num_requests": 40} for rate in (5, 10, 20)]
    calls.append({"trace": [{"arrival": 0, "prompt_tokens": 9, "output_tokens": 3}], "model": "qwen3-14b"})
    here = [windtunnel.run(**call) for call in calls[:3]] + [windtunnel.replay(**calls[3])]
    for per_task in (None, 3):
        there = windtunnel.ray.map(calls, per_task=per_task)
        assert there == here
        assert [results.requests for results in there] == [results.requests for results in here]
    assert windtunnel.ray.map([]) == []
    with pytest.raises(windtunnel.InputError, match="unknown model"):
        windtunnel.ray.map([{"model": "lama"}])

    policy = windtunnel.Lua("return { score = function(req, inst) return -inst.in_flight end }")
    grid = {"rate": [10, 20, 30], "routing_policy": ["round-robin", policy]}
    setting = {"num_instances": 2, "num_requests": 60, "seeds": 2}
    there = windtunnel.ray.sweep("llama-3.1-8b-instruct", **setting, grid=grid)
    assert there.runs == windtunnel.sweep("llama-3.1-8b-instruct", **setting, grid=grid).runs
    assert len(there) == 12

    wanted = {"hardware": "H100", "rate": 20, "num_requests": 200, "seeds": 2, "slo": "ttft.p99<300ms", "grid": {"tp": [1, 2]}}
    assert windtunnel.ray.plan("llama-3.1-8b-instruct", **wanted) == windtunnel.plan("llama-3.1-8b-instruct", **wanted)
    with pytest.raises(TypeError, match="jobs has no effect"):
        windtunnel.ray.sweep("llama-3.1-8b-instruct", grid=grid, jobs=2)
    with pytest.raises(windtunnel.InputError, match="unknown flag"):
        windtunnel.ray.sweep("llama-3.1-8b-instruct", grid={"raet": [1]})
