//! A row of a trace, whatever its format.

use std::path::Path;
use windtunnel_base::input::InputError;

/// A request of a trace.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Row {
    /// Time, units of 100 ns from any origin.
    pub ticks: i64,
    /// Prompt length.
    pub prompt: u32,
    /// Output length.
    pub output: u32,
    /// Identities of the prompt's blocks, as in Mooncake traces.
    pub blocks: Vec<u64>,
    /// The client's own priority, higher is more important.
    pub priority: Option<i32>,
    /// Client, tenant and session.
    pub labels: Option<Box<Labels>>,
}

/// Names in a row.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Labels {
    /// Client.
    pub client: String,
    /// Tenant.
    pub tenant: String,
    /// Session.
    pub session: String,
    /// From request to answer as it was measured, microseconds.
    pub elapsed_us: i64,
}

/// Reads the rows of a trace one by one.
pub trait RowReader: Send {
    /// The next row, or what is wrong with it; `None` at the end. An `Err` outside means that the
    /// file cannot be read on.
    ///
    /// # Errors
    /// When the file cannot be read on.
    fn next_row(&mut self) -> Result<Option<Result<Row, InputError>>, InputError>;

    /// What a person should know of the rows so far.
    fn notes(&self) -> Vec<String> {
        Vec::new()
    }
}

/// Opens a file as rows of one format.
pub type OpenRows = dyn Fn(&Path) -> Result<Box<dyn RowReader>, InputError> + Send + Sync;
