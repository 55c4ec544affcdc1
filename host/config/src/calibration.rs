//! Calibrations: what `windtunnel fit` found out about one deployment, to be used in place of the
//! shipped figures of the step-time model `kernel-tables`.

use super::entries::KernelFit;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;
use windtunnel_base::input::{InputError, parse_yaml, read_text, unknown};

/// A figure of `kernel-tables` that a calibration can change.
#[derive(Clone, Copy, Debug)]
pub struct Parameter {
    /// Its key in files.
    pub name: &'static str,
    /// Its unit; empty for a factor.
    pub unit: &'static str,
    /// What it is, in a few words.
    pub what: &'static str,
    /// Standard deviation of its natural logarithm before anything is measured: how much
    /// deployments differ.
    pub prior: f64,
    /// Least and largest value that makes sense.
    pub range: [f64; 2],
    get: fn(&KernelFit) -> f64,
    put: fn(&mut KernelFit, f64),
}

impl Parameter {
    /// The value in these figures.
    #[must_use]
    pub fn of(&self, fit: &KernelFit) -> f64 {
        (self.get)(fit)
    }

    /// Puts a value into figures of which this parameter is still the shipped one.
    pub fn put(&self, fit: &mut KernelFit, value: f64) {
        (self.put)(fit, value);
    }
}

/// A time of microseconds.
const fn time(
    name: &'static str,
    what: &'static str,
    prior: f64,
    get: fn(&KernelFit) -> f64,
    put: fn(&mut KernelFit, f64),
) -> Parameter {
    Parameter {
        name,
        unit: "us",
        what,
        prior,
        range: [0.0, 1e6],
        get,
        put,
    }
}

/// What can be calibrated. The widths: front ends differ with their CPU, their tokenizer and the
/// number of API servers by a factor of two, the engine's own code less; two collections of kernel
/// times of one GPU differ by 5 %.
pub const PARAMETERS: [Parameter; 5] = [
    time(
        "front_end_us",
        "front end, per request",
        0.7,
        |fit| fit.front_end_us,
        |fit, us| fit.front_end_us = us,
    ),
    time(
        "front_end_token_us",
        "front end, per prompt token",
        0.7,
        |fit| fit.front_end_token_us,
        |fit, us| fit.front_end_token_us = us,
    ),
    time(
        "host_us",
        "engine's own code, per step",
        0.3,
        |fit| fit.host_us,
        |fit, us| fit.host_us = us,
    ),
    time(
        "host_request_us",
        "the same, per running request",
        0.5,
        |fit| fit.host_request_us,
        |fit, us| fit.host_request_us = us,
    ),
    Parameter {
        name: "clock",
        unit: "",
        what: "factor on all time of the GPU",
        prior: 0.07,
        range: [0.2, 5.0],
        get: |_| 1.0,
        put: slow_down,
    },
];

/// Multiplies everything that the GPU does.
fn slow_down(fit: &mut KernelFit, factor: f64) {
    let parts = [
        &mut fit.gemm,
        &mut fit.decode_attention,
        &mut fit.prefill_attention,
        &mut fit.all_reduce,
        &mut fit.all_reduce_eager,
        &mut fit.between,
        &mut fit.step_us,
        &mut fit.layer_us,
        &mut fit.request_us,
        &mut fit.prefill_us,
    ];
    for part in parts {
        *part *= factor;
    }
}

/// A calibration, as its file has it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Calibration {
    /// Version of the layout.
    pub version: u32,
    /// The model that was served, by its full name.
    pub model: String,
    /// GPU.
    pub gpu: String,
    /// GPUs that split each layer.
    pub tp: u32,
    /// The version of vLLM that the engine followed in the fit.
    pub engine: String,
    /// The program that made it.
    pub made_by: String,
    /// What was found, by the names of [`PARAMETERS`]; the others stay as they are shipped.
    pub parameters: BTreeMap<String, Estimate>,
    /// What it was made of.
    pub sources: Vec<CalibrationSource>,
    /// How far off the requests are that it was not made of.
    pub holdout: Holdout,
    /// Where it was read from, for messages.
    #[serde(skip)]
    pub file: String,
}

