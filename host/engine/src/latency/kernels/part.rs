//! Where the time of each part of a step comes from.

use std::sync::Arc;
use windtunnel_base::input::InputError;
use windtunnel_config::{KernelOp, KernelTable, KernelTableInfo, KernelTables};

/// The data type of 16 bits, as the tables call it.
pub(super) const WIDE: &str = "bfloat16";
/// What messages call [`KernelOp::Gemm`].
pub(super) const PRODUCTS: &str = "matrix products";
/// What they call [`KernelOp::DecodeLatentAttention`].
pub(super) const LATENT: &str = "attention over compressed KV (MLA)";
/// What they call [`KernelOp::DecodeDeltaNet`].
pub(super) const DELTA_NETS: &str = "gated delta nets";

/// A part of a step, or of the way to it, and where its time comes from.
#[derive(Clone, Debug, PartialEq)]
pub struct StepPart {
    /// What it is, for people.
    pub name: &'static str,
    /// Where its time comes from.
    pub origin: Origin,
    /// What was measured; `None` where nothing was.
    pub measurement: Option<Measurement>,
    /// The figures, for people; empty where the measurement says it all.
    pub figures: String,
}

/// Where a time comes from, from the best source to the weakest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Kernels of this shape were measured.
    Measured,
    /// Kernels of other shapes were measured: it is as efficient, relative to a roofline, as they
    /// are.
    Neighbours,
    /// A constant, fitted to measured servers.
    Fitted,
    /// Computed from bytes and arithmetic.
    Computed,
}

impl Origin {
    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Measured => "measured",
            Self::Neighbours => "neighbours",
            Self::Fitted => "fitted",
            Self::Computed => "computed",
        }
    }

    /// Of something that was measured, if it has that shape.
    pub(super) fn of_shape(is_measured: bool) -> Self {
        if is_measured {
            Self::Measured
        } else {
            Self::Neighbours
        }
    }
}

/// What was measured, and by whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Measurement {
    /// The kernel's work.
    pub op: KernelOp,
    /// Data type of the products, or of the KV cache.
    pub dtype: String,
    /// What tells tables of the same kernel apart, see [`KernelTableInfo::variant`].
    pub variant: String,
    /// Names of the kernels.
    pub kernels: String,
    /// The engine that was measured, and its version.
    pub engine: String,
    /// The package that the figures are from, and its version.
    pub package: String,
}

/// A table with what is known about it.
#[derive(Clone, Debug)]
pub(super) struct MeasuredTable<'a> {
    tables: &'a KernelTables,
    info: &'a KernelTableInfo,
    pub(super) table: Arc<KernelTable>,
}

impl<'a> MeasuredTable<'a> {
    /// The table of a kernel, if there is one.
    pub(super) fn read(
        tables: &'a KernelTables,
        op: KernelOp,
        dtype: &str,
        variant: &str,
    ) -> Result<Option<Self>, InputError> {
        let found = tables.read(op, dtype, variant)?;
        Ok(found.map(|(info, table)| Self {
            tables,
            info,
            table,
        }))
    }

    pub(super) fn measurement(&self) -> Measurement {
        let source = self.tables.source(self.info);
        Measurement {
            op: self.info.op,
            dtype: self.info.dtype.clone(),
            variant: self.info.variant.clone(),
            kernels: self.info.kernels.clone(),
            engine: source.engine.clone(),
            package: source.package.clone(),
        }
    }
}

/// The table of a kernel.
///
/// # Errors
/// When there is none.
pub(super) fn missing<'a>(
    tables: &'a KernelTables,
    op: KernelOp,
    dtype: &str,
    variant: &str,
) -> Result<MeasuredTable<'a>, InputError> {
    let what = match op {
        KernelOp::Gemm => PRODUCTS,
        KernelOp::DecodeAttention | KernelOp::PrefillAttention => "attention",
        KernelOp::AllReduce => "sums over GPUs",
        KernelOp::Experts => "experts",
        KernelOp::DecodeLatentAttention | KernelOp::PrefillLatentAttention => LATENT,
        KernelOp::DecodeDeltaNet | KernelOp::PrefillDeltaNet => DELTA_NETS,
    };
    let table = MeasuredTable::read(tables, op, dtype, variant)?;
    table.ok_or_else(|| none(tables, what, dtype))
}

/// What says that there is none.
pub(super) fn none(tables: &KernelTables, what: &str, dtype: &str) -> InputError {
    InputError::in_file(
        tables.file(),
        format!("no {what} in {dtype} were measured on {}", tables.gpu()),
    )
}
