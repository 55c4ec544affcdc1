//! How a simulation compares with a decision log.

use super::cause::{Cause, Kind};
use std::collections::BTreeMap;

/// Where requests go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Where they went in the log, whatever the simulated policies say, so that one decision that
    /// differs does not breed others.
    Follow,
    /// Where the simulated policies send them.
    Free,
}

/// From this share of equal decisions on, the simulation decides as the gateway did.
const AGREES: f64 = 0.95;
/// Below this one it does not.
const DISAGREES: f64 = 0.90;

/// Decisions that were compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Compared {
    /// How many.
    pub decisions: u64,
    /// Of these, those that are the same.
    pub equal: u64,
}

impl Compared {
    /// One more.
    pub(super) fn add(&mut self, equal: bool) {
        self.decisions += 1;
        self.equal += u64::from(equal);
    }

    /// Share of equal ones; 1 where there are none.
    #[must_use]
    pub fn share(&self) -> f64 {
        match self.decisions {
            0 => 1.0,
            n => self.equal as f64 / n as f64,
        }
    }

    /// What that means.
    #[must_use]
    pub fn verdict(&self) -> &'static str {
        match self.share() {
            share if share >= AGREES => "agrees",
            share if share >= DISAGREES => "look closer",
            _ => "disagrees",
        }
    }
}

/// A decision that is another one.
#[derive(Clone, Debug, PartialEq)]
pub struct Example {
    /// The request's name.
    pub request: String,
    /// When it was decided about, microseconds since the start.
    pub at_us: i64,
    /// Where the log sends it: a server's name, or what else was decided.
    pub logged: String,
    /// Where the simulation would.
    pub simulated: String,
    /// Why.
    pub cause: Cause,
    /// Name of the server whose signal it is.
    pub server: String,
}

/// Times of requests that the log and the simulation complete, microseconds.
#[derive(Clone, Debug, Default)]
pub struct Times {
    /// Sum of those in the log.
    pub logged: f64,
    /// Sum of those in the simulation.
    pub simulated: f64,
    /// How many.
    pub count: u64,
}

impl Times {
    pub(super) fn add(&mut self, logged: i64, simulated: i64) {
        self.logged += logged as f64;
        self.simulated += simulated as f64;
        self.count += 1;
    }

    /// Means in the log and in the simulation, milliseconds.
    #[must_use]
    pub fn means_ms(&self) -> [f64; 2] {
        let n = self.count.max(1) as f64 * 1e3;
        [self.logged / n, self.simulated / n]
    }
}

/// How a simulation compares with a log.
#[derive(Clone, Debug, Default)]
pub struct Comparison {
    /// Of the router: where requests go.
    pub routing: Compared,
    /// Of admission.
    pub admission: Compared,
    /// Why decisions of the router differ, by kind and signal: how often, and the first.
    pub causes: BTreeMap<(Kind, String), (u64, Example)>,
    /// The first that differs.
    pub first: Option<Example>,
    /// Time to first token.
    pub ttft: Times,
    /// Time of all of a request.
    pub e2e: Times,
    /// Policies took over from others so often.
    pub taken_over: u64,
    /// Requests whose end is not in the log, which are not simulated.
    pub unfinished: u64,
}

impl Comparison {
    /// What the shares mean: the worse of the two.
    #[must_use]
    pub fn verdict(&self) -> &'static str {
        let worse = match self.admission.share() < self.routing.share() {
            true => self.admission,
            false => self.routing,
        };
        worse.verdict()
    }

    pub(super) fn differs(&mut self, example: Example) {
        let key = (example.cause.kind, example.cause.signal.clone());
        self.first.get_or_insert_with(|| example.clone());
        let entry = self.causes.entry(key).or_insert((0, example));
        entry.0 += 1;
    }
}
