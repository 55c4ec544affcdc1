//! Traces with a request per row. The file is read twice: once to see that it makes sense and how
//! long it is, once while the run goes on. So memory does not grow with it, unless its rows are not
//! in order of time.

use super::blocks::Blocks;
use super::cut::Rewind;
use super::row::{OpenRows, Row, RowReader};
use super::row_errors::RowErrors;
use super::sessions::Sessions;
use crate::limits::MAX_TOKENS;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use windtunnel_base::input::InputError;
use windtunnel_base::request::{Request, RequestId, Source, Span, Symbols, TokenSeq};

#[derive(Clone)]
enum From {
    File(PathBuf, Arc<OpenRows>),
    Memory(Arc<[Row]>),
}

/// The [`Source`] of a trace with a request per row.
pub struct Rows {
    from: From,
    rows: u64,
    /// Time 0.
    first_ticks: i64,
    latest_ticks: i64,
    reader: Option<Box<dyn RowReader>>,
    next: usize,
    given: u64,
    streams: u32,
    blocks: Blocks,
    sessions: Sessions,
    symbols: Symbols,
    notes: Vec<String>,
}

impl std::fmt::Debug for Rows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Rows({})", self.rows)
    }
}

impl Clone for Rows {
    /// A copy that starts from the first row.
    fn clone(&self) -> Self {
        let copy = Self::new(
            self.from.clone(),
            self.rows,
            self.first_ticks,
            self.latest_ticks,
        );
        copy.with_blocks_of(self.blocks.tokens())
    }
}

impl Rows {
    /// Opens a file.
    ///
    /// # Errors
    /// When it cannot be read, or a row makes no sense and `errors` is strict.
    pub fn open(
        path: &Path,
        open: impl Fn(&Path) -> Result<Box<dyn RowReader>, InputError> + Send + Sync + 'static,
        errors: &mut RowErrors,
    ) -> Result<Self, InputError> {
        let mut reader = open(path)?;
        let (mut rows, mut sorted) = (0u64, true);
        let (mut first, mut latest) = (i64::MAX, i64::MIN);
        while let Some(row) = reader.next_row()? {
            if let Some(row) = errors.take(row)? {
                rows += 1;
                sorted &= row.ticks >= latest;
                first = first.min(row.ticks);
                latest = latest.max(row.ticks);
            }
        }
        let notes = reader.notes();
        if sorted {
            let from = From::File(path.to_owned(), Arc::new(open));
            let rows = Self::new(from, rows, first, latest);
            return Ok(Self { notes, ..rows });
        }
        let mut list = Vec::new();
        let mut reader = open(path)?;
        while let Some(row) = reader.next_row()? {
            list.extend(row.ok());
        }
        Ok(Self {
            notes,
            ..Self::of(list)
        })
    }

    /// The same rows, whose blocks have so many tokens.
    #[must_use]
    pub(super) fn with_blocks_of(self, tokens: u32) -> Self {
        Self {
            blocks: Blocks::new(tokens),
            ..self
        }
    }

    /// What a person should know of them.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// A source of rows in any order; equal times keep it.
    #[must_use]
    pub fn of(mut rows: Vec<Row>) -> Self {
        rows.sort_by_key(|r| r.ticks);
        let first = rows.first().map_or(0, |r| r.ticks);
        let latest = rows.last().map_or(0, |r| r.ticks);
        let count = rows.len() as u64;
        Self::new(From::Memory(rows.into()), count, first, latest)
    }

    fn new(from: From, rows: u64, first_ticks: i64, latest_ticks: i64) -> Self {
        Self {
            from,
            rows,
            first_ticks,
            latest_ticks,
            reader: None,
            next: 0,
            given: 0,
            streams: 0,
            blocks: Blocks::default(),
            sessions: Sessions::default(),
            symbols: Symbols::default(),
            notes: Vec::new(),
        }
    }

    fn arrival_us(&self, ticks: i64) -> i64 {
        // To the nearest microsecond, halves up.
        (ticks.saturating_sub(self.first_ticks).saturating_add(5)) / 10
    }

    fn next_row(&mut self) -> Option<Row> {
        match &self.from {
            From::Memory(rows) => {
                self.next += 1;
                rows.get(self.next - 1).cloned()
            }
            From::File(path, open) => {
                if self.reader.is_none() {
                    // It could be read a moment ago.
                    self.reader = Some(open(path).ok()?);
                }
                let reader = self.reader.as_mut()?;
                loop {
                    match reader.next_row() {
                        Ok(Some(Ok(row))) => return Some(row),
                        // Damage is known from the first reading.
                        Ok(Some(Err(_))) => {}
                        Ok(None) | Err(_) => return None,
                    }
                }
            }
        }
    }

    fn stream(&mut self) -> Option<u32> {
        let stream = self.streams;
        self.streams += 1;
        (u64::from(stream) < MAX_TOKENS).then_some(stream)
    }
}

impl Source for Rows {
    fn next_request(&mut self) -> Option<Request> {
        // A file that grew in between is read as far as it was known.
        if self.given >= self.rows {
            return None;
        }
        let row = self.next_row()?;
        let number = self.given;
        self.given += 1;
        let arrival_us = self.arrival_us(row.ticks);
        let own = self.stream()?;
        let mut prompt = TokenSeq::default();
        let shared = self.blocks.spans(&row, &mut self.streams, &mut prompt);
        let mut own_at = 0;
        let mut private = |len: u32, into: &mut TokenSeq| {
            into.push(Span {
                stream: own,
                start: own_at,
                len,
            });
            own_at += len;
        };
        private(row.prompt - shared, &mut prompt);
        let mut output = TokenSeq::default();
        private(row.output, &mut output);
        let mut request = Request {
            private_from: shared,
            priority: row.priority,
            client_priority: row.priority.map_or(0, i32::saturating_neg),
            ..Request::new(RequestId::Number(number), arrival_us, prompt, output)
        };
        if let Some(labels) = &row.labels {
            self.sessions.label(labels, &mut request, &mut self.symbols);
        }
        Some(request)
    }

    fn size_hint(&self) -> Option<u64> {
        Some(self.rows)
    }

    fn symbols(&self) -> &Symbols {
        &self.symbols
    }

    fn symbols_mut(&mut self) -> &mut Symbols {
        &mut self.symbols
    }
}

impl Rewind for Rows {
    fn rewind(&mut self) {
        self.reader = None;
        self.next = 0;
        self.given = 0;
        self.sessions.rewind();
    }

    fn rows(&self) -> u64 {
        self.rows
    }

    fn latest_arrival_us(&self) -> Option<i64> {
        (self.rows > 0).then(|| self.arrival_us(self.latest_ticks))
    }
}
