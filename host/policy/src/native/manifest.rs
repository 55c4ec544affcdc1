//! What a plugin says of itself: its name, the version of the contract it was built for, and the
//! policies it offers.

use crate::param::{Hook, Param};
use std::fmt;

/// The language of a plugin's interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// Through `export_plugin!`.
    Rust,
    /// Through `windtunnel_plugin.h`.
    C,
}

impl fmt::Display for Language {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rust => "Rust",
            Self::C => "C",
        })
    }
}

/// A policy that a plugin offers.
#[derive(Clone, Debug, PartialEq)]
pub struct DeclaredPolicy {
    /// The hook it fills.
    pub hook: Hook,
    /// Its name, unique among those of its hook.
    pub name: String,
    /// What it does.
    pub doc: String,
    /// Its parameters.
    pub params: Vec<Param>,
}

/// What a plugin says of itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Manifest {
    /// Its name.
    pub name: String,
    /// Its own version.
    pub version: String,
    /// Version of the contract it was built for: (major, minor).
    pub api: (u32, u32),
    /// The language of its interface.
    pub language: Language,
    /// Its policies, in order of declaration.
    pub policies: Vec<DeclaredPolicy>,
}

/// How a plugin for version `plugin` of the contract is loaded by a host for version `host`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compatibility {
    /// The same version: layouts must be equal, and are compared.
    Same,
    /// An older one: what was appended since is absent. The layouts of old versions are held by a
    /// test.
    Older,
}

/// # Errors
/// Another major version, or a newer minor one.
pub(super) fn compatibility(plugin: (u32, u32), host: (u32, u32)) -> Result<Compatibility, String> {
    let (built, speaks) = (
        format!("{}.{}", plugin.0, plugin.1),
        format!("{}.{}", host.0, host.1),
    );
    if plugin.0 != host.0 {
        return Err(format!(
            "it was built for plugin-api {built}, this windtunnel speaks {speaks}: rebuild it against {}.x",
            host.0
        ));
    }
    match plugin.1.cmp(&host.1) {
        std::cmp::Ordering::Less => Ok(Compatibility::Older),
        std::cmp::Ordering::Equal => Ok(Compatibility::Same),
        std::cmp::Ordering::Greater => Err(format!(
            "it was built for plugin-api {built}, this windtunnel speaks {speaks}: update windtunnel, or rebuild it against {speaks}"
        )),
    }
}

/// Checks what a plugin declares.
///
/// # Errors
/// What is wrong with it, as a sentence.
pub(super) fn check(manifest: &Manifest) -> Result<(), String> {
    if manifest.policies.is_empty() {
        return Err("it offers no policies".into());
    }
    for (i, policy) in manifest.policies.iter().enumerate() {
        let whose = format!("{} policy \"{}\"", policy.hook, policy.name);
        if policy.name.is_empty() {
            return Err(format!("a {} policy has no name", policy.hook));
        }
        if manifest.policies[..i]
            .iter()
            .any(|o| (o.hook, &o.name) == (policy.hook, &policy.name))
        {
            return Err(format!("it offers {whose} twice"));
        }
        for (k, param) in policy.params.iter().enumerate() {
            if policy.params[..k].iter().any(|p| p.name == param.name) {
                return Err(format!(
                    "{whose} declares parameter \"{}\" twice",
                    param.name
                ));
            }
            param
                .check(param.default)
                .map_err(|e| format!("{whose}, the default: {e}"))?;
        }
    }
    Ok(())
}

/// The hook with this number in the contract; `policy` stands for the policy in the error.
///
/// # Errors
/// A number that is none.
pub(super) fn hook(number: u32, policy: &str) -> Result<Hook, String> {
    let hook = Hook::ALL.get(number as usize).copied();
    hook.ok_or_else(|| {
        format!("policy \"{policy}\" fills hook {number}; expected 0 (admission) to 8 (scale)")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_majors_and_newer_minors_are_refused_by_both_versions() {
        assert_eq!(compatibility((1, 0), (1, 0)), Ok(Compatibility::Same));
        assert_eq!(compatibility((1, 0), (1, 3)), Ok(Compatibility::Older));
        for (plugin, advice) in [
            ((2, 0), "rebuild it against 1.x"),
            ((0, 9), "rebuild it against 1.x"),
            ((1, 1), "update windtunnel, or rebuild it against 1.0"),
        ] {
            let error = compatibility(plugin, (1, 0)).expect_err("refused");
            let both = format!(
                "built for plugin-api {}.{}, this windtunnel speaks 1.0: {advice}",
                plugin.0, plugin.1
            );
            assert!(error.contains(&both), "{error}");
        }
    }

    #[test]
    fn nonsense_is_refused() {
        let param = |name, default| Param::number(name, default, 0.0, 1.0, "");
        let policy = |name: &str, params| DeclaredPolicy {
            hook: Hook::Routing,
            name: name.into(),
            doc: String::new(),
            params,
        };
        let error = |policies| {
            let manifest = Manifest {
                name: "p".into(),
                version: "1".into(),
                api: (1, 0),
                language: Language::Rust,
                policies,
            };
            check(&manifest).expect_err("nonsense")
        };
        assert_eq!(error(vec![]), "it offers no policies");
        assert_eq!(
            error(vec![policy("", vec![])]),
            "a routing policy has no name"
        );
        assert_eq!(
            error(vec![policy("a", vec![]), policy("a", vec![])]),
            "it offers routing policy \"a\" twice"
        );
        assert_eq!(
            error(vec![policy("a", vec![param("x", 2.0)])]),
            "routing policy \"a\", the default: parameter \"x\" is 2; expected 0 to 1"
        );
        assert_eq!(
            error(vec![policy("a", vec![param("x", 0.0), param("x", 0.0)])]),
            "routing policy \"a\" declares parameter \"x\" twice"
        );
    }
}
