//! The decision trace: what the front end decided, and what it could have chosen instead.

use super::names::instance_name;
use serde::{Serialize, Serializer};
use std::collections::BTreeMap;
use std::io::{self, Write};
use windtunnel_base::record::{Candidate, Decision, RoutingStage, RunRecord};

/// Counts and regrets of a decision trace.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct TraceSummary {
    /// Admission decisions.
    pub total: u64,
    /// Of these, admitted.
    pub admitted: u64,
    /// Of these, rejected.
    pub rejected: u64,
    /// Requests routed to each instance that got any, sorted by name as text (`instance_10` before
    /// `instance_2`).
    pub targets: BTreeMap<String, u64>,
    /// Mean over routing decisions of best score minus the chosen one's, in the policy's own score;
    /// absent if no decision was compared with its alternatives.
    pub mean_regret: Option<f64>,
    /// The largest of these.
    pub max_regret: Option<f64>,
    /// Mean and largest regret as the reference has them: 0 where nothing was compared.
    #[serde(skip)]
    pub reference_regret: [f64; 2],
}

impl TraceSummary {
    /// Of a trace.
    #[must_use]
    pub fn of(decisions: &[Decision]) -> Self {
        let mut summary = Self::default();
        let mut by_instance: BTreeMap<u32, u64> = BTreeMap::new();
        let (mut routed, mut sum, mut most, mut compared) = (0u64, 0.0, 0.0f64, false);
        for decision in decisions {
            match decision {
                Decision::Admission { admitted, .. } => {
                    summary.total += 1;
                    summary.admitted += u64::from(*admitted);
                    summary.rejected += u64::from(!*admitted);
                }
                // As in the reference, what a part of a request is sent for is not summed up.
                Decision::Routing { stage, .. } if *stage != RoutingStage::Whole => {}
                Decision::Routing {
                    chosen,
                    regret,
                    candidates,
                    ..
                } => {
                    *by_instance.entry(*chosen).or_default() += 1;
                    routed += 1;
                    sum += regret;
                    most = most.max(*regret);
                    compared |= !candidates.is_empty();
                }
            }
        }
        if routed > 0 {
            summary.reference_regret = [sum / routed as f64, most];
        }
        let [mean, most] = summary
            .reference_regret
            .map(|regret| compared.then_some(regret));
        (summary.mean_regret, summary.max_regret) = (mean, most);
        summary.targets = by_instance
            .into_iter()
            .map(|(k, n)| (instance_name(k), n))
            .collect();
        summary
    }
}

#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
enum Line<'a> {
    Admission {
        clock_us: i64,
        request_id: String,
        admitted: bool,
        reason: &'a str,
    },
    Routing {
        clock_us: i64,
        request_id: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        stage: Option<&'static str>,
        instance: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        pool: Option<&'a str>,
        reason: &'a str,
        scores: Option<Scores<'a>>,
        candidates: Vec<Alternative>,
        regret: f64,
    },
}

/// Scores by instance name, in order of position; of the instances in the second list, of all if
/// it is empty.
struct Scores<'a>(&'a [f64], &'a [u32]);

impl Serialize for Scores<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let name = |(i, score)| {
            let instance = self.1.get(i as usize).copied().unwrap_or(i);
            (instance_name(instance), score)
        };
        serializer.collect_map((0u32..).zip(self.0).map(name))
    }
}

#[derive(Serialize)]
struct Alternative {
    instance: String,
    score: f64,
    queue_depth: u32,
    batch_size: u32,
    in_flight: u32,
    kv_utilization: f64,
    kv_free_blocks: u32,
}

impl From<&Candidate> for Alternative {
    fn from(c: &Candidate) -> Self {
        Self {
            instance: instance_name(c.instance),
            score: c.score,
            queue_depth: c.queue_depth,
            batch_size: c.batch_size,
            in_flight: c.in_flight,
            kv_utilization: c.kv_utilization,
            kv_free_blocks: c.kv_free_blocks,
        }
    }
}

