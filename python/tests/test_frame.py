"""Tables of requests as workloads."""

import datetime

import pandas
import polars
import pyarrow
import pytest
import windtunnel

MODEL = "llama-3.1-8b-instruct"
ROWS = {
    "arrival": [0.0, 0.5, 0.5, 2.25],
    "prompt_tokens": [100, 200, 300, 400],
    "output_tokens": [10, 20, 30, 40],
    "tenant": ["a", "b", None, "a"],
}


def test_every_kind_of_table_is_the_same_workload() -> None:
    rows = [dict(zip(ROWS, values, strict=True)) for values in zip(*ROWS.values(), strict=True)]
    frames = [ROWS, rows, pandas.DataFrame(ROWS), polars.DataFrame(ROWS), pyarrow.table(ROWS), windtunnel.Table(ROWS)]
    found = [windtunnel.run(MODEL, workload=frame) for frame in frames]
    requests = found[0].requests
    assert requests["arrival_us"] == [0, 500_000, 500_000, 2_250_000]
    assert requests["prompt_tokens"] == ROWS["prompt_tokens"]
    assert requests["generated_tokens"] == ROWS["output_tokens"]
    assert requests["tenant"] == ROWS["tenant"]
    assert all(results == found[0] and results.requests == requests for results in found)


def test_a_run_is_a_workload_again() -> None:
    first = windtunnel.run(MODEL, rate=30, num_requests=50, prefix_tokens=64, num_instances=2)
    again = windtunnel.replay(first.requests.to_pandas(), model=MODEL, num_instances=2)
    for column in ("arrival_us", "prompt_tokens", "output_tokens", "prefix_tokens", "cached_tokens", "e2e_us"):
        assert again.requests[column] == first.requests[column], column
    assert any("columns that say nothing to a simulation: state, outcome" in note for note in again.notes)


def test_points_in_time_and_settings_of_traces() -> None:
    day = datetime.datetime(2026, 3, 1, 12, 0)
    times = [day + datetime.timedelta(seconds=s) for s in (0, 1, 3)]
    frame = pandas.DataFrame({"arrival": times, "prompt_tokens": 50, "output_tokens": 5})
    results = windtunnel.replay(frame, model=MODEL, rate_scale=2.0, num_requests=2)
    assert results.requests["arrival_us"] == [0, 500_000]
    epoch = [time.replace(tzinfo=datetime.timezone.utc).timestamp() for time in times]
    same = windtunnel.replay(frame.assign(arrival=epoch), model=MODEL, rate_scale=2.0, num_requests=2)
    assert same.requests == results.requests


def test_sessions_wait_for_their_answers() -> None:
    frame = {
        "arrival": [0, 0.001],
        "prompt_tokens": [500, 500],
        "output_tokens": [50, 5],
        "session": ["s", "s"],
        "round": [0, 1],
        "think_time_us": [0, 1_000_000],
    }
    results = windtunnel.replay(frame, model=MODEL, session_mode="closed-loop")
    first, second = list(results.requests)
    assert second["arrival_us"] >= first["completion_us"] + 1_000_000


def test_a_sweep_and_a_plan_of_a_table() -> None:
    frame = {"arrival": [0.05 * k for k in range(200)], "prompt_tokens": [300] * 200, "output_tokens": [20] * 200}
    sweep = windtunnel.sweep(MODEL, workload=frame, grid={"num_instances": [1, 2]})
    assert sweep.runs["arrived"] == [200, 200]
    assert sweep.runs == windtunnel.sweep(MODEL, workload=frame, grid={"num_instances": [1, 2]}).runs
    plan = windtunnel.plan(MODEL, workload=frame, hardware="H100", tp=1, seeds=1, slo="ttft.p99<1s")
    assert plan.best is not None and plan.best["instances"] == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"prompt_tokens": [1, 2, "x", 4]}, "workload: row 2: prompt_tokens is 'x'; expected a whole number of 0 or more"),
        ({"prompt_tokens": [1, 2, 3, -4]}, "workload: row 3: prompt_tokens is -4; expected a whole number"),
        ({"output_tokens": [1, None, 3, 4]}, "workload: row 1: output_tokens is missing"),
        ({"output_tokens": [1, 2.5, 3, 4]}, "workload: row 1: output_tokens is 2.5"),
        ({"arrival": [0, float("inf"), 1, 2]}, "workload: row 1: arrival is inf; expected seconds"),
        ({"arrival": [0, 1]}, "workload: the columns have different lengths"),
        ({"arrival_us": [0, 1, 2, 3]}, "workload: the columns arrival and arrival_us say the same"),
        ({"prefix_tokens": [0, 0, 0, 401]}, "workload: row 3: a prefix of 401 tokens in a prompt of 400"),
    ],
)
def test_mistakes_have_row_and_column(change: dict[str, list[object]], message: str) -> None:
    with pytest.raises(windtunnel.InputError) as error:
        windtunnel.run(MODEL, workload=ROWS | change)
    assert str(error.value).startswith(message)


def test_a_missing_column_names_the_nearest() -> None:
    frame = {"arival": [0], "prompt_tokens": [1], "output_tokens": [1]}
    with pytest.raises(windtunnel.InputError) as error:
        windtunnel.run(MODEL, workload=frame)
    assert str(error.value) == (
        "workload: there is no column arrival or arrival_s or arrival_us or arrival_time_us; "
        "found: arival, prompt_tokens, output_tokens; did you mean 'arrival' by 'arival'?"
    )
    with pytest.raises(windtunnel.InputError, match="trace: there is no request in the table"):
        windtunnel.replay([], model=MODEL)
    with pytest.raises(windtunnel.InputError, match="row 0 is int; expected a dict"):
        windtunnel.replay([1], model=MODEL)  # type: ignore[list-item]
