"""``score`` and ``score_batch``: candidates of all forms, broken and hostile ones, processes, forks, threads, Ctrl-C."""

from __future__ import annotations

import json
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
import windtunnel
from model import AT_LOAD, IN_CALL, broken

Run = Callable[..., str]


def without_time(report: windtunnel.Report) -> dict[str, object]:
    return {key: value for key, value in report.items() if key not in ("wall_ms", "candidate")}


def test_candidates_of_all_forms(seed: str, suite: str, tmp_path: Path) -> None:
    file = tmp_path / "routing.lua"
    file.write_text(seed)
    bundle = tmp_path / "bundle.yaml"
    bundle.write_text("routing: {policy: routing.lua}\n")
    forms = [seed, file, str(file), {"routing": seed}, tmp_path, bundle]
    reports = [windtunnel.score(form, suite, cache=False) for form in forms]
    assert len({report.score for report in reports}) == 1
    assert all(report.ok and -99 < report.score < 100 for report in reports)
    assert windtunnel.score("least-loaded", suite).ok
    table = reports[0].scenarios
    assert table["id"] == ["shared", "shared-busy", "plain"]
    assert all(x > 0 for x in table["metrics.ttft_ms.p99"])
    assert pickle.loads(pickle.dumps(reports[0])) == reports[0]


def test_a_report_is_what_the_command_prints(seed: str, suite: str, tmp_path: Path) -> None:
    file = tmp_path / "p.lua"
    file.write_text(seed)
    # The command inside Python, whose workers are interpreters, too.
    command = [sys.executable, "-m", "windtunnel", "score", str(file), "--suite", suite, "--json", "--no-cache"]
    printed = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert printed.returncode == 0, printed.stderr
    report = windtunnel.score(file, suite, cache=False)
    assert without_time(report) == without_time(windtunnel.Report(json.loads(printed.stdout)))


def test_a_batch_gives_the_same_in_order(seed: str, suite: str) -> None:
    other = seed.replace("--@param queue = 0.2", "--@param queue = 0")
    assert other != seed
    requests: list[object] = [
        seed,
        (other, "shared"),
        ("least-loaded", None),
        (seed, ["shared", "plain"]),
        {"routing": other},
    ]
    singles = [
        windtunnel.score(ask[0], suite, scenarios=[ask[1]] if isinstance(ask[1], str) else ask[1], cache=False)
        if isinstance(ask, tuple)
        else windtunnel.score(ask, suite, cache=False)
        for ask in requests
    ]
    for jobs in (1, 2):
        reports = windtunnel.score_batch(requests, suite, jobs=jobs, cache=False)
        assert [without_time(report) for report in reports] == [without_time(report) for report in singles]
    assert [len(report["scenarios"]) for report in singles] == [3, 1, 3, 2, 3]
    assert windtunnel.score_batch([], suite) == []


def test_params_and_splits(seed: str, suite: str) -> None:
    plain, changed = (windtunnel.score(seed, suite, params=params) for params in ({}, {"routing.active": 8}))
    assert plain.score != changed.score
    val = windtunnel.score(seed, suite, split="val")
    assert val.ok and [set(scenario) for scenario in val["scenarios"]] == [{"id", "score"}] * 2
    assert not val["objectives"] and not val.feedback
    holdout = windtunnel.score(seed, suite, split="holdout")
    assert holdout.ok and holdout["scenarios"] == []


# What each way of breaking a policy is told to be.
TOLD = {
    "syntax": "syntax",
    "loop": "lint",
    "loop at load": "limit",
    "loop in a call": "limit",
    "memory": "limit",
    "nan": "runtime",
}


@pytest.mark.parametrize("kind", [*AT_LOAD, *IN_CALL])
def test_a_broken_candidate_is_a_result_and_leaves_the_next_one_alone(seed: str, suite: str, kind: str) -> None:
    before = windtunnel.score(seed, suite, cache=False)
    report = windtunnel.score(broken(seed, kind), suite, cache=False)
    assert not report.ok and report.score == -100
    error = report["errors"][0]
    assert error["kind"] == TOLD[kind] and error["message"]
    assert without_time(windtunnel.score(seed, suite, cache=False)) == without_time(before)


