//! The front end of a cluster: admission and routing, and what they know of the instances.
//!
//! It stands on [`Backends`], not on simulated instances: what it knows of them is what it scraped
//! when that was due, what it counted itself, and what their prefix caches say. The instances may
//! become more or fewer at any time.

mod backends;
mod block_holders;
mod changes;
mod config;
mod estimators;
mod front_end;
mod gateway;
mod policies;
mod positions;
mod predictor;
mod recency;
mod request_views;
mod sent_blocks;
mod sent_prefixes;
mod services;
mod signals;
mod trace;

#[cfg(test)]
mod tests;

pub use backends::{Backends, Freshness};
pub use config::{FrontEndConfig, SeriesConfig, TraceConfig};
pub use estimators::Estimators;
pub use front_end::{
    AtGateway, FrontEnd, FrontEndHook, FrontEndRecord, Pending, Routed, StageMembers, Verdict,
};
pub(crate) use gateway::Victims;
pub use gateway::{Detector, Enqueued, FlowControl, GatewayQueue, Held, HeldAt};
pub use policies::{FrontEndPolicies, StagePolicies};
pub(crate) use positions::Positions;
pub use predictor::Predictor;
pub(crate) use request_views::RequestViews;
