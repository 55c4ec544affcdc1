"""vLLM's own scheduler, KV-cache manager and engine-core loop on a virtual clock.

`run(case, requests)` starts nothing of vLLM that computes: in place of the model stands an executor
whose steps last

    b0 + b1 * prefill tokens + b2 * decode tokens    microseconds, with [b0, b1, b2] = case["beta"]

on each of the case["pp"] stages of a pipeline (one if not given), so that all times are whole and can be compared to the microsecond. The code between two steps takes
no time. What the figures mean:

* A step is chosen when vLLM's `schedule()` returns. It starts when it is chosen and the step before
  has ended; its output is known when it ends, and `update_from_output` runs at that time.
* A stage works on one step at a time, and on a step when the stage before it has done with it. The
  first one begins when the last tokens of all decodes of the step are sampled. A batch that has no
  tokens passes behind the one before it in no time.
* A request's tokens in a step are prefill while fewer are computed than it had when it was last
  admitted: the prompt, and after a preemption the output that it kept, too. Otherwise decode.
* A request reaches the scheduler before the first `schedule()` at or after its arrival, also when a
  step ends at that very time. One whose prompt leaves no room for a token is refused.
* Speculative decoding: a step that verifies drafts of a request while `p` tokens of its output are
  known accepts `accepted[p % len(accepted)]` of them, or all if there are fewer. Drafts that vLLM
  makes up for a request admitted in this very step are rejected. All its tokens count as its kind.
"""

import collections

import versions

COLUMNS = (
    "id",
    "arrival_us",
    "input_tokens",
    "output_tokens",
    "state",
    "first_scheduled_us",
    "ttft_us",
    "e2e_us",
    "preemptions",
    "cached_tokens",
)

# A case that takes more steps than this does not end: a request may be too large to ever finish.
MOST_STEPS = 200_000


class NeverEnds(Exception):
    """The case takes more steps than any that ends."""


class Clock:
    """Microseconds of the virtual time."""

    def __init__(self):
        self.now = 0


class Future:
    """What a step yields, at the time when it ends. Waiting for it moves the clock."""

    def __init__(self, clock, at, value):
        self._clock, self._at, self._value = clock, at, value

    def done(self):
        return self._clock.now >= self._at

    def result(self, timeout=None):
        self._clock.now = max(self._clock.now, self._at)
        return self._value


class Executor:
    """Stands for the GPUs: runs steps one after the other, and knows what each will sample."""

    def __init__(self, case, requests, clock, engine):
        self.case, self.clock, self.engine = case, clock, engine
        self.free_at = [0] * case.get("pp", 1)  # when each stage has done
        self.sampled_at = {}  # when the last token of a request is
        self.steps = []
        self.given = {r["id"]: r for r in requests}
        self.order = {r["id"]: k for k, r in enumerate(requests)}
        self.target = {}  # tokens at the last admission
        self.known = {}  # tokens of the output that the worker has sampled
        self.admissions = collections.Counter()
        self.first = {}  # start of the first step, tokens found in the prefix cache
        self.drafted = []

    def execute_model(self, out, non_block=False):
        counts = out.num_scheduled_tokens
        before, admitted = versions.computed_before(out)
        for name in admitted:
            self.admissions[name] += 1
            request = self.engine.scheduler.requests[name]
            self.target[name] = request.num_tokens
            self.known[name] = request.num_tokens - len(self.given[name]["prompt"])
        prefilling = [name for name in counts if before[name] < self.target[name]]
        prefill = sum(counts[name] for name in prefilling)
        decode = sum(counts.values()) - prefill
        start = max(self.clock.now, self.free_at[0])
        for name in counts:
            if name not in prefilling:
                start = max(start, self.sampled_at[name])
        b0, b1, b2 = self.case["beta"]
        end = start
        if counts:
            for stage, free_at in enumerate(self.free_at):
                end = max(end, free_at) + b0 + b1 * prefill + b2 * decode
                self.free_at[stage] = end
            for name in counts:
                if before[name] + counts[name] >= self.target[name]:
                    self.sampled_at[name] = end
        else:
            end = max(self.clock.now, self.free_at[-1])
        for name in admitted:
            self.first.setdefault(name, (start, before[name]))
        if counts:
            if len(self.steps) >= MOST_STEPS:
                raise NeverEnds
            self.steps.append(self._row(start, end, counts, before))
        tokens = self._sample(out, counts, before, set(admitted))
        self.drafted = list(counts)
        drafts = self._drafts() if self.case.get("num_speculative_tokens") else None
        whole = versions.model_output(list(counts), tokens, drafts)
        self.pending = (end, whole)
        if counts and versions.samples_apart():
            whole = None
        later = Future(self.clock, end, whole)
        return later if non_block else later.result()

    def sample_tokens(self, grammar, non_block=False):
        later = Future(self.clock, *self.pending)
        return later if non_block else later.result()

    def take_draft_token_ids(self):
        return versions.drafts(self.drafted, self._drafts())

    def _drafts(self):
        return [[0] * self.case["num_speculative_tokens"] for _ in self.drafted]

    def _row(self, start, end, counts, before):
        items = []
        for name in sorted(counts, key=self.order.__getitem__):
            kind = "p" if before[name] < self.target[name] else "d"
            items.append(f"{name}:{before[name]}+{counts[name]}{kind}")
        used = self.engine.blocks - 1 - self.engine.free_blocks()
        return (start, end, self.clock.now, used, " ".join(items))

    def _sample(self, out, counts, before, admitted):
        speculated = getattr(out, "scheduled_spec_decode_tokens", None) or {}
        tokens = []
        for name, count in counts.items():
            if before[name] + count < self.target[name]:
                tokens.append([])
                continue
            known, output = self.known[name], self.given[name]["decode"]
            accepted = 0
            if speculated.get(name) and name not in admitted:
                rates = self.given[name].get("accepted") or [0]
                accepted = min(len(speculated[name]), rates[known % len(rates)])
            last = len(output) - 1
            tokens.append([output[min(known + k, last)] for k in range(accepted + 1)])
            self.known[name] = known + accepted + 1
        return tokens


