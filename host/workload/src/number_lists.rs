//! Fields of tables that hold many numbers.

use crate::table::{Table, shown};
use std::sync::Arc;
use windtunnel_base::input::InputError;

/// How many drafts of speculative decoding are right, a number per verification.
///
/// # Errors
/// When the field is no such array.
pub(crate) fn lengths(table: &Table, at: usize) -> Result<Arc<[u32]>, InputError> {
    let mut lengths = Vec::new();
    parse_numbers(table.field(at), "a number of drafts", &mut lengths).map_err(|because| {
        let expected = "numbers of accepted drafts as a JSON array like \"[0, 2, 1]\"";
        table.field_error_because(at, expected, &because)
    })?;
    Ok(lengths.into())
}

/// Appends the numbers of a JSON array, each of which is `what`; the message of an error tells
/// where in it something is wrong.
pub(crate) fn parse_numbers(text: &str, what: &str, into: &mut Vec<u32>) -> Result<(), String> {
    let text = text.trim();
    let inner = text
        .strip_prefix('[')
        .ok_or("it does not begin with \"[\"")?
        .strip_suffix(']')
        .ok_or("it does not end with \"]\"")?;
    if inner.trim().is_empty() {
        return Ok(());
    }
    for (k, item) in inner.split(',').enumerate() {
        let item = item.trim();
        // `parse` alone would take "+1" and "01", which are no JSON numbers.
        let json = item == "0" || item.starts_with(|c: char| c.is_ascii_digit() && c != '0');
        match item.parse::<u32>() {
            Ok(number) if json => into.push(number),
            _ => {
                return Err(format!("element {} is {}, not {what}", k + 1, shown(item)));
            }
        }
    }
    Ok(())
}
