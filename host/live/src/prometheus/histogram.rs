//! Histograms in the format of Prometheus.

use std::fmt::Write;

/// Counts by upper bounds.
#[derive(Clone, Debug)]
pub struct Histogram {
    bounds: &'static [f64],
    /// Of each bound, and beyond the last one.
    counts: Vec<u64>,
    sum: f64,
}

impl Histogram {
    /// Nothing counted yet.
    pub fn new(bounds: &'static [f64]) -> Self {
        Self {
            bounds,
            counts: vec![0; bounds.len() + 1],
            sum: 0.0,
        }
    }

    /// Counts a value.
    pub fn add(&mut self, value: f64) {
        self.counts[self.bounds.partition_point(|bound| *bound < value)] += 1;
        self.sum += value;
    }

    /// Writes it; `labels` are those of all samples.
    pub fn write(&self, out: &mut String, name: &str, help: &str, labels: &str) {
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} histogram");
        let mut all = 0;
        let bounds = self.bounds.iter().map(|bound| format!("{bound:?}"));
        for (bound, count) in bounds.chain(["+Inf".to_owned()]).zip(&self.counts) {
            all += count;
            let _ = writeln!(out, "{name}_bucket{{{labels},le=\"{bound}\"}} {all}.0");
        }
        let _ = writeln!(out, "{name}_count{{{labels}}} {all}.0");
        let _ = writeln!(out, "{name}_sum{{{labels}}} {:?}", self.sum);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_cumulative_and_their_bounds_belong_to_them() {
        let mut histogram = Histogram::new(&[0.5, 1.0]);
        for value in [0.5, 0.7, 3.0] {
            histogram.add(value);
        }
        let mut text = String::new();
        histogram.write(&mut text, "t", "Times.", "engine=\"0\"");
        let expected = "# HELP t Times.\n# TYPE t histogram\n\
            t_bucket{engine=\"0\",le=\"0.5\"} 1.0\n\
            t_bucket{engine=\"0\",le=\"1.0\"} 2.0\n\
            t_bucket{engine=\"0\",le=\"+Inf\"} 3.0\n\
            t_count{engine=\"0\"} 3.0\n\
            t_sum{engine=\"0\"} 4.2\n";
        assert_eq!(text, expected);
    }
}
