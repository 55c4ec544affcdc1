//! CSV traces with real token ids: arrival in seconds, two columns nobody reads, prompt ids and
//! output ids as JSON arrays. Four more columns are found by their names: `request_id`, `priority`,
//! `adapter`, and `accepted`, how many drafts of speculative decoding are right.
//!
//! Equal tokens stay equal, so these traces show real prefix-cache behaviour.

use super::cut::Rewind;
use super::row_errors::RowErrors;
use super::units::{Clock, Stamp, TimeUnit};
use crate::limits::MAX_TOKENS;
use crate::number_lists::{lengths, parse_numbers};
use crate::request_names::{self, Taken};
use crate::table::Table;
use crate::trie::Trie;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use windtunnel_base::input::InputError;
use windtunnel_base::request::{Detail, Request, RequestId, Source, Sym, Symbols, TokenSeq};

const ARRIVAL: usize = 0;
const PROMPT: usize = 3;
const OUTPUT: usize = 4;

#[derive(Clone, Debug)]
struct Row {
    number: u64,
    id: RequestId,
    /// The row gives the name itself.
    named: bool,
    arrival_us: i64,
    prompt: TokenSeq,
    output: TokenSeq,
    priority: i32,
    adapter: Sym,
    accepted: Option<Arc<[u32]>>,
}

/// What rows have in common while they are read.
struct Reader {
    clock: Clock,
    trie: Trie,
    tokens: Vec<u32>,
    taken: Taken,
    /// Positions of the optional columns.
    request_id: Option<usize>,
    priority: Option<usize>,
    adapter: Option<usize>,
    accepted: Option<usize>,
    symbols: Symbols,
}

/// The [`Source`] of a five-column trace.
#[derive(Clone, Debug)]
pub struct FiveColumn {
    rows: Vec<Row>,
    next: usize,
    symbols: Symbols,
    says_accepted: bool,
    notes: Vec<String>,
}

impl FiveColumn {
    /// Reads a trace with times in `unit`, seconds if not given. Rows may come in any order; equal
    /// times keep it. Unix times begin with the first request.
    ///
    /// # Errors
    /// When the file cannot be read, or a row makes no sense and `errors` is strict.
    pub fn open(
        path: &Path,
        unit: Option<TimeUnit>,
        errors: &mut RowErrors,
    ) -> Result<Self, InputError> {
        Self::build(Table::open(path)?, unit, errors)
    }

    /// What a person should know of it.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Does every request say how many of its drafts are right?
    #[must_use]
    pub fn says_accepted(&self) -> bool {
        self.says_accepted
    }

    /// Reads a trace from `from`; `name` is what messages call it.
    ///
    /// # Errors
    /// As [`FiveColumn::open`].
    pub fn from_reader(
        name: &str,
        from: impl Read + Send + 'static,
        errors: &mut RowErrors,
    ) -> Result<Self, InputError> {
        Self::build(Table::new(name.into(), Box::new(from))?, None, errors)
    }

    fn build(
        mut table: Table,
        unit: Option<TimeUnit>,
        errors: &mut RowErrors,
    ) -> Result<Self, InputError> {
        if table.width() < 5 {
            return Err(table.error(format!(
                "the header row has {} columns; expected at least 5: arrival time, two that are ignored, prompt token \
                 ids, output token ids",
                table.width()
            )));
        }
        let mut reader = Reader {
            clock: Clock::new(unit, TimeUnit::Seconds),
            trie: Trie::new(),
            tokens: Vec::new(),
            taken: Taken::default(),
            request_id: table.column_behind(OUTPUT, "request_id")?,
            priority: table.column_behind(OUTPUT, "priority")?,
            adapter: table.column_behind(OUTPUT, "adapter")?,
            accepted: table.column_behind(OUTPUT, "accepted")?,
            symbols: Symbols::default(),
        };
        let mut rows = Vec::new();
        while let Some(good) = table.advance_or_row_error()? {
            let number = rows.len() as u64;
            let row = good.and_then(|()| reader.read(&table, number));
            rows.extend(errors.take(row)?);
        }
        rows.sort_by_key(|r: &Row| r.arrival_us);
        let says_accepted = reader.accepted.is_some();
        let Reader { clock, symbols, .. } = reader;
        if clock.is_of_epoch() {
            let first = rows.first().map_or(0, |r| r.arrival_us);
            rows.iter_mut().for_each(|r| r.arrival_us -= first);
        }
        Ok(Self {
            rows,
            next: 0,
            symbols,
            says_accepted,
            notes: clock.note().into_iter().collect(),
        })
    }
}

