//! Transfers between the CPU and the tiers below it: each tier has threads that read and threads
//! that write, and each thread does one transfer at a time.

use super::config::DeviceTier;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

/// Longest time of the bytes of a transfer, microseconds.
const LONGEST_US: i64 = 1 << 60;

/// Which way blocks move.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Direction {
    /// From a tier up to the CPU.
    Read,
    /// From the CPU down to a tier.
    Write,
}

/// A transfer that is to be done.
#[derive(Clone, Debug)]
pub(super) struct Transfer {
    pub(super) tier: usize,
    pub(super) direction: Direction,
    pub(super) bytes: i64,
    /// The blocks that it moves.
    pub(super) names: Vec<u64>,
}

/// Which threads do it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Thread {
    Reads,
    Writes,
}

/// When it ends, when it was asked for, tier, direction and number: the order in which transfers
/// end.
type Order = (i64, i64, usize, Direction, u64);

#[derive(Clone, Debug)]
struct Running {
    order: Order,
    thread: Thread,
    names: Vec<u64>,
}

impl PartialEq for Running {
    fn eq(&self, other: &Self) -> bool {
        self.order == other.order
    }
}

impl Eq for Running {}

impl PartialOrd for Running {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Running {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.order.cmp(&other.order)
    }
}

/// A transfer that waits: its number, when it was asked for, itself.
type Waiting = (u64, i64, Transfer);

#[derive(Clone, Debug)]
struct Tier {
    device: DeviceTier,
    reads: VecDeque<Waiting>,
    writes: VecDeque<Waiting>,
    /// Idle threads.
    idle: [u32; 2],
    /// Transfers that run, by direction.
    active: [u32; 2],
}

/// The transfers of one instance.
#[derive(Clone, Debug)]
pub(super) struct Station {
    tiers: Vec<Tier>,
    running: BinaryHeap<Reverse<Running>>,
    now: i64,
    count: u64,
    done: Vec<(Direction, usize, Vec<u64>)>,
}

impl Station {
    pub(super) fn new(devices: &[DeviceTier]) -> Self {
        let tier = |&device: &DeviceTier| Tier {
            device,
            reads: VecDeque::new(),
            writes: VecDeque::new(),
            idle: [device.read_threads, device.write_threads],
            active: [0; 2],
        };
        Self {
            tiers: devices.iter().map(tier).collect(),
            running: BinaryHeap::new(),
            now: 0,
            count: 0,
            done: Vec::new(),
        }
    }

    pub(super) fn tiers(&self) -> usize {
        self.tiers.len()
    }

    /// Transfers under way or waiting.
    pub(super) fn under_way(&self) -> usize {
        let waiting = self.tiers.iter().map(|t| t.reads.len() + t.writes.len());
        waiting.sum::<usize>() + self.running.len()
    }

    /// Asks for a transfer at `now`.
    pub(super) fn submit(&mut self, transfer: Transfer, now: i64) {
        self.advance(now);
        self.count += 1;
        let tier = transfer.tier;
        let waiting = (self.count, now, transfer);
        let at = &mut self.tiers[tier];
        match waiting.2.direction {
            Direction::Read => at.reads.push_back(waiting),
            Direction::Write => at.writes.push_back(waiting),
        }
        self.assign(tier, now.max(self.now));
    }

    /// The transfers that have ended by `now` and were not told yet, in the order of their ends:
    /// direction, tier and blocks.
    pub(super) fn ended(&mut self, now: i64) -> Vec<(Direction, usize, Vec<u64>)> {
        self.advance(now);
        std::mem::take(&mut self.done)
    }

    fn advance(&mut self, until: i64) {
        if until <= self.now {
            return;
        }
        while let Some(Reverse(next)) = self.running.peek()
            && next.order.0 <= until
        {
            let Some(Reverse(ended)) = self.running.pop() else {
                return;
            };
            let (end, _, tier, direction, _) = ended.order;
            let at = &mut self.tiers[tier];
            at.idle[ended.thread as usize] += 1;
            at.active[direction as usize] -= 1;
            self.done.push((direction, tier, ended.names));
            self.assign(tier, end);
        }
        self.now = until;
    }

    /// Idle threads take what waits: their own kind first.
    fn assign(&mut self, tier: usize, now: i64) {
        for thread in [Thread::Reads, Thread::Writes] {
            while self.tiers[tier].idle[thread as usize] > 0 {
                let at = &mut self.tiers[tier];
                let next = match thread {
                    Thread::Reads => at.reads.pop_front().or_else(|| at.writes.pop_front()),
                    Thread::Writes => at.writes.pop_front().or_else(|| at.reads.pop_front()),
                };
                let Some((number, asked, transfer)) = next else {
                    return;
                };
                at.idle[thread as usize] -= 1;
                at.active[transfer.direction as usize] += 1;
                let depth = at.active[transfer.direction as usize];
                let us = at
                    .device
                    .transfer_us(transfer.direction, transfer.bytes, depth);
                let order = (now + us, asked, tier, transfer.direction, number);
                self.running.push(Reverse(Running {
                    order,
                    thread,
                    names: transfer.names,
                }));
            }
        }
    }
}

impl DeviceTier {
    /// Time of a transfer that is one of `depth` in its direction, microseconds.
    fn transfer_us(&self, direction: Direction, bytes: i64, depth: u32) -> i64 {
        let bandwidth = match direction {
            Direction::Read => self.read_bytes_per_us,
            Direction::Write => self.write_bytes_per_us,
        };
        let us = bytes as f64 / (bandwidth * self.share(depth));
        let longest = LONGEST_US as f64;
        self.base_us + if us >= longest { LONGEST_US } else { us as i64 }
    }

    /// The share of its bandwidth that a device has with so many transfers at once.
    fn share(&self, depth: u32) -> f64 {
        let (full, alone) = (self.saturation_queue_depth, self.single_transfer_fraction);
        if full < 2 || alone <= 0.0 || alone >= 1.0 || depth >= full {
            return 1.0;
        }
        alone + (1.0 - alone) * f64::from(depth - 1) / f64::from(full - 1)
    }
}
