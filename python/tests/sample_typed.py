"""What mypy must find right."""

from pathlib import Path

import windtunnel

results = windtunnel.run(
    "llama-3.1-8b-instruct",
    rate=30,
    num_requests=200,
    num_instances=4,
    arrivals="poisson",
    routing_policy=windtunnel.Lua("return {}"),
    scheduler="sjf",
    policy_param={"routing.a": 2},
    alpha_coeffs=[1, 2.5],
    async_scheduling=False,
    html=Path("run.html"),
    workload=[{"arrival": 0.0, "prompt_tokens": 10, "output_tokens": 5}],
)
length: int = len(results.requests)
notes: list[str] = results.notes


def least_loaded(request: windtunnel.Request, cluster: windtunnel.Cluster) -> int:
    return min(cluster.instances, key=lambda instance: instance.in_flight + request.attempts).position


windtunnel.replay("trace.csv", model="qwen3-14b", session_mode="closed-loop", routing_policy=least_loaded)
sweep: windtunnel.Sweep = windtunnel.sweep("m", grid={"rate": [10, 20], "tp": range(1, 3)}, seeds=2)
sweep.cells.to_polars()
plan: windtunnel.Plan = windtunnel.plan("m", slo="ttft.p99<1s", max_rate=True, grid={"tp": [1]})
frame = plan.to_pandas()
windtunnel.compare("a.lua", windtunnel.Lua("return {}"), suite="routing-mixed").differences.to_arrow()
