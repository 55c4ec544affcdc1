//! Times of attention kernels.

use super::curve::{Sizes, between, never_falling};
use windtunnel_config::KernelTable;

/// Attention layers of one kind.
#[derive(Clone, Debug)]
pub(super) struct Attention {
    pub(super) layers: f64,
    /// Tokens that a token attends to at most.
    pub(super) window: f64,
    pub(super) decode: DecodeAttention,
    pub(super) prefill: PrefillAttention,
}

/// Attention of decodes in one layer, microseconds by sequences and tokens of each.
#[derive(Clone, Debug)]
pub(super) struct DecodeAttention {
    sequences: Sizes,
    context: Sizes,
    /// The longest context that was measured with so many sequences and with all that are fewer.
    reach: Vec<f64>,
    /// By sequences and context, row by row; never falls in either.
    us: Vec<f64>,
    contexts: usize,
}

impl DecodeAttention {
    /// From the measured shape that is most like this one. A kernel reads each KV head of each
    /// sequence once: rows of another number of KV heads are taken at as many times the sequences,
    /// with as many query heads per KV head.
    ///
    /// With it whether that is this shape.
    pub(super) fn new(table: &KernelTable, heads: f64, kv_heads: f64) -> Option<(Self, bool)> {
        let group = heads / kv_heads;
        let unlike = |row: &[u32]| {
            let (heads, kv) = (f64::from(row[0]), f64::from(row[1]));
            4.0 * (heads / kv / group).ln().abs() + (kv / kv_heads).ln().abs()
        };
        let (near, _) = nearest(table, unlike)?;
        let scale = f64::from(near[1]) / kv_heads;
        let context: Vec<f64> = table.columns.iter().map(|c| f64::from(*c)).collect();
        let (mut sequences, mut us) = (Vec::new(), Vec::new());
        let (mut reach, mut farthest) = (Vec::new(), f64::INFINITY);
        for (row, times) in table.rows.iter().zip(&table.us) {
            if row[..2] == near[..2]
                && let Some((times, measured)) = filled(&context, times)
            {
                sequences.push(f64::from(row[2]) * scale);
                us.push(times);
                farthest = measured.min(farthest);
                reach.push(farthest);
            }
        }
        us.iter_mut().for_each(|row| never_falling(row));
        for j in 0..context.len() {
            let mut column: Vec<f64> = us.iter().map(|row| row[j]).collect();
            never_falling(&mut column);
            us.iter_mut().zip(column).for_each(|(row, us)| row[j] = us);
        }
        let is_measured = (f64::from(near[0]), f64::from(near[1])) == (heads, kv_heads);
        (us.len() > 1).then(|| {
            let kernel = Self {
                sequences: Sizes::new(sequences),
                reach,
                us: us.concat(),
                contexts: context.len(),
                context: Sizes::new(context),
            };
            (kernel, is_measured)
        })
    }

    /// Microseconds of so many sequences with a mean context, and whether that is beyond what was
    /// measured.
    #[inline]
    pub(super) fn us(&self, sequences: f64, context: f64) -> (f64, bool) {
        let (i, share) = self.sequences.place(sequences);
        let (j, along) = self.context.place(context);
        let row = |i: usize| {
            let at = i * self.contexts + j;
            self.us[at] + along * (self.us[at + 1] - self.us[at])
        };
        let low = row(i);
        let us = low + share * (row(i + 1) - low);
        let (near, far) = (self.reach[i], self.reach[i + 1]);
        let is_beyond = context > near + share * (far - near) || sequences > self.sequences.last();
        let stretch = self.sequences.beyond(sequences) * self.context.beyond(context);
        (us * stretch, is_beyond)
    }
}

/// Attention of whole prompts in one layer, microseconds by their tokens.
#[derive(Clone, Debug)]
pub(super) struct PrefillAttention {
    tokens: Sizes,
    us: Vec<f64>,
}

impl PrefillAttention {
    /// From the measured shape that is most like this one, in proportion to the query heads; with
    /// it whether that is this shape.
    pub(super) fn new(table: &KernelTable, heads: f64, kv_heads: f64) -> Option<(Self, bool)> {
        let unlike = |row: &[u32]| {
            let (there, kv) = (f64::from(row[0]), f64::from(row[1]));
            2.0 * (there / heads).ln().abs() + (kv / kv_heads).ln().abs()
        };
        let (near, times) = nearest(table, unlike)?;
        let scale = heads / f64::from(near[0]);
        let mut us = Vec::new();
        let mut tokens = Vec::new();
        for (n, time) in table.columns.iter().zip(times) {
            if time.is_finite() {
                tokens.push(f64::from(*n));
                us.push(time * scale);
            }
        }
        never_falling(&mut us);
        let is_measured = (f64::from(near[0]), f64::from(near[1])) == (heads, kv_heads);
        (us.len() > 1).then(|| {
            let tokens = Sizes::new(tokens);
            (Self { tokens, us }, is_measured)
        })
    }

    /// Microseconds of `prefills` that have `pairs` of (query, key) in all: what as many whole
    /// prompts take that have as many pairs. And whether those are longer than any that was
    /// measured.
    #[inline]
    pub(super) fn us(&self, prefills: f64, pairs: f64) -> (f64, bool) {
        let pairs_of = |length: f64| length * (length + 1.0) / 2.0;
        let each = pairs / prefills;
        let length = ((8.0 * each + 1.0).sqrt() - 1.0) / 2.0;
        let longest = self.tokens.last();
        let us = if length > longest {
            self.us[self.us.len() - 1] * each / pairs_of(longest)
        } else {
            let (i, share) = self.tokens.place(length);
            self.us[i] + share * (self.us[i + 1] - self.us[i])
        };
        (prefills * us, length > longest)
    }
}

/// The row whose shape is the least unlike, and its times.
pub(super) fn nearest(
    table: &KernelTable,
    unlike: impl Fn(&[u32]) -> f64,
) -> Option<(&Vec<u32>, &Vec<f64>)> {
    let rows = table.rows.iter().zip(&table.us);
    rows.min_by(|a, b| unlike(a.0).total_cmp(&unlike(b.0)))
}

/// The times with those that are missing at the end, which the GPU's memory did not allow to
/// measure, in proportion to the context, and the longest context that was measured; `None` if less
/// than two were.
fn filled(context: &[f64], us: &[f64]) -> Option<(Vec<f64>, f64)> {
    let known = |i: &usize| us[*i].is_finite();
    let measured: Vec<usize> = (0..us.len()).filter(known).collect();
    let [.., before, last] = measured[..] else {
        return None;
    };
    let slope = (us[last] - us[before]) / (context[last] - context[before]);
    let xs: Vec<f64> = measured.iter().map(|i| context[*i]).collect();
    let ys: Vec<f64> = measured.iter().map(|i| us[*i]).collect();
    let fill = |x: f64| {
        if x > context[last] {
            us[last] + slope.max(0.0) * (x - context[last])
        } else {
            between(&xs, &ys, x)
        }
    };
    let filled = context.iter().map(|x| fill(*x)).collect();
    Some((filled, context[last]))
}
