//! The servers: which there are, which are well, which get requests.

use super::config::{Config, EndpointSpec};
use super::message::{Described, Message};
use crate::client::base_url;
use crate::locks::lock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// A server.
pub struct Endpoint {
    /// Its number, which it keeps.
    pub number: usize,
    /// How it is called.
    pub name: String,
    /// Its pool.
    pub pool: String,
    /// As http://127.0.0.1:8000, without a slash at its end.
    pub base: String,
    /// Requests sent to it.
    pub sent: AtomicU64,
    /// Of these, those that failed.
    pub failed: AtomicU64,
    /// Metrics that could not be read.
    pub unread: AtomicU64,
    /// Somebody reads its metrics, and somebody asks for its health.
    pub attended: [AtomicBool; 2],
    state: Mutex<State>,
}

#[derive(Clone, Copy, Debug)]
struct State {
    /// It is in no list any more.
    gone: bool,
    /// It is to get no new requests.
    drains: bool,
    /// It answers questions about its health.
    well: bool,
    /// Answers to them in a row, and missing ones.
    in_a_row: (u32, u32),
    /// Requests that failed in a row.
    failures: u32,
    ejected_until: Option<Instant>,
}

impl Endpoint {
    fn new(number: usize, spec: &EndpointSpec) -> Self {
        let base = base_url(&spec.url).unwrap_or_else(|_| spec.url.clone());
        Self {
            number,
            name: spec.name.clone().unwrap_or_else(|| base.clone()),
            pool: spec.pool.clone(),
            base,
            sent: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            unread: AtomicU64::new(0),
            attended: Default::default(),
            state: Mutex::new(State {
                gone: false,
                drains: spec.drain,
                well: true,
                in_a_row: (0, 0),
                failures: 0,
                ejected_until: None,
            }),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Is it in some list?
    pub fn is_there(&self) -> bool {
        !self.state().gone
    }

    /// Does it get requests?
    pub fn takes(&self) -> bool {
        let state = *self.state();
        let ejected = state
            .ejected_until
            .is_some_and(|until| until > Instant::now());
        state.may_take() && !ejected
    }
}

impl State {
    fn may_take(&self) -> bool {
        !self.gone && !self.drains && self.well
    }
}

/// All servers that there are or were.
pub struct Endpoints {
    list: Mutex<Vec<Arc<Endpoint>>>,
    /// Those that took requests when the deciding thread was told last.
    told: Mutex<(usize, Vec<u32>)>,
    control: Sender<Message>,
    failures: u32,
    ejected_for: Duration,
    health: (u32, u32),
}

impl Endpoints {
    /// None yet.
    pub fn new(config: &Config, control: Sender<Message>) -> Self {
        Self {
            list: Mutex::new(Vec::new()),
            told: Mutex::new((0, Vec::new())),
            control,
            failures: config.ejection.failures,
            ejected_for: Duration::from_secs_f64(config.ejection.seconds),
            health: (config.health.failures, config.health.successes),
        }
    }

    /// All of them, by number.
    pub fn all(&self) -> Vec<Arc<Endpoint>> {
        lock(&self.list).clone()
    }

    /// The server of this number.
    pub fn get(&self, number: usize) -> Option<Arc<Endpoint>> {
        lock(&self.list).get(number).cloned()
    }

    /// These are the servers now. Those that were there before keep their numbers; those that are
    /// not any more get no new requests.
    pub fn set(&self, specs: &[EndpointSpec]) {
        let mut list = lock(&self.list);
        let base = |spec: &EndpointSpec| base_url(&spec.url).unwrap_or_default();
        for endpoint in list.iter() {
            let spec = specs.iter().find(|spec| base(spec) == endpoint.base);
            let mut state = endpoint.state();
            state.gone = spec.is_none();
            state.drains = spec.is_some_and(|spec| spec.drain);
        }
        for spec in specs {
            if !list.iter().any(|endpoint| endpoint.base == base(spec)) {
                let endpoint = Endpoint::new(list.len(), spec);
                list.push(Arc::new(endpoint));
            }
        }
        drop(list);
        self.tell();
    }

    /// Tells the deciding thread who takes requests, if that has changed.
    pub fn tell(&self) {
        let list = self.all();
        let mut taking: Vec<u32> = numbers(&list, |endpoint| endpoint.takes());
        if taking.is_empty() {
            // Better one that failed than none.
            taking = numbers(&list, |endpoint| endpoint.state().may_take());
        }
        let mut told = lock(&self.told);
        if *told == (list.len(), taking.clone()) {
            return;
        }
        *told = (list.len(), taking.clone());
        let _ = self
            .control
            .send(Message::Members(self.described(), taking));
    }

    /// All of them, as policies know them.
    pub fn described(&self) -> Vec<Described> {
        let list = self.all();
        let described = list.iter().map(|endpoint| Described {
            name: endpoint.name.clone(),
            pool: endpoint.pool.clone(),
        });
        described.collect()
    }

    /// A request to this server went well.
    pub fn succeeded(&self, endpoint: &Endpoint) {
        endpoint.state().failures = 0;
    }

    /// A request to this server failed; it gets none for a while if that goes on.
    pub fn failed(&self, endpoint: &Endpoint) {
        endpoint.failed.fetch_add(1, Ordering::Relaxed);
        let mut state = endpoint.state();
        state.failures += 1;
        if state.failures >= self.failures {
            state.failures = 0;
            state.ejected_until = Some(Instant::now() + self.ejected_for);
            tracing::warn!(
                endpoint = endpoint.name,
                "failed again and again: gets no requests for a while"
            );
        }
        drop(state);
        self.tell();
    }

    /// A server did or did not say that it is well.
    pub fn health(&self, endpoint: &Endpoint, is_well: bool) {
        let (failures, successes) = self.health;
        let mut state = endpoint.state();
        state.in_a_row = match is_well {
            true => (state.in_a_row.0 + 1, 0),
            false => (0, state.in_a_row.1 + 1),
        };
        let before = state.well;
        if state.in_a_row.0 >= successes {
            state.well = true;
        } else if state.in_a_row.1 >= failures {
            state.well = false;
        }
        if before != state.well {
            tracing::warn!(
                endpoint = endpoint.name,
                well = state.well,
                "health has changed"
            );
        }
        drop(state);
        self.tell();
    }
}

fn numbers(list: &[Arc<Endpoint>], is: impl Fn(&Endpoint) -> bool) -> Vec<u32> {
    let those = list.iter().filter(|endpoint| is(endpoint));
    those.map(|endpoint| endpoint.number as u32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{Receiver, channel};

    fn spec(url: &str) -> EndpointSpec {
        EndpointSpec {
            url: url.to_owned(),
            ..EndpointSpec::default()
        }
    }

    fn last(messages: &Receiver<Message>) -> Option<(usize, Vec<u32>)> {
        let all = messages.try_iter().filter_map(|message| match message {
            Message::Members(all, taking) => Some((all.len(), taking)),
            _ => None,
        });
        all.last()
    }

    #[test]
    fn servers_keep_their_numbers_and_get_requests_while_they_are_well() {
        let (sender, told) = channel();
        let endpoints = Endpoints::new(&Config::default(), sender);
        endpoints.set(&[spec("http://a:1/v1"), spec("http://b:1")]);
        assert_eq!(last(&told), Some((2, vec![0, 1])));
        endpoints.set(&[spec("http://b:1"), spec("http://c:1")]);
        assert_eq!(last(&told), Some((3, vec![1, 2])));
        endpoints.set(&[spec("http://a:1"), spec("http://b:1"), spec("http://c:1")]);
        assert_eq!(last(&told), Some((3, vec![0, 1, 2])));

        let all = endpoints.all();
        (0..2).for_each(|_| endpoints.health(&all[0], false));
        assert_eq!(last(&told), None);
        endpoints.health(&all[0], false);
        assert_eq!(last(&told), Some((3, vec![1, 2])));
        (0..2).for_each(|_| endpoints.health(&all[0], true));
        assert_eq!(last(&told), Some((3, vec![0, 1, 2])));

        (0..4).for_each(|_| endpoints.failed(&all[1]));
        endpoints.succeeded(&all[1]);
        (0..4).for_each(|_| endpoints.failed(&all[1]));
        assert_eq!(last(&told), None);
        endpoints.failed(&all[1]);
        assert_eq!(last(&told), Some((3, vec![0, 2])));
        // Better one that failed than none.
        for k in [0, 2] {
            (0..5).for_each(|_| endpoints.failed(&all[k]));
        }
        assert_eq!(last(&told), Some((3, vec![0, 1, 2])));
    }
}
