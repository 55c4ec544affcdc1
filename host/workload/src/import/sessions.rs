//! Sessions of traces with a request per row: rounds and think times from the recorded times.

use super::row::Labels;
use rustc_hash::FxHashMap;
use windtunnel_base::request::{Detail, Request, Sym, Symbols};

/// The progress of the sessions of a trace.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    /// Next round, and time of the last answer, microseconds.
    open: FxHashMap<Sym, (u32, i64)>,
    /// Sessions of a later pass are other sessions.
    pass: u32,
}

impl Sessions {
    pub(super) fn rewind(&mut self) {
        self.open.clear();
        self.pass += 1;
    }

    /// Puts names on a request, and its round and think time if it belongs to a session.
    pub(super) fn label(&mut self, labels: &Labels, request: &mut Request, symbols: &mut Symbols) {
        request.client = symbols.intern(&labels.client);
        request.tenant = symbols.intern(&labels.tenant);
        if labels.session.is_empty() {
            return;
        }
        request.session = match self.pass {
            0 => symbols.intern(&labels.session),
            pass => symbols.intern(&format!("{}#{pass}", labels.session)),
        };
        let answered = request.arrival_us.saturating_add(labels.elapsed_us);
        let (round, before) = self
            .open
            .insert(request.session, (0, answered))
            .unwrap_or((0, i64::MAX));
        self.open.insert(request.session, (round + 1, answered));
        request.round = round;
        let think_us = request.arrival_us.saturating_sub(before).max(0);
        request.detail = Detail {
            think_us: if round > 0 { think_us } else { 0 },
            ..Detail::default()
        }
        .boxed();
    }
}
