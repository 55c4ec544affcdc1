//! Times of gated delta nets, which read the state of a sequence and not what came before it.

use super::attention::nearest;
use super::curve::{Curve, between};
use windtunnel_config::{DELTA_NET_WIDTHS, DeltaHeads, KernelTable};

/// Recurrent layers, without their projections.
#[derive(Clone, Debug)]
pub(super) struct Recurrent {
    pub(super) layers: f64,
    /// Microseconds of a layer by the sequences that decode, and by the new tokens of prompts.
    decode: Curve,
    prefill: Curve,
    /// The most sequences and the most tokens that were measured.
    reach: [f64; 2],
}

/// Are its heads as wide as those that were measured?
pub(super) fn has_measured_widths(heads: &DeltaHeads) -> bool {
    [heads.key_width, heads.value_width, heads.convolution] == DELTA_NET_WIDTHS.map(f64::from)
}

/// Rows and columns of the weights of one layer, for this share of its heads.
pub(super) fn products(heads: &DeltaHeads, hidden: f64, share: f64) -> [(f64, f64); 2] {
    let (keys, values) = (
        heads.keys * heads.key_width,
        heads.values * heads.value_width,
    );
    // Queries, keys, values and gate, and two figures per head.
    let into = 2.0 * keys + 2.0 * values + 2.0 * heads.values;
    [(into * share, hidden), (hidden, values * share)]
}

impl Recurrent {
    /// From the kernels of decodes and of prefills, the convolution's and the delta rule's, and so
    /// many heads of keys and values on a GPU; with it whether these were measured. `None` where
    /// nothing was.
    pub(super) fn new(
        layers: f64,
        [decodes, prefills]: [&[&KernelTable]; 2],
        heads: (f64, f64),
    ) -> Option<(Self, bool)> {
        let (decode, most_sequences, decode_is_measured) = sum(decodes, heads)?;
        let (prefill, most_tokens, prefill_is_measured) = sum(prefills, heads)?;
        let recurrent = Self {
            layers,
            decode,
            prefill,
            reach: [most_sequences, most_tokens],
        };
        Some((recurrent, decode_is_measured && prefill_is_measured))
    }

    /// Microseconds of a layer's decodes, and whether there are more than were measured.
    pub(super) fn decode_us(&self, sequences: f64) -> (f64, bool) {
        (self.decode.at(sequences), sequences > self.reach[0])
    }

    /// Microseconds of a layer's prefills, and whether they are longer than any that was measured.
    pub(super) fn prefill_us(&self, tokens: f64) -> (f64, bool) {
        (self.prefill.at(tokens), tokens > self.reach[1])
    }
}

/// The sum of kernels by sequences or tokens, the most that all were measured with, and whether
/// these heads were.
fn sum(tables: &[&KernelTable], (keys, values): (f64, f64)) -> Option<(Curve, f64, bool)> {
    let (mut kernels, mut reach, mut are_measured) = (Vec::new(), f64::INFINITY, true);
    for table in tables {
        let unlike = |row: &[u32]| {
            let apart = |there: u32, here: f64| (f64::from(there) / here).ln().abs();
            apart(row[0], keys) + 2.0 * apart(row[1], values)
        };
        let (row, us) = nearest(table, unlike)?;
        let known = table
            .columns
            .iter()
            .zip(us)
            .filter(|(_, us)| us.is_finite());
        let (at, us): (Vec<f64>, Vec<f64>) = known.map(|(n, us)| (f64::from(*n), *us)).unzip();
        reach = reach.min(*at.last()?);
        are_measured &= (f64::from(row[0]), f64::from(row[1])) == (keys, values);
        kernels.push((at, us, values / f64::from(row[1])));
    }
    let curve = Curve::through(|n| {
        let each = kernels
            .iter()
            .map(|(at, us, scale)| scale * between(at, us, n));
        each.sum()
    });
    (!kernels.is_empty()).then_some((curve, reach, are_measured))
}
