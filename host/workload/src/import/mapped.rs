//! CSV with columns of any names: which is which is said by the one who replays it.

use super::azure;
use super::row::{Labels, Row, RowReader};
use super::units::{Clock, Stamp, TimeUnit};
use crate::limits::MAX_TOKENS;
use crate::table::Table;
use std::path::Path;
use windtunnel_base::input::InputError;

/// What columns can be.
const KEYS: [&str; 6] = ["arrival", "prompt", "output", "session", "tenant", "client"];
/// How many of them must be there.
const NEEDED: usize = 3;

/// Which column of a CSV file is what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ColumnMap {
    /// Names of columns, in the order of [`KEYS`]; empty = there is none.
    columns: [String; KEYS.len()],
}

impl ColumnMap {
    /// Reads `arrival=COLUMN,prompt=COLUMN,output=COLUMN`, and `session`, `tenant` and `client`
    /// likewise.
    ///
    /// # Errors
    /// When a key is unknown, given twice or missing, or a column has no name.
    pub fn parse(text: &str) -> Result<Self, InputError> {
        let wrong = |why: String| InputError::new(format!("`map` {text}: {why}"));
        let mut columns: [String; KEYS.len()] = Default::default();
        for part in text.split(',') {
            let (key, column) = part
                .split_once('=')
                .ok_or_else(|| wrong(format!("expected KEY=COLUMN, found \"{part}\"")))?;
            let (key, column) = (key.trim(), column.trim());
            let at = KEYS.iter().position(|known| *known == key);
            let at = at.ok_or_else(|| {
                InputError::unknown("key", key, &KEYS).about(format_args!("`map` {text}"))
            })?;
            if column.is_empty() {
                return Err(wrong(format!("the column of {key} has no name")));
            }
            if !columns[at].is_empty() {
                return Err(wrong(format!("{key} is given twice")));
            }
            column.clone_into(&mut columns[at]);
        }
        match (0..NEEDED).find(|at| columns[*at].is_empty()) {
            Some(at) => Err(wrong(format!(
                "{} is missing; expected at least arrival=COLUMN,prompt=COLUMN,output=COLUMN",
                KEYS[at]
            ))),
            None => Ok(Self { columns }),
        }
    }
}

/// Reads the rows of a CSV file with these columns; arrivals that are numbers are in `unit`,
/// seconds if none is said, others are civil times.
pub(crate) fn open(
    path: &Path,
    map: &ColumnMap,
    unit: Option<TimeUnit>,
) -> Result<Box<dyn RowReader>, InputError> {
    let table = Table::open_by_delimiter(path)?;
    let named: Vec<&str> = map.columns.iter().map(String::as_str).collect();
    let wanted: Vec<&str> = named
        .iter()
        .copied()
        .filter(|name| !name.is_empty())
        .collect();
    let (found, _) = table.known_columns(&wanted, &[])?;
    let mut found = found.into_iter().flatten();
    let mut at = named.iter().map(|name| match name.is_empty() {
        true => None,
        false => found.next(),
    });
    let mut next = || at.next().flatten();
    let mut must = || next().expect("asked for as mandatory");
    let [time, prompt, output] = [must(), must(), must()];
    Ok(Box::new(Mapped {
        clock: Clock::new(unit, TimeUnit::Seconds),
        time,
        prompt,
        output,
        session: next(),
        tenant: next(),
        client: next(),
        table,
    }))
}

struct Mapped {
    clock: Clock,
    table: Table,
    time: usize,
    prompt: usize,
    output: usize,
    session: Option<usize>,
    tenant: Option<usize>,
    client: Option<usize>,
}

impl RowReader for Mapped {
    fn next_row(&mut self) -> Result<Option<Result<Row, InputError>>, InputError> {
        self.table
            .advance_or_row_error()
            .map(|next| next.map(|good| good.and_then(|()| self.read())))
    }

    fn notes(&self) -> Vec<String> {
        self.clock.note().into_iter().collect()
    }
}

