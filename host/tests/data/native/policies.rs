//! A policy for each hook, written against the plugin contract alone. The tests run them in the process, in a Rust plugin built against a
//! pinned copy of version 1.0, and, word for word the same, in C (`zoo.c`).

use windtunnel_plugin_api::{
    Admission, Admit, ClusterView, Event, EventKind, Interests, KeyRefresh, PolicyError, Priority,
    QueueOrder, QueueView, QueuedView, RequestView, Route, Router, Scheduler, Setup, Victim,
};

/// Rejects long prompts of all but one tenant, delays some, and lets fewer tokens in with every tick.
pub struct Gate {
    longest: u32,
    vip: u32,
    ticks: u32,
}

impl Gate {
    pub fn new(setup: &mut Setup<'_>) -> Result<Self, PolicyError> {
        if setup.param("longest") == 13.0 {
            return Err(PolicyError::new("13 brings bad luck"));
        }
        Ok(Self {
            longest: setup.param("longest") as u32 + setup.instances + (setup.slots % 2) as u32,
            vip: (setup.symbol)("vip"),
            ticks: 0,
        })
    }
}

impl Admission for Gate {
    fn interests(&self) -> Interests {
        Interests::NONE
    }
    fn tick_us(&self) -> i64 {
        700
    }
    fn admit(
        &mut self,
        request: &RequestView,
        _cluster: &ClusterView<'_>,
    ) -> Result<Admit, PolicyError> {
        if request.tenant != self.vip && request.prompt_tokens + self.ticks > self.longest {
            return Ok(Admit::Reject(format!("longer than {}", self.longest)));
        }
        if request.serial % 5 == 4 && request.attempts == 0 {
            return Ok(Admit::Delay(50));
        }
        Ok(Admit::Admit)
    }
    fn on_tick(&mut self, _cluster: &ClusterView<'_>) -> Result<(), PolicyError> {
        self.ticks += 1;
        Ok(())
    }
}

/// Goes by what it heard, by what it draws, and by what it is told of time.
#[derive(Default)]
pub struct Spread {
    heard: u64,
    scores: Vec<f64>,
}

impl Spread {
    pub fn new(_setup: &mut Setup<'_>) -> Result<Self, PolicyError> {
        Ok(Self::default())
    }
}

impl Router for Spread {
    fn interests(&self) -> Interests {
        Interests::COUNTERS | Interests::SNAPSHOTS | Interests::LIFECYCLE | Interests::WORK
    }
    fn route(
        &mut self,
        request: &RequestView,
        cluster: &ClusterView<'_>,
    ) -> Result<Route, PolicyError> {
        if request.serial % 11 == 10 && request.attempts == 0 {
            return Ok(Route::Hold { retry_after_us: 30 });
        }
        let n = cluster.instances.len() as u64;
        let first = (request.serial + self.heard + cluster.host.random() % 2) % n;
        self.scores.clear();
        for (i, instance) in cluster.instances.iter().enumerate() {
            let ttft = cluster.host.est_ttft_us(instance, request.prompt_tokens, 0);
            let turn = if i as u64 == first { 1000.0 } else { 0.0 };
            self.scores
                .push(turn - ttft - f64::from(instance.in_flight));
        }
        let mut best = 0;
        for i in 1..self.scores.len() {
            if self.scores[i] > self.scores[best] {
                best = i;
            }
        }
        Ok(Route::To(best))
    }
    fn scores(&self) -> Option<&[f64]> {
        Some(&self.scores)
    }
    fn reason(&self) -> String {
        format!("heard {}", self.heard)
    }
    fn on_event(&mut self, event: &Event) -> Result<(), PolicyError> {
        if event.what() == Some(EventKind::Complete) {
            self.heard += 1;
        }
        Ok(())
    }
}

/// The longer it waits the more urgent, in steps.
pub struct Age;

impl Age {
    pub fn new(_setup: &mut Setup<'_>) -> Result<Self, PolicyError> {
        Ok(Self)
    }
}

impl Priority for Age {
    fn refresh(&self) -> KeyRefresh {
        KeyRefresh::Every(500)
    }
    fn priority(
        &mut self,
        request: &RequestView,
        queue: &QueueView<'_>,
    ) -> Result<f64, PolicyError> {
        let waited = (queue.now_us - request.arrival_us) as f64;
        Ok(-waited - 300.0 * f64::from(request.class_priority))
    }
}

/// Short prompts first, less so the more ended on this instance, and by priority among equals.
#[derive(Default)]
pub struct Short {
    heard: u32,
}

impl Short {
    pub fn new(_setup: &mut Setup<'_>) -> Result<Self, PolicyError> {
        Ok(Self::default())
    }
}

impl Scheduler for Short {
    fn order(&self) -> QueueOrder {
        QueueOrder::Keyed(KeyRefresh::EachStep)
    }
    fn interests(&self) -> Interests {
        Interests::LIFECYCLE | Interests::RUNNING
    }
    fn key(&mut self, queued: &QueuedView<'_>, queue: &QueueView<'_>) -> Result<f64, PolicyError> {
        let tokens = f64::from(queued.request.prompt_tokens >> (self.heard % 4));
        let running: u32 = queue.running.iter().map(|r| r.computed_tokens).sum();
        let odd = f64::from((running + queued.request.prompt_tokens) % 3);
        Ok(tokens + odd + queued.priority / 1e6)
    }
    fn on_event(&mut self, event: &Event) -> Result<(), PolicyError> {
        if event.what() == Some(EventKind::Complete) {
            self.heard += 1;
        }
        Ok(())
    }
}

/// Whoever has computed the least, the last one among equals.
pub struct Least;

impl Least {
    pub fn new(_setup: &mut Setup<'_>) -> Result<Self, PolicyError> {
        Ok(Self)
    }
}

impl Victim for Least {
    fn victim(&mut self, queue: &QueueView<'_>) -> Result<usize, PolicyError> {
        let mut best = 0;
        for i in 1..queue.running.len() {
            if queue.running[i].computed_tokens <= queue.running[best].computed_tokens {
                best = i;
            }
        }
        Ok(best)
    }
}
