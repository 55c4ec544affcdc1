//! Figures of the reference simulator for what lies beside the engine: LoRA adapters, and devices
//! that keep KV blocks. They are written as in its own defaults file.
//!
//! The build script is made of this file too, see `entries`.

use serde::Deserialize;
use std::collections::BTreeMap;

/// What an adapter costs.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoraFigures {
    /// Time to load one besides that of its bytes, microseconds.
    pub load_base_latency_us: f64,
    /// Bandwidth at which one is loaded, bytes per microsecond.
    pub load_bandwidth_bytes_us: f64,
    /// Bytes per rank.
    pub footprint_bytes_per_rank: f64,
    /// By rank: what adapters of a step add to its time.
    pub step_overhead_tiers: BTreeMap<u32, LoraOverhead>,
}

/// A step takes `1 + k6 / k7 * adapters` times as long.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoraOverhead {
    /// Of each adapter.
    #[serde(default)]
    pub k6: f64,
    /// What that is divided by.
    pub k7: f64,
}

/// A kind of device that keeps KV blocks. Figures that begin with `buffered` are for transfers
/// through the operating system's cache; what is not given is as without it.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KvDevice {
    /// Bandwidth, bytes per microsecond.
    pub read_bandwidth: f64,
    /// Bandwidth, bytes per microsecond.
    pub write_bandwidth: f64,
    /// Time of a transfer besides that of its bytes, microseconds.
    pub base_latency: f64,
    /// Transfers at once from which on the bandwidth is full.
    pub saturation_queue_depth: Option<u32>,
    /// Share of the bandwidth that a transfer alone has.
    pub single_transfer_fraction: Option<f64>,
    /// Random share of a transfer's time, standard deviation.
    pub latency_jitter_stddev: Option<f64>,
    /// See `read_bandwidth`.
    pub buffered_read_bandwidth: Option<f64>,
    /// See `write_bandwidth`.
    pub buffered_write_bandwidth: Option<f64>,
    /// See `base_latency`.
    pub buffered_base_latency: Option<f64>,
    /// See `saturation_queue_depth`.
    pub buffered_saturation_queue_depth: Option<u32>,
    /// See `single_transfer_fraction`.
    pub buffered_single_transfer_fraction: Option<f64>,
    /// See `latency_jitter_stddev`.
    pub buffered_latency_jitter_stddev: Option<f64>,
}

impl LoraFigures {
    /// Names the first figure that makes no sense.
    pub(crate) fn check(&self) -> Result<(), String> {
        let positive = [
            ("load_bandwidth_bytes_us", self.load_bandwidth_bytes_us),
            ("footprint_bytes_per_rank", self.footprint_bytes_per_rank),
        ];
        let base = self.load_base_latency_us;
        if !(base.is_finite() && base >= 0.0) {
            return Err(format!(
                "load_base_latency_us is {base}; expected a finite number, 0 or above"
            ));
        }
        for (name, value) in positive {
            if !(value.is_finite() && value > 0.0) {
                return Err(format!(
                    "{name} is {value}; expected a finite number above 0"
                ));
            }
        }
        for (rank, LoraOverhead { k6, k7 }) in &self.step_overhead_tiers {
            let sound = k6.is_finite() && *k6 >= 0.0 && k7.is_finite() && *k7 > 0.0;
            if *rank == 0 || !sound {
                return Err(format!(
                    "step_overhead_tiers: rank {rank} has k6 {k6} and k7 {k7}; expected a rank above 0, k6 of 0 or \
                     above and k7 above 0, finite"
                ));
            }
        }
        Ok(())
    }
}

impl KvDevice {
    /// The same device for transfers through the operating system's cache.
    #[must_use]
    pub fn buffered(self) -> Self {
        Self {
            read_bandwidth: self.buffered_read_bandwidth.unwrap_or(self.read_bandwidth),
            write_bandwidth: self
                .buffered_write_bandwidth
                .unwrap_or(self.write_bandwidth),
            base_latency: self.buffered_base_latency.unwrap_or(self.base_latency),
            saturation_queue_depth: self
                .buffered_saturation_queue_depth
                .or(self.saturation_queue_depth),
            single_transfer_fraction: self
                .buffered_single_transfer_fraction
                .or(self.single_transfer_fraction),
            latency_jitter_stddev: self
                .buffered_latency_jitter_stddev
                .or(self.latency_jitter_stddev),
            ..self
        }
    }

    /// Names the first figure that makes no sense.
    pub(crate) fn check(&self) -> Result<(), String> {
        for device in [*self, self.buffered()] {
            let bandwidths = [
                ("read_bandwidth", device.read_bandwidth),
                ("write_bandwidth", device.write_bandwidth),
            ];
            for (name, value) in bandwidths {
                if !(value.is_finite() && value > 0.0) {
                    return Err(format!(
                        "{name} is {value}; expected a finite number above 0"
                    ));
                }
            }
            let base = device.base_latency;
            if !(0.0..=1e12).contains(&base) {
                return Err(format!(
                    "base_latency is {base}; expected 0 to 1000000000000 microseconds"
                ));
            }
            let alone = device.single_transfer_fraction.unwrap_or(1.0);
            if device.saturation_queue_depth.unwrap_or(0) >= 2 && !(alone > 0.0 && alone <= 1.0) {
                return Err(format!(
                    "single_transfer_fraction is {alone}; expected above 0 and at most 1"
                ));
            }
        }
        Ok(())
    }
}
