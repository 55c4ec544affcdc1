//! The file of a gateway.

use crate::client::base_url;
use crate::prometheus::MetricNames;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use windtunnel_base::input::{InputError, LARGEST_SPEC, parse_yaml, read_text_up_to};
use windtunnel_sim::{PoliciesSpec, PoolSpec};

/// A gateway.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where to listen.
    pub listen: SocketAddr,
    /// Servers.
    pub endpoints: Vec<EndpointSpec>,
    /// A file with a list of such, which is read again when it changes.
    pub endpoints_file: Option<PathBuf>,
    /// A name whose addresses are servers.
    pub dns: Option<DnsSpec>,
    /// Whose names the servers' metrics have.
    pub engine: MetricNames,
    /// Model of the servers: with it, policies may ask for estimates of durations.
    pub model: Option<String>,
    /// What servers run on, by the name of their pool, as in the file of a run.
    pub pools: Vec<PoolSpec>,
    /// What decides: `admission` and `routing`, or a bundle (`config`), with their parameters.
    pub policies: PoliciesSpec,
    /// What decides for show: its decisions are logged.
    pub shadows: Vec<ShadowSpec>,
    /// Seed of the random numbers that policies draw.
    pub seed: u64,
    /// Tokens of the blocks in which prompts are compared; the servers' own if not given.
    pub block_size: Option<u32>,
    /// How metrics are read.
    pub scrape: ScrapeSpec,
    /// How servers are asked whether they are well.
    pub health: HealthSpec,
    /// When a server gets no requests for a while.
    pub ejection: EjectionSpec,
    /// How long what may take.
    pub timeouts: TimeoutSpec,
    /// Whether a request is sent again.
    pub retries: RetrySpec,
    /// Requests that policies put off.
    pub hold: HoldSpec,
    /// When policies are replaced by built-in ones.
    pub fallback: FallbackSpec,
    /// What clients may use up.
    pub limits: LimitSpec,
    /// Headers in which clients say what policies read.
    pub headers: HeaderSpec,
    /// Where decisions are logged.
    pub decision_log: Option<PathBuf>,
    /// Seconds for what is under way when the gateway ends.
    pub drain: f64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)),
            endpoints: Vec::new(),
            endpoints_file: None,
            dns: None,
            engine: MetricNames::Vllm,
            model: None,
            pools: Vec::new(),
            policies: PoliciesSpec::default(),
            shadows: Vec::new(),
            seed: 42,
            block_size: None,
            scrape: ScrapeSpec::default(),
            health: HealthSpec::default(),
            ejection: EjectionSpec::default(),
            timeouts: TimeoutSpec::default(),
            retries: RetrySpec::default(),
            hold: HoldSpec::default(),
            fallback: FallbackSpec::default(),
            limits: LimitSpec::default(),
            headers: HeaderSpec::default(),
            decision_log: None,
            drain: 30.0,
        }
    }
}

/// A server.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EndpointSpec {
    /// As http://127.0.0.1:8000
    pub url: String,
    /// How it is called in logs and metrics; its URL if not given.
    #[serde(default)]
    pub name: Option<String>,
    /// Its pool.
    #[serde(default)]
    pub pool: String,
    /// It gets no new requests.
    #[serde(default)]
    pub drain: bool,
}

/// A name whose addresses are servers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DnsSpec {
    /// The name.
    pub name: String,
    /// The port of all.
    pub port: u16,
    /// Pool of all.
    #[serde(default)]
    pub pool: String,
    /// Seconds between two looks.
    #[serde(default = "five")]
    pub interval: f64,
}

fn five() -> f64 {
    5.0
}

/// A policy that decides for show.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShadowSpec {
    /// Its name in the log.
    pub name: String,
    /// What decides.
    pub policies: PoliciesSpec,
}

