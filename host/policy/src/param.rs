//! The hooks that policies fill, and the parameters that they declare.

pub use windtunnel_base::hook::Hook;

use windtunnel_base::input::{InputError, unknown};

/// A number that a policy lets others set.
#[derive(Clone, Debug, PartialEq)]
pub struct Param {
    /// Its name.
    pub name: String,
    /// Its value when nobody sets it.
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
    pub doc: String,
}

impl Param {
    /// Checks a value.
    ///
    /// # Errors
    /// A sentence that says what is allowed.
    pub fn check(&self, value: f64) -> Result<(), String> {
        let Self {
            name, least, most, ..
        } = self;
        if !(*least..=*most).contains(&value) {
            return Err(format!(
                "parameter \"{name}\" is {value}; expected {least} to {most}"
            ));
        }
        if self.whole && value.fract() != 0.0 {
            return Err(format!(
                "parameter \"{name}\" is {value}; expected a whole number"
            ));
        }
        Ok(())
    }
}

/// The values of all declared parameters, in order of declaration: those `given`, else the
/// defaults. `policy` names the policy in messages.
///
/// # Errors
/// A value for a parameter that is not declared, or outside its range.
pub fn settle(
    policy: &str,
    declared: &[Param],
    given: &[(String, f64)],
) -> Result<Vec<(String, f64)>, InputError> {
    let fail = |message: String| InputError::new(format!("{policy}: {message}"));
    for (name, _) in given {
        if !declared.iter().any(|p| p.name == *name) {
            let names: Vec<&str> = declared.iter().map(|p| p.name.as_str()).collect();
            return Err(fail(if names.is_empty() {
                format!("the policy declares no parameters, found \"{name}\"")
            } else {
                unknown("parameter", name, &names)
            }));
        }
    }
    declared
        .iter()
        .map(|param| {
            let set = given.iter().rfind(|(name, _)| *name == param.name);
            let value = set.map_or(param.default, |(_, value)| *value);
            param.check(value).map_err(&fail)?;
            Ok((param.name.clone(), value))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn param(name: &str, whole: bool) -> Param {
        Param {
            name: name.into(),
            default: 2.0,
            least: 1.0,
            most: 10.0,
            whole,
            log: false,
            doc: String::new(),
        }
    }

    #[test]
    fn values_are_checked_against_their_declarations() {
        let declared = [param("weight", false), param("levels", true)];
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
}