/// Writes one JSON object per decision and line. Scores that are not finite become null.
///
/// # Errors
/// When `out` fails.
pub fn write_jsonl(record: &RunRecord, out: &mut dyn Write) -> io::Result<()> {
    for decision in &record.decisions {
        let line = match decision {
            Decision::Admission {
                clock_us,
                id,
                admitted,
                reason,
            } => Line::Admission {
                clock_us: *clock_us,
                request_id: id.to_string(),
                admitted: *admitted,
                reason,
            },
            Decision::Routing {
                clock_us,
                id,
                stage,
                chosen,
                pool,
                reason,
                among,
                scores,
                candidates,
                regret,
            } => Line::Routing {
                clock_us: *clock_us,
                request_id: id.to_string(),
                stage: (*stage != RoutingStage::Whole).then(|| stage.name()),
                instance: instance_name(*chosen),
                pool: record.names_pools().then(|| record.symbols.name(*pool)),
                reason,
                scores: scores.as_deref().map(|scores| Scores(scores, among)),
                candidates: candidates.iter().map(Alternative::from).collect(),
                regret: *regret,
            },
        };
        serde_json::to_writer(&mut *out, &line)?;
        out.write_all(b"\n")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::summary::tests::run;
    use windtunnel_base::request::{RequestId, Sym};

    fn trace() -> Vec<Decision> {
        let admission = |n, admitted| Decision::Admission {
            clock_us: 5,
            id: RequestId::Number(n),
            admitted,
            reason: if admitted { "" } else { "over \"limit\"" }.into(),
        };
        let routing = |n, chosen, regret| Decision::Routing {
            clock_us: 6,
            id: RequestId::Number(n),
            stage: RoutingStage::Whole,
            chosen,
            pool: Sym::NONE,
            reason: "least-loaded".into(),
            among: Vec::new(),
            scores: (chosen == 2).then(|| vec![0.5, 1.0, f64::NAN]),
            candidates: vec![Candidate {
                instance: 1,
                score: 1.0,
                queue_depth: 1,
                batch_size: 2,
                in_flight: 3,
                kv_utilization: 0.25,
                kv_free_blocks: 75,
            }],
            regret,
        };
        vec![
            admission(0, true),
            routing(0, 10, 1.0),
            admission(1, true),
            routing(1, 2, 0.0),
            admission(2, false),
        ]
    }

    #[test]
    fn a_summary_counts_and_sorts_targets_as_text() {
        let s = TraceSummary::of(&trace());
        assert_eq!((s.total, s.admitted, s.rejected), (3, 2, 1));
        assert_eq!((s.mean_regret, s.max_regret), (Some(0.5), Some(1.0)));
        assert_eq!(s.reference_regret, [0.5, 1.0]);
        // Admissions alone, and routing without alternatives, have no regret to speak of.
        let admissions = &TraceSummary::of(&trace()[..1]);
        assert_eq!(
            (admissions.mean_regret, admissions.max_regret),
            (None, None)
        );
        assert_eq!(
            s.targets.keys().collect::<Vec<_>>(),
            ["instance_10", "instance_2"]
        );
    }

    #[test]
    fn every_line_is_an_object() {
        let mut out = Vec::new();
        let mut record = run(vec![], 3);
        record.decisions = trace()[2..].to_vec();
        write_jsonl(&record, &mut out).unwrap();
        insta::assert_snapshot!(String::from_utf8(out).unwrap(), @r#"
        {"kind":"admission","clock_us":5,"request_id":"request_1","admitted":true,"reason":""}
        {"kind":"routing","clock_us":6,"request_id":"request_1","instance":"instance_2","reason":"least-loaded","scores":{"instance_0":0.5,"instance_1":1.0,"instance_2":null},"candidates":[{"instance":"instance_1","score":1.0,"queue_depth":1,"batch_size":2,"in_flight":3,"kv_utilization":0.25,"kv_free_blocks":75}],"regret":0.0}
        {"kind":"admission","clock_us":5,"request_id":"request_2","admitted":false,"reason":"over \"limit\""}
        "#);
    }
}
