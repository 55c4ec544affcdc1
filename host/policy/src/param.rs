//! The hooks that policies fill, and the parameters that they declare.

pub use windtunnel_base::hook::Hook;

use std::borrow::Cow;
use windtunnel_base::input::InputError;

/// The least number above 0: the lower bound of a range that excludes 0.
pub const ABOVE_ZERO: f64 = f64::from_bits(1);

/// A number that a policy lets others set.
#[derive(Clone, Debug, PartialEq)]
pub struct Param {
    /// Its name.
    pub name: Cow<'static, str>,
    /// Its value unless another is given.
    pub default: f64,
    /// Least value.
    pub least: f64,
    /// Greatest value.
    pub most: f64,
    /// Only whole numbers.
    pub whole: bool,
    /// Tuners should search it on a logarithmic scale.
    pub log: bool,
    /// What it does.
    pub doc: Cow<'static, str>,
}

impl Param {
    /// A number from `least` to `most`, both included.
    #[must_use]
    pub const fn number(
        name: &'static str,
        default: f64,
        least: f64,
        most: f64,
        doc: &'static str,
    ) -> Self {
        Self {
            name: Cow::Borrowed(name),
            default,
            least,
            most,
            whole: false,
            log: false,
            doc: Cow::Borrowed(doc),
        }
    }

    /// The same, whole numbers only.
    #[must_use]
    pub const fn whole(mut self) -> Self {
        self.whole = true;
        self
    }

    /// Checks a value.
    ///
    /// # Errors
    /// What is allowed, such as `0 to 1` or `a whole number`.
    pub fn allows(&self, value: f64) -> Result<(), String> {
        let Self { least, most, .. } = self;
        if !(*least..=*most).contains(&value) {
            return Err(match (*least == ABOVE_ZERO, *most == f64::MAX) {
                (true, true) => "a number above 0".into(),
                (true, false) => format!("above 0 and at most {most}"),
                (false, true) => format!("{least} or more"),
                (false, false) => format!("{least} to {most}"),
            });
        }
        if self.whole && value.fract() != 0.0 {
            return Err("a whole number".into());
        }
        Ok(())
    }

    /// Checks a value.
    ///
    /// # Errors
    /// A sentence that names the parameter and says what is allowed.
    pub fn check(&self, value: f64) -> Result<(), String> {
        self.allows(value).map_err(|expected| {
            format!(
                "parameter \"{}\" is {value}; expected {expected}",
                self.name
            )
        })
    }
}

/// Where the parameter called `name` stands among those that `policy` declares.
///
/// # Errors
/// When it declares none of that name; `policy` stands for the policy in the message.
pub fn position(policy: &str, declared: &[Param], name: &str) -> Result<usize, InputError> {
    let found = declared.iter().position(|param| param.name == name);
    found.ok_or_else(|| {
        let names: Vec<&str> = declared.iter().map(|param| param.name.as_ref()).collect();
        let error = if names.is_empty() {
            InputError::new(format!(
                "the policy declares no parameters, found \"{name}\""
            ))
        } else {
            InputError::unknown("parameter", name, &names)
        };
        error.about(policy)
    })
}

/// The values of all declared parameters, in order of declaration: those `given`, else the
/// defaults. `policy` stands for the policy in messages.
///
/// # Errors
/// A value for a parameter that is not declared, or outside its range.
pub fn settle(
    policy: &str,
    declared: &[Param],
    given: &[(String, f64)],
) -> Result<Vec<(String, f64)>, InputError> {
    for (name, _) in given {
        position(policy, declared, name)?;
    }
    declared
        .iter()
        .map(|param| {
            let set = given.iter().rfind(|(name, _)| param.name == *name);
            let value = set.map_or(param.default, |(_, value)| *value);
            let fits = param.check(value);
            fits.map_err(|message| InputError::new(format!("{policy}: {message}")))?;
            Ok((param.name.to_string(), value))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const WEIGHT: Param = Param::number("weight", 2.0, 1.0, 10.0, "");

    #[test]
    fn values_are_checked_against_their_declarations() {
        let declared = [WEIGHT, Param::number("levels", 2.0, 1.0, 10.0, "").whole()];
        let settle = |given: &[(&str, f64)]| {
            let given: Vec<_> = given.iter().map(|(n, v)| ((*n).to_owned(), *v)).collect();
            settle("p.lua", &declared, &given).map_err(|e| e.to_string())
        };
        let values = settle(&[("weight", 3.5)]).expect("fine");
        assert_eq!(values, [("weight".into(), 3.5), ("levels".into(), 2.0)]);
        let error = |given| settle(given).expect_err("wrong");
        assert_eq!(
            error(&[("weigth", 1.0)]),
            "p.lua: unknown parameter \"weigth\"; did you mean \"weight\"? valid: weight, levels"
        );
        assert_eq!(
            error(&[("weight", 11.0)]),
            "p.lua: parameter \"weight\" is 11; expected 1 to 10"
        );
        assert_eq!(
            error(&[("levels", 2.5)]),
            "p.lua: parameter \"levels\" is 2.5; expected a whole number"
        );
        assert!(error(&[("weight", f64::NAN)]).contains("is NaN; expected 1 to 10"));
    }

    #[test]
    fn ranges_are_said_in_words() {
        let said = |least, most, value| {
            let param = Param::number("x", least, least, most, "");
            param.allows(value).expect_err("outside")
        };
        assert_eq!(said(1.0, 10.0, 0.0), "1 to 10");
        assert_eq!(said(0.0, f64::MAX, -1.0), "0 or more");
        assert_eq!(said(ABOVE_ZERO, 1.0, 1.5), "above 0 and at most 1");
        assert_eq!(said(ABOVE_ZERO, f64::MAX, 0.0), "a number above 0");
        assert_eq!(said(0.0, f64::MAX, f64::INFINITY), "0 or more");
    }
}
