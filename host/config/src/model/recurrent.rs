//! Linear attention, state-space models and short convolutions.

use super::fields::Fields;
use windtunnel_base::input::InputError;

/// What one recurrent layer weighs and keeps.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Recurrent {
    /// Weights.
    pub parameters: f64,
    /// Elements of the state that it keeps per sequence.
    pub state: f64,
    /// Its heads, if it is a gated delta net.
    pub delta: Option<DeltaHeads>,
}

/// Heads of a gated delta net, those of keys as many as those of queries.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DeltaHeads {
    /// Heads of keys, and how wide each is.
    pub keys: f64,
    /// See `keys`.
    pub key_width: f64,
    /// Heads of values, and how wide each is.
    pub values: f64,
    /// See `values`.
    pub value_width: f64,
    /// Tokens that the convolution before it spans.
    pub convolution: f64,
}

impl Recurrent {
    /// The figures of the recurrent layers: gated delta nets (`linear_*` keys), Mamba 2, or a short
    /// convolution.
    ///
    /// # Errors
    /// When the file has the keys of none of them.
    pub(super) fn parse(f: &Fields<'_>, hidden: u64) -> Result<Self, InputError> {
        let n = |keys: &[&str]| f.first(keys, |n| n > 0).map(|n| n as f64);
        let d = hidden as f64;
        let (key_heads, value_heads) = (
            n(&["linear_num_key_heads"])?,
            n(&["linear_num_value_heads"])?,
        );
        if key_heads > 0.0 && value_heads > 0.0 {
            let (key, value) = (n(&["linear_key_head_dim"])?, n(&["linear_value_head_dim"])?);
            let (keys, values) = (key_heads * key, value_heads * value);
            let kernel = n(&["linear_conv_kernel_dim"])?.max(1.0);
            return Ok(Self {
                // Queries, keys, values and gate; two figures per head; convolution; output.
                parameters: d * (2.0 * keys + 2.0 * values)
                    + d * 2.0 * value_heads
                    + (2.0 * keys + values) * kernel
                    + values * d,
                state: value_heads * key * value + (2.0 * keys + values) * (kernel - 1.0),
                delta: Some(DeltaHeads {
                    keys: key_heads,
                    key_width: key,
                    values: value_heads,
                    value_width: value,
                    convolution: kernel,
                }),
            });
        }
        let state_size = n(&["ssm_state_size", "mamba_d_state"])?;
        if state_size > 0.0 {
            let heads = n(&["mamba_num_heads", "mamba_n_heads"])?;
            let width = n(&["mamba_head_dim", "mamba_d_head"])?;
            let expanded = d * n(&["expand", "mamba_expand"])?;
            let inner = if heads > 0.0 && width > 0.0 {
                heads * width
            } else {
                expanded
            };
            let heads = match heads {
                0.0 => inner / width.max(1.0),
                heads => heads,
            };
            let grouped = n(&["n_groups", "mamba_n_groups"])?.max(1.0) * state_size;
            let kernel = n(&["conv_kernel", "mamba_d_conv"])?.max(1.0);
            let convolved = inner + 2.0 * grouped;
            return Ok(Self {
                parameters: d * (2.0 * inner + 2.0 * grouped + heads)
                    + convolved * kernel
                    + inner * d,
                state: inner * state_size + convolved * (kernel - 1.0),
                delta: None,
            });
        }
        let kernel = n(&["conv_L_cache"])?;
        if kernel > 0.0 {
            return Ok(Self {
                parameters: 4.0 * d * d,
                state: d * kernel,
                delta: None,
            });
        }
        // Linear attention without figures of its own has the shape of the attention beside it.
        let (heads, width) = (n(&["num_attention_heads"])?, n(&["head_dim"])?);
        if f.list("attn_type_list").is_some() && width > 0.0 {
            return Ok(Self {
                parameters: d * heads * width * 5.0,
                state: heads * width * width,
                delta: None,
            });
        }
        Err(f.error(
            "the configuration has recurrent layers, but not the keys that tell their size (linear_num_key_heads and \
             those beside it, or ssm_state_size, or mamba_d_state)"
                .to_owned(),
        ))
    }
}
