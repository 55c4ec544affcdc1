//! Names of classes and tenants that a run is told something about, held against those that its
//! requests have: a name that nothing has makes a setting silently do nothing.

use std::collections::BTreeSet;
use windtunnel_base::input::hint;
use windtunnel_base::request::{Request, Sym, Symbols};
use windtunnel_base::slo_priority::SloPriorities;
use windtunnel_engine::frontend::Predictor;
use windtunnel_policy::bundle::Bundle;
use windtunnel_policy::lua::compared_names;
use windtunnel_policy::{External, PolicySpec};
use windtunnel_results::metrics::slo::{DEFAULT_CLASS, SloTargets};

/// What a name names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Of {
    Class,
    Tenant,
    Pool,
}

impl Of {
    /// What it is, who could have it, and the words for all there are.
    fn words(self) -> [&'static str; 3] {
        match self {
            Self::Class => [
                "class",
                "no request of the workload",
                "the workload's classes",
            ],
            Self::Tenant => [
                "tenant",
                "no request of the workload",
                "the workload's tenants",
            ],
            Self::Pool => ["pool", "no instance of the cluster", "the cluster's pools"],
        }
    }
}

/// A place that names something.
#[derive(Clone, Debug)]
struct Mention {
    place: String,
    of: Of,
    name: String,
}

/// All names that a run is told something about.
#[derive(Clone, Debug, Default)]
pub(crate) struct Mentions(Vec<Mention>);

impl Mentions {
    /// The names in a bundle and in the scripts of a run.
    pub(crate) fn of(bundle: &Bundle, policies: &PolicySpec) -> Self {
        let mut found = Self::default();
        let defaults = SloPriorities::default();
        for (class, priority) in &bundle.admission.slo_priorities {
            // Written out, the default says nothing of the workload.
            if defaults.of(class) != *priority {
                found.add("slo_priorities of the bundle", Of::Class, class);
            }
        }
        for tenant in bundle.tenant_budgets.keys() {
            found.add("tenant_budgets of the bundle", Of::Tenant, tenant);
        }
        let mut read: Vec<&str> = Vec::new();
        for (_, policy) in policies.external() {
            let External::Script(program) = policy else {
                continue;
            };
            // A file that fills several hooks is read once.
            if read.contains(&program.name.as_str()) {
                continue;
            }
            read.push(&program.name);
            for compared in compared_names(program) {
                let of = match compared.field.as_str() {
                    "slo_class" => Of::Class,
                    "tenant" => Of::Tenant,
                    "pool" => Of::Pool,
                    _ => continue,
                };
                let place = format!("{}:{}", program.name, compared.line);
                found.add(&place, of, &compared.name);
            }
        }
        found
    }

    /// Adds the classes that targets are set for; `place` says where.
    pub(crate) fn add_targets(&mut self, place: &str, targets: &SloTargets) {
        for (class, dimension) in targets.named() {
            let place = match place {
                "" => format!("`slo_{}`", dimension.name()),
                place => place.to_owned(),
            };
            self.add(&place, Of::Class, class);
        }
    }

    /// Adds the classes that the predictor of output lengths has errors of its own for.
    pub(crate) fn add_predictor(&mut self, predictor: &Predictor) {
        for (class, _) in &predictor.by_class {
            self.add("`output_predictor`", Of::Class, class);
        }
    }

    fn add(&mut self, place: &str, of: Of, name: &str) {
        let known = |m: &Mention| m.place == place && m.of == of && m.name == name;
        if !self.0.iter().any(known) {
            self.0.push(Mention {
                place: place.to_owned(),
                of,
                name: name.to_owned(),
            });
        }
    }

    /// Is nothing named?
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A note for each name that nothing of the run has. `pools` are the names of its pools.
    pub(crate) fn notes(&self, seen: &Seen, symbols: &Symbols, pools: &[&str]) -> Vec<String> {
        if seen.requests == 0 {
            return Vec::new();
        }
        let names = |seen: &[bool]| -> BTreeSet<String> {
            let there = (0u32..).zip(seen).filter(|(_, seen)| **seen);
            there
                .map(|(k, _)| symbols.name(Sym(k)).to_owned())
                .collect()
        };
        let (mut classes, mut tenants) = (names(&seen.classes), names(&seen.tenants));
        // Targets call a request without a class `default`.
        let without_class = classes.remove("");
        tenants.remove("");
        let pools: BTreeSet<String> = pools.iter().map(|p| (*p).to_owned()).collect();
        let mut notes = Vec::new();
        for Mention { place, of, name } in &self.0 {
            let there = match of {
                Of::Class => &classes,
                Of::Tenant => &tenants,
                Of::Pool => &pools,
            };
            let default = *of == Of::Class && name == DEFAULT_CLASS && without_class;
            if !default && !there.contains(name) {
                notes.push(unused_name(place, of.words(), name, there));
            }
        }
        notes
    }
}

/// Most names that a note lists.
const LISTED: usize = 20;

/// A note that `place` has a name which nothing has, though it is not among those that are `there`.
/// `words` are what it names, who could have it, and what all of them are called.
#[must_use]
pub fn unused_name(place: &str, words: [&str; 3], name: &str, there: &BTreeSet<String>) -> String {
    let [kind, nobody, all] = words;
    let meant = hint("; ", name, there.iter().map(String::as_str));
    let mut listed: Vec<&str> = there.iter().map(String::as_str).take(LISTED).collect();
    if there.len() > LISTED {
        listed.push("...");
    }
    let listed = if listed.is_empty() {
        "none".to_owned()
    } else {
        listed.join(", ")
    };
    format!("{place} names the {kind} \"{name}\", which {nobody} has{meant} ({all}: {listed})")
}

/// The classes and tenants of the requests so far.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    requests: u64,
    classes: Vec<bool>,
    tenants: Vec<bool>,
}

impl Seen {
    pub(crate) fn add(&mut self, request: &Request) {
        fn mark(seen: &mut Vec<bool>, name: Sym) {
            let at = name.0 as usize;
            if at >= seen.len() {
                seen.resize(at + 1, false);
            }
            seen[at] = true;
        }
        self.requests += 1;
        mark(&mut self.classes, request.slo_class);
        mark(&mut self.tenants, request.tenant);
    }
}
