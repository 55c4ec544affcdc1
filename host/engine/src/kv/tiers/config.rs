//! What tiers there are below the GPU's KV blocks.

/// The tiers of one instance.
#[derive(Clone, Debug, PartialEq)]
pub struct KvTiers {
    /// Blocks on the CPU, at least 1.
    pub cpu_blocks: u64,
    /// How blocks come there and back.
    pub way: TierWay,
}

/// How blocks move between GPU and CPU in the reference simulator.
#[derive(Clone, Debug, PartialEq)]
pub enum TierWay {
    /// What running requests hold is mirrored after every step; what comes back costs the step at
    /// hand so many microseconds for each block.
    Mirror {
        /// Microseconds for each block.
        block_us: i64,
    },
    /// What running requests hold is written to the CPU, which takes no time, and from there to
    /// devices, from which requests wait for it.
    Chain(ChainConfig),
}

/// A CPU tier with devices below it.
#[derive(Clone, Debug, PartialEq)]
pub struct ChainConfig {
    /// Only blocks of prompts are written.
    pub prompts_only: bool,
    /// Bytes of a block.
    pub block_bytes: i64,
    /// The devices in the order in which they are asked; every block is written to all.
    pub devices: Vec<DeviceTier>,
}

/// A device that has no limit of blocks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DeviceTier {
    /// Threads that read first, and write when nothing is to be read.
    pub read_threads: u32,
    /// Threads that write first.
    pub write_threads: u32,
    /// Time of a transfer besides that of its bytes, microseconds.
    pub base_us: i64,
    /// Bandwidth, bytes per microsecond.
    pub read_bytes_per_us: f64,
    /// Bandwidth, bytes per microsecond.
    pub write_bytes_per_us: f64,
    /// Transfers at once from which on the bandwidth is full; below 2 it always is.
    pub saturation_queue_depth: u32,
    /// Share of the bandwidth that a transfer alone has.
    pub single_transfer_fraction: f64,
}
