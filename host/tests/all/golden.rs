//! Golden results: they guard `RESULTS_VERSION`, by which caches tell results of one engine from
//! those of another.
//!
//! A digest is of what happened to every request of a run, or of the score of a policy, not of how
//! it is printed. `WINDTUNNEL_UPDATE_GOLDEN=1` renews the file, unless results have changed without
//! a new version.

use crate::score::Scoring;
use crate::support::{root, windtunnel};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write;
use windtunnel_score::{RESULTS_VERSION, Split, Suite};

/// The version of results, and a digest for each run and suite.
const GOLDEN: &str = "host/tests/data/golden/golden.txt";
/// The runs.
const RUNS: &str = "host/tests/data/golden/runs.txt";
/// Renews [`GOLDEN`] if it is set.
const UPDATE: &str = "WINDTUNNEL_UPDATE_GOLDEN";

/// A policy for each shipped suite.
const SCORED: [(&str, &str); 7] = [
    ("admission-burst", "class-headroom"),
    ("autoscale", "keda"),
    ("joint", "sjf-triage"),
    ("pd-pools", "policies/disaggregation/edpp.lua"),
    ("routing-mixed", "least-work"),
    ("routing-prefix", "preble-e2"),
    ("scheduling-slo", "sjf-triage"),
];

/// The columns of a request that are results.
const COLUMNS: [&str; 10] = [
    "request_id",
    "outcome",
    "instance",
    "arrival_us",
    "scheduling_delay_us",
    "ttft_us",
    "e2e_us",
    "mean_itl_us",
    "generated_tokens",
    "preemptions",
];

type Digests = BTreeMap<String, String>;

/// Results of one version.
#[derive(Clone, Debug, Default, PartialEq)]
struct Golden {
    version: u32,
    digests: Digests,
}

impl Golden {
    fn parse(text: &str) -> Self {
        let mut lines = text.lines();
        let version = lines
            .next()
            .and_then(|l| l.strip_prefix("results version "));
        let row = |line: &str| {
            let (name, digest) = line.split_once(' ').expect("a name and a digest");
            (name.to_owned(), digest.to_owned())
        };
        Self {
            version: version.expect("a version").parse().expect("a number"),
            digests: lines.map(row).collect(),
        }
    }

    fn text(&self) -> String {
        let mut text = format!("results version {}\n", self.version);
        for (name, digest) in &self.digests {
            let _ = writeln!(text, "{name} {digest}");
        }
        text
    }

    /// Names that both have, with different digests.
    fn changed<'a>(&'a self, now: &'a Self) -> Vec<&'a str> {
        let was = |name: &String| self.digests.get(name);
        let rows = now.digests.iter();
        rows.filter(|(name, digest)| was(name).is_some_and(|was| was != *digest))
            .map(|(name, _)| name.as_str())
            .collect()
    }

    /// Checks that results change only with the version.
    fn check_version(&self, now: &Self) -> Result<(), String> {
        let changed = self.changed(now);
        if !changed.is_empty() && now.version <= self.version {
            return Err(format!(
                "results changed ({}): raise RESULTS_VERSION in host/score/src/version.rs and renew with {UPDATE}=1",
                changed.join(", ")
            ));
        }
        if now.version < self.version {
            return Err(format!(
                "RESULTS_VERSION is {}, and {GOLDEN} is of version {}: it never goes down",
                now.version, self.version
            ));
        }
        Ok(())
    }

    /// Checks that this is what is computed now.
    fn check(&self, now: &Self) -> Result<(), String> {
        self.check_version(now)?;
        if self == now {
            return Ok(());
        }
        Err(format!(
            "{GOLDEN} is of version {} with {} rows, expected version {} with {}: renew it with {UPDATE}=1",
            self.version,
            self.digests.len(),
            now.version,
            now.digests.len()
        ))
    }
}

fn digest(text: &str) -> String {
    blake3::hash(text.as_bytes()).to_hex()[..16].to_owned()
}

/// The runs, by name, with their arguments.
fn runs() -> Vec<(String, Vec<String>)> {
    let text = std::fs::read_to_string(root().join(RUNS)).expect("the runs");
    let mut shared: Vec<(String, String)> = Vec::new();
    let mut runs = Vec::new();
    for line in text
        .lines()
        .filter(|l| !l.is_empty() && !l.starts_with('#'))
    {
        // Later names may contain earlier ones.
        let filled = |text: &str| {
            let all = shared.iter().rev();
            all.fold(text.to_owned(), |text, (name, with)| {
                text.replace(name, with)
            })
        };
        if let Some((name, text)) = line.split_once(" = ").filter(|_| line.starts_with('$')) {
            let entry = (name.to_owned(), filled(text));
            shared.push(entry);
            continue;
        }
        let (name, arguments) = line.split_once(' ').expect("a name and arguments");
        let arguments = filled(arguments).split(' ').map(str::to_owned).collect();
        runs.push((name.to_owned(), arguments));
    }
    runs
}

/// The digest of what happened to every request of a run.
fn run_digest(name: &str, arguments: &[String]) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let rows = folder.path().join("rows.csv");
    let rows_path = rows.display().to_string();
    let output = ["--quiet", "--results-path", &rows_path];
    let ran = windtunnel(arguments.iter().map(String::as_str).chain(output));
    assert_eq!(ran.code, 0, "{name}: {}", ran.stderr);
    let mut reader = csv::Reader::from_path(&rows).expect("rows");
    let header = reader.headers().expect("a header").clone();
    let at = COLUMNS.map(|column| {
        let at = header.iter().position(|c| c == column);
        at.unwrap_or_else(|| panic!("no column {column}"))
    });
    let mut text = String::new();
    let mut requests = 0;
    for row in reader.records() {
        let row = row.expect("a row");
        for k in at {
            text += &row[k];
            text.push(',');
        }
        text.push('\n');
        requests += 1;
    }
    assert!(requests > 20, "{name}: {requests} requests");
    digest(&text)
}

