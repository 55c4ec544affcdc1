//! KV caches on their way from instance to instance.

use super::config::{BYTES_PER_US, TransferConfig};
use crate::instance::NEVER;
use windtunnel_base::record::TransferTotals;

/// What is left of a microsecond by the rounding of numbers.
const LEAST_US: f64 = 1e-6;

/// What a transfer moves.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cargo {
    pub(super) bytes: f64,
    /// KV blocks that have them.
    pub(super) blocks: u32,
}

/// A transfer that shares its links with others.
#[derive(Clone, Copy, Debug)]
struct Flow {
    serial: u64,
    from: usize,
    to: usize,
    left_bytes: f64,
    bytes_per_us: f64,
    /// Time until it is over when its bytes have moved, microseconds.
    then_us: i64,
}

/// All transfers of a run.
///
/// Those that share bandwidth are fluid: from a start or an end to the next one, each has an equal
/// part of the link of the instance it comes from and of the link of the instance it goes to, and
/// moves at the smaller of the two.
#[derive(Clone, Debug)]
pub(super) struct Transfers {
    config: TransferConfig,
    flows: Vec<Flow>,
    /// Flows at each instance's link.
    at: Vec<u32>,
    /// The flows have moved up to here, microseconds.
    moved_us: i64,
    /// Under way.
    active: u64,
    pub(super) totals: TransferTotals,
}

impl Transfers {
    pub(super) fn new(config: TransferConfig, instances: usize) -> Self {
        Self {
            config,
            flows: Vec::new(),
            at: vec![0; instances],
            moved_us: 0,
            active: 0,
            totals: TransferTotals {
                contention: config.contention,
                ..TransferTotals::default()
            },
        }
    }

    fn count(&mut self, caches: u64) {
        self.active += caches;
        self.totals.started += caches;
        self.totals.peak = self.totals.peak.max(self.active);
        self.totals.depth_sum += caches * self.active;
    }

    /// A transfer of so many KV caches, together `cargo`, starts whose duration stays what it is
    /// now, microseconds: as if nobody else came or went. [`ended`](Self::ended) is due after it,
    /// for each.
    pub(super) fn start_fixed(&mut self, caches: u64, cargo: Cargo) -> i64 {
        self.count(caches);
        let sharers = match self.config.contention {
            true => self.active as f64,
            false => 1.0,
        };
        let bandwidth = self.config.bandwidth_gb_s * BYTES_PER_US / sharers;
        let moving = if bandwidth > 0.0 {
            cargo.bytes / bandwidth
        } else {
            0.0
        };
        ((self.fixed_us(cargo.blocks) + moving).ceil() as i64).max(1)
    }

    /// A transfer starts that is over at once; [`ended`](Self::ended) is due. Returns its duration,
    /// microseconds.
    pub(super) fn start_at_once(&mut self) -> i64 {
        self.count(1);
        0
    }

    /// The transfer of a KV cache is over.
    pub(super) fn ended(&mut self) {
        self.active -= 1;
    }

    /// A transfer from one instance to another starts at `now` and shares its links with others.
    pub(super) fn start(&mut self, now: i64, serial: u64, cargo: Cargo, from: usize, to: usize) {
        let then_us = self.fixed_us(cargo.blocks).ceil() as i64;
        self.count(1);
        self.move_to(now);
        self.at[from] += 1;
        self.at[to] += 1;
        self.flows.push(Flow {
            serial,
            from,
            to,
            left_bytes: cargo.bytes,
            bytes_per_us: 0.0,
            then_us,
        });
        self.share();
    }

    /// When the last byte of some flow arrives at its link's end; [`NEVER`] without flows.
    pub(super) fn next_end_us(&self) -> i64 {
        let end = |flow: &Flow| {
            let left_us = flow.left_bytes / flow.bytes_per_us;
            let left_us = (left_us - LEAST_US).max(0.0).ceil() as i64;
            self.moved_us.saturating_add(left_us)
        };
        self.flows.iter().map(end).min().unwrap_or(NEVER)
    }

    /// Takes out a flow that has moved by `now`, the earliest started first, and says when what it
    /// is of arrives; then it has [ended](Self::ended).
    pub(super) fn take_moved(&mut self, now: i64) -> Option<(u64, i64)> {
        self.move_to(now);
        let least = |flow: &Flow| flow.left_bytes <= flow.bytes_per_us * LEAST_US;
        let k = self.flows.iter().position(least)?;
        let flow = self.flows.remove(k);
        self.at[flow.from] -= 1;
        self.at[flow.to] -= 1;
        self.share();
        Some((flow.serial, now.saturating_add(flow.then_us)))
    }

    /// Time of a transfer of so many KV blocks besides that of its bytes, microseconds.
    fn fixed_us(&self, blocks: u32) -> f64 {
        let ranges = blocks.div_ceil(self.config.blocks_per_descriptor.max(1));
        self.config.base_latency_us + f64::from(ranges) * self.config.descriptor_us
    }

