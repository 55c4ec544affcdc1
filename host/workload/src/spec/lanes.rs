//! The lanes of all clients, by the time of their next event.

use super::planned::{Counted, Planned, Traffic};
use crate::sample::Gaps;
use rand::RngExt;
use std::sync::Arc;
use windtunnel_base::event_queue::EventQueue;
use windtunnel_base::request::Request;
use windtunnel_base::rng;

/// Most gaps that are drawn in one pause: processes of rare, enormous gaps would never end it.
const MOST_IN_PAUSE: u64 = 100_000;
/// Gaps drawn without an arrival after which pauses are no longer run through: windows that hardly
/// anything falls into could take for ever.
const MOST_IN_VAIN: u64 = 10_000_000;
/// Mean gaps that a process runs through before a window after a long pause; enough to forget where
/// it began.
const RUN_IN_GAPS: f64 = 1e4;

/// Something a client does at some time.
#[derive(Clone, Debug)]
pub(super) enum Lane {
    /// The next arrival of a process that runs all the time.
    Steady(Steady),
    /// A window opens.
    Open(u32),
    /// The next arrival in an open window.
    Window(InWindow),
    /// The next user of a closed loop appears.
    Users(u32),
    /// The round after this request is due, whether it was answered or not.
    Round(Box<Request>),
    /// A request reaches the gateway.
    Wire(Box<Request>),
}

/// A process that runs all the time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Steady {
    /// Last arrival, microseconds.
    clock_us: f64,
    /// Gaps drawn.
    drawn: u64,
    /// The first window that is not over.
    window: usize,
}

/// A window that sends a number of requests: gaps are drawn and stretched so that they and one more
/// fill the window.
#[derive(Clone, Copy, Debug)]
pub(super) struct InWindow {
    window: u32,
    number: u32,
    requests: u32,
    /// Sum of the gaps so far, and of all.
    before: f64,
    total: f64,
}

impl Lane {
    /// The window it is in, if that may set lengths.
    pub(super) fn window<'a>(&self, client: &'a Planned) -> Option<&'a Counted> {
        match (self, &client.traffic) {
            (Self::Window(w), Traffic::Windows(windows)) => windows.get(w.window as usize),
            _ => None,
        }
    }
}

/// Lanes by (time, client, order in which they were put in).
#[derive(Clone, Debug)]
pub(super) struct Lanes {
    seed: u64,
    heap: EventQueue<(i64, u32), Lane>,
}

impl Lanes {
    /// The first lane of every client.
    pub(super) fn new(clients: &Arc<[Planned]>, seed: u64) -> Self {
        let mut lanes = Self {
            seed,
            heap: EventQueue::with_capacity(clients.len()),
        };
        for (k, client) in (0..).zip(clients.iter()) {
            match &client.traffic {
                Traffic::Steady { .. } => {
                    let lane = Lane::Steady(Steady {
                        clock_us: 0.0,
                        drawn: 0,
                        window: 0,
                    });
                    lanes.advance(client, k, lane);
                }
                Traffic::Windows(windows) => lanes.push_window(windows, k, 0),
                Traffic::Users { .. } => lanes.push(0, k, Lane::Users(0)),
            }
        }
        lanes
    }

    pub(super) fn push(&mut self, at_us: i64, client: u32, lane: Lane) {
        self.heap.push((at_us, client), lane);
    }

    pub(super) fn pop(&mut self) -> Option<(i64, u32, Lane)> {
        let ((at_us, client), lane) = self.heap.pop()?;
        Some((at_us, client, lane))
    }

    fn push_window(&mut self, windows: &[Counted], client: u32, k: u32) {
        if let Some(window) = windows.get(k as usize) {
            self.push(window.start_us, client, Lane::Open(k));
        }
    }

