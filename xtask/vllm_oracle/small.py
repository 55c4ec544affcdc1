"""The small cases that the tests of the project read: per feature one that shows it, async and sync.

A case shows a setting if vLLM does something else without it, and sharing or preemption if it
happens in it. The first drawn case that does, in both ways of scheduling, is taken.
"""

import random
import sys

import cases
import draw
import virtual

MOST_REQUESTS, MOST_TOKENS = 10, 900


def _figures(result):
    return [[row[name] for name in virtual.COLUMNS] for row in result["requests"]]


def without(**settings):
    """The case comes out otherwise with these settings."""

    def shows(case, requests, result):
        other = virtual.run(dict(case, **settings), requests)
        return _figures(other) != _figures(result)

    return shows


def hits(case, requests, result):
    return sum(1 for row in result["requests"] if row["cached_tokens"]) >= 2


def preempts(case, requests, result):
    return result["preemptions"] >= 2


def meets(case, requests, result):
    return any(row[4].count(" ") >= 2 for row in result["steps"])


def chunks(case, requests, result):
    return any(len(r["prompt"]) > case["max_num_batched_tokens"] for r in requests)


def refuses(case, requests, result):
    states = [row["state"] for row in result["requests"]]
    cut = any(
        row["state"] == "completed" and row["output_tokens"] < len(r["decode"])
        for r, row in zip(requests, result["requests"])
    )
    return "refused" in states and cut


ROWS = {
    "plain": ([], [meets]),
    "chunked": (["tiny_budget"], [chunks, meets]),
    "tight_kv": (["tight_kv"], [preempts]),
    "prefix": (["prefix"], [hits]),
    "identical": (["identical"], [hits]),
    "multi_turn": (["multi_turn"], [hits]),
    "long_prefill": (["long_prefill"], [without(long_prefill_token_threshold=0)]),
    "adaptive": (
        ["long_prefill", "adaptive"],
        [without(long_prefill_token_threshold_adaptive=False)],
    ),
    "priority": (["priority"], [without(policy="fcfs")]),
    "priority_tight": (["priority", "tight_kv"], [preempts, without(policy="fcfs")]),
    "burst": (["burst"], [meets]),
    "on_time": (["on_time", "prefix"], [meets, hits]),
    "watermark": (["watermark", "tight_kv"], [preempts, without(watermark=0.0)]),
    "no_reserve": (["no_reserve", "tight_kv"], [preempts, without(reserve_full_isl=True)]),
    "no_caching": (["no_caching", "prefix"], [without(prefix_caching=True)]),
    "length_cap": (["length_cap"], [refuses]),
    "block_sizes": (["block_size", "prefix", "tight_kv"], [hits, preempts]),
    "lora": (["lora", "prefix"], [hits, without(max_loras=4)]),
    "active_seqs": (["active_seqs"], [without(max_num_active_seqs=None)]),
    "no_chunks": (["no_chunks"], [without(enable_chunked_prefill=True)]),
    "mixed": (["priority", "lora", "tight_kv", "prefix", "tiny_budget"], [preempts, hits]),
}


def splits(case, requests, result):
    """Two steps with requests that differ are on the stages at once."""
    pairs = zip(result["steps"], result["steps"][1:])
    return sum(1 for one, two in pairs if two[0] < one[1] and two[4] != one[4]) >= 3


# In a folder of their own: the command has no step times of stages that are whole.
STAGES = {
    "plain": (["pipeline"], [splits, without(pp=1)]),
    "chunked": (["pipeline", "tiny_budget"], [chunks, splits]),
    "tight_kv": (["pipeline", "tight_kv"], [preempts, splits]),
    "prefix": (["pipeline", "prefix"], [hits, splits]),
    "on_time": (["pipeline", "on_time", "prefix"], [meets, splits]),
    "priority_tight": (["pipeline", "priority", "tight_kv"], [preempts, splits]),
    "burst": (["pipeline", "burst"], [meets, splits]),
    "long_prefill": (
        ["pipeline", "long_prefill"],
        [splits, without(long_prefill_token_threshold=0)],
    ),
}


def write_all(folder):
    """Writes all small cases below a folder, and those of pipelines below one beside it."""
    _write(folder, ROWS)
    return _write(f"{folder.rstrip('/')}-pp", STAGES)


def _write(folder, rows):
    for name, (features, conditions) in rows.items():
        for case, requests, result in _first(name, features, conditions):
            mode = "async" if case["async"] else "sync"
            cases.write(f"{folder}/{name}-{mode}", case, requests, result)
        print(f"{name}: {len(requests)} requests", file=sys.stderr, flush=True)
    return 0


def _first(name, features, conditions):
    for k in range(5000):
        case, requests = draw.draw(random.Random(f"{name}-{k}"), features)
        tokens = sum(len(r["prompt"]) + len(r["decode"]) for r in requests)
        if not 3 <= len(requests) <= MOST_REQUESTS or tokens > MOST_TOKENS:
            continue
        both = []
        for asynchronous in (True, False):
            case = dict(case, **{"async": asynchronous})
            result = virtual.run(case, requests)
            if not all(shows(case, requests, result) for shows in conditions):
                break
            both.append((case, requests, result))
        if len(both) == 2:
            return both
    raise SystemExit(f"error: no drawn case shows {name}")
