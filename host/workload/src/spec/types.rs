//! The keys of a workload spec, as people write them. The reference of the format is generated from
//! these types and their comments (`docs/reference/workload-spec.md`).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use windtunnel_base::input::is_default;

/// A workload: who sends what, when. Rates are requests per second, times microseconds (`_us`) or
/// milliseconds (`_ms`), lengths tokens.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct WorkloadSpec {
    /// `"2"`, or `"1"` for the older names of SLO classes (`realtime`, `interactive`).
    #[serde(skip_serializing_if = "String::is_empty")]
    pub version: String,
    /// Seed of everything random; the run's `seed` wins.
    pub seed: i64,
    /// `language`, `multimodal` or `reasoning`; informational.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub category: String,
    /// Requests (or session starts) per second of all clients together, shared out by
    /// `rate_fraction`. 0 or absent: every window says its own `trace_rate`.
    #[serde(skip_serializing_if = "is_zero")]
    pub aggregate_rate: f64,
    /// Nothing arrives from this time on, microseconds, and the run ends there; 0 or absent = no
    /// limit. The run's `horizon` wins.
    #[serde(skip_serializing_if = "is_default")]
    pub horizon: i64,
    /// Most requests in all, follow-ups included; a session takes its rounds from it when it
    /// starts. 0 or absent = no limit. The run's `num_requests`
    /// wins.
    #[serde(skip_serializing_if = "is_default")]
    pub num_requests: u64,
    /// Latency targets per SLO class (goodput); `default` is the class of requests without one. The
    /// run's own win.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub goodput_slo_targets: BTreeMap<String, GoodputTargets>,
    /// Clients.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub clients: Vec<Client>,
    /// Groups of equal clients.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cohorts: Vec<Cohort>,
    /// Traffic as the load generator inference-perf makes it, instead of clients.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inference_perf: Option<InferencePerf>,
    /// Traffic fitted to production by ServeGen, instead of clients.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub servegen_data: Option<ServeGenData>,
}

/// Latency targets of a class, milliseconds; 0 or absent = none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct GoodputTargets {
    /// Time to first token.
    #[serde(skip_serializing_if = "is_zero")]
    pub ttft_ms: f64,
    /// Mean inter-token latency of a request.
    #[serde(skip_serializing_if = "is_zero")]
    pub itl_ms: f64,
    /// End-to-end latency.
    #[serde(skip_serializing_if = "is_zero")]
    pub e2e_ms: f64,
}

/// A client: a stream of requests, of sessions, or a pool of users that wait for their answers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Client {
    /// Name; its random numbers hang on it.
    pub id: String,
    /// Tenant.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub tenant_id: String,
    /// `critical`, `standard`, `sheddable`, `batch` or `background`; all clients name one, or none
    /// does.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub slo_class: String,
    /// Model asked for; absent = the one that is served.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub model: String,
    /// LoRA adapter: KV blocks are shared within one only. Without effect on step times.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub adapter: String,
    /// Several of them with weights, one drawn for each request.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub adapters: BTreeMap<String, f64>,
    /// Share of `aggregate_rate`, in proportion to the others' shares that are active at the same
    /// time. Above 0, except with `concurrency`.
    #[serde(skip_serializing_if = "is_zero")]
    pub rate_fraction: f64,
    /// Users of a closed loop: each sends its next request a think time after its answer. 0 or
    /// absent = requests come at a rate.
    #[serde(skip_serializing_if = "is_default")]
    pub concurrency: u32,
    /// Pause of such a user after each answer, microseconds.
    #[serde(skip_serializing_if = "is_default")]
    pub think_time_us: i64,
    /// When requests come; absent = `poisson`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arrival: Option<Arrival>,
    /// Prompt length, without prefix and history.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input_distribution: Option<Distribution>,
    /// Output length.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_distribution: Option<Distribution>,
    /// Requests of one group begin with the same tokens.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub prefix_group: String,
    /// Tokens of the group's prefix, on top of the prompt; absent = what an earlier client of the
    /// group says, else 50.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix_length: Option<u32>,
    /// A fixed set of prompts that the requests take in turn, instead of a prompt each.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompts: Option<Prompts>,
    /// Does the client stream its answers?
    #[serde(skip_serializing_if = "is_default")]
    pub streaming: bool,
    /// The way between client and gateway.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network: Option<Network>,
    /// When the client is active; absent = always.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lifecycle: Option<Lifecycle>,
    /// Prompts of text, images, audio and video, instead of `input_distribution`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub multimodal: Option<Multimodal>,
    /// Reasoning, and sessions of several rounds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<Reasoning>,
    /// Time after which the client gives up, microseconds; 0 = never; absent = 300 s in sessions
    /// and closed loops, else never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<i64>,
    /// Target for the time to first token of each request, microseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slo_target_us: Option<i64>,
    /// Do the rounds of a session wait for the answers before them? Absent = yes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub closed_loop: Option<bool>,
}

