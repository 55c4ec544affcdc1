//! A gateway that holds requests back while the instances are saturated: its queue, its detector
//! of saturation, and whom it takes back from them.

mod config;
mod queue;
mod victims;

pub use config::{Detector, FlowControl};
pub use queue::{Enqueued, GatewayQueue, Held, HeldAt};
pub(crate) use victims::Victims;
