//! The API of OpenAI as vLLM has it: bodies of requests, and errors.

pub mod ask;
pub mod errors;
