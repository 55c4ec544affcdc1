//! Every step of the instances, as lines of JSON.

use super::names::instance_name;
use serde_json::{Map, Value};
use std::io::{self, Write};
use windtunnel_base::record::{RanStep, RunRecord};
use windtunnel_config::{LoggedDecode, LoggedStep};

/// Writes one JSON object per step and line, in order of time, those of one time by instance.
///
/// # Errors
/// When `out` fails.
pub fn write_jsonl(record: &RunRecord, out: &mut dyn Write) -> io::Result<()> {
    let several = record.instances.len() > 1;
    let mut all: Vec<(&RanStep, usize, usize)> = Vec::new();
    for (instance, totals) in record.instances.iter().enumerate() {
        let steps = totals.logged_steps.iter().enumerate();
        all.extend(steps.map(|(number, step)| (step, instance, number)));
    }
    all.sort_by_key(|(step, instance, number)| (step.start_us, *instance, *number));
    for (step, instance, number) in all {
        let mut line = line(step);
        line.step = Some(number as u64);
        line.instance = several.then(|| instance_name(instance as u32));
        serde_json::to_writer(&mut *out, &line)?;
        out.write_all(b"\n")?;
    }
    Ok(())
}

fn line(step: &RanStep) -> LoggedStep {
    let mut line = LoggedStep {
        start_us: Some(step.start_us as f64),
        dur_us: Some(step.step_us as f64),
        ..LoggedStep::default()
    };
    let mut requests = Map::new();
    for share in &step.shares {
        match share.is_prefill {
            true => line.prefill.push([share.new_tokens, share.context]),
            false => line.decode.push(LoggedDecode {
                new: share.new_tokens,
                context: share.context,
            }),
        }
        requests.insert(share.request.to_string(), Value::from(share.new_tokens));
    }
    line.requests = requests;
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::summary::tests::run;
    use windtunnel_base::record::StepShare;
    use windtunnel_base::request::RequestId;

    #[test]
    fn a_step_is_a_line() {
        let mut record = run(Vec::new(), 2);
        let share = |n, new_tokens, context, is_prefill| StepShare {
            request: RequestId::Number(n),
            new_tokens,
            context,
            is_prefill,
        };
        record.instances[1].logged_steps = vec![RanStep {
            start_us: 7,
            step_us: 9,
            shares: vec![share(4, 1, 20, false), share(3, 16, 0, true)],
        }];
        let mut out = Vec::new();
        write_jsonl(&record, &mut out).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "{\"step\":0,\"instance\":\"instance_1\",\"start_us\":7.0,\"dur_us\":9.0,\"prefill\":[[16,0]],\
             \"decode\":[20],\"requests\":{\"request_4\":1,\"request_3\":16}}\n"
        );
    }
}
