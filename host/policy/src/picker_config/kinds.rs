//! The types of plugins that llm-d and the Gateway API inference extension have, and what they are
//! here.

/// What a type of plugin is here.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Meaning {
    /// A scorer of weighted routing.
    Scorer(&'static str),
    /// Prefix hits by what was sent before, unless the scorer names a producer of cache events.
    PrefixScorer,
    /// A picker, by the number that it has in weighted routing.
    Picker(f64),
    /// The filter that is sticky until saturated.
    AffinityFilter,
    /// A session stays where it was sent first.
    SessionFilter,
    /// A filter that keeps all instances, as all serve prompts and outputs.
    KeepsAll,
    /// A source of prefix hits; `true`: of cache events.
    PrefixProducer(bool),
    /// The count of uncached tokens in flight.
    InFlightProducer,
    /// Says when the pool is saturated: by queues and KV blocks, or (`true`) by requests in flight.
    Detector(bool),
    /// It runs one profile.
    SingleProfile,
    /// It is about how the picker is built or what it shows, not about what it decides.
    Plumbing,
    /// Queues and fairness of flow control.
    FlowControl,
    /// It decides, and has no counterpart: why.
    Missing(&'static str),
}

use Meaning as M;

const ROLES: &str = "which instances prefill and which decode is said by the run's pools";
const LABELS: &str = "instances have no labels";
const PREDICTOR: &str = "there is no latency predictor to ask";
const OLD_FILTER: &str = "there is no such filter in weighted routing";
const LORA: &str =
    "instances can load every adapter, and are scored, not left out, by those that they have";
const MEDIA: &str = "images, audio and video are not simulated";
const CLUSTERS: &str = "there is one cluster";

/// All of them: type, meaning, the parameters that it can have.
pub(super) const KINDS: &[(&str, Meaning, &[&str])] = &[
    ("queue-scorer", M::Scorer("queue-depth"), &[]),
    (
        "kv-cache-utilization-scorer",
        M::Scorer("kv-utilization"),
        &[],
    ),
    ("kv-cache-scorer", M::Scorer("kv-utilization"), &[]),
    (
        "running-requests-size-scorer",
        M::Scorer("running-requests"),
        &[],
    ),
    ("prefix-cache-scorer", M::PrefixScorer, PREFIX),
    ("prefix-cache", M::PrefixScorer, PREFIX),
    (
        "precise-prefix-cache-scorer",
        M::Scorer("precise-prefix-cache"),
        INDEXER,
    ),
    ("load-aware-scorer", M::Scorer("load-aware"), &["threshold"]),
    (
        "active-request-scorer",
        M::Scorer("active-requests"),
        &[
            "requestTimeout",
            "idleThreshold",
            "maxBusyScore",
            "inFlightLoadProducerName",
        ],
    ),
    (
        "token-load-scorer",
        M::Scorer("token-load"),
        &[
            "queueThresholdTokens",
            "nonTextTokenWeight",
            "inFlightLoadProducerName",
        ],
    ),
    (
        "session-affinity-scorer",
        M::Scorer("session-affinity"),
        SESSION,
    ),
    (
        "no-hit-lru-scorer",
        M::Scorer("no-hit-lru"),
        &[
            "lruSize",
            "prefixPluginType",
            "prefixPluginName",
            "prefixMatchInfoProducerName",
        ],
    ),
    ("lora-affinity-scorer", M::Scorer("lora-affinity"), &[]),
    ("max-score-picker", M::Picker(1.0), PICKER),
    ("max-score", M::Picker(1.0), PICKER),
    ("random-picker", M::Picker(2.0), PICKER),
    ("weighted-random-picker", M::Picker(3.0), PICKER),
    (
        "load-aware-picker",
        M::Missing("there is no picker that counts its own picks"),
        &[],
    ),
    (
        "prefix-cache-affinity-filter",
        M::AffinityFilter,
        &[
            "affinityThreshold",
            "explorationProbability",
            "maxTTFTPenaltyMs",
            "maxTokensInFlightPenalty",
            "ttftSource",
            "peakPrefillThroughput",
            "prefillCalibrationFile",
            "prefillCalibrationFingerprint",
            "prefillCalibrationRequired",
            "prefixMatchInfoProducerName",
            "latencyPredictionInfoProducerName",
            "inFlightLoadProducerName",
        ],
    ),
    ("session-affinity-filter", M::SessionFilter, SESSION),
    ("decode-filter", M::KeepsAll, &[]),
    ("prefill-filter", M::Missing(ROLES), &[]),
    ("encode-filter", M::Missing(ROLES), &[]),
    ("by-label", M::Missing(LABELS), &[]),
    ("by-label-selector", M::Missing(LABELS), &[]),
    ("label-selector-filter", M::Missing(LABELS), &[]),
    ("endpoint-attribute-filter", M::Missing(LABELS), &[]),
    ("endpoint-attribute-scorer", M::Missing(LABELS), &[]),
    ("attribute-weight-scorer", M::Missing(LABELS), &[]),
    ("header-label-affinity-scorer", M::Missing(LABELS), &[]),
    ("topology-affinity-filter", M::Missing(LABELS), &[]),
    ("topology-affinity-scorer", M::Missing(LABELS), &[]),
    ("context-length-aware", M::Missing(LABELS), &[]),
    ("context-length-aware-scorer", M::Missing(LABELS), &[]),
    ("active-request-filter", M::Missing(OLD_FILTER), &[]),
    ("utilization-filter", M::Missing(OLD_FILTER), &[]),
    ("low-queue-filter", M::Missing(OLD_FILTER), &[]),
    ("least-queue-filter", M::Missing(OLD_FILTER), &[]),
    ("least-kv-cache-filter", M::Missing(OLD_FILTER), &[]),
    ("decision-tree-filter", M::Missing(OLD_FILTER), &[]),
    ("sheddable-capacity-filter", M::Missing(OLD_FILTER), &[]),
    ("header-based-testing-filter", M::Missing(OLD_FILTER), &[]),
    ("lora-affinity-filter", M::Missing(LORA), &[]),
    ("lora-residency-filter", M::Missing(LORA), &[]),
    ("slo-headroom-tier-filter", M::Missing(PREDICTOR), &[]),
    ("latency-scorer", M::Missing(PREDICTOR), &[]),
    ("predicted-latency-scorer", M::Missing(PREDICTOR), &[]),
    ("slo-aware-routing", M::Missing(PREDICTOR), &[]),
    ("latency-slo-admitter", M::Missing(PREDICTOR), &[]),
    (
        "probabilistic-admitter",
        M::Missing("there is no admission policy that refuses at random"),
        &[],
    ),
    ("mm-embeddings-cache-scorer", M::Missing(MEDIA), &[]),
    ("multicluster-queue-scorer", M::Missing(CLUSTERS), &[]),
    (
        "multicluster-kv-cache-utilization-scorer",
        M::Missing(CLUSTERS),
        &[],
    ),
    (
        "multicluster-prefix-cache-scorer",
        M::Missing(CLUSTERS),
        &[],
    ),
    ("single-profile-handler", M::SingleProfile, &[]),
    ("single-profile", M::SingleProfile, &[]),
    ("pd-profile-handler", M::Missing(ROLES), &[]),
    ("disagg-profile-handler", M::Missing(ROLES), &[]),
    ("always-disagg-pd-decider", M::Missing(ROLES), &[]),
    ("prefix-based-pd-decider", M::Missing(ROLES), &[]),
    (
        "data-parallel-profile-handler",
        M::Missing("ranks of one server are not simulated"),
        &[],
    ),
    (
        "header-profile-handler",
        M::Missing("requests have no headers to choose a profile by"),
        &[],
    ),
    (
        "approx-prefix-cache-producer",
        M::PrefixProducer(false),
        PREFIX,
    ),
    (
        "precise-prefix-cache-producer",
        M::PrefixProducer(true),
        INDEXER,
    ),
    (
        "inflight-load-producer",
        M::InFlightProducer,
        &[
            "addEstimatedOutputTokens",
            "maxEstimatedOutputTokens",
            "prefixMatchInfoProducerName",
        ],
    ),
    (
        "utilization-detector",
        M::Detector(false),
        &[
            "queueDepthThreshold",
            "kvCacheUtilThreshold",
            "metricsStalenessThreshold",
            "headroom",
        ],
    ),
    (
        "concurrency-detector",
        M::Detector(true),
        &[
            "maxConcurrency",
            "maxTokenConcurrency",
            "capacityMetric",
            "mode",
            "headroom",
        ],
    ),
    ("predicted-latency-producer", M::Plumbing, ANY),
    ("token-producer", M::Plumbing, ANY),
    ("tokenizer", M::Plumbing, ANY),
    ("session-id-producer", M::Plumbing, ANY),
    ("metrics-data-source", M::Plumbing, ANY),
    ("core-metrics-extractor", M::Plumbing, ANY),
    ("model-server-protocol-metrics", M::Plumbing, ANY),
    ("models-data-source", M::Plumbing, ANY),
    ("models-data-extractor", M::Plumbing, ANY),
    ("models-extractor", M::Plumbing, ANY),
    ("models-responder", M::Plumbing, ANY),
    ("endpoint-notification-source", M::Plumbing, ANY),
    ("k8s-notification-source", M::Plumbing, ANY),
    ("file-discovery", M::Plumbing, ANY),
    ("openai-parser", M::Plumbing, ANY),
    ("anthropic-parser", M::Plumbing, ANY),
    ("vllmhttp-parser", M::Plumbing, ANY),
    ("vllmgrpc-parser", M::Plumbing, ANY),
    ("sglanghttp-parser", M::Plumbing, ANY),
    ("passthrough-parser", M::Plumbing, ANY),
    ("request-attribute-reporter", M::Plumbing, ANY),
    ("prefill-header-handler", M::Plumbing, ANY),
    ("disagg-headers-handler", M::Plumbing, ANY),
    ("agent-identity", M::Plumbing, ANY),
    ("outlen-bucket", M::Plumbing, ANY),
    ("fcfs-ordering-policy", M::FlowControl, ANY),
    ("edf-ordering-policy", M::FlowControl, ANY),
    ("slo-deadline-ordering-policy", M::FlowControl, ANY),
    ("global-strict-fairness-policy", M::FlowControl, ANY),
    ("round-robin-fairness-policy", M::FlowControl, ANY),
    ("program-aware-fairness", M::FlowControl, ANY),
    ("static-usage-limit-policy", M::FlowControl, ANY),
];

/// Any parameters: nothing here hangs on them.
pub(super) const ANY: &[&str] = &["*"];
const PICKER: &[&str] = &["maxNumOfEndpoints"];
const SESSION: &[&str] = &[
    "algorithm",
    "headerName",
    "profileName",
    "evictionTtlSeconds",
    "evictionSweepSeconds",
    "missThreshold",
];
const INDEXER: &[&str] = &[
    "tokenProcessorConfig",
    "indexerConfig",
    "kvEventsConfig",
    "kvEventsSubscriptionConfig",
    "speculativeIndexing",
    "speculativeTTL",
];
const PREFIX: &[&str] = &[
    "hashBlockSize",
    "blockSize",
    "blockSizeTokens",
    "maxPrefixBlocksToMatch",
    "maxPrefixTokensToMatch",
    "lruCapacityPerServer",
    "autoTune",
    "mode",
    "indexerConfig",
    "kvEventsConfig",
    "tokenProcessorConfig",
    "prefixLengthWeight",
    "maxModelLen",
    "prefixMatchInfoProducerName",
];

/// What a type is, and its parameters.
pub(super) fn find(kind: &str) -> Option<(Meaning, &'static [&'static str])> {
    let found = KINDS.iter().find(|(name, ..)| *name == kind);
    found.map(|(_, meaning, params)| (*meaning, *params))
}
