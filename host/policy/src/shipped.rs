//! The scripts that come with the project, in `policies/`: they can be chosen by name, as built-in
//! policies can.

use super::param::Hook;

/// A script that comes with the project.
#[derive(Clone, Copy, Debug)]
pub struct ShippedScript {
    /// The hook it fills.
    pub hook: Hook,
    /// Its name: that of its file.
    pub name: &'static str,
    /// Its text.
    pub text: &'static str,
}

impl ShippedScript {
    /// Its path in the project, which stands for it in messages.
    #[must_use]
    pub fn path(&self) -> String {
        format!("policies/{}/{}.lua", self.hook, self.name)
    }
}

macro_rules! shipped {
    ($($hook:ident $folder:literal: $($name:literal)*;)*) => {
        /// All of them, by hook, then by name.
        pub const ALL: &[ShippedScript] = &[$($(
            ShippedScript {
                hook: Hook::$hook,
                name: $name,
                text: include_str!(concat!("../../../policies/", $folder, "/", $name, ".lua")),
            },
        )*)*];
    };
}

shipped! {
    Admission "admission": "aimd" "always-admit" "class-headroom" "early-rejection"
        "gaie-saturation" "gradient-limit" "reject-all" "tenant-budgets" "tier-shed" "token-bucket"
        "token-bucket-tenant";
    Routing "routing": "always-busiest" "dynamo-kv" "jsq" "least-loaded" "least-tokens" "least-work"
        "llm-d" "lora-affinity" "mooncake-conductor" "power-of-two" "preble-e2" "predicted-latency"
        "prefix-affinity" "random" "round-robin" "session-affinity" "sglang-cache-aware" "two-weights" "vllm-dp"
        "weighted";
    Priority "priority": "client" "constant" "inverted-slo" "slo-based" "slo-class";
    Scheduler "scheduler": "edf" "edf-triage" "fcfs" "ltr" "mlfq" "priority-aging"
        "priority-fcfs" "reverse-priority" "sjf" "sjf-predicted" "sjf-triage" "vtc";
    Preemption "preemption": "fcfs" "least-progress" "priority" "priority-first";
    Disaggregation "disaggregation": "always" "edpp" "least-ttft" "never" "prefix-threshold";
    Batching "batching": "chunked-context" "continuous" "greedy" "in-flight" "one-prefill" "prefill-first"
        "run-to-completion" "static" "step-time" "windowed";
    Dispatch "dispatch": "fifo" "priority" "slo-deadline";
    Scale "scale": "fixed" "hpa-concurrency" "hpa-kv" "hpa-queue" "keda" "saturation" "sla-planner";
}

/// The scripts that fill `hook`.
pub fn scripts(hook: Hook) -> impl Iterator<Item = &'static ShippedScript> {
    ALL.iter().filter(move |script| script.hook == hook)
}

/// The script called `name` that fills `hook`.
#[must_use]
pub fn find(hook: Hook, name: &str) -> Option<&'static ShippedScript> {
    scripts(hook).find(|script| script.name == name)
}
