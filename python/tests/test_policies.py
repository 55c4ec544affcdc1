"""Policies that are texts and functions."""

import windtunnel
import pytest

MODEL = "llama-3.1-8b-instruct"
FLAGS = {"rate": 30, "num_requests": 200, "num_instances": 4}
LEAST = "return { route = function(req, insts)\n local best = 1\n for i = 2, #insts do if insts[i].in_flight < insts[best].in_flight then best = i end end\n return best\nend }"


def least(request: windtunnel.Request, cluster: windtunnel.Cluster) -> windtunnel.Instance:
    return min(cluster.instances, key=lambda instance: instance.in_flight)


def served(results: windtunnel.Results) -> dict[str, object]:
    return {key: value for key, value in results.items() if key not in ("setup", "decisions")}


def test_a_text_is_a_policy() -> None:
    text = windtunnel.run(MODEL, **FLAGS, routing_policy=windtunnel.Lua(LEAST, "mine"))
    built_in = windtunnel.run(MODEL, **FLAGS, routing_policy=windtunnel.Lua("return { route = function() return 1 end }"))
    assert [one["routed_requests"] for one in built_in["instances"]] == [200, 0, 0, 0]
    assert text["setup"]["routing_policy"].startswith("mine@")
    assert text == windtunnel.run(MODEL, **FLAGS, routing_policy=windtunnel.Lua(LEAST, "mine"))
    with pytest.raises(windtunnel.InputError, match=r'mine@[0-9a-f]+\.lua: unknown hook "rout"; did you mean "route"\?'):
        windtunnel.run(MODEL, **FLAGS, routing_policy=windtunnel.Lua("return { rout = 1 }", "mine"))
    with pytest.raises(ValueError, match="expected letters"):
        windtunnel.Lua(LEAST, "../mine")


def test_a_function_decides_as_the_same_text_does() -> None:
    function = windtunnel.run(MODEL, **FLAGS, routing_policy=least)
    text = windtunnel.run(MODEL, **FLAGS, routing_policy=windtunnel.Lua(LEAST))
    assert served(function) == served(text)
    assert function.requests == text.requests
    assert function["setup"]["routing_policy"] == "least"
    assert function == windtunnel.run(MODEL, **FLAGS, routing_policy=least)


def test_what_a_function_sees() -> None:
    seen = []

    def look(request: windtunnel.Request, cluster: windtunnel.Cluster) -> int:
        first = cluster.instances[0]
        seen.append((request.serial, request.prompt_tokens, cluster.now_us, first.kv_total_blocks, first.prefix_blocks))
        assert "in_flight" in dir(first) and "prompt_tokens" in dir(request)
        assert first.kv_utilization <= 1.0 and isinstance(first.kv_utilization, float)
        return len(cluster.instances) - 1

    results = windtunnel.run(MODEL, **FLAGS, routing_policy=look)
    assert [one["routed_requests"] for one in results["instances"]] == [0, 0, 0, 200]
    assert [serial for serial, *_ in seen] == list(range(200))
    assert [tokens for _, tokens, *_ in seen] == results.requests["prompt_tokens"]
    assert [now for _, _, now, *_ in seen] == results.requests["arrival_us"]


def test_a_function_admits() -> None:
    def every_other(request: windtunnel.Request, cluster: windtunnel.Cluster) -> "bool | str":
        return True if request.serial % 2 == 0 else "odd"

    results = windtunnel.run(MODEL, **FLAGS, admission_policy=every_other)
    assert results.requests["outcome"] == ["completed", "rejected"] * 100


def test_exceptions_of_a_function_are_the_cause() -> None:
    def broken(request: windtunnel.Request, cluster: windtunnel.Cluster) -> int:
        return {}["nothing"]

    with pytest.raises(windtunnel.InputError, match="KeyError: 'nothing'") as error:
        windtunnel.run(MODEL, **FLAGS, routing_policy=broken)
    cause = error.value.__cause__
    assert isinstance(cause, KeyError) and cause.__traceback__ is not None
    assert cause.__traceback__.tb_frame.f_code.co_name == "broken"
    with pytest.raises(windtunnel.InputError, match="returned 'a'; expected the position of an instance"):
        windtunnel.run(MODEL, **FLAGS, routing_policy=lambda request, cluster: "a")
    with pytest.raises(windtunnel.InputError, match='unknown field "in_fligth"; did you mean "in_flight"'):
        windtunnel.run(MODEL, **FLAGS, routing_policy=lambda request, cluster: cluster.instances[0].in_fligth)

    def stopping(request: windtunnel.Request, cluster: windtunnel.Cluster) -> int:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        windtunnel.run(MODEL, **FLAGS, routing_policy=stopping)
    with pytest.raises(windtunnel.InputError, match="scheduler cannot be a function"):
        windtunnel.run(MODEL, scheduler=least)  # type: ignore[arg-type]


def test_texts_are_compared_and_scored(suite: str, seed: str) -> None:
    mine = windtunnel.Lua(seed, "mine")
    comparison = windtunnel.compare("round-robin", mine, suite=suite, seeds=1)
    assert comparison["baseline"] == "round-robin"
    table = comparison.differences
    assert set(table["candidate"]) == {"round-robin", "mine.lua"} and table["scenario"][0] is None and len(table) > 1
    assert "<iframe" in comparison.html()._repr_html_()
    assert windtunnel.score(mine, suite)["candidate"] == "mine.lua"
    with pytest.raises(windtunnel.InputError, match="at least one policy"):
        windtunnel.compare("round-robin", suite=suite)
