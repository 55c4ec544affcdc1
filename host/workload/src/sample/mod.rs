//! Drawing lengths and gaps.

mod arrivals;
mod lengths;

pub use arrivals::{Gaps, weibull_shape};
pub use lengths::{Empirical, Lengths, MOST_LENGTH};
