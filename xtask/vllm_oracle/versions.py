"""All that differs from one vLLM to the next, and all that is imported of it."""

import collections
import contextlib
import functools
import importlib.util
import inspect
import json
import os
import queue
import re
import tempfile
import zlib

_FOLDER = os.path.join(tempfile.gettempdir(), f"vllm-oracle-{os.getuid()}")
_SPEC = importlib.util.find_spec("vllm")
_PLACE = zlib.crc32(_SPEC.origin.encode()) if _SPEC and _SPEC.origin else 0

for _name, _value in (
    # One version does not understand what another has cached of a model.
    ("VLLM_CACHE_ROOT", os.path.join(_FOLDER, f"cache-{_PLACE:08x}")),
    ("VLLM_LOGGING_LEVEL", "ERROR"),
    ("VLLM_NO_USAGE_STATS", "1"),
    ("CUDA_VISIBLE_DEVICES", ""),
    ("HF_HUB_OFFLINE", "1"),
    ("VLLM_USE_V1", "1"),  # up to 0.11.0 there were two engines
):
    os.environ.setdefault(_name, _value)

import torch
import vllm
from vllm.engine.arg_utils import EngineArgs
from vllm.lora.request import LoRARequest
from vllm.sampling_params import SamplingParams
from vllm.v1.engine.core import EngineCore
from vllm.v1.kv_cache_interface import FullAttentionSpec, KVCacheConfig, KVCacheGroupSpec
from vllm.v1.outputs import ModelRunnerOutput
from vllm.v1.request import Request, RequestStatus
from vllm.v1.structured_output import StructuredOutputManager

VERSION = re.sub(r"\+.*", "", vllm.__version__)


@functools.cache
def _parameters(function):
    return frozenset(inspect.signature(function).parameters)


def _only(function, values):
    """Those of the values that this version's function has a parameter for."""
    known = _parameters(function)
    return {name: value for name, value in values.items() if name in known}


def _folder(name, config):
    """A model's folder: vLLM reads its configuration, and nothing else is there."""
    folder = os.path.join(_FOLDER, name)
    os.makedirs(folder, exist_ok=True)
    path = os.path.join(folder, "config.json")
    if not os.path.exists(path):
        with open(path + f".{os.getpid()}", "w") as file:
            json.dump(config, file)
        os.replace(path + f".{os.getpid()}", path)
    return folder


LLAMA = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "vocab_size": 128,
    "hidden_act": "silu",
    "max_position_embeddings": 1 << 20,
    "rms_norm_eps": 1e-5,
    "torch_dtype": "float32",
    "tie_word_embeddings": False,
    "bos_token_id": 1,
    "eos_token_id": 2,
}


@functools.cache
def samples_apart():
    """Does the engine core ask for the sampled tokens in a call of their own?"""
    return "sample_tokens" in inspect.getsource(EngineCore.step)  # not up to 0.11.0


def computed_before(out):
    """Per request of a step, the tokens computed before it; and which were admitted by it."""
    before, admitted = {}, []
    for new in out.scheduled_new_reqs:
        before[new.req_id] = new.num_computed_tokens
        admitted.append(new.req_id)
    cached = out.scheduled_cached_reqs
    if isinstance(cached, list):  # in 0.8
        before.update((row.req_id, row.num_computed_tokens) for row in cached)
        admitted += [row.req_id for row in cached if row.resumed_from_preemption]
        return before, admitted
    before.update(zip(cached.req_ids, cached.num_computed_tokens))
    if hasattr(cached, "resumed_req_ids"):
        admitted += [name for name in cached.req_ids if name in cached.resumed_req_ids]
    else:  # up to 0.11.0
        pairs = zip(cached.req_ids, cached.resumed_from_preemption)
        admitted += [name for name, resumed in pairs if resumed]
    return before, admitted


def model_output(names, tokens, next_drafts):
    """What the worker answers to a step."""
    return ModelRunnerOutput(
        **_only(
            ModelRunnerOutput,
            {
                "req_ids": names,
                "req_id_to_index": {name: k for k, name in enumerate(names)},
                "sampled_token_ids": tokens,
                "spec_token_ids": next_drafts,  # in 0.8
                "logprobs": None,
                "prompt_logprobs_dict": {},
                "pooler_output": [],
            },
        )
    )


def drafts(names, tokens):
    from vllm.v1.outputs import DraftTokenIds

    return DraftTokenIds(req_ids=names, draft_token_ids=tokens)


def preemptions(request, admissions):
    """How often a request was preempted."""
    if hasattr(request, "num_preemptions"):
        return request.num_preemptions
    return max(0, admissions - 1) + (request.status == RequestStatus.PREEMPTED)


def _attention(size):
    values = {"use_mla": False}  # in 0.8
    return FullAttentionSpec(
        block_size=size,
        num_kv_heads=1,
        head_size=1,
        dtype=torch.float32,
        **_only(FullAttentionSpec, values),
    )


