//! A server, and what all of them have in common.

use crate::emulate::faults::FaultRates;
use crate::emulate::job::Command;
use crate::locks::lock;
use crate::openai::errors::ApiError;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex};
use std::time::Instant;

/// What all servers have in common.
pub struct Facts {
    /// Names under which the model is served; answers have the first.
    pub names: Vec<String>,
    /// The model.
    pub model: String,
    /// What requests must show, if anything.
    pub api_key: Option<String>,
    /// Are cached tokens told in answers?
    pub prompt_tokens_details: bool,
    /// Is `X-Request-Id` sent back?
    pub request_id_headers: bool,
    /// Mean and standard deviation of output tokens, where the model stops by itself.
    pub output_tokens: Option<(f64, f64)>,
    /// Answers repeat what was said.
    pub echo: bool,
    /// Seed of answers and chances.
    pub seed: u64,
    /// When the servers started, seconds since 1970.
    pub created: u64,
}

/// One server.
pub struct Server {
    /// Its number.
    pub index: usize,
    /// What all have in common.
    pub facts: Arc<Facts>,
    /// The engine.
    pub commands: Sender<Command>,
    /// Most tokens of prompt and output; 0 = any number.
    pub max_model_len: u64,
    /// Numbers of requests, of all servers.
    pub numbers: Arc<AtomicU64>,
    /// What goes wrong.
    pub faults: Mutex<FaultRates>,
    /// LoRA adapters by name, and where they are said to be.
    pub adapters: Mutex<BTreeMap<String, String>>,
    /// Metrics that were read last, and when.
    pub metrics: Mutex<Option<(Instant, String)>>,
    /// Requests under way.
    pub load: AtomicU64,
}

impl Server {
    /// A server with these adapters, where these things go wrong.
    pub fn new(
        index: usize,
        facts: Arc<Facts>,
        commands: Sender<Command>,
        max_model_len: u64,
        numbers: Arc<AtomicU64>,
        faults: FaultRates,
        adapters: BTreeMap<String, String>,
    ) -> Self {
        Self {
            index,
            facts,
            commands,
            max_model_len,
            numbers,
            faults: Mutex::new(faults),
            adapters: Mutex::new(adapters),
            metrics: Mutex::new(None),
            load: AtomicU64::new(0),
        }
    }

    /// What goes wrong at present.
    pub fn faults(&self) -> FaultRates {
        lock(&self.faults).clone()
    }

    /// A number that no other request has.
    pub fn next_number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// The name under which a request is answered, and the adapter that it asks for.
    ///
    /// # Errors
    /// When there is neither a model nor an adapter of that name.
    pub fn find(&self, model: Option<&str>) -> Result<(String, Option<String>), ApiError> {
        let names = &self.facts.names;
        let Some(model) = model.filter(|name| !name.is_empty()) else {
            return Ok((names[0].clone(), None));
        };
        if names.iter().any(|name| name == model) {
            return Ok((model.to_owned(), None));
        }
        let adapters = lock(&self.adapters);
        if adapters.contains_key(model) {
            return Ok((model.to_owned(), Some(model.to_owned())));
        }
        let known = names.iter().chain(adapters.keys()).cloned();
        Err(ApiError::no_model(model, &known.collect::<Vec<_>>()))
    }
}
