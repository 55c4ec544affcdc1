//! The longest request that a deployment takes.

use super::super::deployment::{MaxModelLenSource, Setup};
use windtunnel_base::input::InputError;

/// The longest request of a model that takes `own` tokens (0 = not known), and where it comes from.
pub(super) fn fit_model_len(
    setup: &Setup,
    own: u64,
    blocks: u64,
) -> Result<(u64, MaxModelLenSource), InputError> {
    let block = u64::from(setup.block_size);
    let capacity = blocks.saturating_mul(block);
    match setup.max_model_len {
        Some(0) => Ok((0, MaxModelLenSource::Flag)),
        Some(len) if len.div_ceil(block) > blocks => Err(InputError::new(format!(
            "`max_model_len` {len} is above what the KV cache holds: {capacity} tokens ({blocks} blocks of {block})"
        ))),
        Some(len) => Ok((len, MaxModelLenSource::Flag)),
        None if own == 0 => Ok((0, MaxModelLenSource::Unlimited)),
        None if own.div_ceil(block) > blocks => Ok((capacity, MaxModelLenSource::KvCapacity)),
        None => Ok((own, MaxModelLenSource::ModelConfig)),
    }
}
