//! A page of metrics in the text format of Prometheus, which no library writes as vLLM does: they
//! write OpenMetrics, whose names of counters and last line are others.

use super::histogram::Histogram;
use std::fmt::Write;

/// A page that is being written.
pub struct Page {
    text: String,
    /// Labels of all samples, as `name="value",...`.
    labels: String,
}

impl Page {
    /// An empty page.
    pub fn new(labels: String) -> Self {
        Self {
            text: String::new(),
            labels,
        }
    }

    /// A gauge.
    pub fn gauge(&mut self, name: &str, help: &str, value: f64) {
        self.metric(name, "gauge", help, &[(String::new(), value)]);
    }

    /// A counter.
    pub fn counter(&mut self, name: &str, help: &str, value: f64) {
        self.metric(name, "counter", help, &[(String::new(), value)]);
    }

    /// A metric with one more label.
    pub fn by(&mut self, name: &str, kind: &str, help: &str, label: &str, all: &[(&str, f64)]) {
        let sample = |(of, value): &(&str, f64)| (format!(",{label}=\"{of}\""), *value);
        let samples: Vec<(String, f64)> = all.iter().map(sample).collect();
        self.metric(name, kind, help, &samples);
    }

    /// A histogram.
    pub fn histogram(&mut self, name: &str, help: &str, histogram: &Histogram) {
        histogram.write(&mut self.text, name, help, &self.labels);
    }

    /// Samples with further labels, each with a comma before it.
    pub fn metric(&mut self, name: &str, kind: &str, help: &str, samples: &[(String, f64)]) {
        let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}");
        let labels = &self.labels;
        for (more, value) in samples {
            let _ = writeln!(self.text, "{name}{{{labels}{more}}} {value:?}");
        }
    }

    /// The page.
    pub fn into_text(self) -> String {
        self.text
    }
}

/// A text as the value of a label.
pub fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            c => out.push(c),
        }
    }
    out
}
