"""Which data-parallel rank vLLM's API server sends a request to.

Calls vLLM's own load balancer on random histories of what an API server hears, sends and sees
finished, and writes a line of JSON for each.
"""

import json
import random
import sys
from collections import Counter
from types import SimpleNamespace

from vllm.v1.engine.core_client import DPLBAsyncMPClient


def server(ranks: int, servers: int, index: int) -> DPLBAsyncMPClient:
    """An API server that is connected to nothing."""
    client = object.__new__(DPLBAsyncMPClient)
    client.client_count = servers
    client.core_engines = [bytes([rank]) for rank in range(ranks)]
    client.lb_engines = [[0, 0, 0.0] for _ in range(ranks)]
    client.reqs_in_flight = {}
    client.engine_inflight = Counter()
    client.eng_start_index = ranks * index // servers
    return client


def history(rng: random.Random) -> dict:
    ranks = rng.choice([2, 2, 3, 4, 8])
    servers = rng.choice([1, 2, ranks])
    index = rng.randrange(servers)
    client = server(ranks, servers, index)
    busy = rng.choice([1, 4, 40])
    here: list[tuple[str, int]] = []
    events = []
    for k in range(rng.randrange(4, 24)):
        kind = rng.random()
        if kind < 0.25:
            loads = [
                [
                    rng.choice([0, rng.randrange(busy)]),
                    rng.randrange(busy),
                    rng.choice([0.0, rng.randrange(129) / 128]),
                ]
                for _ in range(ranks)
            ]
            client.lb_engines = [list(load) for load in loads]
            events.append({"hears": loads})
        elif kind < 0.4 and here:
            name, rank = here.pop(rng.randrange(len(here)))
            del client.reqs_in_flight[name]
            client.engine_inflight[client.core_engines[rank]] -= 1
            events.append({"finished": rank})
        else:
            name = f"request-{k}"
            request = SimpleNamespace(
                request_id=name, data_parallel_rank=None, pooling_params=None
            )
            chosen = client.get_core_engine_for_request(request)
            rank = client.core_engines.index(chosen)
            here.append((name, rank))
            events.append({"chooses": rank})
    return {"ranks": ranks, "servers": servers, "index": index, "events": events}


def main(seed: int, count: int) -> None:
    rng = random.Random(seed)
    for _ in range(count):
        print(json.dumps(history(rng), separators=(",", ":")))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
