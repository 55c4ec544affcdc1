//! Whose names metrics have.

use serde::{Deserialize, Serialize};

/// Whose names metrics have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MetricNames {
    /// Those of vLLM 0.32.
    Vllm,
    /// Those of SGLang.
    Sglang,
}
