//! Maps parameters to coordinates between 0 and 1, in which searches work.

use windtunnel_policy::Param;

/// Significant digits of a proposed value: more would be noise.
const DIGITS: i32 = 4;
/// A range whose one end is out of reach is searched up to this many times the default's distance
/// from its other end: half of all points would lie beyond anything sensible.
const REACH: f64 = 100.0;
/// Limits beyond it say only that there is none, as the largest numbers of scripts do.
const UNBOUNDED: f64 = 1e300;
/// Largest exponent of a scale.
const MAX_EXPONENT: f64 = 6.0;
/// Exponent of a scale whose default is at its end, which does not tell where its middle is.
const EXPONENT_AT_END: f64 = 3.0;

/// A parameter's scale.
///
/// A logarithmic scale is linear in the logarithm. Any other is a power, whose exponent puts the
/// default in the middle: with `0..100` and a default of 2, 1 and 4 are as far apart as 30 and 100.
#[derive(Clone, Debug, PartialEq)]
pub struct Axis {
    least: f64,
    most: f64,
    whole: bool,
    scale: Scale,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Scale {
    Logarithmic,
    /// Finer towards the least value: value = least + range x u^power.
    Low(f64),
    /// Finer towards the greatest.
    High(f64),
}

impl Axis {
    /// The scale of a parameter whose present value is `start`.
    #[must_use]
    pub fn new(param: &Param, start: f64) -> Self {
        let (mut least, mut most) = (param.least, param.most);
        if most > UNBOUNDED {
            let from = if least < -UNBOUNDED { 0.0 } else { least };
            most = start + REACH * (start - from).abs().max(1.0);
        }
        if least < -UNBOUNDED {
            least = start - REACH * (most - start).abs().max(1.0);
        }
        if !param.log && start > least && start < most {
            let (below, above) = (start - least, most - start);
            most = most.min(start + REACH * below);
            least = least.max(start - REACH * above);
        }
        let middle = (start - least) / (most - least);
        let exponent = |share: f64| {
            if share <= 0.0 {
                EXPONENT_AT_END
            } else {
                (share.ln() / 0.5f64.ln()).clamp(1.0, MAX_EXPONENT)
            }
        };
        let scale = if param.log {
            Scale::Logarithmic
        } else if middle <= 0.5 {
            Scale::Low(exponent(middle))
        } else {
            Scale::High(exponent(1.0 - middle))
        };
        Self {
            least,
            most,
            whole: param.whole,
            scale,
        }
    }

    /// The value at `u`, 0 to 1.
    #[must_use]
    pub fn value(&self, u: f64) -> f64 {
        let range = self.most - self.least;
        let value = match self.scale {
            Scale::Logarithmic => self.least * (self.most / self.least).powf(u),
            Scale::Low(power) => self.least + range * u.powf(power),
            Scale::High(power) => self.most - range * (1.0 - u).powf(power),
        };
        let value = if self.whole {
            value.round()
        } else {
            rounded(value)
        };
        value.clamp(self.least, self.most)
    }

    /// Where `value` lies, 0 to 1.
    #[must_use]
    pub fn position(&self, value: f64) -> f64 {
        let share = (value - self.least) / (self.most - self.least);
        let u = match self.scale {
            Scale::Logarithmic => (value / self.least).ln() / (self.most / self.least).ln(),
            Scale::Low(power) => share.powf(1.0 / power),
            Scale::High(power) => 1.0 - (1.0 - share).powf(1.0 / power),
        };
        u.clamp(0.0, 1.0)
    }
}

/// A few significant digits.
fn rounded(value: f64) -> f64 {
    if value == 0.0 {
        return 0.0;
    }
    let text = format!("{value:.*e}", (DIGITS - 1) as usize);
    text.parse().unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn param(default: f64, least: f64, most: f64) -> Param {
        Param::number("p", default, least, most, "")
    }

    #[test]
    fn the_default_lies_in_the_middle_and_the_ends_at_the_ends() {
        for (default, least, most) in [
            (2.0, 0.0, 100.0),
            (0.9, 0.0, 1.0),
            (5.0, 0.0, 10.0),
            (-3.0, -4.0, 8.0),
        ] {
            let axis = Axis::new(&param(default, least, most), default);
            assert_eq!(axis.value(0.5), default);
            assert_eq!((axis.value(0.0), axis.value(1.0)), (least, most));
            for u in [0.0, 0.2, 0.7, 1.0] {
                let value = axis.value(u);
                assert_eq!(axis.value(axis.position(value)), value, "{value}");
            }
        }
        // A default at the end.
        let axis = Axis::new(&param(0.0, 0.0, 100.0), 0.0);
        assert_eq!((axis.position(0.0), axis.value(0.5)), (0.0, 12.5));
    }

    #[test]
    fn scales_may_be_logarithmic_whole_and_unbounded() {
        let log = Axis::new(
            &Param {
                log: true,
                ..param(1.0, 0.01, 100.0)
            },
            1.0,
        );
        assert!((log.value(0.25) - 0.1).abs() < 1e-12 && (log.position(10.0) - 0.75).abs() < 1e-12);
        let whole = Axis::new(&param(4.0, 1.0, 9.0).whole(), 4.0);
        assert!((0..=20).all(|k| whole.value(f64::from(k) / 20.0).fract() == 0.0));
        let unbounded = Axis::new(&param(2.0, 0.0, f64::INFINITY), 2.0);
        assert_eq!(unbounded.value(1.0), 202.0);
        // The largest number of a script is no limit, and one far away is none either.
        for most in [f64::MAX, 1e308, 1e6] {
            let far = Axis::new(&param(2.0, 0.0, most), 2.0);
            assert_eq!((far.value(0.0), far.value(1.0)), (0.0, 202.0), "{most}");
        }
        let below = Axis::new(&param(5.0, f64::MIN, 6.0), 5.0);
        assert_eq!((below.value(0.0), below.value(1.0)), (-95.0, 6.0));
        assert_eq!(Axis::new(&param(1.0, 0.0, 3.0), 1.0).value(0.61803), 1.399);
    }
}
