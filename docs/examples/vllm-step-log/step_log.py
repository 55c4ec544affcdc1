"""Has vLLM write down its steps, as `windtunnel profile --step-log` and `windtunnel verify` read them.

    PYTHONPATH=docs/examples/vllm-step-log WINDTUNNEL_STEP_LOG=steps.jsonl \
        vllm serve MODEL --scheduler-cls step_log.AsyncStepLog

`step_log.StepLog` is for a server without asynchronous scheduling: one with --no-async-scheduling,
and any on a CPU. Made for vLLM 0.32, whose scheduler
class is no public interface: another version may need other lines.
"""

import json
import os
import time

from vllm.v1.core.sched.async_scheduler import AsyncScheduler
from vllm.v1.core.sched.scheduler import Scheduler


class _Logging:
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        path = os.environ.get("WINDTUNNEL_STEP_LOG", "steps.jsonl")
        self._log = open(path, "w", buffering=1, encoding="utf-8")
        self._steps = 0
        self._chosen = {}
        self._processed_ns = 0
        self._busy = False

    def schedule(self, *args, **kwargs):
        output = super().schedule(*args, **kwargs)
        if output.num_scheduled_tokens:
            before = {new.req_id: new.num_computed_tokens for new in output.scheduled_new_reqs}
            cached = output.scheduled_cached_reqs
            before.update(zip(cached.req_ids, cached.num_computed_tokens))
            prefill, decode = [], []
            for name, tokens in output.num_scheduled_tokens.items():
                context = before[name]
                if context < self.requests[name].num_prompt_tokens:
                    prefill.append([tokens, context])
                else:
                    decode.append(context if tokens == 1 else [tokens, context])
            self._chosen[id(output)] = (time.perf_counter_ns(), {
                "prefill": prefill,
                "decode": decode,
                "requests": dict(output.num_scheduled_tokens),
            })
        return output

    def update_from_output(self, output, *args, **kwargs):
        done = super().update_from_output(output, *args, **kwargs)
        now = time.perf_counter_ns()
        if id(output) in self._chosen:
            chosen_ns, step = self._chosen.pop(id(output))
            # While there is work, a step takes the place of the one before as soon as that is done.
            start = self._processed_ns if self._busy else chosen_ns
            times = {"step": self._steps, "start_ns": start, "dur_ns": now - start}
            self._log.write(json.dumps({**times, **step}) + "\n")
            self._steps += 1
        self._processed_ns = now
        self._busy = bool(self.running)
        return done


class StepLog(_Logging, Scheduler):
    """Chooses a step when the one before is done."""


class AsyncStepLog(_Logging, AsyncScheduler):
    """Chooses a step while the one before runs."""