/// One figure with its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Estimate {
    /// The value that is used.
    pub value: f64,
    /// Lower end of the interval.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// The shipped figure, which the fit began with.
    pub shipped: f64,
    /// Did the measurements say more about it than was known before?
    pub identified: bool,
}

/// A measured load.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CalibrationSource {
    /// File, with the number of the run behind `#` where it has several.
    pub file: String,
    /// Hash of the file.
    pub blake3: String,
    /// Requests that were answered.
    pub requests: u64,
    /// Those of the last part, which the fit did not see.
    pub held_out: u64,
    /// Requests per second.
    pub rate_rps: f64,
}

/// Errors of the requests that the fit did not see, with the shipped figures and with the
/// calibration.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Holdout {
    /// Are they smaller with it?
    pub improved: bool,
    /// With the shipped figures.
    pub before: HoldoutErrors,
    /// With the calibration.
    pub after: HoldoutErrors,
}

/// Absolute errors of means, percent; the mean over the loads.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HoldoutErrors {
    /// Of the time to first token.
    pub ttft_percent: f64,
    /// Of the time per output token; none where answers have one token.
    pub tpot_percent: Option<f64>,
    /// End to end.
    pub e2e_percent: f64,
}

impl Calibration {
    /// The version of the layout that is written and read.
    pub const VERSION: u32 = 1;

    /// Reads a file.
    ///
    /// # Errors
    /// When it cannot be read, or is no calibration that makes sense.
    pub fn load(path: &Path) -> Result<Self, InputError> {
        Self::parse(&path.display().to_string(), &read_text(path)?)
    }

    /// Parses a calibration; `name` is what messages call it.
    ///
    /// # Errors
    /// When it is none, or a figure makes no sense.
    pub fn parse(name: &str, text: &str) -> Result<Self, InputError> {
        let read: Self = parse_yaml(name, text)?;
        read.check().map_err(|what| {
            // The place of the figure, as its key stands alone on its line.
            let key = what.split([' ', ':']).next().unwrap_or_default();
            let stands = |line: &str| line.trim_start().strip_prefix(key).map(str::to_owned);
            let line = text
                .lines()
                .position(|line| stands(line).is_some_and(|rest| rest.starts_with(':')));
            match line {
                Some(line) => InputError::at(name, line as u64 + 1, 0, what),
                None => InputError::in_file(name, what),
            }
        })?;
        Ok(Self {
            file: name.to_owned(),
            ..read
        })
    }

    fn check(&self) -> Result<(), String> {
        if self.version != Self::VERSION {
            return Err(format!(
                "version: this is a calibration of version {}; expected {}",
                self.version,
                Self::VERSION
            ));
        }
        if self.tp == 0 {
            return Err("tp: expected 1 or more, found 0".to_owned());
        }
        for (name, found) in &self.parameters {
            let Some(parameter) = PARAMETERS.iter().find(|p| p.name == name) else {
                let names = PARAMETERS.map(|p| p.name);
                return Err(format!("{name}: {}", unknown("parameter", name, &names)));
            };
            let [least, most] = parameter.range;
            for (key, value) in [
                ("value", found.value),
                ("low", found.low),
                ("high", found.high),
            ] {
                if !(least..=most).contains(&value) {
                    return Err(format!(
                        "{name}: {key} is {value}; expected {least} to {most}"
                    ));
                }
            }
            if !(found.low <= found.value && found.value <= found.high) {
                return Err(format!(
                    "{name}: {} is outside of its interval from {} to {}",
                    found.value, found.low, found.high
                ));
            }
        }
        Ok(())
    }

    /// The file's text.
    ///
    /// # Errors
    /// When a value has no YAML, which none of these is.
    pub fn to_yaml(&self) -> Result<String, InputError> {
        let head = "# What `windtunnel fit` found out about a deployment: a calibration of kernel-tables.\n";
        serde_yaml::to_string(self)
            .map(|text| head.to_owned() + &text)
            .map_err(|e| InputError::new(format!("no YAML: {e}")))
    }

