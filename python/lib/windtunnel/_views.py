# Made of the views of policies by `cargo xtask docs`; changes here are lost.
"""What a function that is a policy sees, for annotations.

Times are microseconds of simulated time. Numbers that name something (tenant, session, class) are opaque:
equal for equal names, 0 for none.
"""

from __future__ import annotations

from typing import Protocol


class Request(Protocol):
    """A request as every hook may see it."""

    @property
    def serial(self) -> int:
        """Number of the request in order of arrival within this run, from 0. Unique."""

    @property
    def arrival_us(self) -> int:
        """When the client sent it [us]."""

    @property
    def deadline_us(self) -> int:
        """The client gives up at this time; 0 = never [us]."""

    @property
    def slo_ttft_us(self) -> int:
        """Target for the time to first token; 0 = none [us]."""

    @property
    def prompt_key(self) -> int:
        """Equal for two requests exactly when their whole prompts are equal."""

    @property
    def prompt_tokens(self) -> int:
        """Prompt length [tokens]."""

    @property
    def slo_class(self) -> int:
        """SLO class by name."""

    @property
    def class_priority(self) -> int:
        """Priority at the front end, the own one of a request that has one, else that of its class: higher is more
        important, below 0 may be shed."""

    @property
    def tenant(self) -> int:
        """Tenant by name."""

    @property
    def session(self) -> int:
        """Session by name."""

    @property
    def round(self) -> int:
        """Round within the session, from 0."""

    @property
    def prefix_group(self) -> int:
        """Shared-prefix group by name."""

    @property
    def prefix_tokens(self) -> int:
        """Tokens of the prompt that belong to the shared prefix group [tokens]."""

    @property
    def model(self) -> int:
        """Model asked for by name; 0 = the cluster's default model."""

    @property
    def predicted_output_tokens(self) -> int:
        """Output length that the run's predictor expects; 0 = there is no predictor [tokens]."""

    @property
    def attempts(self) -> int:
        """How often the hook at hand has put it off before (delayed or held it)."""

    @property
    def adapter(self) -> int:
        """LoRA adapter by name; 0 = none."""

    @property
    def client_priority(self) -> int:
        """The client's own priority as vLLM takes it: lower is more urgent, 0 by default."""


class Instance(Protocol):
    """One serving instance as the front end sees it."""

    @property
    def position(self) -> int:
        """Position in ``cluster.instances``."""

    @property
    def prefix_blocks(self) -> int:
        """Leading prompt blocks of the request that its prefix cache holds."""

    @property
    def index(self) -> int:
        """Position of the instance in the cluster."""

    @property
    def queue_depth(self) -> int:
        """Requests in the wait queue [requests]."""

    @property
    def batch_size(self) -> int:
        """Requests in the running batch [requests]."""

    @property
    def in_flight(self) -> int:
        """Requests dispatched and not yet finished (fresh) [requests]."""

    @property
    def kv_used_blocks(self) -> int:
        """KV blocks in use [blocks]."""

    @property
    def kv_total_blocks(self) -> int:
        """KV blocks in all [blocks]."""

    @property
    def kv_free_blocks(self) -> int:
        """KV blocks not in use: `kv_total_blocks - kv_used_blocks` [blocks]."""

    @property
    def preemptions(self) -> int:
        """Preemptions so far."""

    @property
    def kv_utilization(self) -> float:
        """`kv_used_blocks / kv_total_blocks`, 0 to 1."""

    @property
    def cache_hit_rate(self) -> float:
        """Prompt tokens found in the prefix cache / looked up so far, 0 to 1."""

    @property
    def dispatched_tokens(self) -> int:
        """Prompt tokens of the requests in flight (fresh) [tokens]."""

    @property
    def scraped_us(self) -> int:
        """When the scraped fields were read; 0 before the first scrape [us]."""

    @property
    def max_batch_size(self) -> int:
        """Largest batch the instance runs [requests]."""

    @property
    def block_size(self) -> int:
        """Tokens a KV block holds [tokens]."""

    @property
    def queued_prompt_tokens(self) -> int:
        """Prompt tokens of the waiting requests (cached ones included) [tokens]."""

    @property
    def running_prefill_tokens(self) -> int:
        """Prompt tokens of the running batch that are still to be prefilled [tokens]."""

    @property
    def decode_context_tokens(self) -> int:
        """Context of all running decodes together [tokens]."""

    @property
    def decodes(self) -> int:
        """Running requests that decode [requests]."""

    @property
    def max_step_tokens(self) -> int:
        """Most new tokens per step [tokens]."""

    @property
    def pool(self) -> int:
        """Pool of the instance by name; 0 = the cluster's only pool, which has no name."""

    @property
    def gpus(self) -> int:
        """GPUs that the instance takes; 0 = unknown."""

    @property
    def max_loras(self) -> int:
        """Most LoRA adapters in a step and on the GPU; 0 = no limit."""

    @property
    def loaded_lora_adapters(self) -> int:
        """LoRA adapters on the GPU."""

    @property
    def running_lora_adapters(self) -> int:
        """LoRA adapters of running requests."""

    @property
    def waiting_lora_adapters(self) -> int:
        """LoRA adapters of waiting requests that no running one has."""

    @property
    def role(self) -> int:
        """What it does where some instances prefill for others: 0 whole requests, 1 it prefills, 2 it decodes, 3 it
        encodes, 4 nothing."""

    @property
    def incoming_kv_caches(self) -> int:
        """KV caches on their way to it, for which it has reserved blocks."""

    @property
    def kept_kv_caches(self) -> int:
        """KV caches of prompts that it has computed for others and keeps until they are fetched."""

    @property
    def kept_kv_blocks(self) -> int:
        """KV blocks of those [blocks]."""


class Cluster(Protocol):
    """The cluster at the moment of a decision."""

    @property
    def now_us(self) -> int:
        """Now."""

    @property
    def instances(self) -> list[Instance]:
        """The instances that can be chosen."""
