//! Attention over compressed KV (MLA). Whole layers of it were measured, projections included, so
//! that what remains is what the products of matrices leave of them.

use super::attention::nearest;
use windtunnel_config::{KernelOp, KernelTable, ModelArch};

/// Heads as in the measured layers, which are those of DeepSeek-V3: keys and values are kept as so
/// many numbers, of a head the part without a position is so wide, that with one, and its values.
const HEADS: [u64; 4] = [512, 128, 64, 128];
/// Hidden size of the measured layers, and the width that their queries are compressed to.
const HIDDEN: f64 = 7168.0;
const QUERY_RANK: f64 = 1536.0;

/// Are its heads as wide as those that were measured?
pub(super) fn has_measured_heads(model: &ModelArch) -> bool {
    let rank = model.kv_lora_rank;
    [
        rank,
        model.qk_nope_head_dim,
        model.qk_rope_head_dim,
        model.value_width(),
    ] == HEADS
}

/// Rows and columns of the weights of one layer, for so many heads on a GPU.
pub(super) fn products(model: &ModelArch, heads: f64) -> Vec<(f64, f64)> {
    shapes(model.hidden as f64, model.q_lora_rank as f64, heads)
}

fn shapes(hidden: f64, query_rank: f64, heads: f64) -> Vec<(f64, f64)> {
    let [rank, plain, rotated, value] = HEADS.map(|n| n as f64);
    let queries = heads * (plain + rotated);
    let mut shapes = if query_rank > 0.0 {
        vec![(query_rank + rank + rotated, hidden), (queries, query_rank)]
    } else {
        vec![(queries + rank + rotated, hidden)]
    };
    // Decodes multiply queries and results with the weights that prefills expand keys and values
    // by: as many numbers.
    shapes.push((heads * (plain + value), rank));
    shapes.push((hidden, heads * value));
    shapes
}

/// What remains of measured layers without their products.
pub(super) struct Remains {
    /// Microseconds of a layer whatever the step.
    pub(super) layer_us: f64,
    /// Tables as of [`KernelOp::DecodeAttention`] and [`KernelOp::PrefillAttention`], one KV head.
    pub(super) decode: KernelTable,
    pub(super) prefill: KernelTable,
}

impl Remains {
    /// Of the layers in these tables whose heads on a GPU are nearest to so many; `product_us` says
    /// what a product of this shape takes of so many tokens. `None` where no decode was measured.
    pub(super) fn of(
        decodes: &KernelTable,
        prefills: &KernelTable,
        heads: f64,
        product_us: impl Fn((f64, f64), f64) -> f64,
    ) -> Option<Self> {
        let (near, _) = nearest(decodes, |row| (f64::from(row[0]) / heads).ln().abs())?;
        let near = near[0];
        let shapes = shapes(HIDDEN, QUERY_RANK, f64::from(near));
        let products = |tokens: u32| -> f64 {
            let each = shapes.iter().map(|shape| product_us(*shape, tokens.into()));
            each.sum()
        };
        // A sequence of hardly a token.
        let first = decodes.rows.iter().position(|row| *row == [near, 1])?;
        let first = decodes.us[first].iter().find(|us| us.is_finite())?;
        let layer_us = (first - products(1)).max(0.0);
        // What was not measured stays so.
        let rest = |us: f64, tokens: u32| match us - products(tokens) - layer_us {
            below if below < 0.0 => 0.0,
            us => us,
        };
        let of_heads = |table: &KernelTable| -> Vec<usize> {
            let rows = 0..table.rows.len();
            rows.filter(|i| table.rows[*i][0] == near).collect()
        };
        let row_of = |i: &usize| {
            let sequences = decodes.rows[*i][1];
            decodes.us[*i]
                .iter()
                .map(|us| rest(*us, sequences))
                .collect()
        };
        let prefill_row = |i: &usize| {
            let times = prefills.us[*i].iter().zip(&prefills.columns);
            times.map(|(us, tokens)| rest(*us, *tokens)).collect()
        };
        let (decode_rows, prefill_rows) = (of_heads(decodes), of_heads(prefills));
        let key = |i: &usize| vec![near, 1, decodes.rows[*i][1]];
        Some(Self {
            layer_us,
            decode: KernelTable {
                op: KernelOp::DecodeAttention,
                rows: decode_rows.iter().map(key).collect(),
                columns: decodes.columns.clone(),
                us: decode_rows.iter().map(row_of).collect(),
            },
            prefill: KernelTable {
                op: KernelOp::PrefillAttention,
                rows: prefill_rows.iter().map(|_| vec![near, 1]).collect(),
                columns: prefills.columns.clone(),
                us: prefill_rows.iter().map(prefill_row).collect(),
            },
        })
    }
}
