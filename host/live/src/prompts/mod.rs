//! Prompts without a model's tokenizer: about how many tokens they are, and which begin alike.

mod prefixes;
pub mod text;

pub use prefixes::Prefixes;
