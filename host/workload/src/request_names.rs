//! The names that traces give to their requests.

use crate::table::{Table, shown};
use rustc_hash::FxHashMap;
use windtunnel_base::input::InputError;
use windtunnel_base::request::RequestId;

/// The name in a field: a number n stands for `request_<n>`, anything else for itself; `None` if it
/// is empty.
///
/// # Errors
/// A number that is negative, too large or no whole one.
pub(crate) fn read(table: &Table, at: usize) -> Result<Option<RequestId>, InputError> {
    let text = table.field(at).trim();
    if text.is_empty() {
        return Ok(None);
    }
    if let Ok(number) = text.parse() {
        return Ok(Some(RequestId::Number(number)));
    }
    let number = text
        .bytes()
        .all(|b| b.is_ascii_digit() || b"+-.".contains(&b));
    if number && text.parse::<f64>().is_ok() {
        let expected = format!("a name, or a whole number from 0 to {}", u64::MAX);
        return Err(table.field_error(at, &expected));
    }
    Ok(Some(RequestId::of_text(text)))
}

/// The names of a trace so far.
#[derive(Default)]
pub(crate) struct Taken {
    lines: FxHashMap<RequestId, u64>,
}

impl Taken {
    /// Takes the name of the row at hand.
    ///
    /// # Errors
    /// When a row before has it.
    pub(crate) fn take(&mut self, id: &RequestId, table: &Table) -> Result<(), InputError> {
        let Some(first) = self.lines.insert(id.clone(), table.line()) else {
            return Ok(());
        };
        let name = match id {
            RequestId::Number(n) => n.to_string(),
            RequestId::Named(name) => shown(name),
        };
        Err(table.error(format!(
            "request_id {name} appears twice, first in line {first}"
        )))
    }
}
