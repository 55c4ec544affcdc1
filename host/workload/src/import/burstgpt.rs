//! BurstGPT traces: CSV with seconds, model, token counts, kind of log, and in later releases
//! session and elapsed time.
//!
//! Failed requests have no response tokens; they count as row errors. The model becomes the
//! client, the kind of log the tenant.

use super::row::{Labels, Row, RowReader};
use super::units::{Clock, Stamp, TimeUnit};
use crate::limits::MAX_TOKENS;
use crate::table::{Table, unread};
use std::path::Path;
use windtunnel_base::input::InputError;

/// The columns of the first release.
pub(crate) const COLUMNS: [&str; 6] = [
    "Timestamp",
    "Model",
    "Request tokens",
    "Response tokens",
    "Total tokens",
    "Log Type",
];
/// The columns that later releases add.
pub(crate) const OPTIONAL: [&str; 2] = ["Session ID", "Elapsed time"];

/// Reads the rows of a BurstGPT trace, whose time stamps are in `unit`.
pub(crate) fn open(path: &Path, unit: Option<TimeUnit>) -> Result<Box<dyn RowReader>, InputError> {
    let table = Table::open(path)?;
    let (at, others) = table.known_columns(&COLUMNS, &OPTIONAL)?;
    let must = |k: usize| at[k].expect("mandatory");
    Ok(Box::new(BurstGpt {
        clock: Clock::new(unit, TimeUnit::Seconds),
        time: must(0),
        model: must(1),
        prompt: must(2),
        output: must(3),
        log: must(5),
        session: at[6],
        elapsed: at[7],
        unread: unread(&others),
        table,
    }))
}

struct BurstGpt {
    clock: Clock,
    table: Table,
    time: usize,
    model: usize,
    prompt: usize,
    output: usize,
    log: usize,
    session: Option<usize>,
    elapsed: Option<usize>,
    /// What a person should know of the other columns.
    unread: Option<String>,
}

impl RowReader for BurstGpt {
    fn next_row(&mut self) -> Result<Option<Result<Row, InputError>>, InputError> {
        self.table
            .advance_or_row_error()
            .map(|next| next.map(|good| good.and_then(|()| self.read())))
    }

    fn notes(&self) -> Vec<String> {
        let notes = self.clock.note().into_iter();
        notes.chain(self.unread.clone()).collect()
    }
}

impl BurstGpt {
    fn read(&mut self) -> Result<Row, InputError> {
        let tokens = |at| self.table.count(at, MAX_TOKENS / 2).map(|n| n as u32);
        let output = tokens(self.output)?;
        if output == 0 {
            return Err(self
                .table
                .error("the request failed: it has no response tokens"));
        }
        let text = |at: usize| self.table.field(at).trim().to_owned();
        let stamp = |at: usize| Stamp::of_text(self.table.field(at));
        let ticks = stamp(self.time)
            .and_then(|s| self.clock.ticks(s))
            .ok_or_else(|| {
                let expected = format!("a time in {}, 0 or more", self.clock.unit());
                self.table.field_error(self.time, &expected)
            })?;
        let elapsed = match self
            .elapsed
            .filter(|at| !self.table.field(*at).trim().is_empty())
        {
            // In seconds whatever the time stamps are, as the releases have it.
            Some(at) => stamp(at)
                .and_then(|s| TimeUnit::Seconds.ticks(s))
                .ok_or_else(|| self.table.field_error(at, "a time in seconds, 0 or more"))?,
            None => 0,
        };
        Ok(Row {
            ticks,
            prompt: tokens(self.prompt)?,
            output,
            labels: Some(Box::new(Labels {
                client: text(self.model),
                tenant: text(self.log),
                session: self.session.map_or(String::new(), text),
                elapsed_us: elapsed / 10,
            })),
            ..Row::default()
        })
    }
}
