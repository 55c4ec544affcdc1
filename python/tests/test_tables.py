"""Tables: types that do not depend on what is in them, files, and what notebooks show."""

from pathlib import Path

import pandas
import polars
import pyarrow
import pyarrow.parquet
import pytest
import windtunnel

MODEL = "llama-3.1-8b-instruct"
FLAGS = {"rate": 30, "num_requests": 50}


def tables() -> list[tuple[windtunnel.Table, windtunnel.Table]]:
    """Tables with rows, and tables of the same kind without."""
    full = windtunnel.run(MODEL, **FLAGS)
    empty = windtunnel.run(MODEL, **FLAGS, summary_only=True)
    return [(full.requests, empty.requests), (windtunnel.models(), windtunnel.models("no such model"))]


def test_types_do_not_depend_on_the_rows() -> None:
    for full, empty in tables():
        assert len(full) > 0 and len(empty) == 0
        assert full.schema == empty.schema
        assert list(full.to_pandas().dtypes) == list(empty.to_pandas().dtypes)
        assert full.to_polars().schema == empty.to_polars().schema
        assert full.to_arrow().schema == empty.to_arrow().schema


def test_whole_numbers_stay_whole_where_some_are_absent() -> None:
    requests = windtunnel.run(MODEL, rate=30, num_requests=50, horizon=1_000_000).requests
    assert None in requests["ttft_us"]
    frame = requests.to_pandas()
    assert str(frame["ttft_us"].dtype) == "Int64" and frame["ttft_us"].isna().any()
    assert str(frame["mean_itl_us"].dtype) == "float64"
    assert isinstance(frame["tenant"].dtype, pandas.StringDtype)
    many = requests.to_polars()
    assert many.schema["ttft_us"] == polars.Int64 and many.schema["tenant"] == polars.String
    assert requests.to_arrow().schema.field("ttft_us").type == pyarrow.int64()
    assert polars.DataFrame(requests).equals(many)


def test_parquet_is_what_the_command_writes(tmp_path: Path) -> None:
    written, made = tmp_path / "written.parquet", tmp_path / "made.parquet"
    results = windtunnel.run(MODEL, **FLAGS, results_path=written)
    results.requests.to_parquet(made)
    assert made.read_bytes() == written.read_bytes()
    assert pyarrow.parquet.read_table(made).equals(results.requests.to_arrow())
    sweep = windtunnel.sweep(MODEL, **{**FLAGS, "rate": None}, grid={"rate": [10, 20]})
    sweep.to_parquet(tmp_path / "sweep.parquet")
    assert pyarrow.parquet.read_table(tmp_path / "sweep.parquet").equals(sweep.to_arrow())
    with pytest.raises(windtunnel.InputError, match=r"must end in \.parquet"):
        sweep.to_parquet(tmp_path / "sweep.csv")
    with pytest.raises(windtunnel.InputError, match="no such"):
        sweep.to_parquet(tmp_path / "no" / "sweep.parquet")


def test_a_sweep_has_types() -> None:
    sweep = windtunnel.sweep(MODEL, num_requests=20, grid={"rate": [10], "tp": [1, 2], "scheduler": ["fcfs"]})
    schema = sweep.runs.schema
    assert [schema[name] for name in ("run", "rate", "tp", "scheduler", "seed", "arrived", "ttft_p99_ms", "gpu")] == [
        "text", "number", "whole", "text", "whole", "whole", "number", "text",
    ]
    assert sweep.runs["arrived"] == [20, 20] and sweep.runs["tensor_parallelism"] == [1, 2]
    assert sweep.runs["fitness"] == [None, None] and schema["fitness"] == "number"


def test_notebooks_show_tables_and_pages(tmp_path: Path) -> None:
    results = windtunnel.run(MODEL, **FLAGS)
    assert "TTFT" in results._repr_html_() and "50 requests completed" in results._repr_html_()
    shown = results.requests._repr_html_()
    assert shown.count("<tr>") == 11 and "50 rows" in shown
    page = results.html(tmp_path / "run.html")
    text = (tmp_path / "run.html").read_text()
    assert text == page.text and "Over time" in text
    assert "windtunnel.run(model='llama-3.1-8b-instruct', rate=30, num_requests=50)" in text.replace("&#39;", "'").replace("&#x27;", "'")
    assert page._repr_html_().startswith("<iframe srcdoc=")


def test_what_there_is() -> None:
    models = windtunnel.models("llama-3.1-8b")
    assert "meta-llama/llama-3.1-8b-instruct" in models["model"]
    assert len(windtunnel.models()) > len(models)
    gpus = {row["hardware"]: row for row in windtunnel.hardware()}
    assert gpus["H100"]["memory_gib"] == 80 and gpus["H100"]["usd_per_hour"] > 0
    assert "chatbot" in windtunnel.workloads()["workload"]
    routing = windtunnel.policies("routing")
    assert set(routing["hook"]) == {"routing"} and {"weighted", "least-loaded"} <= set(routing["name"])
    assert len(windtunnel.policies()) > len(routing)
    with pytest.raises(windtunnel.InputError, match='unknown hook "routng"; did you mean "routing"'):
        windtunnel.policies("routng")


def test_tables_are_even() -> None:
    table = windtunnel.Table.of_rows([{"a": 1, "b": {"c": 2}}, {"a": 3}])
    assert table.columns() == {"a": [1, 3], "b.c": [2, None]}
    assert table.schema == {"a": "whole", "b.c": "whole"}
    assert repr(table) == "<Table: 2 rows of a, b.c>"
    assert len(windtunnel.Table.of_rows([])) == 0
    with pytest.raises(ValueError, match="different lengths"):
        windtunnel.Table({"a": [1], "b": [1, 2]})