def _scheduler(asynchronous):
    if not asynchronous:
        from vllm.v1.core.sched.scheduler import Scheduler

        return Scheduler
    try:
        from vllm.v1.core.sched.async_scheduler import AsyncScheduler
    except ImportError:
        raise ValueError(f"vLLM {VERSION} has no asynchronous scheduling") from None
    return AsyncScheduler


def _hasher(size):
    try:
        from vllm.v1.core.kv_cache_utils import get_request_block_hasher, init_none_hash
    except ImportError:  # in 0.8 the scheduler hashes
        return None
    try:
        from vllm.utils.hashing import sha256
    except ImportError:  # up to 0.11.0
        from vllm.utils import sha256
    init_none_hash(sha256)
    return get_request_block_hasher(size, sha256)


class Engine:
    """The scheduler of one case, with all that it needs to live without workers."""

    def __init__(self, case):
        self.case, self.made = case, 0
        self.config = self._config(case)
        self.blocks = case["usable_kv_blocks"] + 1  # one is vLLM's null block
        self.config.cache_config.num_gpu_blocks = self.blocks
        size = case["block_size"]
        group = KVCacheGroupSpec(["layer"], _attention(size))
        tensors = {"kv_cache_tensors": [], "tensors": {}}
        kv = KVCacheConfig(
            num_blocks=self.blocks, kv_cache_groups=[group], **_only(KVCacheConfig, tensors)
        )
        self.structured = StructuredOutputManager(self.config)
        kind = _scheduler(case["async"])
        values = {
            "vllm_config": self.config,
            "kv_cache_config": kv,
            "structured_output_manager": self.structured,
            "block_size": size,
            "log_stats": True,
            "scheduler_config": self.config.scheduler_config,  # these in 0.8.4
            "model_config": self.config.model_config,
            "cache_config": self.config.cache_config,
            "lora_config": self.config.lora_config,
            "speculative_config": self.config.speculative_config,
        }
        self.scheduler = kind(**_only(_scheduler(False), values))
        # With a pipeline the model runner decides how steps are chosen; 0.32 takes the second one,
        # but not on a machine without a GPU.
        if case.get("pp", 1) > 1 and hasattr(self.scheduler, "use_v2_model_runner"):
            self.scheduler.use_v2_model_runner = True
        self.hasher = _hasher(size) if case["prefix_caching"] else None

    @staticmethod
    def _config(case):
        values = {
            "model": _folder("llama", LLAMA),
            "skip_tokenizer_init": True,
            "load_format": "dummy",
            "dtype": "bfloat16",
            "enforce_eager": True,
            "max_model_len": case["max_model_len"],
            "max_num_seqs": case["max_num_seqs"],
            "max_num_batched_tokens": case["max_num_batched_tokens"],
            "max_num_active_seqs": case.get("max_num_active_seqs"),
            "long_prefill_token_threshold": case["long_prefill_token_threshold"],
            "long_prefill_token_threshold_adaptive": case.get(
                "long_prefill_token_threshold_adaptive", False
            ),
            "enable_prefix_caching": case["prefix_caching"],
            "enable_chunked_prefill": case.get("enable_chunked_prefill", True),
            "scheduling_policy": case["policy"],
            "async_scheduling": case["async"],
        }
        if case.get("max_loras"):
            values.update(enable_lora=True, max_loras=case["max_loras"], max_lora_rank=8)
        if case.get("num_speculative_tokens"):
            values.update(speculative_config=_speculation(case))
        if case.get("kv_events"):
            from vllm.config import KVEventsConfig

            values.update(
                kv_events_config=KVEventsConfig(enable_kv_cache_events=True, publisher="null")
            )
        if hasattr(EngineArgs, "_is_v1_supported_oracle"):  # up to 0.11.0; it asks for a GPU
            EngineArgs._is_v1_supported_oracle = lambda *_: True
        if case["policy"] != "fcfs" and "priority" not in _parameters(Request):
            raise ValueError(f"the V1 engine of vLLM {VERSION} has no other policy than fcfs")
        for name in ("max_num_active_seqs", "long_prefill_token_threshold_adaptive"):
            if case.get(name) and name not in _parameters(EngineArgs):
                raise ValueError(f"vLLM {VERSION} has no {name}")
        config = EngineArgs(**_only(EngineArgs, values)).create_engine_config()
        scheduler = config.scheduler_config
        # The platform without a GPU changes some of these; the scheduler does not need one.
        scheduler.async_scheduling = case["async"]
        config.parallel_config.pipeline_parallel_size = case.get("pp", 1)
        config.cache_config.block_size = case["block_size"]
        for name, value, absent in (
            ("watermark", case.get("watermark", 0.0), 0.0),
            ("scheduler_reserve_full_isl", case.get("reserve_full_isl", True), False),
        ):
            if hasattr(scheduler, name):
                setattr(scheduler, name, value)
            elif value != absent:
                raise ValueError(f"vLLM {VERSION} has no {name}; it is {absent}")
        wanted = {
            "max_num_batched_tokens": case["max_num_batched_tokens"],
            "max_num_seqs": case["max_num_seqs"],
            "long_prefill_token_threshold": case["long_prefill_token_threshold"],
            "policy": case["policy"],
        }
        for name, value in wanted.items():
            if getattr(scheduler, name) != value:
                raise ValueError(f"vLLM made {getattr(scheduler, name)} of {name} = {value}")
        return config

    def _tie(self):
        """Before requests were compared by name, two that arrive at once stopped the engine."""
        self.made += 1
        return 0.0 if "__lt__" in vars(Request) else self.made * 1e-9

    def request(self, given, most):
        """A request as the API server would hand it over."""
        parameters = SamplingParams(max_tokens=most, ignore_eos=True, temperature=0.0)
        adapter = given["adapter"]
        lora = LoRARequest(adapter, _number(adapter), "/none") if adapter else None
        values = {
            "request_id": given["id"],
            "prompt_token_ids": given["prompt"],
            "sampling_params": parameters,
            "pooling_params": None,
            "arrival_time": given["arrival_us"] / 1e6 + self._tie(),
            "priority": given["priority"],
            "block_hasher": self.hasher,
            "lora_request": lora,
            "eos_token_id": None,  # up to 0.15
            "prompt": None,  # in 0.8.4
            "multi_modal_inputs": None,  # these in 0.8
            "multi_modal_hashes": None,
            "multi_modal_placeholders": None,
        }
        return Request(**_only(Request, values))

    def core(self, executor):
        """vLLM's engine core, of which only the loop is used."""
        core = EngineCore.__new__(EngineCore)
        core.scheduler, core.model_executor = self.scheduler, executor
        core.vllm_config, core.structured_output_manager = self.config, self.structured
        core.is_mm_encoder_only = core.is_pooling_model = False
        core.is_ec_producer, core.is_ec_consumer = False, True
        core.use_spec_decode = bool(self.case.get("num_speculative_tokens"))
        core.check_for_draft_tokens = core.use_spec_decode
        core.async_scheduling = self.case["async"]
        core.aborts_queue = queue.Queue()
        # One for each stage, and one that waits.
        core.batch_queue_size = self.case.get("pp", 1) + (1 if self.case["async"] else 0)
        core.batch_queue = None
        if core.batch_queue_size > 1:
            core.batch_queue = collections.deque(maxlen=core.batch_queue_size)
        core.capture_iteration_details = lambda out: contextlib.nullcontext()
        core.log_error_detail = lambda out: contextlib.nullcontext()
        core.log_iteration_details = lambda out: contextlib.nullcontext()
        core._attach_iteration_details = core._attach_weight_version = lambda *_: None
        return core

    def has_work(self, core):
        return self.scheduler.has_requests() or bool(core.batch_queue)

    def step(self, core):
        """One turn of the engine core's loop; yields the outputs of requests."""
        turn = core.step if core.batch_queue is None else core.step_with_batch_queue
        told = turn()
        if not isinstance(told, tuple):  # in 0.8
            yield from told.outputs
            return
        groups, executed = told
        if hasattr(core, "post_step"):
            core.post_step(executed)
        for group in (groups or {}).values():
            yield from group.outputs

    def free_blocks(self):
        return self.scheduler.kv_cache_manager.block_pool.get_num_free_blocks()

    def collect_events(self, clock):
        """A list that grows with the KV events that vLLM publishes."""
        events, numbers = [], {}

        def number(key):
            return None if key is None else numbers.setdefault(key, len(numbers))

        class Publisher:
            def publish(self, batch):
                for event in batch.events:
                    row = {"time_us": clock.now, "event": type(event).__name__}
                    row["blocks"] = [number(key) for key in getattr(event, "block_hashes", [])]
                    if hasattr(event, "parent_block_hash"):
                        row["parent"] = number(event.parent_block_hash)
                        row["tokens"] = len(event.token_ids)
                    events.append(row)

            def shutdown(self):
                pass

        self.scheduler.kv_event_publisher = Publisher()
        return events


def _number(adapter):
    """vLLM tells adapters apart by numbers from 1."""
    return int(adapter.rsplit("-", 1)[1]) + 1


def _speculation(case):
    if case.get("speculative_method", "ngram") == "ngram":
        return {
            # The scheduler does not tell them apart; only one may be asynchronous.
            "method": "ngram_gpu" if case["async"] else "ngram",
            "num_speculative_tokens": case["num_speculative_tokens"],
            "prompt_lookup_max": 3,
        }
    draft = dict(LLAMA, num_hidden_layers=1)
    return {
        "method": case["speculative_method"],
        "model": _folder("draft", draft),
        "num_speculative_tokens": case["num_speculative_tokens"],
    }
