//! What happened to the findable blocks of the KV caches, as vLLM publishes it.

/// A change of the prefix cache of one instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KvEvent {
    /// When it is published, microseconds: the end of the step whose output is processed next.
    pub time_us: i64,
    /// Instance.
    pub instance: u32,
    /// What changed.
    pub change: KvChange,
}

/// What changed in a prefix cache. Blocks are numbered from 0 by the first time that their prefix
/// appears on the instance: equal numbers are equal tokens after equal tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KvChange {
    /// Full blocks became findable. Another copy of a block that is findable already counts too.
    Stored {
        /// Their numbers, in the order of the tokens.
        blocks: Vec<u32>,
        /// Number of the block before the first of them; `None` = they begin a prompt.
        parent: Option<u32>,
        /// Tokens in all of them.
        tokens: u32,
    },
    /// A copy of the block of this number was taken for new tokens.
    Removed {
        /// Its number.
        block: u32,
    },
}
