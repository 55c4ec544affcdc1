//! Requests that are known already, as a source.

use windtunnel_base::request::{Request, Source, Symbols};

/// Requests in order of arrival; by default none.
#[derive(Debug, Default)]
pub struct Listed {
    requests: std::vec::IntoIter<Request>,
    symbols: Symbols,
}

impl Listed {
    /// These requests, whose names are in `symbols`.
    #[must_use]
    pub fn new(requests: Vec<Request>, symbols: Symbols) -> Self {
        Self {
            requests: requests.into_iter(),
            symbols,
        }
    }
}

impl Source for Listed {
    fn next_request(&mut self) -> Option<Request> {
        self.requests.next()
    }

    fn size_hint(&self) -> Option<u64> {
        Some(self.requests.len() as u64)
    }

    fn symbols(&self) -> &Symbols {
        &self.symbols
    }

    fn symbols_mut(&mut self) -> &mut Symbols {
        &mut self.symbols
    }
}
