//! The policies of a log, asked the same once more.

use super::entry::{Answer, Call, Entry};
use super::fields::Named;
use super::memory::Memory;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::fmt;
use windtunnel_base::request::Symbols;
use windtunnel_plugin_api::{
    Admission, ClusterView, Event, Host, InstanceView, List, RequestView, Router, Services,
};

/// Admission and router.
pub type Pair = (Box<dyn Admission>, Box<dyn Router>);

/// What a log says of its policies, for whoever makes them.
pub struct Wanted<'a> {
    /// What the configuration said.
    pub policies: &'a Value,
    /// Fingerprints of their files, by path.
    pub files: &'a BTreeMap<String, String>,
    /// Instances that there were.
    pub instances: u32,
    /// Names that were known; the policies' own are added.
    pub symbols: &'a mut Symbols,
}

/// How a log compares with its evaluation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Agreement {
    /// Decisions, each of admission and of the router.
    pub decisions: u64,
    /// Decisions that are the same.
    pub equal: u64,
    /// Events and ticks that policies were told.
    pub told: u64,
    /// How often policies began.
    pub begun: u64,
    /// The first that is not the same.
    pub first: Option<Difference>,
}

/// A decision that is not the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Its line in the log, from 1.
    pub line: u64,
    /// Which policy.
    pub call: Call,
    /// Number of the request.
    pub serial: u64,
    /// What the log says.
    pub logged: Answer,
    /// What is answered now.
    pub now: Answer,
    /// Whether the policy asked the host something else, and what.
    pub asked_else: Option<String>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            line,
            call,
            serial,
            logged,
            now,
            asked_else,
        } = self;
        write!(
            f,
            "line {line}: {call:?} of request {serial}: the log says {logged:?}, now {now:?}"
        )?;
        match asked_else {
            Some(what) => write!(f, "; it asks the host {what}"),
            None => Ok(()),
        }
    }
}

/// Evaluates a log, line by line.
pub struct Replay<M> {
    make: M,
    symbols: Symbols,
    policies: Option<Pair>,
    views: BTreeMap<u32, InstanceView>,
    shown: Vec<u32>,
    line: u64,
    agreement: Agreement,
}

impl<M: FnMut(Wanted<'_>) -> Result<Pair, String>> Replay<M> {
    /// `make` makes the policies that a log names.
    pub fn new(make: M) -> Self {
        Self {
            make,
            symbols: Symbols::default(),
            policies: None,
            views: BTreeMap::new(),
            shown: Vec::new(),
            line: 0,
            agreement: Agreement::default(),
        }
    }

    /// Takes the next line.
    ///
    /// # Errors
    /// When it makes no sense, or its policies cannot be made.
    pub fn take(&mut self, line: &str) -> Result<(), String> {
        self.line += 1;
        let at = self.line;
        let entry: Entry = serde_json::from_str(line).map_err(|e| format!("line {at}: {e}"))?;
        self.entry(&entry).map_err(|e| format!("line {at}: {e}"))
    }

    /// What came of it.
    pub fn agreement(&self) -> &Agreement {
        &self.agreement
    }

    fn entry(&mut self, entry: &Entry) -> Result<(), String> {
        match entry {
            Entry::Policies {
                version,
                policies,
                files,
                instances,
                deployment: _,
                names,
                because: _,
            } => {
                if *version != super::record::VERSION {
                    let own = super::record::VERSION;
                    return Err(format!(
                        "the log has version {version}; version {own} is read"
                    ));
                }
                self.symbols = Symbols::default();
                for name in names {
                    self.symbols.intern(name);
                }
                self.views.clear();
                self.shown.clear();
                self.policies = Some((self.make)(Wanted {
                    policies,
                    files,
                    instances: *instances,
                    symbols: &mut self.symbols,
                })?);
                self.agreement.begun += 1;
            }
            Entry::Asked {
                call,
                at_us,
                request,
                names,
                shown,
                changes,
                host,
                answer,
            } => {
                self.learn(names)?;
                if let Some(shown) = shown {
                    self.shown.clone_from(shown);
                }
                for (i, fields) in changes {
                    self.views.entry(*i).or_default().apply(fields)?;
                }
                self.ask(*call, *at_us, request, host, answer)?;
            }
            Entry::Told {
                call,
                event: fields,
                names,
                answer,
            } => {
                self.learn(names)?;
                let mut event = Event::default();
                event.apply(fields)?;
                let (admission, router) = begun(&mut self.policies)?;
                let told = match call {
                    Call::TellAdmission => admission.on_event(&event),
                    Call::TellRouter => router.on_event(&event),
                    other => return Err(format!("{other:?} is nothing that is told")),
                };
                self.agreement.told += 1;
                self.compare(*call, event.serial, answer, Answer::of_told(&told), None);
            }
            Entry::Done { .. } | Entry::Shadow { .. } => {}
        }
        Ok(())
    }

    fn learn(&mut self, names: &BTreeMap<u32, String>) -> Result<(), String> {
        for (number, name) in names {
            let given = self.symbols.intern(name).0;
            if given != *number {
                return Err(format!(
                    "the name \"{name}\" has number {number} in the log, and {given} now"
                ));
            }
        }
        Ok(())
    }

    fn ask(
        &mut self,
        call: Call,
        now_us: i64,
        fields: &Map<String, Value>,
        said: &[Value],
        logged: &Answer,
    ) -> Result<(), String> {
        let mut request = RequestView::default();
        request.apply(fields)?;
        let views = self
            .shown
            .iter()
            .map(|i| self.views.get(i).copied().unwrap_or_default());
        let views: Vec<InstanceView> = views.collect();
        let memory = Memory::in_order(said);
        let services: &dyn Services = &memory;
        let cluster = ClusterView {
            now_us,
            instances: List::new(&views),
            host: Host::new(&services),
        };
        let (admission, router) = begun(&mut self.policies)?;
        let now = match call {
            Call::Admit => Answer::of_admission(&admission.admit(&request, &cluster)),
            Call::Route => Answer::of_router(&router.route(&request, &cluster)),
            Call::TickAdmission => Answer::of_told(&admission.on_tick(&cluster)),
            Call::TickRouter => Answer::of_told(&router.on_tick(&cluster)),
            other => return Err(format!("{other:?} is nothing that is asked")),
        };
        match call {
            Call::Admit | Call::Route => self.agreement.decisions += 1,
            _ => self.agreement.told += 1,
        }
        let asked_else = memory.difference();
        self.compare(call, request.serial, logged, now, asked_else);
        Ok(())
    }

    fn compare(
        &mut self,
        call: Call,
        serial: u64,
        logged: &Answer,
        now: Answer,
        asked_else: Option<String>,
    ) {
        let same = *logged == now && asked_else.is_none();
        if same && matches!(call, Call::Admit | Call::Route) {
            self.agreement.equal += 1;
        }
        if !same && self.agreement.first.is_none() {
            self.agreement.first = Some(Difference {
                line: self.line,
                call,
                serial,
                logged: logged.clone(),
                now,
                asked_else,
            });
        }
    }
}

fn begun(policies: &mut Option<Pair>) -> Result<&mut Pair, String> {
    let missing = "the log does not begin with its policies";
    policies.as_mut().ok_or_else(|| missing.to_owned())
}
