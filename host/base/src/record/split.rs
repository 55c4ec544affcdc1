//! Requests that several instances served.

/// The way of a request whose prompt another instance computed than the one that decoded it. Times
/// are microseconds; absent means that the thing never happened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SplitRecord {
    /// Instance that computed the prompt.
    pub prefill_instance: Option<u32>,
    /// Instance that was to decode.
    pub decode_instance: u32,
    /// Instance that encoded images, audio and video.
    pub encode_instance: Option<u32>,
    /// When it was sent to prefill.
    pub prefill_enqueue_us: Option<i64>,
    /// When its prefill was complete.
    pub prefill_end_us: Option<i64>,
    /// When its KV cache began to move.
    pub transfer_start_us: Option<i64>,
    /// When its KV cache had moved.
    pub transfer_end_us: Option<i64>,
    /// When it joined the batch of the instance that decodes.
    pub decode_start_us: Option<i64>,
}

impl SplitRecord {
    /// From the end of the prefill until its KV cache began to move, microseconds: the instance
    /// that decodes may have had no blocks.
    #[must_use]
    pub fn waited_us(&self) -> Option<i64> {
        Some(self.transfer_start_us? - self.prefill_end_us?)
    }

    /// How long its KV cache moved, microseconds.
    #[must_use]
    pub fn moved_us(&self) -> Option<i64> {
        Some(self.transfer_end_us? - self.transfer_start_us?)
    }
}
