//! Metrics in the text format of Prometheus: written, and read.

mod histogram;
mod names;
mod page;
mod scan;

pub use histogram::Histogram;
pub use names::MetricNames;
pub use page::{Page, escaped};
pub use scan::samples;