impl Reader {
    fn read(&mut self, table: &Table, number: u64) -> Result<Row, InputError> {
        let text = table.field(ARRIVAL);
        let ticks = Stamp::of_text(text).and_then(|stamp| self.clock.ticks(stamp));
        let arrival_us = match self.clock.unit() {
            TimeUnit::Seconds => seconds(text),
            _ => ticks.map(|ticks| ticks / 10),
        };
        let arrival_us = arrival_us.ok_or_else(|| {
            let unit = self.clock.unit();
            let expected = format!("an arrival time in {unit}, finite and 0 or more");
            table.field_error(ARRIVAL, &expected)
        })?;
        let tokens = &mut self.tokens;
        tokens.clear();
        read_ids(table, PROMPT, tokens)?;
        let prompt_len = tokens.len();
        read_ids(table, OUTPUT, tokens)?;
        if tokens.len() as u64 > MAX_TOKENS {
            return Err(table.error("more than 2^31 tokens"));
        }
        let priority = self.priority.map_or(Ok(0), |at| table.priority(at))?;
        let adapter = match self.adapter.map(|at| table.field(at).trim()) {
            None | Some("") => Sym::NONE,
            Some(name) => self.symbols.intern(name),
        };
        let accepted = self.accepted.map(|at| lengths(table, at)).transpose()?;
        let given = match self.request_id {
            Some(at) => request_names::read(table, at)?,
            None => None,
        };
        let named = given.is_some();
        let id = given.unwrap_or(RequestId::Number(number));
        if self.request_id.is_some() {
            self.taken.take(&id, table)?;
        }
        let whole = self.trie.insert(&self.tokens);
        let (prompt, output) = cut(&whole, prompt_len);
        Ok(Row {
            number,
            id,
            named,
            arrival_us,
            prompt,
            output,
            priority,
            adapter,
            accepted,
        })
    }
}

impl Rewind for FiveColumn {
    fn rewind(&mut self) {
        self.next = 0;
    }

    fn rows(&self) -> u64 {
        self.rows.len() as u64
    }

    fn latest_arrival_us(&self) -> Option<i64> {
        self.rows.last().map(|r| r.arrival_us)
    }

    fn numbers(&self) -> u64 {
        let number = |row: &Row| match row.id {
            RequestId::Number(n) => n.saturating_add(1),
            RequestId::Named(_) => 0,
        };
        self.rows.iter().map(number).max().unwrap_or(0)
    }
}

impl Source for FiveColumn {
    fn next_request(&mut self) -> Option<Request> {
        let row = self.rows.get(self.next)?;
        self.next += 1;
        let id = row.id.clone();
        let detail = Detail {
            named: row.named,
            ..Detail::default()
        };
        let (prompt, output) = (row.prompt.clone(), row.output.clone());
        Some(Request {
            client_priority: row.priority,
            adapter: row.adapter,
            accepted: row.accepted.clone(),
            source_tag: row.number,
            detail: detail.boxed(),
            ..Request::new(id, row.arrival_us, prompt, output)
        })
    }

    fn size_hint(&self) -> Option<u64> {
        Some(self.rows.len() as u64)
    }

    fn symbols(&self) -> &Symbols {
        &self.symbols
    }

    fn symbols_mut(&mut self) -> &mut Symbols {
        &mut self.symbols
    }
}

/// Seconds to whole microseconds. What is written with six decimals or fewer is met exactly; more
/// are cut off.
pub(crate) fn seconds(text: &str) -> Option<i64> {
    let s: f64 = text.trim().parse().ok()?;
    let us = s * 1e6;
    if !(us >= 0.0 && us < i64::MAX as f64) {
        return None;
    }
    // A product that is a whole number but for the rounding of `s` means that number.
    let whole = us.round();
    let close = (us - whole).abs() <= us.abs() * (2.0 * f64::EPSILON);
    Some(if close { whole as i64 } else { us as i64 })
}

/// The first `at` tokens and the rest.
fn cut(whole: &TokenSeq, at: usize) -> (TokenSeq, TokenSeq) {
    let (mut head, mut tail) = (TokenSeq::default(), TokenSeq::default());
    let mut left = u32::try_from(at).expect("below 2^31");
    for &span in whole.spans() {
        let mut here = span;
        here.len = span.len.min(left);
        left -= here.len;
        head.push(here);
        here.start += here.len;
        here.len = span.len - here.len;
        tail.push(here);
    }
    (head, tail)
}

