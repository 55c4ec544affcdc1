//! What happened in a pool since its scaling policy was asked last.

use windtunnel_base::record::{Outcome, RequestRecord};
use windtunnel_plugin_api::ScaleView;

/// Requests that ended with all their tokens: counts, and the latencies of each.
#[derive(Clone, Debug, Default)]
pub(super) struct Interval {
    completed: u64,
    prompt_tokens: u64,
    output_tokens: u64,
    ttft_us: Vec<f64>,
    itl_us: Vec<f64>,
    e2e_us: Vec<f64>,
}

/// Mean and 99th percentile (nearest rank); -1 of nothing. Instances may tell of what happened in
/// any order, so the sum is taken in order of value.
fn spread(values: &mut Vec<f64>) -> (f64, f64) {
    if values.is_empty() {
        return (-1.0, -1.0);
    }
    values.sort_unstable_by(f64::total_cmp);
    let n = values.len();
    let mean = values.iter().sum::<f64>() / n as f64;
    let p99 = values[(n * 99).div_ceil(100) - 1];
    values.clear();
    (mean, p99)
}

impl Interval {
    /// A request ended.
    pub(super) fn ended(&mut self, record: &RequestRecord) {
        if !matches!(record.outcome, Outcome::Completed | Outcome::LengthCapped) {
            return;
        }
        self.completed += 1;
        self.prompt_tokens += u64::from(record.prompt_tokens);
        self.output_tokens += u64::from(record.generated_tokens);
        self.ttft_us.extend(record.ttft_us.map(|us| us as f64));
        self.itl_us.extend(record.mean_itl_us);
        self.e2e_us.extend(record.e2e_us.map(|us| us as f64));
    }

    /// Writes it into a view, and begins anew.
    pub(super) fn take(&mut self, view: &mut ScaleView) {
        view.completed = std::mem::take(&mut self.completed);
        view.completed_prompt_tokens = std::mem::take(&mut self.prompt_tokens);
        view.completed_output_tokens = std::mem::take(&mut self.output_tokens);
        (view.ttft_mean_us, view.ttft_p99_us) = spread(&mut self.ttft_us);
        (view.itl_mean_us, view.itl_p99_us) = spread(&mut self.itl_us);
        (view.e2e_mean_us, view.e2e_p99_us) = spread(&mut self.e2e_us);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_nearest_ranks() {
        assert_eq!(spread(&mut vec![]), (-1.0, -1.0));
        assert_eq!(spread(&mut vec![7.0]), (7.0, 7.0));
        let mut values: Vec<f64> = (1..=200).rev().map(f64::from).collect();
        assert_eq!(spread(&mut values), (100.5, 198.0));
        assert!(values.is_empty());
    }
}
