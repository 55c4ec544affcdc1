//! windtunnel: a wind tunnel for LLM-serving policies.
//!
//! A fixed, native engine simulates a cluster of vLLM-style inference servers; its admission, routing, priority and
//! scheduler hooks are filled by policies. Floors look down only:
//!
//! ```text
//! cli > report > score > cluster > instance > kv, latency, policy > request, plugin-api
//!                        workload, metrics stand beside cluster and know request only; config knows nobody
//! ```

pub mod cli;
pub mod cluster;
pub mod config;
pub mod earliest;
pub mod input;
pub mod instance;
pub mod kv;
pub mod latency;
pub mod metrics;
pub mod policy;
pub mod pool;
pub mod record;
pub mod report;
pub mod request;
pub mod rng;
pub mod score;
pub mod workload;