    /// Puts a lane back at the time of its next event, if there is one.
    pub(super) fn advance(&mut self, client: &Planned, k: u32, lane: Lane) {
        match (lane, &client.traffic) {
            (Lane::Steady(mut steady), Traffic::Steady { gaps, windows }) => {
                if let Some(at_us) = steady.next(self.seed, client.key, gaps, windows) {
                    self.push(at_us, k, Lane::Steady(steady));
                }
            }
            (Lane::Window(mut cursor), Traffic::Windows(windows)) => {
                let window = &windows[cursor.window as usize];
                if let Some(at_us) = cursor.next(self.seed, client.key, window) {
                    self.push(at_us, k, Lane::Window(cursor));
                }
            }
            (Lane::Users(user), Traffic::Users { users, think_us }) if user + 1 < *users => {
                // Users appear evenly spread over one think time.
                let next = i128::from(user + 1) * i128::from(*think_us) / i128::from(*users);
                self.push(next as i64, k, Lane::Users(user + 1));
            }
            _ => {}
        }
    }

    /// Opens a window: decides how many requests it sends, and where the first one is.
    pub(super) fn open(&mut self, client: &Planned, k: u32, number: u32) {
        let Traffic::Windows(windows) = &client.traffic else {
            return;
        };
        self.push_window(windows, k, number + 1);
        let window = &windows[number as usize];
        let whole = window.expected.round();
        let requests = if (window.expected - whole).abs() < 1e-6 {
            whole
        } else {
            let chance: f64 =
                rng::stream(self.seed, "one more", client.key, number.into()).random();
            window.expected.floor() + f64::from(u8::from(chance < window.expected.fract()))
        };
        let requests = requests.min(f64::from(u32::MAX >> 1)) as u32;
        if requests == 0 {
            return;
        }
        let gap = |j: u32| gap(self.seed, client.key, number, j, &window.gaps);
        let cursor = InWindow {
            window: number,
            number: 0,
            requests,
            before: 0.0,
            total: (0..=requests).map(gap).sum(),
        };
        self.advance(client, k, Lane::Window(cursor));
    }
}

fn gap(seed: u64, key: u64, window: u32, number: u32, gaps: &Gaps) -> f64 {
    let name = (u64::from(window) << 32) | u64::from(number);
    gaps.sample(&mut rng::stream(seed, "window gap", key, name))
}

impl Steady {
    /// Moves on to the next arrival within the windows.
    fn next(&mut self, seed: u64, key: u64, gaps: &Gaps, windows: &[(i64, i64)]) -> Option<i64> {
        let (first, mut pause) = (self.drawn, self.drawn);
        loop {
            self.clock_us += gaps.sample(&mut rng::stream(seed, "gap", key, self.drawn));
            self.drawn += 1;
            if self.clock_us >= i64::MAX as f64 {
                return None;
            }
            let at_us = self.clock_us as i64;
            if windows.is_empty() {
                return Some(at_us);
            }
            while windows.get(self.window).is_some_and(|w| w.1 <= at_us) {
                self.window += 1;
                pause = self.drawn;
            }
            let window = windows.get(self.window)?;
            if window.0 <= at_us {
                return Some(at_us);
            }
            // Nobody sees the arrivals of a long pause; the last ones before the window are drawn
            // for a natural start.
            let in_vain = self.drawn - first > MOST_IN_VAIN;
            let skip_to = if in_vain || self.drawn - pause > MOST_IN_PAUSE {
                window.0 as f64
            } else {
                window.0 as f64 - RUN_IN_GAPS * gaps.mean()
            };
            self.clock_us = self.clock_us.max(skip_to);
        }
    }
}

impl InWindow {
    /// Moves on to the next arrival.
    fn next(&mut self, seed: u64, key: u64, window: &Counted) -> Option<i64> {
        if self.number >= self.requests {
            return None;
        }
        self.before += gap(seed, key, self.window, self.number, &window.gaps);
        self.number += 1;
        let length = (window.end_us - window.start_us) as f64;
        // Gaps that make no sum are spread evenly.
        let share = if self.total > 0.0 && self.total.is_finite() {
            self.before / self.total
        } else {
            f64::from(self.number) / (f64::from(self.requests) + 1.0)
        };
        Some((window.start_us + (share * length) as i64).min(window.end_us - 1))
    }
}
