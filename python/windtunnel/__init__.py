"""A wind tunnel for LLM-serving policies.

>>> import windtunnel
>>> results = windtunnel.run(model="llama-3.1-8b-instruct", rate=20, num_requests=500, num_instances=4)
>>> results["latency_ms"]["ttft"]["p99"]
>>> results.requests.to_pandas()

``run`` and ``replay`` simulate. ``python -m windtunnel`` is the whole command line.
"""

from windtunnel._native import VERSION as __version__
from windtunnel._native import InputError
from windtunnel._run import Results, replay, run
from windtunnel._table import Table

__all__ = [
    "InputError",
    "Results",
    "Table",
    "__version__",
    "replay",
    "run",
]