/// The digest of a policy's score on a scenario of a suite, and of its behaviour in the smoke
/// scenarios.
fn score_digest(suite: &Suite, policy: &str) -> String {
    let scenario = suite.scenarios(Split::Train).next().expect("a scenario");
    // A cache of its own: results of references that an earlier engine has left would hide changes.
    let ran = Scoring::new().run(&format!(
        "score {policy} --suite {} --scenario {} --stage quick --jobs 1 --no-cache --json",
        suite.file.name, scenario.id
    ));
    assert_eq!(ran.code, Some(0), "{policy}: {}", ran.stderr);
    let report: Value = serde_json::from_str(&ran.stdout).expect("a report");
    let estimate = report["stopped"]["estimate"].as_f64();
    let behaviour = report["key"]["behaviour"].as_str().expect("a fingerprint");
    let estimate = estimate.unwrap_or_else(|| panic!("{policy}: {}", ran.stdout));
    // At the lowest score, and as good as the best reference, nothing would be seen of a change.
    assert!(
        estimate > -99.0 && estimate != 0.0,
        "{policy} scores {estimate}"
    );
    digest(&format!("{} {estimate:?} {behaviour}", scenario.id))
}

/// What one row of the golden results is computed from.
enum Job {
    Run(String, Vec<String>),
    Score(Box<Suite>, &'static str),
}

impl Job {
    /// The name of its row. A changed suite has another name: its scores are no longer the same
    /// results.
    fn name(&self) -> String {
        match self {
            Self::Run(name, _) => format!("run/{name}"),
            Self::Score(suite, policy) => {
                format!("score/{}/{}/{policy}", suite.label(), suite.digest())
            }
        }
    }

    fn digest(&self) -> String {
        match self {
            Self::Run(name, arguments) => run_digest(name, arguments),
            Self::Score(suite, policy) => score_digest(suite, policy),
        }
    }
}

fn jobs() -> Vec<Job> {
    let scored = SCORED.map(|(suite, policy)| {
        let suite = Suite::open(suite, None).expect("a suite");
        Job::Score(Box::new(suite), policy)
    });
    let runs = runs().into_iter();
    runs.map(|(name, arguments)| Job::Run(name, arguments))
        .chain(scored)
        .collect()
}

/// The results of this engine.
fn computed() -> Golden {
    let jobs = jobs();
    let at_once = std::thread::available_parallelism().map_or(1, usize::from);
    let part = jobs.len().div_ceil(at_once);
    let digests: Digests = std::thread::scope(|scope| {
        let work = |part| scope.spawn(move || rows_of(part));
        let parts: Vec<_> = jobs.chunks(part).map(work).collect();
        let parts = parts.into_iter();
        parts.flat_map(|p| p.join().expect("no panic")).collect()
    });
    assert_eq!(digests.len(), jobs.len(), "every row has a name of its own");
    Golden {
        version: RESULTS_VERSION,
        digests,
    }
}

fn rows_of(jobs: &[Job]) -> Vec<(String, String)> {
    jobs.iter().map(|job| (job.name(), job.digest())).collect()
}

#[test]
fn results_change_only_with_their_version() {
    let path = root().join(GOLDEN);
    let golden = std::fs::read_to_string(&path).map(|text| Golden::parse(&text));
    let now = computed();
    if std::env::var_os(UPDATE).is_some() {
        if let Ok(golden) = golden {
            golden.check_version(&now).unwrap_or_else(|e| panic!("{e}"));
        }
        std::fs::write(&path, now.text()).expect("written");
        return;
    }
    let golden = golden.unwrap_or_else(|e| panic!("{GOLDEN}: {e}; {UPDATE}=1 writes it"));
    golden.check(&now).unwrap_or_else(|e| panic!("{e}"));
}

#[test]
fn every_shipped_suite_has_a_golden_result() {
    let mut suites = windtunnel_score::suite_names();
    suites.sort_unstable();
    assert_eq!(SCORED.map(|(suite, _)| suite).to_vec(), suites);
}

#[test]
fn changed_results_need_a_higher_version() {
    let of = |version, digests: &[(&str, &str)]| Golden {
        version,
        digests: digests
            .iter()
            .map(|(name, digest)| ((*name).to_owned(), (*digest).to_owned()))
            .collect(),
    };
    let golden = of(3, &[("run/a", "1"), ("run/b", "2")]);
    assert_eq!(Golden::parse(&golden.text()), golden);
    assert_eq!(golden.check(&golden), Ok(()));
    let changed = of(3, &[("run/a", "1"), ("run/b", "7")]);
    for refused in [golden.check(&changed), golden.check_version(&changed)] {
        let error = refused.expect_err("changed");
        assert!(
            error.starts_with("results changed (run/b): raise RESULTS_VERSION"),
            "{error}"
        );
    }
    // With a higher version, or with other runs, the file may be renewed, and has to be.
    for renewed in [
        of(4, &[("run/a", "1"), ("run/b", "7")]),
        of(4, &[("run/a", "1"), ("run/b", "2")]),
        of(3, &[("run/a", "1"), ("run/b", "2"), ("run/c", "3")]),
        of(3, &[("run/a", "1")]),
    ] {
        assert_eq!(golden.check_version(&renewed), Ok(()));
        let error = golden.check(&renewed).expect_err("not renewed");
        assert!(error.contains("renew it"), "{error}");
    }
    let lower = of(2, &[("run/a", "1"), ("run/b", "2")]);
    assert!(golden.check_version(&lower).is_err());
}
