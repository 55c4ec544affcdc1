//! Times of the experts of a layer.

use super::curve::between;
use super::gemm::Roof;
use super::part::{MeasuredTable, Measurement};

/// The experts of a layer on one GPU, microseconds by tokens.
#[derive(Clone, Debug)]
pub(super) enum Experts {
    Measured {
        tokens: Vec<f64>,
        us: Vec<f64>,
        shape: ExpertShape,
    },
    /// From the bytes and the arithmetic of this shape.
    Computed { roof: Roof, shape: ExpertShape },
}

/// What the experts of a layer are.
#[derive(Clone, Copy, Debug)]
pub(super) struct ExpertShape {
    pub(super) hidden: f64,
    /// Width of an expert.
    pub(super) width: f64,
    pub(super) per_token: f64,
    pub(super) experts: f64,
    /// GPUs that split each expert, and GPUs that share out the experts.
    pub(super) tp: f64,
    pub(super) ep: f64,
    /// Matrices of an expert.
    pub(super) matrices: f64,
}

/// Share of bandwidth and peak that experts of shapes that were not measured are taken to reach.
const EFFICIENCY: f64 = 0.6;

impl ExpertShape {
    fn row(&self) -> Vec<u32> {
        let keys = [
            self.hidden,
            self.width,
            self.per_token,
            self.experts,
            self.tp,
            self.ep,
        ];
        keys.map(|key| key as u32).to_vec()
    }

    /// Experts that some of the tokens pick, if each picks at random.
    fn picked(&self, tokens: f64) -> f64 {
        self.experts * (1.0 - (1.0 - self.per_token / self.experts).powf(tokens))
    }
}

impl Experts {
    /// The most tokens that were measured; no end where nothing was.
    pub(super) fn reach(&self) -> f64 {
        match self {
            Self::Measured { tokens, .. } => tokens.last().copied().unwrap_or(0.0),
            Self::Computed { .. } => f64::INFINITY,
        }
    }

    /// As measured, where this shape was; tokens spread evenly go before other spreads. Those are
    /// random draws, of which some load one expert more than others do: no time is longer than
    /// that of more tokens. With them what was measured.
    pub(super) fn measured(
        even: &[MeasuredTable<'_>],
        uneven: &[MeasuredTable<'_>],
        shape: ExpertShape,
    ) -> Option<(Self, Measurement)> {
        let row = shape.row();
        let tables = even.iter().map(|table| (table, true));
        let mut tables = tables.chain(uneven.iter().map(|table| (table, false)));
        tables.find_map(|(measured, is_even)| {
            let table = &measured.table;
            let at = table.rows.binary_search(&row).ok()?;
            let known = |(_, us): &(&u32, &f64)| us.is_finite();
            let points = table.columns.iter().zip(&table.us[at]).filter(known);
            let (tokens, mut us): (Vec<f64>, Vec<f64>) =
                points.map(|(tokens, us)| (f64::from(*tokens), *us)).unzip();
            let points_are_enough = tokens.len() > 1;
            for i in (1..us.len()).rev() {
                if !is_even {
                    us[i - 1] = us[i - 1].min(us[i]);
                }
            }
            let experts = Self::Measured { tokens, us, shape };
            points_are_enough.then(|| (experts, measured.measurement()))
        })
    }

    pub(super) fn us(&self, tokens: f64) -> f64 {
        match self {
            Self::Measured {
                tokens: measured,
                us,
                shape,
            } => {
                // Measurements spread few tokens over as many experts as they can; at random,
                // some experts are picked twice and fewer weights are read.
                let at = |tokens: f64| between(measured, us, tokens);
                let picked = shape.picked(tokens);
                let alike = if picked < 0.999 * shape.experts {
                    (picked / shape.per_token).max(1.0)
                } else {
                    tokens
                };
                if tokens * shape.per_token > 8.0 * shape.experts {
                    at(tokens)
                } else {
                    at(tokens).min(at(alike))
                }
            }
            Self::Computed { roof, shape } => {
                let weights = shape.matrices * shape.hidden * shape.width / shape.tp / shape.ep;
                let bytes = shape.picked(tokens) * weights * roof.weight_bytes;
                let flops = 2.0 * tokens * shape.per_token * weights;
                (bytes / roof.bandwidth).max(flops / roof.flops) / EFFICIENCY
            }
        }
    }
}
