//! BLIS's file of tiers for KV blocks.

use super::blis_entries::KvDevice;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;
use windtunnel_base::input::{InputError, parse_yaml, read_text, unknown};

/// Threads of a tier, where the file does not say how many.
const THREADS: u32 = 16;

/// What such a file says.
#[derive(Clone, Debug, PartialEq)]
pub struct KvOffloadFile {
    /// Bytes on the CPU.
    pub cpu_bytes: i64,
    /// Tokens of a block there; those of the GPU's blocks if not given.
    pub block_size: Option<u32>,
    /// Only prompts are kept.
    pub prompts_only: bool,
    /// The devices below, in the order in which they are asked.
    pub devices: Vec<KvOffloadDevice>,
}

/// A device.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct KvOffloadDevice {
    /// Its figures.
    pub device: KvDevice,
    /// Threads that read first.
    pub read_threads: u32,
    /// Threads that write first.
    pub write_threads: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    kv_offload: Block,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Block {
    cpu_bytes_to_use: i64,
    block_size: Option<u32>,
    blocks_per_chunk: Option<u32>,
    tokens_per_hash: Option<u32>,
    eviction_policy: Option<String>,
    offload_prompt_only: Option<bool>,
    #[serde(rename = "self_describing_kv_events")]
    _self_describing_kv_events: Option<bool>,
    store_threshold: Option<u32>,
    #[serde(default)]
    secondary_tiers: Vec<Tier>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Tier {
    #[serde(rename = "type")]
    kind: String,
    #[serde(rename = "root_dir")]
    _root_dir: Option<String>,
    n_read_threads: Option<u32>,
    n_write_threads: Option<u32>,
    locality: Option<String>,
    #[serde(rename = "enable_kv_events")]
    _enable_kv_events: Option<bool>,
    direct_io: bool,
    device_class: Option<String>,
    read_bandwidth: Option<f64>,
    write_bandwidth: Option<f64>,
    base_latency: Option<f64>,
}

impl KvOffloadFile {
    /// Reads such a file; `devices` are the kinds that it may name.
    ///
    /// # Errors
    /// When it cannot be read, has an unknown key, or asks for what is not simulated, here or
    /// there.
    pub fn load(path: &Path, devices: &BTreeMap<String, KvDevice>) -> Result<Self, InputError> {
        Self::parse(&path.display().to_string(), &read_text(path)?, devices)
    }

    /// The same of a text; `name` is what messages call it.
    ///
    /// # Errors
    /// See [`load`](Self::load).
    pub fn parse(
        name: &str,
        text: &str,
        devices: &BTreeMap<String, KvDevice>,
    ) -> Result<Self, InputError> {
        let File { kv_offload: block } = parse_yaml(name, text)?;
        let refuse = |message: String| Err(InputError::in_file(name, message));
        if block.cpu_bytes_to_use <= 0 {
            return refuse(format!(
                "cpu_bytes_to_use is {}; expected a number of bytes above 0",
                block.cpu_bytes_to_use
            ));
        }
        if block.block_size.is_some() && block.blocks_per_chunk.is_some() {
            return refuse("block_size and blocks_per_chunk are both given; expected one".into());
        }
        if let Some(blocks) = block.blocks_per_chunk.filter(|blocks| *blocks != 1) {
            return refuse(format!(
                "blocks_per_chunk is {blocks}; only 1 is simulated, as in BLIS"
            ));
        }
        let policy = block.eviction_policy.as_deref().unwrap_or("lru");
        if policy != "lru" {
            return refuse(format!(
                "eviction_policy is \"{policy}\"; only lru is simulated, as in BLIS"
            ));
        }
        if let Some(threshold) = block.store_threshold.filter(|threshold| *threshold > 1) {
            return refuse(format!("store_threshold is {threshold}; expected 0 or 1"));
        }
        if let Some(tokens) = block.tokens_per_hash.filter(|tokens| *tokens == 0) {
            return refuse(format!("tokens_per_hash is {tokens}; expected 1 or more"));
        }
        let tiers = block.secondary_tiers.iter().enumerate();
        let tiers = tiers.map(|(k, tier)| {
            let of = |message: String| format!("secondary_tiers[{k}]: {message}");
            let device = tier.device(devices).map_err(of);
            device.map_err(|message| InputError::in_file(name, message))
        });
        Ok(Self {
            cpu_bytes: block.cpu_bytes_to_use,
            block_size: block.block_size,
            prompts_only: block.offload_prompt_only.unwrap_or(true),
            devices: tiers.collect::<Result<_, _>>()?,
        })
    }
}

impl Tier {
    fn device(&self, devices: &BTreeMap<String, KvDevice>) -> Result<KvOffloadDevice, String> {
        if self.kind != "fs" {
            return Err(format!("type is \"{}\"; only fs is there", self.kind));
        }
        if let Some(locality) = &self.locality
            && !["LOCAL", "REMOTE"].contains(&locality.as_str())
        {
            return Err(unknown("locality", locality, &["LOCAL", "REMOTE"]));
        }
        let class = match &self.device_class {
            None => None,
            Some(class) => Some(*devices.get(class).ok_or_else(|| {
                let names: Vec<&str> = devices.keys().map(String::as_str).collect();
                unknown("device_class", class, &names)
            })?),
        };
        let given = [self.read_bandwidth, self.write_bandwidth, self.base_latency];
        let class = class.map(|class| match self.direct_io {
            true => class,
            false => class.buffered(),
        });
        let [read, write, base] = match (&class, given) {
            (None, [Some(read), Some(write), Some(base)]) => [read, write, base],
            (None, _) => {
                return Err(
                    "neither device_class nor read_bandwidth, write_bandwidth and base_latency are given".into(),
                );
            }
            (Some(class), [read, write, base]) => [
                read.unwrap_or(class.read_bandwidth),
                write.unwrap_or(class.write_bandwidth),
                base.unwrap_or(class.base_latency),
            ],
        };
        let device = KvDevice {
            read_bandwidth: read,
            write_bandwidth: write,
            base_latency: base,
            saturation_queue_depth: class.and_then(|class| class.saturation_queue_depth),
            single_transfer_fraction: class.and_then(|class| class.single_transfer_fraction),
            latency_jitter_stddev: class.and_then(|class| class.latency_jitter_stddev),
            buffered_read_bandwidth: None,
            buffered_write_bandwidth: None,
            buffered_base_latency: None,
            buffered_saturation_queue_depth: None,
            buffered_single_transfer_fraction: None,
            buffered_latency_jitter_stddev: None,
        };
        device.check()?;
        if device
            .latency_jitter_stddev
            .is_some_and(|share| share != 0.0)
        {
            return Err("latency_jitter_stddev is not simulated; expected 0".into());
        }
        let (read_threads, write_threads) = (
            self.n_read_threads.unwrap_or(THREADS),
            self.n_write_threads.unwrap_or(THREADS),
        );
        if read_threads == 0 && write_threads == 0 {
            return Err("n_read_threads and n_write_threads are both 0".into());
        }
        Ok(KvOffloadDevice {
            device,
            read_threads,
            write_threads,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Defaults;

    fn parse(block: &str) -> Result<KvOffloadFile, String> {
        let text = format!("kv_offload:\n  cpu_bytes_to_use: 1000\n{block}");
        let devices = &Defaults::builtin().kv_devices;
        KvOffloadFile::parse("f", &text, devices).map_err(|e| e.to_string())
    }

    #[test]
    fn a_device_has_the_figures_of_its_kind_and_those_given() {
        let file = parse(
            "  secondary_tiers:\n    - {type: fs, direct_io: true, device_class: sata_ssd, base_latency: 7}\n",
        );
        let file = file.unwrap();
        assert!(file.prompts_only);
        let device = file.devices[0];
        assert_eq!((device.read_threads, device.write_threads), (16, 16));
        assert_eq!(device.device.read_bandwidth, 550.0);
        assert_eq!(device.device.base_latency, 7.0);
    }

    #[test]
    fn mistakes_are_told() {
        let tier =
            |rest: &str| format!("  secondary_tiers:\n    - {{type: fs, direct_io: true{rest}}}\n");
        for (block, told) in [
            (
                "  block_size: 16\n  blocks_per_chunk: 1\n".to_owned(),
                "both given",
            ),
            (
                "  blocks_per_chunk: 2\n".to_owned(),
                "blocks_per_chunk is 2",
            ),
            ("  eviction_policy: arc\n".to_owned(), "eviction_policy"),
            ("  store_threshold: 2\n".to_owned(), "store_threshold"),
            ("  storre_threshold: 2\n".to_owned(), "storre_threshold"),
            (tier(""), "neither device_class"),
            (tier(", device_class: nvme_gen5"), "nvme_gen4"),
            (tier(", device_class: s3, locality: HERE"), "locality"),
            (
                tier(", device_class: s3, n_read_threads: 0, n_write_threads: 0"),
                "both 0",
            ),
            (
                tier(", device_class: s3, read_bandwidth: 0"),
                "read_bandwidth is 0",
            ),
        ] {
            let error = parse(&block).unwrap_err();
            assert!(error.contains(told), "{error}");
        }
        let none = "kv_offload:\n  cpu_bytes_to_use: 0\n";
        assert!(KvOffloadFile::parse("f", none, &BTreeMap::new()).is_err());
    }
}
