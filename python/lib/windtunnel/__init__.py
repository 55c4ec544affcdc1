"""A wind tunnel for LLM-serving policies.

>>> import windtunnel
>>> results = windtunnel.run("llama-3.1-8b-instruct", rate=20, num_requests=500, num_instances=4)
>>> results["latency_ms"]["ttft"]["p99"]
>>> results.requests.to_pandas()
>>> windtunnel.sweep("llama-3.1-8b-instruct", grid={"rate": [10, 20, 40]}, seeds=3).cells
>>> windtunnel.plan("llama-3.1-8b-instruct", workload="chatbot", rate=50, slo="ttft.p99<500ms").best
>>> windtunnel.score("my.lua", suite="routing-mixed").feedback

``run`` and ``replay`` simulate, ``sweep`` simulates a grid, ``plan`` finds the least cluster; ``score``, ``score_batch`` and ``compare`` say what
policies are worth. ``windtunnel.evolve`` has adapters for frameworks that evolve policies, ``windtunnel.ray`` does all of it on a Ray cluster.
``python -m windtunnel`` is the whole command line.
"""

from windtunnel._catalog import hardware, models, policies, workloads
from windtunnel._commands.plan import plan
from windtunnel._commands.replay import replay
from windtunnel._commands.run import run
from windtunnel._commands.sweep import sweep
from windtunnel._native import VERSION as __version__
from windtunnel._native import InputError
from windtunnel._page import Page
from windtunnel._plan import Plan
from windtunnel._run import Results
from windtunnel._score import Comparison, Report, compare, hook_api, score, score_batch, suite, suites
from windtunnel._sweep import Sweep
from windtunnel._table import Table
from windtunnel._types import Lua
from windtunnel._views import Cluster, Instance, Request

__all__ = [
    "Cluster",
    "Comparison",
    "InputError",
    "Instance",
    "Lua",
    "Page",
    "Plan",
    "Report",
    "Request",
    "Results",
    "Sweep",
    "Table",
    "__version__",
    "compare",
    "hardware",
    "hook_api",
    "models",
    "plan",
    "policies",
    "replay",
    "run",
    "score",
    "score_batch",
    "suite",
    "suites",
    "sweep",
    "workloads",
]