def run(case, requests):
    """What vLLM makes of a case: the figures of every request, every step, KV events if asked.

    `case` is the dict of a case.json and `requests` the list that `cases.read` returns. The result
    has `vllm` (its version), `end_us`, `preemptions`, `requests` (a dict per request, with the keys
    of COLUMNS, times in microseconds, None for what did not happen), `steps` (tuples of start, end,
    when chosen, KV blocks in use, items) and `events` (None unless case["kv_events"]).
    """
    clock = Clock()
    engine = versions.Engine(case)
    executor = Executor(case, requests, clock, engine)
    core = engine.core(executor)
    events = engine.collect_events(clock) if case.get("kv_events") else None
    rows = {r["id"]: _row(r) for r in requests}
    waiting = collections.deque(sorted(requests, key=lambda r: r["arrival_us"]))
    made, still = {}, 0
    while True:
        while waiting and waiting[0]["arrival_us"] <= clock.now:
            given = waiting.popleft()
            room = case["max_model_len"] - len(given["prompt"])
            if room < 1:
                rows[given["id"]]["state"] = "refused"
                continue
            made[given["id"]] = engine.request(given, min(len(given["decode"]), room))
            engine.scheduler.add_request(made[given["id"]])
            rows[given["id"]]["state"] = "queued"
        if not engine.has_work(core):
            if not waiting:
                break
            clock.now = max(clock.now, waiting[0]["arrival_us"])
            continue
        seen = (clock.now, len(executor.steps))
        for out in engine.step(core):
            _note(rows[out.request_id], out, clock.now)
        still = still + 1 if seen == (clock.now, len(executor.steps)) else 0
        if still > 4:
            # Only an arrival can change anything; without one, the rest waits forever.
            if not waiting:
                break
            clock.now = max(clock.now, waiting[0]["arrival_us"])
            still = 0
    for name, row in rows.items():
        if name in executor.first:
            row["first_scheduled_us"], row["cached_tokens"] = executor.first[name]
        if name in made:
            row["preemptions"] = versions.preemptions(made[name], executor.admissions[name])
    return {
        "vllm": versions.VERSION,
        "end_us": clock.now,
        "preemptions": sum(row["preemptions"] for row in rows.values()),
        "requests": list(rows.values()),
        "steps": executor.steps,
        "events": events,
    }


def _row(given):
    row = dict.fromkeys(COLUMNS)
    row.update(id=given["id"], arrival_us=given["arrival_us"], input_tokens=len(given["prompt"]))
    row.update(output_tokens=0, state="waiting", preemptions=0)
    return row


def _note(row, out, now):
    row["output_tokens"] += len(out.new_token_ids)
    if out.new_token_ids and row["ttft_us"] is None:
        row["ttft_us"] = now - row["arrival_us"]
        row["state"] = "running"
    if out.finish_reason is not None:
        row["e2e_us"] = now - row["arrival_us"]
        row["state"] = "completed"