fn read_ids(table: &Table, at: usize, into: &mut Vec<u32>) -> Result<(), InputError> {
    parse_numbers(table.field(at), "a token id", into).map_err(|because| {
        let expected = "token ids as a JSON array like \"[1, 2, 3]\"";
        table.field_error_because(at, expected, &because)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = "when,a,b,prompt,answer\r\n\
        2.5,x,y,\"[1, 2, 3, 4]\",\"[5,6]\"\r\n\
        0.0000019,x,y,\"[1,2,3,4,5,6,7]\",[]\r\n\
        2.5,x,y,\"[9]\",\"[1]\"";

    fn read(text: &str) -> Result<Vec<Request>, InputError> {
        let bytes = std::io::Cursor::new(text.to_owned().into_bytes());
        let mut source = FiveColumn::from_reader("t.csv", bytes, &mut RowErrors::new(true))?;
        Ok(std::iter::from_fn(|| source.next_request()).collect())
    }

    #[test]
    fn rows_are_sorted_and_equal_tokens_stay_equal() {
        let requests = read(SAMPLE).unwrap();
        let seen: Vec<(String, i64, u32, u32)> = requests
            .iter()
            .map(|r| {
                (
                    r.id.to_string(),
                    r.arrival_us,
                    r.prompt.len(),
                    r.output.len(),
                )
            })
            .collect();
        assert_eq!(
            seen,
            [
                ("request_1".into(), 1, 7, 0),
                ("request_0".into(), 2_500_000, 4, 2),
                ("request_2".into(), 2_500_000, 1, 1),
            ]
        );
        let whole = &requests[0].prompt;
        assert_eq!(requests[1].prompt.token_key(3), whole.token_key(3));
        assert_eq!(requests[1].output.token_key(1), whole.token_key(5));
        assert_ne!(requests[2].prompt.token_key(0), whole.token_key(0));
        assert_eq!(requests[0].deadline_us, 0);
    }

    #[test]
    fn priorities_and_adapters_are_columns_by_name() {
        let text = "t,a,b,p,o,adapter,note,priority\n\
            0,x,y,\"[1,2,3]\",[4],sql,hello,-2\n\
            1,x,y,\"[1,2,3]\",[4],,,\n\
            2,x,y,\"[1,2,3,9]\",[4],sql,,7\n\
            3,x,y,\"[1,2,3]\",[4],chat,,0\n";
        let bytes = std::io::Cursor::new(text.as_bytes());
        let mut source =
            FiveColumn::from_reader("t.csv", bytes, &mut RowErrors::new(true)).unwrap();
        let requests: Vec<Request> = std::iter::from_fn(|| source.next_request()).collect();
        let seen = |r: &Request| {
            let name = source.symbols().name(r.adapter).to_owned();
            (name, r.client_priority, r.priority)
        };
        let seen: Vec<_> = requests.iter().map(seen).collect();
        let row = |name: &str, priority| (name.to_owned(), priority, None);
        assert_eq!(
            seen,
            [row("sql", -2), row("", 0), row("sql", 7), row("chat", 0)]
        );
    }

    #[test]
    fn wrong_priorities_and_columns_given_twice_are_refused() {
        let refuse = |text: &str| read(text).unwrap_err().to_string();
        assert_eq!(
            refuse("t,a,b,p,o,priority\n0,x,y,[1],[2],high\n"),
            "t.csv:2: column \"priority\": expected a priority, a whole number of which lower is more urgent, or \
             nothing, found \"high\""
        );
        assert!(refuse("t,a,b,p,o,priority\n0,x,y,[1],[2],1.5\n").contains("found \"1.5\""));
        assert_eq!(
            refuse("t,a,b,p,o,adapter,adapter\n"),
            "t.csv:1: the column \"adapter\" appears twice"
        );
    }

    #[test]
    fn names_of_requests_are_a_column_by_name_and_unique() {
        let text = "t,request_id,b,p,o,request_id\n2,x,y,[1],[4],b-7\n1,x,y,[1],[4],\n\
            3,x,y,[1],[4],12\n4,x,y,[1],[4],request_3\n";
        let ids = |requests: &[Request]| -> Vec<String> {
            requests.iter().map(|r| r.id.to_string()).collect()
        };
        let requests = read(text).unwrap();
        assert_eq!(
            ids(&requests),
            ["request_1", "b-7", "request_12", "request_3"]
        );
        assert_eq!(requests[3].id, RequestId::Number(3));
        let refuse = |rows: &str| {
            let text = format!("t,a,b,p,o,request_id\n{rows}");
            read(&text).unwrap_err().to_string()
        };
        for (second, shown) in [("b", "\"b\""), ("1", "1")] {
            assert_eq!(
                refuse(&format!(
                    "0,x,y,[1],[2],{second}\n0,x,y,[1],[2],c\n0,x,y,[1],[2],{second}\n"
                )),
                format!("t.csv:4: request_id {shown} appears twice, first in line 2")
            );
        }
        // A row without a name has that of its number.
        assert!(refuse("0,x,y,[1],[2],1\n0,x,y,[1],[2],\n").contains("request_id 1 appears twice"));
        assert_eq!(
            refuse("0,x,y,[1],[2],-3\n"),
            "t.csv:2: column \"request_id\": expected a name, or a whole number from 0 to 18446744073709551615, found \"-3\""
        );
    }

    #[test]
    fn repeated_traces_keep_names_apart_and_samples_go_by_rows() {
        use super::super::cut::{Cut, Selection};
        let text = "t,a,b,p,o,request_id\n0,x,y,[1],[4],b\n1,x,y,[1],[4],1\n2,x,y,[1],[4],c\n";
        let bytes = std::io::Cursor::new(text.as_bytes().to_vec());
        let source = FiveColumn::from_reader("t.csv", bytes, &mut RowErrors::new(true)).unwrap();
        let twice = Selection {
            loops: 2,
            ..Selection::default()
        };
        let mut cut = Cut::new(source, twice);
        let ids = std::iter::from_fn(|| cut.next_request()).map(|r| r.id.to_string());
        let ids: Vec<String> = ids.collect();
        assert_eq!(ids, ["b", "request_1", "c", "b#1", "request_3", "c#1"]);
    }

    #[test]
    fn numbers_of_accepted_drafts_are_a_column_by_name() {
        let text = "t,a,b,p,o,accepted\n0,x,y,[1],[4],\"[2, 0]\"\n1,x,y,[1],[4],[]\n";
        let requests = read(text).unwrap();
        assert_eq!(requests[0].accepted.as_deref(), Some(&[2, 0][..]));
        assert_eq!(requests[1].accepted.as_deref(), Some(&[][..]));
        assert_eq!(read(SAMPLE).unwrap()[0].accepted, None);
        let refuse = |field: &str| {
            let text = format!("t,a,b,p,o,accepted\n0,x,y,[1],[2],{field}\n");
            read(&text).unwrap_err().to_string()
        };
        assert_eq!(
            refuse("\"[1,-1]\""),
            "t.csv:2: column \"accepted\": expected numbers of accepted drafts as a JSON array like \"[0, 2, 1]\", \
             found \"[1,-1]\": element 2 is \"-1\", not a number of drafts"
        );
        assert!(refuse("").contains("it does not begin with"));
    }

    #[test]
    fn wrong_rows_name_line_column_and_element() {
        let refuse = |row: &str| {
            let text = format!("t,a,b,p,o\n1,x,y,[],[]\n{row}\n");
            read(&text).unwrap_err().to_string()
        };
        assert_eq!(
            refuse("1,x,y,\"[1,2,three]\",[]"),
            "t.csv:3: column \"p\": expected token ids as a JSON array like \"[1, 2, 3]\", found \"[1,2,three]\": \
             element 3 is \"three\", not a token id"
        );
        for time in ["-1", "NaN", "inf", "1e300", "", "soon"] {
            assert!(
                refuse(&format!("{time},x,y,[],[]"))
                    .starts_with("t.csv:3: column \"t\": expected an arrival time"),
                "{time}"
            );
        }
        assert!(refuse("1,x,y,[],\"[1\"").contains("column \"o\""));
        assert!(refuse("1,x,y,[],1").contains("does not begin with \"[\""));
        assert!(refuse("1,x,y,\"[1,]\",[]").contains("element 2 is \"\""));
        assert!(refuse("1,x,y,\"[-1]\",[]").contains("element 1 is \"-1\""));
        assert!(refuse("1,x,y,[]").contains("the row has 4 fields, the header row has 5"));
        let error = read("a,b\n").unwrap_err().to_string();
        assert!(error.starts_with("t.csv:1: the header row has 2 columns; expected at least 5"));
    }
}
