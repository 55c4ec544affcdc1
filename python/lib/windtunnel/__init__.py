"""A wind tunnel for LLM-serving policies.

>>> import windtunnel
>>> results = windtunnel.run(model="llama-3.1-8b-instruct", rate=20, num_requests=500, num_instances=4)
>>> results["latency_ms"]["ttft"]["p99"]
>>> results.requests.to_pandas()
>>> report = windtunnel.score("my.lua", suite="routing-mixed")
>>> report.score, report.feedback

``run`` and ``replay`` simulate; ``score`` and ``score_batch`` say what policies are worth. ``windtunnel.evolve`` has adapters for frameworks that
evolve policies, ``windtunnel.ray`` scores on a Ray cluster. ``python -m windtunnel`` is the whole command line.
"""

from windtunnel._native import VERSION as __version__
from windtunnel._native import InputError
from windtunnel._run import Results, replay, run
from windtunnel._score import Report, hook_api, score, score_batch, suite, suites
from windtunnel._table import Table

__all__ = [
    "InputError",
    "Report",
    "Results",
    "Table",
    "__version__",
    "hook_api",
    "replay",
    "run",
    "score",
    "score_batch",
    "suite",
    "suites",
]
