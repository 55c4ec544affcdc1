"""``sweep`` and ``plan``: the rows and answers of the command, as tables."""

import json
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import windtunnel

MODEL = "llama-3.1-8b-instruct"
SMALL = {"num_instances": 2, "num_requests": 60}
LUA = windtunnel.Lua("return { score = function(req, inst) return -inst.in_flight end }", "least")
SLO = "ttft.p99<500ms,tpot.p95<30ms"
PLANNED = {"hardware": "H100", "rate": 20, "num_requests": 300, "seeds": 2}


def command(*arguments: str) -> str:
    line = [sys.executable, "-m", "windtunnel", *arguments]
    done = subprocess.run(line, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_sweep_has_the_rows_of_the_command() -> None:
    sweep = windtunnel.sweep(MODEL, **SMALL, grid={"rate": [10, 20.0], "routing_policy": ["round-robin", "weighted"]}, seeds=2)
    printed = command(
        "sweep", f"--model={MODEL}", "--num-instances=2", "--num-requests=60", "--grid=rate=10,20",
        "--grid=routing-policy=round-robin,weighted", "--seeds=2", "--json",
    )
    expected = json.loads(printed)
    assert len(sweep) == len(expected) == 8 and len(sweep.cells) == 4
    for row, other in zip(sweep.runs, expected, strict=True):
        assert row["run"] == other["run"] and row["routing_policy"] == other["routing-policy"]
        assert (row["rate"], row["seed"], row["ttft_p99_ms"]) == (other["rate"], other["seed"], other["ttft_p99_ms"])
    first = sweep.runs["ttft_p99_ms"][:2]
    assert sweep.cells["ttft_p99_ms"][0] == pytest.approx(sum(first) / 2)
    assert sweep.cells["seeds"] == [2] * 4
    assert "<iframe" in sweep.html()._repr_html_() and "<table>" in sweep._repr_html_()


def test_a_sweep_of_texts_and_of_values_with_commas() -> None:
    sweep = windtunnel.sweep(MODEL, **SMALL, rate=20, grid={"routing_policy": [LUA, "least-loaded"]})
    assert [name.split("@")[0] for name in sweep.runs["routing_policy"]] == ["least", "least-loaded"]
    scorers = "queue-depth:1,load-balance:1"
    one = windtunnel.sweep(MODEL, **SMALL, routing_policy="weighted", grid={"routing_scorers": [scorers]})
    assert one.runs["routing_scorers"] == [scorers]
    with pytest.raises(windtunnel.InputError, match="a function is a policy of single runs"):
        windtunnel.sweep(MODEL, grid={"routing_policy": [lambda request, cluster: 0]})


def test_a_sweep_goes_on_where_it_stopped(tmp_path: Path) -> None:
    out = tmp_path / "rows.csv"
    half = windtunnel.sweep(MODEL, **SMALL, grid={"rate": [10]}, out=out)
    whole = windtunnel.sweep(MODEL, **SMALL, grid={"rate": [10, 20]}, out=out)
    assert any("1 of 2 runs are done already" in note for note in whole.notes)
    assert list(whole.runs)[0] == list(half.runs)[0]
    assert len(out.read_text().splitlines()) == 3


def test_mistakes_name_keywords() -> None:
    with pytest.raises(windtunnel.InputError, match='grid: unknown flag of `run` "raet"; did you mean "rate"'):
        windtunnel.sweep(MODEL, grid={"raet": [1]})
    with pytest.raises(windtunnel.InputError, match="rate is given and swept"):
        windtunnel.sweep(MODEL, rate=3, grid={"rate": [1]})
    with pytest.raises(windtunnel.InputError, match="seeds must be at least 1"):
        windtunnel.sweep(MODEL, grid={"rate": [1]}, seeds=0)
    with pytest.raises(windtunnel.InputError, match="expected a dict of lists"):
        windtunnel.sweep(MODEL, grid=["rate=1"])  # type: ignore[arg-type]
    with pytest.raises(windtunnel.InputError, match="num_instances has no effect in a plan"):
        windtunnel.plan(MODEL, slo=SLO, num_instances=3)


@pytest.mark.usefixtures("hears_control_c")
def test_control_c_ends_sweeps_and_plans(tmp_path: Path) -> None:
    long = {"num_requests": 20_000_000, "summary_only": True, "num_instances": 4}
    for call in (
        lambda: windtunnel.sweep(MODEL, **long, grid={"rate": [30, 40, 50]}, out=tmp_path / "rows.csv"),
        lambda: windtunnel.plan(MODEL, rate=50, num_requests=20_000_000, slo=SLO),
    ):
        threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
        start = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            call()
        assert time.monotonic() - start < 30
    # Nothing holds the file any more.
    assert len(windtunnel.sweep(MODEL, **SMALL, grid={"rate": [30]}, out=tmp_path / "rows.csv")) == 1


def test_a_plan_is_the_answer_of_the_command(tmp_path: Path) -> None:
    grid = {"tp": [1, 2], "routing_policy": ["round-robin", "least-loaded"]}
    plan = windtunnel.plan(MODEL, **PLANNED, slo=SLO, grid=grid)
    printed = command(
        "plan", f"--model={MODEL}", "--hardware=H100", "--rate=20", "--num-requests=300", "--seeds=2",
        f"--slo={SLO}", "--grid=tp=1,2", "--grid=routing-policy=round-robin,least-loaded", "--json",
    )
    assert plan == json.loads(printed)
    assert plan.best == plan["answers"][0] and plan.best["instances"] >= 1
    assert plan.answers["instances"][0] == plan.best["instances"]
    assert plan.commands[0].startswith("windtunnel run ")
    assert len(plan.losers) == len(plan["others"]) and set(plan.losers.schema) == {"choice", "reason"}
    assert plan.manifest is not None and "kind: Deployment" in plan.manifest
    assert plan.text.startswith("Least cost for")
    page = tmp_path / "plan.html"
    assert plan.html(page).text == page.read_text()
    assert "windtunnel.plan(" in page.read_text()
    again = pickle.loads(pickle.dumps(plan))
    assert again == plan and again.answers == plan.answers and again.manifest == plan.manifest


def test_a_plan_without_an_answer_has_the_same_columns() -> None:
    some = windtunnel.plan(MODEL, **PLANNED, slo="ttft.p99<500ms", grid={"tp": [1]})
    none = windtunnel.plan(MODEL, **PLANNED, slo="ttft.p99<1ms", grid={"tp": [1]}, max_gpus=2)
    assert none.best is None and len(none.answers) == 0 and len(none.losers) == 1
    assert none.manifest is None and "nothing meets" in repr(none)
    assert none.answers.schema == some.answers.schema
    assert list(none.to_pandas().dtypes) == list(some.to_pandas().dtypes)


def test_the_most_load_of_a_cluster() -> None:
    plan = windtunnel.plan(MODEL, hardware="H100", tp=1, num_instances=2, num_requests=300, seeds=1, slo=SLO, max_rate=True)
    assert plan.unit == "requests_per_s" and plan.best is not None
    assert plan.answers.schema["requests_per_s"] == "number"
    assert plan.best["requests_per_s"] > 5 and plan.manifest is None
