//! What all connections have in common.

use super::budget::Budget;
use super::config::Config;
use super::endpoints::Endpoints;
use super::message::Message;
use http_body_util::Full;
use hyper::body::Bytes;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::sync::{Arc, PoisonError, RwLock, mpsc};

/// What connections have in common.
pub struct Gateway {
    pub config: RwLock<Arc<Config>>,
    pub endpoints: Arc<Endpoints>,
    pub control: mpsc::Sender<Message>,
    pub client: Client<HttpConnector, Full<Bytes>>,
    /// Numbers of requests that policies decide about.
    pub numbers: AtomicU64,
    /// Numbers of all requests, from which names are made.
    pub ids: AtomicU64,
    pub under_way: AtomicUsize,
    pub budget: Budget,
    pub adapters: RwLock<BTreeSet<String>>,
    /// Something that no other gateway has.
    pub started: u64,
}

impl Gateway {
    /// The configuration at present.
    pub fn config(&self) -> Arc<Config> {
        Arc::clone(&self.config.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Is this the name of an adapter of some server?
    pub fn is_adapter(&self, name: &str) -> bool {
        let adapters = self.adapters.read().unwrap_or_else(PoisonError::into_inner);
        adapters.contains(name)
    }
}
