//! Devices below the CPU: what is written there, what is fetched from there, and the requests that
//! wait for it.
//!
//! A device takes a step to say whether it has a block, unless it said so before. Then blocks are
//! read into places on the CPU that are kept for them; a request whose blocks are on their way
//! stays in the queue and is looked at again in every step. It is put off once: what it then lacks,
//! it computes.

use super::config::ChainConfig;
use super::cpu::{CpuTier, Found};
use super::station::{Direction, Station, Transfer};
use rustc_hash::FxHashSet;
use std::collections::BTreeMap;
use windtunnel_base::request::RequestId;

/// Longest time for which a request is put off, microseconds.
const LONGEST_US: i64 = 1_000_000_000;

/// How far a request has come that was put off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The device is asked whether it has the blocks.
    Asks,
    /// The blocks are on their way.
    Fetches,
    /// They are there, or will not come: it may be admitted.
    Over,
}

/// A request that was put off.
#[derive(Clone, Debug)]
struct PutOff {
    phase: Phase,
    blocks: Vec<u64>,
    device: usize,
    since_us: i64,
}

/// Blocks that a request lacks.
#[derive(Clone, Debug)]
pub(super) enum Lacks {
    /// They are on a device.
    OnDevice(usize, Vec<u64>),
    /// Others have them fetched.
    OnTheirWay(u64),
}

/// The devices of one instance.
#[derive(Clone, Debug)]
pub(super) struct Devices {
    config: ChainConfig,
    station: Station,
    has: Vec<FxHashSet<u64>>,
    /// Blocks that a device has said to have.
    known: FxHashSet<u64>,
    /// In the order of their names.
    put_off: BTreeMap<RequestId, PutOff>,
    now: i64,
    fetches: u64,
    refused: u64,
}

impl Devices {
    pub(super) fn new(config: &ChainConfig) -> Self {
        Self {
            station: Station::new(&config.devices),
            has: vec![FxHashSet::default(); config.devices.len()],
            config: config.clone(),
            known: FxHashSet::default(),
            put_off: BTreeMap::new(),
            now: 0,
            fetches: 0,
            refused: 0,
        }
    }

    pub(super) fn config(&self) -> &ChainConfig {
        &self.config
    }

    /// Share of the fetches for which there was no room on the CPU.
    pub(super) fn refused_share(&self) -> f64 {
        match self.fetches + self.refused {
            0 => 0.0,
            all => self.refused as f64 / all as f64,
        }
    }

    /// It is `now`: transfers have ended. Did that change the CPU's blocks?
    pub(super) fn set_clock(&mut self, now: i64, cpu: &mut CpuTier) -> bool {
        self.now = now;
        if self.station.under_way() == 0 {
            return false;
        }
        let ended = self.station.ended(now);
        let any = !ended.is_empty();
        for (direction, device, blocks) in ended {
            for block in blocks {
                match direction {
                    Direction::Read => cpu.complete(block),
                    Direction::Write => {
                        self.has[device].insert(block);
                        cpu.unpin(block);
                    }
                }
            }
        }
        any
    }

    /// A block has come to the CPU and is written to every device; it stays until it has been.
    pub(super) fn write(&mut self, block: u64, cpu: &mut CpuTier) {
        for device in 0..self.station.tiers() {
            cpu.pin(block);
            let transfer = Transfer {
                tier: device,
                direction: Direction::Write,
                bytes: self.config.block_bytes,
                names: vec![block],
            };
            self.station.submit(transfer, self.now);
        }
    }

    fn device_of(&self, block: u64) -> Option<usize> {
        self.has.iter().position(|has| has.contains(&block))
    }

    /// The first blocks of these that one device has and the CPU has not, neither has the GPU, as
    /// `on_gpu` says. `None`: no device has the first one.
    pub(super) fn run(
        &self,
        blocks: &[u64],
        cpu: &CpuTier,
        on_gpu: impl Fn(u64) -> bool,
    ) -> Option<(usize, Vec<u64>)> {
        let device = self.device_of(*blocks.first()?)?;
        let more = blocks[1..].iter().take_while(|&&block| {
            !on_gpu(block)
                && cpu.find(block) == Found::Missing
                && self.device_of(block) == Some(device)
        });
        let mut run = vec![blocks[0]];
        run.extend(more);
        Some((device, run))
    }

    /// Has blocks fetched. `false`: there is no room for them on the CPU.
    pub(super) fn fetch(&mut self, device: usize, run: &[u64], cpu: &mut CpuTier) -> bool {
        let places = cpu.reserve(run);
        if places == 0 {
            self.refused += 1;
            return false;
        }
        let transfer = Transfer {
            tier: device,
            direction: Direction::Read,
            bytes: places as i64 * self.config.block_bytes,
            names: run.to_vec(),
        };
        self.station.submit(transfer, self.now);
        self.fetches += 1;
        true
    }

    /// Was this request put off? If so, does it still have to wait?
    pub(super) fn waits(&self, id: &RequestId) -> Option<bool> {
        let put_off = self.put_off.get(id)?;
        Some(put_off.phase != Phase::Over)
    }

    /// A request is put off, as it lacks blocks.
    pub(super) fn put_off(&mut self, id: &RequestId, lacks: Lacks, cpu: &mut CpuTier) {
        let (device, blocks, phase) = match lacks {
            Lacks::OnTheirWay(block) => (0, vec![block], Phase::Fetches),
            Lacks::OnDevice(device, run) => {
                let phase = if !run.iter().all(|block| self.known.contains(block)) {
                    Phase::Asks
                } else if self.fetch(device, &run, cpu) {
                    Phase::Fetches
                } else {
                    Phase::Over
                };
                (device, run, phase)
            }
        };
        let put_off = PutOff {
            phase,
            blocks,
            device,
            since_us: self.now,
        };
        self.put_off.insert(id.clone(), put_off);
    }

    /// A request was admitted, or has left.
    pub(super) fn forget(&mut self, id: &RequestId) {
        self.put_off.remove(id);
    }

    /// Another step: requests that were put off come one phase further. Did that change the CPU's
    /// blocks?
    pub(super) fn poll(&mut self, cpu: &mut CpuTier) -> bool {
        let waiting = self.put_off.iter().filter(|(_, p)| p.phase != Phase::Over);
        let waiting: Vec<RequestId> = waiting.map(|(id, _)| id.clone()).collect();
        let fetches = self.fetches;
        for id in waiting {
            let Some(mut put_off) = self.put_off.remove(&id) else {
                continue;
            };
            let state = |cpu: &CpuTier| {
                let found = put_off.blocks.iter().map(|&block| cpu.find(block));
                found.fold(Found::Ready, |all, one| match (all, one) {
                    (Found::Missing, _) | (_, Found::Missing) => Found::Missing,
                    (Found::Pending, _) | (_, Found::Pending) => Found::Pending,
                    (Found::Ready, Found::Ready) => Found::Ready,
                })
            };
            let asks = put_off.phase == Phase::Asks;
            put_off.phase = match state(cpu) {
                Found::Ready => Phase::Over,
                Found::Pending => Phase::Fetches,
                // The blocks that it waited for are gone again.
                Found::Missing if !asks => Phase::Over,
                Found::Missing => match self.fetch(put_off.device, &put_off.blocks, cpu) {
                    true => Phase::Fetches,
                    false => Phase::Over,
                },
            };
            if asks {
                self.known.extend(&put_off.blocks);
            }
            if self.now - put_off.since_us > LONGEST_US {
                put_off.phase = Phase::Over;
            }
            self.put_off.insert(id, put_off);
        }
        fetches != self.fetches
    }
}
