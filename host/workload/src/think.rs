//! Pauses between the rounds of a session, when they are not the recorded ones.

use rand_distr::{Distribution, LogNormal};
use windtunnel_base::input::{InputError, unknown};
use windtunnel_base::rng;

/// How long a user thinks before the next round.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ThinkTime {
    /// Always the same, microseconds.
    Constant(i64),
    /// Log-normal.
    LogNormal {
        /// Mean of ln(pause in seconds).
        mu: f64,
        /// Standard deviation of it.
        sigma: f64,
        /// Shortest pause, microseconds.
        min_us: i64,
        /// Longest pause, microseconds.
        max_us: i64,
    },
}

impl ThinkTime {
    /// Reads `constant:value=T` or `lognormal:mu=M,sigma=S[,min=T][,max=T]`; T is a number of
    /// milliseconds, or has the suffix s, ms or us. `flag` is what messages call the text.
    ///
    /// # Errors
    /// Unknown kinds and keys, repeated, missing and malformed values, a shortest pause above the
    /// longest.
    pub fn parse(flag: &str, text: &str) -> Result<Self, InputError> {
        let refuse = |what: String| InputError::new(format!("{flag}: {what}"));
        let (kind, rest) = text.split_once(':').unwrap_or((text, ""));
        let keys: &[&str] = match kind {
            "constant" => &["value"],
            "lognormal" => &["mu", "sigma", "min", "max"],
            _ => {
                return Err(refuse(unknown(
                    "distribution",
                    kind,
                    &["constant", "lognormal"],
                )));
            }
        };
        let mut values: Vec<Option<&str>> = vec![None; keys.len()];
        for part in rest.split(',').filter(|part| !part.is_empty()) {
            let (key, value) = part
                .split_once('=')
                .ok_or_else(|| refuse(format!("expected key=value, found \"{part}\"")))?;
            let at = keys
                .iter()
                .position(|k| *k == key)
                .ok_or_else(|| refuse(unknown("key", key, keys)))?;
            if values[at].replace(value).is_some() {
                return Err(refuse(format!("{key} is given twice")));
            }
        }
        let need =
            |at: usize| values[at].ok_or_else(|| refuse(format!("{kind} needs {}", keys[at])));
        let time = |text: &str| {
            pause_us(text).ok_or_else(|| {
                refuse(format!(
                    "expected a time like 500, 500ms or 2s, found \"{text}\""
                ))
            })
        };
        let number = |text: &str| {
            let x = text.parse::<f64>().ok().filter(|x| x.is_finite());
            x.ok_or_else(|| refuse(format!("expected a finite number, found \"{text}\"")))
        };
        if kind == "constant" {
            return Ok(Self::Constant(time(need(0)?)?));
        }
        let (mu, sigma) = (number(need(0)?)?, number(need(1)?)?);
        if sigma <= 0.0 {
            return Err(refuse(format!("sigma must be above 0, found {sigma}")));
        }
        let min_us = values[2].map_or(Ok(0), time)?;
        let max_us = values[3].map_or(Ok(i64::MAX), time)?;
        if min_us > max_us {
            return Err(refuse("min is above max".into()));
        }
        Ok(Self::LogNormal {
            mu,
            sigma,
            min_us,
            max_us,
        })
    }

    /// The pause before a round, microseconds. It depends on nothing but its arguments.
    #[must_use]
    pub fn sample(&self, seed: u64, session: u64, round: u64) -> i64 {
        match *self {
            Self::Constant(us) => us,
            Self::LogNormal {
                mu,
                sigma,
                min_us,
                max_us,
            } => {
                let seconds = LogNormal::new(mu, sigma).map_or(0.0, |d| {
                    d.sample(&mut rng::stream(seed, "think time", session, round))
                });
                ((seconds * 1e6) as i64).clamp(min_us, max_us)
            }
        }
    }
}

fn pause_us(text: &str) -> Option<i64> {
    let (number, scale) = if let Some(us) = text.strip_suffix("us") {
        (us, 1.0)
    } else if let Some(ms) = text.strip_suffix("ms") {
        (ms, 1e3)
    } else if let Some(s) = text.strip_suffix('s') {
        (s, 1e6)
    } else {
        (text, 1e3)
    };
    let value = number
        .parse::<f64>()
        .ok()
        .filter(|x| x.is_finite() && *x >= 0.0)?;
    Some((value * scale) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<ThinkTime, String> {
        ThinkTime::parse("--think-time-dist", text).map_err(|e| e.to_string())
    }

    #[test]
    fn both_kinds_and_all_units_are_read() {
        assert_eq!(parse("constant:value=2"), Ok(ThinkTime::Constant(2_000)));
        assert_eq!(
            parse("constant:value=1.5s"),
            Ok(ThinkTime::Constant(1_500_000))
        );
        let some = ThinkTime::LogNormal {
            mu: 1.0,
            sigma: 0.5,
            min_us: 7,
            max_us: 60_000_000,
        };
        assert_eq!(parse("lognormal:mu=1,sigma=0.5,min=7us,max=60s"), Ok(some));
    }

    #[test]
    fn mistakes_say_what_was_found() {
        let error = |text| parse(text).unwrap_err();
        assert_eq!(
            error("lognromal:mu=1"),
            "--think-time-dist: unknown distribution \"lognromal\"; did you mean \"lognormal\"? valid: constant, lognormal"
        );
        assert_eq!(
            error("lognormal:mu=1"),
            "--think-time-dist: lognormal needs sigma"
        );
        assert_eq!(
            error("lognormal:mu=1,sigma=0"),
            "--think-time-dist: sigma must be above 0, found 0"
        );
        assert_eq!(
            error("lognormal:mu=1,mu=2"),
            "--think-time-dist: mu is given twice"
        );
        assert_eq!(
            error("lognormal:mu=1,sigma=1,min=2s,max=1s"),
            "--think-time-dist: min is above max"
        );
        assert_eq!(
            error("constant:value"),
            "--think-time-dist: expected key=value, found \"value\""
        );
        assert!(
            error("constant:value=-1")
                .contains("expected a time like 500, 500ms or 2s, found \"-1\"")
        );
    }

    #[test]
    fn the_median_pause_is_e_to_the_mu_and_draws_do_not_depend_on_their_order() {
        let think = parse("lognormal:mu=0.7,sigma=0.8,max=1000s").unwrap();
        let mut pauses: Vec<i64> = (0..20_001).map(|k| think.sample(1, k, 2)).collect();
        assert_eq!(pauses[5], think.sample(1, 5, 2));
        pauses.sort_unstable();
        let median = pauses[10_000] as f64 / 1e6;
        // The sample median of ln X has standard deviation 1.25 sigma / sqrt(n) = 0.007.
        assert!((median.ln() - 0.7).abs() < 0.03, "{median}");
    }
}
