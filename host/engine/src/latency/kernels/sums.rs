//! Times of sums over GPUs.

use super::curve::between;
use super::graphs::LARGEST_GRAPH;
use super::part::{Measurement, WIDE, missing};
use windtunnel_base::input::InputError;
use windtunnel_config::{KernelFit, KernelOp, KernelTables};

/// Sums over some GPUs: elements and microseconds, within CUDA graphs and outside.
pub(super) struct Sums {
    graph: (Vec<f64>, Vec<f64>),
    eager: (Vec<f64>, Vec<f64>),
    /// What was measured, in this order.
    pub(super) measured: [Measurement; 2],
}

impl Sums {
    pub(super) fn new(tables: &KernelTables, gpus: f64) -> Result<Self, InputError> {
        let of = |mode| {
            let measured = missing(tables, KernelOp::AllReduce, WIDE, mode)?;
            let table = &measured.table;
            let row = table.rows.iter().position(|row| f64::from(row[0]) == gpus);
            let Some(row) = row else {
                let there: Vec<String> = table.rows.iter().map(|row| row[0].to_string()).collect();
                return Err(InputError::in_file(
                    tables.file(),
                    format!(
                        "sums over {gpus} GPUs were not measured on {}; those over {} were",
                        tables.gpu(),
                        there.join(", ")
                    ),
                ));
            };
            let known = |(_, us): &(&u32, &f64)| us.is_finite();
            let points = table.columns.iter().zip(&table.us[row]).filter(known);
            let points = points.map(|(n, us)| (f64::from(*n), *us)).unzip();
            Ok((points, measured.measurement()))
        };
        let ((graph, in_graphs), (eager, outside)) = (of("graph")?, of("eager")?);
        Ok(Self {
            graph,
            eager,
            measured: [in_graphs, outside],
        })
    }

    /// The most elements that were measured.
    pub(super) fn reach(&self) -> f64 {
        self.eager.0.last().copied().unwrap_or(0.0)
    }

    /// Microseconds of one sum over this many tokens.
    pub(super) fn us(&self, fit: &KernelFit, tokens: f64, hidden: f64) -> f64 {
        let (factor, (elements, us)) = if tokens <= LARGEST_GRAPH as f64 {
            (fit.all_reduce, &self.graph)
        } else {
            (fit.all_reduce_eager, &self.eager)
        };
        factor * between(elements, us, tokens * hidden)
    }
}