    /// The shipped figures with those of the calibration in their places.
    #[must_use]
    pub fn applied_to(&self, shipped: KernelFit) -> KernelFit {
        let mut fit = shipped;
        for parameter in &PARAMETERS {
            if let Some(found) = self.parameters.get(parameter.name) {
                parameter.put(&mut fit, found.value);
            }
        }
        fit
    }

    /// What a person should know who uses it for this deployment.
    #[must_use]
    pub fn cautions(&self, model: &str, gpu_is_same: bool, tp: u32) -> Vec<String> {
        let mut others = Vec::new();
        if self.model != model {
            others.push(format!("model {}", self.model));
        }
        if !gpu_is_same {
            others.push(format!("GPU {}", self.gpu));
        }
        if self.tp != tp {
            others.push(format!("TP {}", self.tp));
        }
        let mut notes = Vec::new();
        if !others.is_empty() {
            notes.push(format!(
                "the calibration {} was fitted for another deployment ({}): what it says of this one was not measured",
                self.file,
                others.join(", ")
            ));
        }
        if !self.holdout.improved {
            notes.push(format!(
                "the calibration {} did not make the simulation truer on the requests that were held out",
                self.file
            ));
        }
        notes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Calibration {
        let errors = HoldoutErrors {
            ttft_percent: 1.5,
            tpot_percent: None,
            e2e_percent: 0.5,
        };
        let estimate = Estimate {
            value: 2000.0,
            low: 1500.0,
            high: 2500.0,
            shipped: 3955.0,
            identified: true,
        };
        Calibration {
            version: Calibration::VERSION,
            model: "qwen/qwen3-14b".to_owned(),
            gpu: "H100".to_owned(),
            tp: 1,
            engine: "vllm-0.32".to_owned(),
            made_by: "windtunnel".to_owned(),
            parameters: [("front_end_us".to_owned(), estimate)].into(),
            sources: Vec::new(),
            holdout: Holdout {
                improved: true,
                before: errors,
                after: errors,
            },
            file: "c.yaml".to_owned(),
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let text = sample().to_yaml().expect("YAML");
        assert_eq!(Calibration::parse("c.yaml", &text), Ok(sample()));
    }

    #[test]
    fn broken_files_say_where_and_what() {
        let text = sample().to_yaml().expect("YAML");
        for (from, to, message) in [
            (
                "front_end_us:",
                "front_end:",
                "c.yaml:9: front_end: unknown parameter \"front_end\"; did you mean \"front_end_us\"?",
            ),
            (
                "gpu: H100",
                "gpus: H100",
                "unknown key \"gpus\"; did you mean \"gpu\"?",
            ),
            (
                "value: 2000",
                "value: -5",
                "value is -5; expected 0 to 1000000",
            ),
            (
                "low: 1500",
                "low: 2200",
                "2000 is outside of its interval from 2200 to 2500",
            ),
            (
                "version: 1",
                "version: 2",
                "this is a calibration of version 2; expected 1",
            ),
            ("tp: 1", "tp: 0", "tp: expected 1 or more, found 0"),
        ] {
            assert!(text.contains(from), "{from} in\n{text}");
            let error = Calibration::parse("c.yaml", &text.replacen(from, to, 1));
            let error = error.expect_err("refused").to_string();
            assert!(error.contains(message), "{error}\n{message}");
        }
    }

    #[test]
    fn a_clock_slows_down_the_gpu_and_nothing_else() {
        let shipped = crate::Defaults::builtin().kernel_fit;
        let mut slower = shipped;
        PARAMETERS[4].put(&mut slower, 2.0);
        assert_eq!(slower.gemm, 2.0 * shipped.gemm);
        assert_eq!(slower.prefill_us, 2.0 * shipped.prefill_us);
        assert_eq!(slower.sustained, shipped.sustained);
        assert_eq!(slower.host_us, shipped.host_us);
        assert_eq!(slower.front_end_us, shipped.front_end_us);
    }

    #[test]
    fn another_deployment_is_cautioned_against() {
        let calibration = sample();
        assert!(calibration.cautions("qwen/qwen3-14b", true, 1).is_empty());
        let notes = calibration.cautions("other", false, 2);
        assert!(
            notes[0].contains("(model qwen/qwen3-14b, GPU H100, TP 1)"),
            "{notes:?}"
        );
    }
}