/// A fixed set of prompts, in groups that begin with the same tokens. The lengths of a prompt and
/// of the answers to it are drawn once.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Prompts {
    /// Groups, at least 1.
    pub groups: u32,
    /// Prompts in each, at least 1.
    pub per_group: u32,
    /// Tokens with which all prompts of a group begin, drawn for each group; absent = none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix_distribution: Option<Distribution>,
    /// Whose turn has come again asks once more, behind the answers so far and not before the last
    /// one; absent = it sends the same prompt again.
    #[serde(skip_serializing_if = "is_default")]
    pub conversations: bool,
}

/// A group of equal clients `<id>-0`, `<id>-1`, ...
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Cohort {
    /// Name.
    pub id: String,
    /// Members, 1 to 100000.
    pub population: u32,
    /// Tenant.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub tenant_id: String,
    /// SLO class, as of a client.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub slo_class: String,
    /// Model asked for.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub model: String,
    /// LoRA adapter.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub adapter: String,
    /// Share of `aggregate_rate` of all members together.
    #[serde(skip_serializing_if = "is_zero")]
    pub rate_fraction: f64,
    /// When requests come; absent = `poisson`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arrival: Option<Arrival>,
    /// Prompt length.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input_distribution: Option<Distribution>,
    /// Output length.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_distribution: Option<Distribution>,
    /// Requests of one group begin with the same tokens.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub prefix_group: String,
    /// `shared` (the default): all members are of that group; `per_member`: each has its own,
    /// `<prefix_group>-<member>`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub prefix_sharing: String,
    /// Tokens of the prefix.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix_length: Option<u32>,
    /// Do the members stream their answers?
    #[serde(skip_serializing_if = "is_default")]
    pub streaming: bool,
    /// Active by the hour of the first simulated day.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub diurnal: Option<Diurnal>,
    /// Active for one stretch of time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spike: Option<Spike>,
    /// Active at first, then fading out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drain: Option<Drain>,
    /// The way between members and gateway.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network: Option<Network>,
    /// Prompts of several modalities.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub multimodal: Option<Multimodal>,
    /// Reasoning, and sessions of several rounds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<Reasoning>,
    /// Time after which a member gives up, microseconds, as of a client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<i64>,
    /// Target for the time to first token, microseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slo_target_us: Option<i64>,
    /// Do the rounds of a session wait for the answers before them? Absent = yes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub closed_loop: Option<bool>,
}

/// Gaps between requests.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Arrival {
    /// Kind of the process.
    pub process: Process,
    /// Standard deviation of the gaps over their mean (gamma, weibull); absent = 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cv: Option<f64>,
    /// Shape of the gaps' distribution (gamma, weibull); with `scale`, instead of rate and `cv`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shape: Option<f64>,
    /// Scale of it, microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale: Option<f64>,
}

/// Kinds of arrival processes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Process {
    /// Exponential gaps.
    #[default]
    Poisson,
    /// Gamma gaps: bursty for a cv above 1, regular below.
    Gamma,
    /// Weibull gaps.
    Weibull,
    /// Equal gaps.
    Constant,
}

/// How long something is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Distribution {
    /// Kind.
    #[serde(rename = "type")]
    pub kind: DistributionKind,
    /// Parameters of the kind; of `empirical`, weights by length: `{64: 0.5, 256: 0.5}`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub params: BTreeMap<String, f64>,
    /// Weights of `empirical` in a file beside the spec: a YAML or JSON object as in `params`, or
    /// CSV rows of length and weight.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
}

/// Kinds of length distributions, with their parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DistributionKind {
    /// `value`.
    Constant,
    /// `mean`, `std_dev`, `min`, `max`; clamped, so that mass gathers at the bounds.
    Gaussian,
    /// `mean`; `min` and `max` if wanted.
    Exponential,
    /// `mu` and `sigma` of the logarithm; `min` and `max` if wanted.
    Lognormal,
    /// `min` to `max`, all equally often.
    Uniform,
    /// Skew normal: location `mean`, scale `std_dev`, shape `skew`, clamped to `min` and `max`.
    SkewNormal,
    /// Poisson: `mean`, clamped to `min` and `max`.
    Poisson,
    /// With probability `mix_weight` Pareto (`alpha`, `xm`), else lognormal (`mu`, `sigma`).
    ParetoLognormal,
    /// Lengths with weights.
    Empirical,
}

/// The way between client and gateway: a request reaches the gateway half a round trip and its
/// upload after it was sent, at 4 bytes per token; an answer takes half a round trip and its
/// download before the user thinks about it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Network {
    /// Round trip, milliseconds.
    pub rtt_ms: f64,
    /// Bandwidth in each direction, megabits per second; 0 = no limit.
    #[serde(skip_serializing_if = "is_zero")]
    pub bandwidth_mbps: f64,
}

/// When a client is active.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Lifecycle {
    /// Windows, at least one.
    pub windows: Vec<Window>,
}

/// A window of activity. If any window of a spec has one of the optional keys, every window sends
/// as many requests as its rate and length make.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Window {
    /// Begin, microseconds.
    pub start_us: i64,
    /// End, microseconds; not part of the window.
    pub end_us: i64,
    /// Rate in this window: requests per second without `aggregate_rate`, else a share of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace_rate: Option<f64>,
    /// Arrival process in this window.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arrival: Option<Arrival>,
    /// Prompt length in this window.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input_distribution: Option<Distribution>,
    /// Output length in this window.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_distribution: Option<Distribution>,
}

