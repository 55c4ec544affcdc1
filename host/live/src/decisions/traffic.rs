//! The requests of a decision log, to be simulated.

use super::entry::{Call, Deployment, Entry};
use super::fields::Named;
use rustc_hash::FxHashMap;
use serde_json::Value;
use std::collections::BTreeMap;
use windtunnel_base::request::{Request, RequestId, Span, Sym, Symbols, TokenSeq};
use windtunnel_plugin_api::RequestView;
use windtunnel_workload::Listed;

/// A request, and what became of it.
#[derive(Clone, Debug)]
pub struct Logged {
    /// The request, with names in the traffic's symbols.
    pub request: Request,
    /// The server that it was sent to first and last, by name; `None` where it was sent again, or
    /// to none.
    pub endpoint: Option<String>,
    /// Time to first token, microseconds.
    pub ttft_us: Option<i64>,
    /// Time of all of it, microseconds.
    pub e2e_us: i64,
}

/// All requests of a log, in the order in which they came.
#[derive(Clone, Debug, Default)]
pub struct Traffic {
    /// What the configuration said of the policies that were there at first.
    pub policies: Value,
    /// What the servers are.
    pub deployment: Deployment,
    /// The requests that ended.
    pub requests: Vec<Logged>,
    /// Names in them.
    pub symbols: Symbols,
    /// Policies took over from others so often.
    pub taken_over: u64,
    names: BTreeMap<u32, String>,
    views: FxHashMap<u64, RequestView>,
    /// Streams of blocks, by what they are known by.
    streams: FxHashMap<u64, u32>,
    begun: bool,
}

impl Traffic {
    /// Takes the next line of the log.
    ///
    /// # Errors
    /// When it makes no sense.
    pub fn take(&mut self, line: &str) -> Result<(), String> {
        let entry: Entry = serde_json::from_str(line).map_err(|e| e.to_string())?;
        match entry {
            Entry::Policies {
                policies,
                deployment,
                names,
                ..
            } => {
                self.names = (0..).zip(names).collect();
                if self.begun {
                    self.taken_over += 1;
                } else {
                    (self.policies, self.deployment, self.begun) = (policies, deployment, true);
                }
            }
            Entry::Asked {
                call: Call::Admit,
                request,
                names,
                ..
            } => {
                self.names.extend(names);
                let mut view = RequestView::default();
                view.apply(&request)?;
                self.views.entry(view.serial).or_insert(view);
            }
            Entry::Asked { names, .. } | Entry::Told { names, .. } => self.names.extend(names),
            Entry::Done {
                serial,
                id,
                endpoint,
                outcome,
                arrival_us,
                ttft_us,
                e2e_us,
                prompt_tokens,
                output_tokens,
                retries,
                hash_ids,
                ..
            } => {
                let Some(view) = self.views.remove(&serial) else {
                    return Ok(());
                };
                if outcome != "completed" {
                    return Ok(());
                }
                let prompt = self.prompt(serial, prompt_tokens, &hash_ids);
                let output = TokenSeq::of(fresh(serial), output_tokens);
                let request = Request {
                    slo_ttft_us: view.slo_ttft_us,
                    client_priority: view.client_priority,
                    slo_class: self.name(view.slo_class),
                    tenant: self.name(view.tenant),
                    session: self.name(view.session),
                    adapter: self.name(view.adapter),
                    source_tag: serial,
                    ..Request::new(RequestId::of_text(&id), arrival_us, prompt, output)
                };
                self.requests.push(Logged {
                    request,
                    endpoint: endpoint.filter(|_| retries == 0),
                    ttft_us,
                    e2e_us,
                });
            }
            Entry::Shadow { .. } => {}
        }
        Ok(())
    }

    /// All lines were taken.
    pub fn finish(&mut self) {
        self.requests
            .sort_by_key(|logged| logged.request.source_tag);
    }

    /// The requests, as a workload.
    #[must_use]
    pub fn source(&self) -> Listed {
        let requests = self.requests.iter().map(|logged| logged.request.clone());
        Listed::new(requests.collect(), self.symbols.clone())
    }

    fn name(&mut self, number: u32) -> Sym {
        match self.names.get(&number) {
            Some(name) => self.symbols.intern(name),
            None => Sym::NONE,
        }
    }

    fn prompt(&mut self, serial: u64, tokens: u32, blocks: &[u64]) -> TokenSeq {
        let size = self.deployment.block_size.max(1);
        let mut prompt = TokenSeq::default();
        for (k, known) in (0..).zip(blocks) {
            let start = k * size;
            let stream = *self.streams.entry(*known).or_insert_with(|| fresh(serial));
            let len = size.min(tokens.saturating_sub(start));
            prompt.push(Span { stream, start, len });
        }
        prompt
    }
}

/// A stream that no other request begins.
fn fresh(serial: u64) -> u32 {
    (serial % (1 << 31)) as u32
}
