//! Everything that yields requests: synthetic traffic, traces, and the sessions they contain.
//!
//! Every source gives its requests in order of arrival and never materialises a token: prompts and
//! outputs are rooted spans (see [`Span`](windtunnel_base::request::Span)). A request's private
//! prompt tokens and its output share one stream: the output follows the prompt, so the pair stays
//! rooted and joins into one span when a later round repeats it.

mod bound;
pub mod convert;
pub mod detect;
pub mod export;
mod format;
pub mod generator_config;
pub mod import;
mod json;
mod limits;
mod listed;
pub mod measured;
mod number_lists;
pub mod numpy_legacy;
mod open;
pub mod pass_release;
mod python_random;
mod request_names;
pub mod sample;
pub mod spec;
pub mod step_load;
pub mod synthetic;
mod table;
pub mod think;
pub mod trace_v2;
pub mod trie;
pub mod xpusim;
pub mod xpusim_list;

pub mod summary;
pub mod unfold;
pub use bound::InfiniteCache;
pub use detect::{Format, detect};
pub use import::{ColumnMap, Selection, TimeUnit};
pub use listed::Listed;
pub use open::{OpenOptions, Trace, open};
pub use think::ThinkTime;
pub use trace_v2::{RealTime, SessionMode};