impl Mapped {
    fn read(&mut self) -> Result<Row, InputError> {
        let text = self.table.field(self.time);
        let ticks = match Stamp::of_text(text) {
            Some(stamp) => self.clock.ticks(stamp),
            None => azure::ticks(text),
        };
        let ticks = ticks.ok_or_else(|| {
            let unit = self.clock.unit();
            let expected =
                format!("a time in {unit}, 0 or more, or one like 2023-11-16 18:17:03.98");
            self.table.field_error(self.time, &expected)
        })?;
        let tokens = |at| self.table.whole(at, MAX_TOKENS / 2).map(|n| n as u32);
        let name = |at: Option<usize>| at.map_or("", |at| self.table.field(at).trim()).to_owned();
        let labelled = self.session.or(self.tenant).or(self.client).is_some();
        Ok(Row {
            ticks,
            prompt: tokens(self.prompt)?,
            output: tokens(self.output)?,
            labels: labelled.then(|| {
                Box::new(Labels {
                    client: name(self.client),
                    tenant: name(self.tenant),
                    session: name(self.session),
                    elapsed_us: 0,
                })
            }),
            ..Row::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import::{RowErrors, Rows};
    use windtunnel_base::request::Source;

    /// The rows of a text, and the folder of the file that they are read from again.
    fn read(
        text: &str,
        map: &str,
        unit: Option<TimeUnit>,
    ) -> Result<(Rows, tempfile::TempDir), InputError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.csv");
        std::fs::write(&path, text).unwrap();
        let map = ColumnMap::parse(map)?;
        let open = move |path: &Path| open(path, &map, unit);
        let rows = Rows::open(&path, open, &mut RowErrors::new(true)).map_err(|e| {
            let message = e.to_string();
            InputError::new(message.replace(&path.display().to_string(), "t.csv"))
        })?;
        Ok((rows, folder))
    }

    #[test]
    fn columns_of_any_names_in_any_order_beside_others_are_read() {
        let text = "id,tokens out,user,when,tokens in\na,3,me,2.5,100\nb,4,you,3,200.0\n";
        let map = "prompt=tokens in,output=tokens out,arrival=when,tenant=user";
        let (mut rows, _folder) = read(text, map, None).unwrap();
        let all: Vec<_> = std::iter::from_fn(|| rows.next_request()).collect();
        let seen = all
            .iter()
            .map(|r| (r.arrival_us, r.prompt.len(), r.output.len()));
        assert_eq!(seen.collect::<Vec<_>>(), [(0, 100, 3), (500_000, 200, 4)]);
        assert_eq!(rows.symbols().name(all[1].tenant), "you");
    }

    #[test]
    fn arrivals_have_units_or_are_civil_times() {
        let span = |text: &str, unit| {
            let (rows, _folder) = read(text, "arrival=t,prompt=p,output=o", unit).unwrap();
            crate::import::Rewind::latest_arrival_us(&rows)
        };
        let ms = Some(TimeUnit::Milliseconds);
        assert_eq!(span("t,p,o\n0,5,5\n1500,5,5\n", ms), Some(1_500_000));
        let civil = "t,p,o\n2024-05-10 00:00:00,5,5\n2024-05-10 00:00:02.5,5,5\n";
        assert_eq!(span(civil, None), Some(2_500_000));
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let error = |text: &str, map: &str| read(text, map, None).unwrap_err().to_string();
        let text = "when,in,out\n1,2,3\nx,2,3\n";
        for (map, expected) in [
            (
                "prompt=in,output=out",
                "`map` prompt=in,output=out: arrival is missing; expected at least arrival=COLUMN,prompt=COLUMN,output=COLUMN",
            ),
            (
                "promt=in",
                "`map` promt=in: unknown key \"promt\"; did you mean \"prompt\"? valid: arrival, prompt, output, session, tenant, client",
            ),
            (
                "prompt",
                "`map` prompt: expected KEY=COLUMN, found \"prompt\"",
            ),
            ("prompt=", "`map` prompt=: the column of prompt has no name"),
            (
                "prompt=a,prompt=b",
                "`map` prompt=a,prompt=b: prompt is given twice",
            ),
            (
                "arrival=wen,prompt=in,output=out",
                "t.csv:1: the column \"wen\" is missing (the header has \"when\": is that it?)",
            ),
            (
                "arrival=when,prompt=in,output=out",
                "t.csv:3: column \"when\": expected a time in seconds, 0 or more, or one like 2023-11-16 18:17:03.98, found \"x\"",
            ),
        ] {
            assert_eq!(error(text, map), expected);
        }
    }
}
