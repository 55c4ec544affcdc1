"""What there is by name."""

from __future__ import annotations

import json

from windtunnel import _native
from windtunnel._table import Table


def models(part: str | None = None) -> Table:
    """The models that are built in.

    A row has the model's name and repository, the GPU and the tensor parallelism that a run takes if nothing is said, the deployments with fitted
    coefficients (``H100:1``), and whether its architecture is built in, so that every other deployment can be computed.

    Args:
        part: Only models whose names contain it.
    """
    rows = []
    for model in json.loads(_native.models()):
        if part is not None and part.lower() not in model["model"]:
            continue
        default = model["default"] or {}
        fitted = [f"{one['hardware']}:{one['tensor_parallelism']}" for one in model["fitted"]]
        rows.append(
            {
                "model": model["model"],
                "hf_repo": model["hf_repo"],
                "hardware": default.get("hardware"),
                "tensor_parallelism": default.get("tensor_parallelism"),
                "fitted": list(dict.fromkeys(fitted)),
                "builtin_config": model["builtin_config"],
            }
        )
    schema = dict.fromkeys(("model", "hf_repo", "hardware"), "text")
    return Table.of_rows(
        rows, {**schema, "tensor_parallelism": "whole", "fitted": "text", "builtin_config": "whole"}
    )


def hardware() -> Table:
    """The GPUs that are known by name: memory (GiB), bandwidth (TB/s), peak TFLOP/s, power (watts) and price (US dollars per hour)."""
    rows = json.loads(_native.hardware())
    figures = dict.fromkeys((name for name in rows[0] if name != "hardware"), "number")
    return Table.of_rows(rows, {"hardware": "text", **figures})


def workloads() -> Table:
    """The presets of ``workload``: lengths of prefixes, prompts and outputs, tokens."""
    rows = json.loads(_native.workloads())
    lengths = dict.fromkeys((name for name in rows[0] if name != "workload"), "whole")
    return Table.of_rows(rows, {"workload": "text", **lengths})


def policies(hook: str | None = None) -> Table:
    """The policies that can be chosen by name.

    Args:
        hook: Only those of this hook: ``routing``, ``admission``, ``scheduler``, ...
    """
    rows = [
        {**policy, "params": [f"{param['name']}={param['default']:g}" for param in policy["params"]]}
        for policy in json.loads(_native.policies(hook))
    ]
    return Table.of_rows(rows, dict.fromkeys(("hook", "name", "kind", "what", "params"), "text"))