macro_rules! spec {
    ($(#[doc = $doc:literal])* $name:ident { $($(#[doc = $field_doc:literal])* $field:ident: $type:ty = $default:expr,)* }) => {
        $(#[doc = $doc])*
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct $name {
            $($(#[doc = $field_doc])* pub $field: $type,)*
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $($field: $default,)* }
            }
        }
    };
}

spec! {
    /// How metrics are read.
    ScrapeSpec {
        /// Seconds between two looks.
        interval: f64 = 1.0,
        /// Seconds for one.
        timeout: f64 = 1.0,
    }
}

spec! {
    /// How servers are asked whether they are well.
    HealthSpec {
        /// What is asked.
        path: String = "/health".to_owned(),
        /// Seconds between two questions.
        interval: f64 = 5.0,
        /// Seconds for an answer.
        timeout: f64 = 2.0,
        /// So many in a row without an answer, and it gets no requests.
        failures: u32 = 3,
        /// So many in a row with one, and it gets some again.
        successes: u32 = 2,
    }
}

spec! {
    /// When a server gets no requests for a while, because those that it got failed.
    EjectionSpec {
        /// So many in a row.
        failures: u32 = 5,
        /// Seconds without requests.
        seconds: f64 = 10.0,
    }
}

spec! {
    /// How long what may take, seconds.
    TimeoutSpec {
        /// To connect to a server.
        connect: f64 = 2.0,
        /// From the request to the first byte of its answer.
        first_byte: f64 = 300.0,
        /// Between two parts of an answer.
        idle: f64 = 60.0,
        /// For a client to send a request.
        request: f64 = 30.0,
    }
}

spec! {
    /// Whether a request is sent again, to another server, when none of its answer has been sent
    /// to the client.
    RetrySpec {
        /// How often, at most.
        attempts: u32 = 2,
        /// Of all requests, this share may be sent again.
        budget: f64 = 0.2,
    }
}

spec! {
    /// Requests that policies put off, or for which there is no server at present.
    HoldSpec {
        /// How many there may be.
        requests: usize = 1000,
        /// Seconds for which one may wait.
        ttl: f64 = 30.0,
    }
}

spec! {
    /// When policies are replaced by built-in ones: when they fail, or are slow.
    FallbackSpec {
        /// Milliseconds that a decision may take.
        decision_ms: f64 = 50.0,
        /// So many slow ones in a row.
        slow_decisions: u32 = 10,
        /// The router that takes over.
        routing: String = "least-loaded".to_owned(),
    }
}

spec! {
    /// What clients may use up.
    LimitSpec {
        /// Bytes of a request's body.
        body: usize = 32 << 20,
        /// Connections at once.
        connections: usize = 10_000,
        /// Different names of classes, tenants, sessions and adapters; further ones are one.
        names: u32 = 100_000,
        /// KV blocks that are remembered of each server, for prefix hits; of a server with fewer
        /// than half of them, twice its own.
        index_blocks: usize = 1 << 20,
        /// Blocks of prompts that are told apart; what was not asked for in a long time is new.
        prefix_names: usize = 1 << 20,
    }
}

spec! {
    /// Headers in which clients say what policies read.
    HeaderSpec {
        /// SLO class.
        class: String = "x-gateway-inference-objective".to_owned(),
        /// Tenant.
        tenant: String = "x-gateway-inference-fairness-id".to_owned(),
        /// Session.
        session: String = "x-session-id".to_owned(),
        /// Time to first token that is wanted, milliseconds.
        ttft_ms: String = "x-slo-ttft-ms".to_owned(),
    }
}

impl Config {
    /// Reads a file.
    ///
    /// # Errors
    /// When it cannot be read or makes no sense.
    pub fn load(path: &Path) -> Result<Self, InputError> {
        let name = path.display().to_string();
        let text = read_text_up_to(path, LARGEST_SPEC)?;
        let mut config: Self = parse_yaml(&name, &text)?;
        // What is named in the file is beside it.
        let beside = path.parent().unwrap_or(Path::new(""));
        let files = [&mut config.endpoints_file, &mut config.decision_log];
        for file in files.into_iter().flatten() {
            *file = beside.join(&*file);
        }
        super::policy_files::beside(beside, &mut config.policies);
        for shadow in &mut config.shadows {
            super::policy_files::beside(beside, &mut shadow.policies);
        }
        config
            .check()
            .map_err(|e| InputError::in_file(&name, e.message()))?;
        Ok(config)
    }

    /// All servers that files name.
    ///
    /// # Errors
    /// When the file of endpoints cannot be read or makes no sense.
    pub fn all_endpoints(&self) -> Result<Vec<EndpointSpec>, InputError> {
        let mut all = self.endpoints.clone();
        if let Some(path) = &self.endpoints_file {
            let text = read_text_up_to(path, LARGEST_SPEC)?;
            let more: Vec<EndpointSpec> = parse_yaml(path.display().to_string(), &text)?;
            all.extend(more);
        }
        check_endpoints(&all)?;
        Ok(all)
    }

    fn check(&self) -> Result<(), InputError> {
        check_endpoints(&self.endpoints)?;
        if self.endpoints.is_empty() && self.endpoints_file.is_none() && self.dns.is_none() {
            let message = "there is no server: expected endpoints, endpoints_file or dns";
            return Err(InputError::new(message));
        }
        let times = [
            ("scrape.interval", self.scrape.interval),
            ("scrape.timeout", self.scrape.timeout),
            ("health.interval", self.health.interval),
            ("health.timeout", self.health.timeout),
            ("ejection.seconds", self.ejection.seconds),
            ("timeouts.connect", self.timeouts.connect),
            ("timeouts.first_byte", self.timeouts.first_byte),
            ("timeouts.idle", self.timeouts.idle),
            ("timeouts.request", self.timeouts.request),
            ("hold.ttl", self.hold.ttl),
            ("drain", self.drain),
            (
                "dns.interval",
                self.dns.as_ref().map_or(5.0, |dns| dns.interval),
            ),
        ];
        for (name, seconds) in times {
            if !(0.001..=1e6).contains(&seconds) {
                return Err(InputError::new(format!(
                    "{name} is {seconds}; expected seconds, 0.001 to 1000000"
                )));
            }
        }
        if !(0.0..=10.0).contains(&self.retries.budget) {
            let budget = self.retries.budget;
            return Err(InputError::new(format!(
                "retries.budget is {budget}; expected a share of the requests, 0 to 10"
            )));
        }
        for (name, count) in [
            ("health.failures", self.health.failures),
            ("health.successes", self.health.successes),
            ("ejection.failures", self.ejection.failures),
            ("fallback.slow_decisions", self.fallback.slow_decisions),
        ] {
            if count == 0 {
                return Err(InputError::new(format!(
                    "{name} must be at least 1, found 0"
                )));
            }
        }
        for (name, count) in [
            ("limits.index_blocks", self.limits.index_blocks),
            ("limits.prefix_names", self.limits.prefix_names),
        ] {
            if count < 2 {
                return Err(InputError::new(format!(
                    "{name} must be at least 2, found {count}"
                )));
            }
        }
        let mut names = BTreeSet::new();
        for shadow in &self.shadows {
            if !names.insert(&shadow.name) {
                return Err(InputError::new(format!(
                    "two shadows have the name \"{}\"",
                    shadow.name
                )));
            }
        }
        if !self.shadows.is_empty() && self.decision_log.is_none() {
            let message = "shadows have no effect without decision_log, where they are written";
            return Err(InputError::new(message));
        }
        if self.model.is_none() && !self.pools.is_empty() {
            return Err(InputError::new("pools have no effect without model"));
        }
        Ok(())
    }
}

fn check_endpoints(all: &[EndpointSpec]) -> Result<(), InputError> {
    let (mut urls, mut names) = (BTreeSet::new(), BTreeSet::new());
    for endpoint in all {
        base_url(&endpoint.url).map_err(|e| InputError::new(format!("endpoints: {e}")))?;
        if !urls.insert(&endpoint.url) {
            return Err(InputError::new(format!(
                "endpoints: {} is there twice",
                endpoint.url
            )));
        }
        let name = endpoint.name.as_ref().unwrap_or(&endpoint.url);
        if !names.insert(name) {
            return Err(InputError::new(format!(
                "endpoints: two have the name \"{name}\""
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        let config: Result<Config, InputError> = parse_yaml("c.yaml", text);
        let checked = config.and_then(|config| config.check());
        checked.err().map_or_else(String::new, |e| e.to_string())
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (text, part) in [
            ("listen: 127.0.0.1:1", "there is no server"),
            (
                "endpoints: [{url: ftp://a}]",
                "expected a URL such as http://127.0.0.1:8000",
            ),
            (
                "endpoints: [{url: http://a}, {url: http://a}]",
                "http://a is there twice",
            ),
            (
                "endpoints: [{url: http://a}]\nscrape: {interval: 0}",
                "scrape.interval is 0",
            ),
            (
                "endpoints: [{url: http://a}]\nscrap: {}",
                "did you mean \"scrape\"",
            ),
            (
                "endpoints: [{url: http://a}]\nlimits: {prefix_names: 1}",
                "limits.prefix_names must be at least 2, found 1",
            ),
            (
                "endpoints: [{url: http://a}]\nretries: {budget: -1}",
                "retries.budget is -1",
            ),
            (
                "endpoints: [{url: http://a}]\nshadows: [{name: a, policies: {routing: jsq}}]",
                "shadows have no effect without decision_log",
            ),
        ] {
            let error = refused(text);
            assert!(error.contains(part), "{text}: {error}");
        }
        assert_eq!(refused("endpoints: [{url: http://a:8000, pool: x}]"), "");
    }
}