/// Prompts of several modalities: a text and some items of each other modality, each with its own
/// length. A modality needs both of its distributions.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Multimodal {
    /// Tokens of text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text_distribution: Option<Distribution>,
    /// Tokens of an image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_distribution: Option<Distribution>,
    /// Images per prompt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_count_distribution: Option<Distribution>,
    /// Tokens of a piece of audio.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audio_distribution: Option<Distribution>,
    /// Pieces of audio per prompt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audio_count_distribution: Option<Distribution>,
    /// Tokens of a video.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub video_distribution: Option<Distribution>,
    /// Videos per prompt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub video_count_distribution: Option<Distribution>,
}

/// Reasoning and sessions.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Reasoning {
    /// Percent of the output that is reasoning; carried along into traces.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason_ratio_distribution: Option<Distribution>,
    /// Every arrival starts a session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub multi_turn: Option<MultiTurn>,
}

/// Sessions of several rounds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MultiTurn {
    /// Rounds of a session, at least 1.
    pub max_rounds: u32,
    /// Pause between answer and next round, microseconds.
    #[serde(skip_serializing_if = "is_default")]
    pub think_time_us: i64,
    /// `accumulate`: each prompt repeats the session so far; `independent` or absent: it does not.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub context_growth: String,
    /// One session only, from the client's first arrival on.
    #[serde(skip_serializing_if = "is_default")]
    pub single_session: bool,
}

/// Activity over the first simulated day: each hour begins with an active stretch that is longest
/// at the peak.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Diurnal {
    /// Hour of the peak, 0 to 23.
    pub peak_hour: u32,
    /// Activity at the peak over activity twelve hours from it, at least 1.
    pub peak_to_trough_ratio: f64,
}

/// One stretch of activity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Spike {
    /// Begin, microseconds.
    pub start_time_us: i64,
    /// Length, microseconds.
    pub duration_us: i64,
    /// Rate of the whole cohort in it, as of a window.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace_rate: Option<f64>,
}

/// Active until a time, then for ever shorter parts of ten equal stretches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Drain {
    /// When it begins to fade, microseconds.
    pub start_time_us: i64,
    /// How long the fading takes, microseconds.
    pub ramp_duration_us: i64,
}

/// Traffic of the load generator inference-perf: users that share system prompts, in stages of
/// different rates.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct InferencePerf {
    /// Stages, one after the other.
    pub stages: Vec<Stage>,
    /// Prompts.
    pub shared_prefix: Option<SharedPrefix>,
}

/// A stage of constant rate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Stage {
    /// Requests per second.
    pub rate: f64,
    /// Seconds.
    pub duration: i64,
}

/// Prompts that share system prompts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SharedPrefix {
    /// Different system prompts.
    pub num_unique_system_prompts: u32,
    /// Users of each.
    pub num_users_per_system_prompt: u32,
    /// Tokens of a system prompt.
    pub system_prompt_len: u32,
    /// Tokens of a question.
    pub question_len: u32,
    /// Tokens of an answer.
    pub output_len: u32,
    /// Does each user hold one long conversation?
    pub enable_multi_turn_chat: bool,
}

/// A folder of ServeGen data: one client per `chunk-<id>-trace.csv`, with its own rate and
/// burstiness in every window of ten minutes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ServeGenData {
    /// The folder, relative to the spec.
    pub path: String,
    /// First window, seconds.
    #[serde(skip_serializing_if = "is_default")]
    pub span_start: i64,
    /// End of the last window, seconds; 0 = all there is.
    #[serde(skip_serializing_if = "is_default")]
    pub span_end: i64,
    /// Has no meaning here and is refused: `span_start` and `span_end` choose the time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_window: Option<String>,
    /// Length of a window, seconds; absent = 600, as in the published data.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window_duration_secs: Option<i64>,
    /// Has no meaning here and is refused: windows follow each other as recorded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drain_timeout_secs: Option<i64>,
}

fn is_zero(value: &f64) -> bool {
    *value == 0.0
}

impl WorkloadSpec {
    /// The rates that windows and spikes say themselves.
    pub(super) fn trace_rates_mut(&mut self) -> impl Iterator<Item = &mut f64> {
        let windows = self.clients.iter_mut().flat_map(|c| &mut c.lifecycle);
        let windows = windows.flat_map(|lifecycle| &mut lifecycle.windows);
        let spikes = self.cohorts.iter_mut().flat_map(|c| &mut c.spike);
        let rates = windows.map(|w| &mut w.trace_rate);
        rates.chain(spikes.map(|s| &mut s.trace_rate)).flatten()
    }
}

impl Client {
    /// Sessions of several rounds, if it has them.
    #[must_use]
    pub fn multi_turn(&self) -> Option<&MultiTurn> {
        self.reasoning.as_ref()?.multi_turn.as_ref()
    }
}
