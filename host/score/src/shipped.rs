//! The suites that are built into the program, and the workload specs that they name.

// Suites by name, and workload specs by their place in the folder of suites: `SUITES` and
// `WORKLOADS`, made by the build script.
include!(concat!(env!("OUT_DIR"), "/suites.rs"));

use windtunnel_base::input::parse_yaml;

fn find(of: &[(&'static str, &'static str)], name: &str) -> Option<&'static str> {
    of.iter().find(|(n, _)| *n == name).map(|(_, text)| *text)
}

/// The suite called `name`.
#[must_use]
pub fn suite(name: &str) -> Option<&'static str> {
    find(SUITES, name)
}

/// Names of all suites.
#[must_use]
pub fn suite_names() -> Vec<&'static str> {
    SUITES.iter().map(|(name, _)| *name).collect()
}

/// The reference policy called `name` of the first suite that has one, as a bundle: the suite, and
/// YAML.
#[must_use]
pub fn reference(name: &str) -> Option<(&'static str, String)> {
    SUITES.iter().find_map(|(suite, text)| {
        let file: serde_json::Value = parse_yaml(suite, text).ok()?;
        let bundle = file.get("references")?.get(name)?;
        Some((*suite, bundle.to_string()))
    })
}

/// The workload spec at `path` in the folder of suites.
#[must_use]
pub fn workload(path: &str) -> Option<&'static str> {
    find(WORKLOADS, path)
}

/// Places of all workload specs.
#[must_use]
pub fn workload_names() -> Vec<&'static str> {
    WORKLOADS.iter().map(|(name, _)| *name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use windtunnel_policy::bundle::Bundle;
    use windtunnel_policy::{PolicyLoader, Reference, tuned};

    #[test]
    fn policies_with_tuned_values_are_the_references_of_their_names() {
        for tuned in tuned::ALL {
            let reference = Reference::Name(tuned.name.to_owned());
            let policy = PolicyLoader::new(false).load(tuned.hook, &reference, &mut |_| Vec::new());
            let policy = policy.expect(tuned.name);
            let same = |(_, text): &&(&str, &str)| {
                let file: serde_json::Value = parse_yaml("", text).expect("a suite");
                let Some(bundle) = file["references"].get(tuned.name) else {
                    return false;
                };
                let bundle = Bundle::parse("b.yaml", &bundle.to_string()).expect("a bundle");
                let policies = bundle.policies(&mut PolicyLoader::new(false));
                *policies.expect("policies").get(tuned.hook) == policy
            };
            assert!(SUITES.iter().any(|suite| same(&suite)), "{}", tuned.name);
        }
    }

    #[test]
    fn a_reference_of_several_hooks_is_a_bundle() {
        let (suite, bundle) = reference("affinity-sjf").expect("a reference");
        assert_eq!(suite, "joint");
        let bundle = Bundle::parse("b.yaml", &bundle).expect("a bundle");
        assert_eq!(bundle.named().count(), 2);
        assert_eq!(reference("nothing"), None);
    }
}
