"""``run`` and ``replay``, their tables, and the command line inside Python."""

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
FLAGS = {"rate": 30, "num_requests": 200, "num_instances": 4}
EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "windtunnel", *arguments], capture_output=True, text=True, timeout=60)


def test_a_run_is_what_the_command_prints() -> None:
    results = windtunnel.run(MODEL, **FLAGS, routing_policy="weighted", slo_ttft="200ms")
    typed = [f"--{name.replace('_', '-')}={value}" for name, value in FLAGS.items()]
    printed = command("run", "--model", MODEL, *typed, "--routing-policy=weighted", "--slo-ttft=200ms", "--json")
    assert printed.returncode == 0, printed.stderr
    assert results == json.loads(printed.stdout)
    assert results["completed_requests"] == 200


def test_requests_are_a_table(tmp_path: Path) -> None:
    file = tmp_path / "rows.json"
    results = windtunnel.run(MODEL, **FLAGS, results_path=file)
    rows = json.loads(file.read_text())
    assert len(results.requests) == 200
    assert list(results.requests) == rows
    frame = results.requests.to_pandas()
    assert frame["ttft_us"].mean() == pytest.approx(results["latency_ms"]["ttft"]["mean"] * 1000)
    arrow = results.requests.to_arrow()
    assert arrow.column_names == list(rows[0])
    assert arrow["e2e_us"].to_pylist() == results.requests["e2e_us"]
    assert pickle.loads(pickle.dumps(results.requests)) == results.requests


def test_flags_of_all_kinds(tmp_path: Path) -> None:
    policy = tmp_path / "p.lua"
    policy.write_text(
        "--@param a = 1, 0..9  A number\nreturn { score = function(req, inst) return cfg.a * inst.index end }\n"
    )
    last = windtunnel.run(MODEL, **FLAGS, routing_policy=policy, policy_param={"routing.a": 2}, trusted=False, horizon=None)
    assert [i["routed_requests"] for i in last["instances"]] == [0, 0, 0, 200]
    first = windtunnel.run(MODEL, **FLAGS, routing_policy=policy, policy_param=["a=0"], summary_only=True)
    assert [i["routed_requests"] for i in first["instances"]] == [200, 0, 0, 0]
    assert len(first.requests) == 0
    assert first["setup"]["policy_params"] == {"routing": {"a": 0}}


def test_a_replay() -> None:
    results = windtunnel.replay(EXAMPLES / "azure.csv", model=MODEL, num_instances=2, routing_policy="least-loaded")
    assert results["completed_requests"] == len(results.requests) > 0
    closed = windtunnel.replay(
        EXAMPLES / "chat.csv",
        trace_header=EXAMPLES / "chat.yaml",
        session_mode="closed-loop",
        model="qwen3-14b",
    )
    assert closed["completed_requests"] > 0


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"model": MODEL, "rate": True}, "rate: invalid type: boolean `true`, expected f64"),
        ({"model": MODEL, "rate": float("nan")}, "NaN is not a finite number"),
        ({"model": MODEL, "summary_only": "yes"}, 'summary_only: invalid type: string "yes", expected a boolean'),
        ({"model": MODEL, "num_instances": 0}, "num_instances must be at least 1, found 0"),
        ({"model": MODEL, "counterfactual_k": 2}, "counterfactual_k has no effect without decisions"),
        ({"model": MODEL, "metrics_path": "m.json", "summary_only": True}, "metrics_path has no effect with summary_only"),
        ({"model": "lama"}, 'unknown model "lama"; nearest: '),
    ],
)
def test_wrong_input_is_refused_by_name(flags: dict[str, object], message: str) -> None:
    with pytest.raises(windtunnel.InputError) as error:
        windtunnel.run(**flags)  # type: ignore[arg-type]
    assert str(error.value).startswith(message)
    assert isinstance(error.value, ValueError)


@pytest.mark.usefixtures("hears_control_c")
def test_control_c_ends_a_long_run() -> None:
    threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        windtunnel.run(MODEL, rate=40, num_requests=50_000_000, num_instances=4, summary_only=True)
    assert time.monotonic() - start < 60
    assert windtunnel.run(MODEL)["completed_requests"] == 100


def test_threads_run_at_the_same_time_and_alike() -> None:
    expected = windtunnel.run(MODEL, **FLAGS)
    found: list[windtunnel.Results] = []
    threads = [threading.Thread(target=lambda: found.append(windtunnel.run(MODEL, **FLAGS))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [expected] * 4


def test_a_run_in_ticks_says_so_in_every_column() -> None:
    results = windtunnel.run(
        latency_model="ticks",
        max_num_seqs=4,
        load_generator="all-at-once",
        num_requests=10,
        scale=["3:2"],
    )
    assert results["time_unit"] == "ticks" and results["completed_requests"] == 10
    columns = results.requests.columns()
    assert columns["e2e_ticks"][0] == columns["completion_ticks"][0] > columns["ttft_ticks"][0] > 0
    assert not [name for name in columns if name.endswith(("_us", "_ms"))]


def test_the_command_line_is_whole() -> None:
    assert command("--version").stdout == f"windtunnel {windtunnel.__version__}\n"
    listed = command("models", "llama-3.1")
    assert listed.returncode == 0 and "llama-3.1-8b-instruct" in listed.stdout
    wrong = command("run")
    assert wrong.returncode == 2 and "--model" in wrong.stderr
    script = Path(sys.executable).with_name("windtunnel")
    assert subprocess.run([script, "--version"], capture_output=True, text=True, timeout=60).stdout.startswith(
        "windtunnel "
    )
