"""Random cases, in which features meet that a list of features would keep apart."""

# Each with the chance that a case has it.
FEATURES = {
    "sync": 0.5,
    "priority": 0.35,
    "lora": 0.2,
    "watermark": 0.2,
    "no_reserve": 0.25,
    "tight_kv": 0.5,
    "tiny_budget": 0.35,
    "block_size": 0.4,
    "long_prefill": 0.3,
    "adaptive": 0.12,
    "active_seqs": 0.15,
    "no_chunks": 0.12,
    "no_caching": 0.12,
    "prefix": 0.4,
    "identical": 0.3,
    "multi_turn": 0.3,
    "burst": 0.2,
    "on_time": 0.3,
    "length_cap": 0.12,
    # Only where asked for.
    "speculative": 0.0,
    "kv_events": 0.0,
}


def draw(rng, only=None):
    """A case and its requests. `only` lists the features instead of having them drawn."""
    has = {f for f, chance in FEATURES.items() if rng.random() < chance}
    if only is not None:
        has = set(only)
    if "adaptive" in has:
        has.add("long_prefill")
    if "no_chunks" in has:
        has.discard("tiny_budget")
    case = _settings(rng, has)
    return case, _requests(rng, has, case)


def _settings(rng, has):
    size = rng.choice([1, 2, 4, 8, 32, 64]) if "block_size" in has else 16
    longest = rng.choice([48, 120, 320, 800])
    seqs = rng.choice([1, 2, 3, 4, 8, 16, 64])
    if "tight_kv" in has:
        seqs = max(seqs, rng.choice([2, 4, 8]))
    budget = rng.choice([64, 128, 256, 512, 2048])
    if "tiny_budget" in has:
        budget = rng.choice([seqs, seqs + 1, 17, 20, 33, 60])
    if "no_chunks" in has:
        budget = max(budget, longest)
    blocks = -(-longest // size)  # vLLM wants room for one request of the greatest length
    if "tight_kv" in has:
        blocks += rng.choice([0, 0, 1, 2, 5, blocks // 2, blocks])
    else:
        blocks += 4000
    base = rng.choice([100, 1000, 4000, 7000])
    case = {
        "features": sorted(has),
        "async": "sync" not in has,
        "max_num_seqs": seqs,
        "max_num_batched_tokens": max(budget, seqs),
        "max_num_active_seqs": rng.randint(1, seqs) if "active_seqs" in has else None,
        "long_prefill_token_threshold": 0,
        "long_prefill_token_threshold_adaptive": "adaptive" in has,
        "enable_chunked_prefill": "no_chunks" not in has,
        "max_model_len": longest,
        "block_size": size,
        "usable_kv_blocks": blocks,
        "prefix_caching": "no_caching" not in has,
        "policy": "priority" if "priority" in has else "fcfs",
        "watermark": rng.choice([0.01, 0.05, 0.1, 0.3]) if "watermark" in has else 0.0,
        "reserve_full_isl": "no_reserve" not in has,
        "max_loras": rng.choice([1, 1, 2, 3]) if "lora" in has else None,
        "beta": [base, rng.choice([0, 2, 11]), rng.choice([0, 3, 10, 50])],
    }
    if "pipeline" in has:
        case["pp"] = rng.choice([2, 2, 3, 4])
    if "speculative" in has:
        case["num_speculative_tokens"] = rng.choice([1, 2, 3, 5])
        case["speculative_method"] = rng.choice(["eagle", "ngram"])
    if "kv_events" in has:
        case["kv_events"] = True
    if "long_prefill" in has:
        case["long_prefill_token_threshold"] = rng.choice([1, 5, 16, 40])
    if "on_time" in has:
        case["beta"][1:] = [0, 0]  # arrivals meet the ends of steps
    return case


def _requests(rng, has, case):
    count = rng.choice([3, 6, 12, 25, 50])
    gap = 0 if "burst" in has else rng.choice([1, case["beta"][0] // 2, case["beta"][0], 12000])
    longest = case["max_model_len"]
    prompt_most = rng.choice([20, longest // 4, longest * 2 // 3])
    if "length_cap" in has:
        prompt_most = rng.choice([longest, longest * 4 // 3])
    output_most = rng.choice([1, 8, longest // 4, longest // 2])
    if "tight_kv" in has:
        output_most = max(output_most, rng.choice([8, longest // 4, longest // 2]))
    next_token = 0

    def fresh(n):
        nonlocal next_token
        next_token += n
        return list(range(next_token - n, next_token))

    groups = [fresh(rng.randint(1, max(1, longest // 3))) for _ in range(3)]
    told = []
    requests, now = [], 0
    for k in range(count):
        if "on_time" in has:
            now += gap * rng.choice([0, 1, 1, 2, 5])
        elif gap:
            now += rng.choice([0, 0, gap, rng.randint(0, 4 * gap)])
        own = fresh(rng.randint(1, max(1, prompt_most)))
        chance = rng.random()
        if "identical" in has and requests and chance < 0.3:
            prompt = list(rng.choice(requests[-4:])["prompt"])
        elif "multi_turn" in has and told and chance < 0.6:
            prompt = rng.choice(told) + own
        elif "prefix" in has and chance < 0.8:
            prompt = rng.choice(groups) + own
        else:
            prompt = own
        output = fresh(rng.randint(1, max(1, output_most)))
        if "length_cap" not in has:
            prompt = prompt[: longest - 1]
            output = output[: longest - len(prompt)]
        told.append(prompt + output[: max(0, longest - len(prompt))])
        priority = rng.choice([0, 0, 1, 2, 5]) if "priority" in has else 0
        adapter = rng.choice(["", "lora-0", "lora-1", "lora-2", "lora-3"])
        requests.append(
            {
                "id": f"request_{k}",
                "arrival_us": now,
                "prompt": prompt,
                "decode": output,
                "priority": priority,
                "adapter": adapter if "lora" in has else "",
            }
        )
    if "speculative" in has:
        most = case["num_speculative_tokens"]
        for request in requests:
            length = rng.choice([1, 3, 7])
            request["accepted"] = [rng.randint(0, most) for _ in range(length)]
    return requests


def smaller(case, requests):
    """Simpler cases, the boldest first: what a shrinking search tries one after the other."""
    yield from _fewer(case, requests)
    plain = {
        "async": True,
        "max_num_active_seqs": None,
        "long_prefill_token_threshold_adaptive": False,
        "long_prefill_token_threshold": 0,
        "enable_chunked_prefill": True,
        "prefix_caching": True,
        "policy": "fcfs",
        "watermark": 0.0,
        "reserve_full_isl": True,
        "max_loras": None,
        "max_num_seqs": 64,
        "max_num_batched_tokens": 2048,
        "usable_kv_blocks": case["usable_kv_blocks"] + 4000,
        "block_size": 16,
        "beta": [1000, 0, 0],
        "num_speculative_tokens": None,
    }
    for name, value in plain.items():
        if name == "usable_kv_blocks" and case[name] > 4000:
            continue
        if case.get(name) != value:
            changed = dict(case, **{name: value})
            if name == "max_loras":
                yield changed, [dict(r, adapter="") for r in requests]
            elif name == "policy":
                yield changed, [dict(r, priority=0) for r in requests]
            else:
                yield changed, requests
    if any(r["arrival_us"] for r in requests):
        yield case, [dict(r, arrival_us=0) for r in requests]
        unit = case["beta"][0]
        even = [dict(r, arrival_us=r["arrival_us"] // unit * unit) for r in requests]
        if even != requests:
            yield case, even
    for k, r in enumerate(requests):
        for changed in _simpler(r):
            yield case, requests[:k] + [changed] + requests[k + 1 :]


def _fewer(case, requests):
    part = len(requests) // 2
    while part:
        for first in range(0, len(requests), part):
            left = requests[:first] + requests[first + part :]
            if left:
                # A five-column trace numbers its requests, and vLLM breaks ties by their names.
                yield case, [dict(r, id=f"request_{k}") for k, r in enumerate(left)]
        part //= 2


def _simpler(request):
    for name in ("prompt", "decode"):
        length = len(request[name])
        for less in sorted({1, length // 2, length * 3 // 4, length - 1}):
            if 0 < less < length:
                yield dict(request, **{name: request[name][:less]})
    if request["priority"] > 1:
        yield dict(request, priority=1)
    if request["priority"]:
        yield dict(request, priority=0)
    if request.get("accepted", [0]) != [0]:
        yield dict(request, accepted=[0])
    if request["adapter"]:
        yield dict(request, adapter="")
    if request["arrival_us"]:
        yield dict(request, arrival_us=0)