@pytest.mark.parametrize(
    ("candidate", "options", "message"),
    [
        ("no-such", {}, '"no-such" is no policy'),
        ("no-such.lua", {}, "no-such.lua: cannot read"),
        ({"rooting": "return {}\n"}, {}, 'unknown hook "rooting"; did you mean "routing"?'),
        ("jsq", {"split": "trian"}, 'unknown split "trian"; did you mean "train"?'),
        ("jsq", {"stage": "ful"}, 'unknown stage "ful"; did you mean "full"?'),
        ("jsq", {"seeds": "many"}, '--seeds is "many"; expected auto, or 1 to 1000'),
        ("jsq", {"jobs": 0}, "--jobs must be at least 1, found 0"),
        ("jsq", {"time_limit": 0}, "--time-limit is 0; expected 1 to 86400 seconds"),
        ("jsq", {"scenarios": ["shard"]}, 'unknown scenario of small@1 train "shard"; did you mean "shared"?'),
        ("jsq", {"suite": "small"}, 'unknown suite "small"'),
    ],
)
def test_wrong_use_is_an_error(candidate: object, options: dict[str, object], message: str, suite: str) -> None:
    with pytest.raises(windtunnel.InputError) as error:
        windtunnel.score(candidate, **{"suite": suite} | options)  # type: ignore[arg-type]
    assert str(error.value).startswith(message)


def test_suites_and_hooks() -> None:
    assert "routing-mixed" in [suite["name"] for suite in windtunnel.suites()]
    routing = windtunnel.suite("routing-mixed")
    assert routing["hooks"] == ["routing"] and len(routing["scenarios"]["train"]) >= 8
    assert "queue_depth" in windtunnel.hook_api("routing")
    assert "`return { admission = { ... }, scheduler = { ... } }`" in windtunnel.hook_api(["admission", "scheduler"])
    with pytest.raises(windtunnel.InputError, match="unknown hook"):
        windtunnel.hook_api("router")


def test_threads_score_at_the_same_time(seed: str, suite: str) -> None:
    expected = without_time(windtunnel.score(seed, suite, cache=False))
    with ThreadPoolExecutor(4) as pool:
        reports = list(pool.map(lambda _: windtunnel.score(seed, suite, jobs=1, cache=False), range(6)))
    assert [without_time(report) for report in reports] == [expected] * 6


def _score_in_child(seed: str, suite: str, answers: multiprocessing.Queue) -> None:  # type: ignore[type-arg]
    answers.put(without_time(windtunnel.score(seed, suite, cache=False)))


@pytest.mark.skipif(sys.platform == "win32", reason="there is no fork")
def test_a_forked_process_starts_workers_of_its_own(seed: str, suite: str) -> None:
    expected = without_time(windtunnel.score(seed, suite, cache=False))
    fork = multiprocessing.get_context("fork")
    answers = fork.Queue()
    children = [fork.Process(target=_score_in_child, args=(seed, suite, answers)) for _ in range(2)]
    for child in children:
        child.start()
    assert [answers.get(timeout=120) for _ in children] == [expected] * 2
    for child in children:
        child.join(60)
        assert child.exitcode == 0
    # The parent's own workers are alive and well.
    assert without_time(windtunnel.score(seed, suite, cache=False)) == expected


@pytest.mark.usefixtures("hears_control_c")
def test_control_c_ends_a_batch(seed: str, suite: str) -> None:
    candidates = [seed + f"-- {k}\n" for k in range(20_000)]
    threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        windtunnel.score_batch(candidates, suite, cache=False)
    assert time.monotonic() - start < 30
    assert windtunnel.score(seed, suite).ok


def test_workers_end_with_their_process(seed: str, suite: str, tmp_path: Path, carry_out: Run) -> None:
    (tmp_path / "p.lua").write_text(seed)
    script = f"import windtunnel; print(windtunnel.score('p.lua', {suite!r}, cache=False).score)"
    assert float(carry_out([sys.executable, "-c", script], tmp_path, {})) < 100


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="elsewhere workers notice at their next answer")
def test_workers_end_with_a_process_that_is_killed(seed: str, suite: str) -> None:
    slow = seed.replace("(req, insts, cluster)\n", "(req, insts, cluster)\n    for i = 1, 3e5 do end\n")
    script = f"import sys, windtunnel; print('ready', flush=True); windtunnel.score(sys.stdin.read(), {suite!r}, cache=False)"
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    )
    assert process.stdin and process.stdout and process.stdout.readline() == b"ready\n"
    process.stdin.write(slow.encode())
    process.stdin.close()
    deadline = time.monotonic() + 30
    while not (workers := psutil.Process(process.pid).children()) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert workers
    process.kill()
    process.wait()
    _, alive = psutil.wait_procs(workers, timeout=10)
    assert not alive