    fn move_to(&mut self, now: i64) {
        let passed = (now - self.moved_us) as f64;
        for flow in &mut self.flows {
            flow.left_bytes = (flow.left_bytes - flow.bytes_per_us * passed).max(0.0);
        }
        self.moved_us = now;
    }

    fn share(&mut self) {
        let link = match self.config.bandwidth_gb_s {
            gb if gb > 0.0 => gb * BYTES_PER_US,
            // So much that nothing takes a microsecond.
            _ => 1e30,
        };
        for flow in &mut self.flows {
            let sharers = match self.config.contention {
                true => self.at[flow.from].max(self.at[flow.to]),
                false => 1,
            };
            flow.bytes_per_us = link / f64::from(sharers);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(contention: bool) -> Transfers {
        // 1,000 bytes a microsecond.
        let config = TransferConfig {
            bandwidth_gb_s: 1.0,
            base_latency_us: 5.0,
            contention,
            ..TransferConfig::default()
        };
        Transfers::new(config, 5)
    }

    fn blocks(bytes: f64, blocks: u32) -> Cargo {
        Cargo { bytes, blocks }
    }

    /// The ends of all flows, in order.
    fn ends(transfers: &mut Transfers) -> Vec<(i64, u64)> {
        let mut ends = Vec::new();
        while transfers.next_end_us() < NEVER {
            let at = transfers.next_end_us();
            let (serial, _) = transfers.take_moved(at).expect("a flow has moved");
            ends.push((at, serial));
        }
        ends
    }

    #[test]
    fn flows_from_one_instance_share_its_link() {
        let mut transfers = of(true);
        transfers.start(0, 7, blocks(10_000.0, 1), 0, 2);
        transfers.start(4, 8, blocks(3_000.0, 1), 0, 3);
        transfers.start(4, 9, blocks(5_000.0, 1), 1, 4);
        // 7 has 6,000 bytes left at 4; with half of the link, 8 needs 6 microseconds, in which 7
        // moves 3,000; the rest takes 3 alone.
        assert_eq!(ends(&mut transfers), [(9, 9), (10, 8), (13, 7)]);
        assert_eq!(transfers.totals.peak, 3);
    }

    #[test]
    fn bytes_are_conserved_however_flows_come_and_go() {
        let mut transfers = of(true);
        let (mut bytes, mut ended) = (0.0, 0);
        for k in 0..20u64 {
            let (now, more) = (k as i64, 1_000.0 * (1 + k % 5) as f64);
            while transfers.next_end_us() <= now {
                ended += u64::from(transfers.take_moved(now).is_some());
            }
            transfers.start(now, k, blocks(more, 1), 0, 1 + (k % 3) as usize);
            bytes += more;
        }
        let ends = ends(&mut transfers);
        assert_eq!(ended + ends.len() as u64, 20);
        // One link, never idle: it takes the time of all bytes, and a rounding per end.
        let (last, least) = (ends[ends.len() - 1].0, (bytes / 1_000.0) as i64);
        assert!(
            (least..=least + 20).contains(&last),
            "{last}, at least {least}"
        );
    }

    #[test]
    fn without_contention_nobody_waits_for_others() {
        let mut transfers = of(false);
        transfers.start(0, 7, blocks(10_000.0, 1), 0, 2);
        transfers.start(0, 8, blocks(10_000.0, 1), 0, 2);
        assert_eq!(ends(&mut transfers), [(10, 7), (10, 8)]);
    }

    #[test]
    fn a_fixed_share_is_that_of_the_start() {
        let mut transfers = of(true);
        assert_eq!(transfers.start_fixed(1, blocks(10_000.0, 1)), 15);
        assert_eq!(transfers.start_fixed(1, blocks(10_000.0, 1)), 25);
        transfers.ended();
        transfers.ended();
        assert_eq!(transfers.start_fixed(1, blocks(10_500.0, 1)), 16);
        assert_eq!((transfers.totals.peak, transfers.totals.depth_sum), (2, 4));
    }

    #[test]
    fn each_range_of_blocks_is_described_once() {
        let mut transfers = of(false);
        transfers.config.descriptor_us = 3.0;
        transfers.config.blocks_per_descriptor = 4;
        // 10 microseconds to move, 5 at any rate, 3 for each of 3 ranges.
        assert_eq!(transfers.start_fixed(1, blocks(10_000.0, 9)), 24);
        transfers.start(0, 7, blocks(10_000.0, 9), 0, 2);
        assert_eq!(transfers.next_end_us(), 10);
        assert_eq!(transfers.take_moved(10), Some((7, 24)));
    }

    #[test]
    fn a_link_without_limit_moves_everything_at_once() {
        let config = TransferConfig {
            bandwidth_gb_s: 0.0,
            ..TransferConfig::default()
        };
        let mut transfers = Transfers::new(config, 2);
        transfers.start(3, 1, blocks(1e12, 1), 0, 1);
        assert_eq!(ends(&mut transfers), [(3, 1)]);
    }
}
