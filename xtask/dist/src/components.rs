//! What the program consists of, as CycloneDX 1.6: every crate that is compiled into it, with its
//! version, licence and checksum, and who needs whom.

use crate::shared::{cargo, output};
use anyhow::Context;
use serde_json::{Value, json};
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

const PROGRAM: &str = "windtunnel";
/// How files begin that have to go with a crate's code.
const NOTICES: [&str; 5] = ["COPYING", "COPYRIGHT", "LICENCE", "LICENSE", "NOTICE"];

/// Crates that are needed to build others only, and whose content is in the program all the same:
/// the C++ of the script engine, the script of pages.
const CARRIED: [&str; 2] = ["luau0-src", "plotly"];

/// The crates of a program.
pub(crate) struct Components {
    /// By id.
    packages: BTreeMap<String, Value>,
    /// Id of the program.
    program: String,
    /// Ids of the crates in it, the program too, with those that each needs.
    needs: BTreeMap<String, BTreeSet<String>>,
    /// SHA-256 of packages by name and version.
    sums: BTreeMap<(String, String), String>,
}

impl Components {
    /// Those of the program as it is built for a target.
    pub(crate) fn of_target(target: &str) -> anyhow::Result<Self> {
        let mut command = cargo("metadata --format-version 1 --locked --filter-platform");
        let metadata: Value = serde_json::from_slice(&output(command.arg(target))?)?;
        let lock = fs::read_to_string(crate::shared::root().join("Cargo.lock"))?;
        Self::of(&metadata, checksums(&lock))
    }

    fn of(metadata: &Value, sums: BTreeMap<(String, String), String>) -> anyhow::Result<Self> {
        let by_id = |all: &[Value]| -> BTreeMap<String, Value> {
            let named = |one: &Value| Some((one["id"].as_str()?.to_owned(), one.clone()));
            all.iter().filter_map(named).collect()
        };
        let packages = by_id(array(metadata, "packages")?);
        let nodes = by_id(array(&metadata["resolve"], "nodes")?);
        let program = packages.iter().find(|(_, p)| p["name"] == PROGRAM);
        let (program, _) = program.context("cargo metadata does not know the program")?;
        let program = program.clone();
        let carried = |id: &str| {
            let name = packages
                .get(id)
                .and_then(|package| package["name"].as_str());
            name.is_some_and(|name| CARRIED.contains(&name))
        };
        // Crates that only build or test are not in the program; nor is what a script's own crate
        // needs.
        let of_one = |id: &str| -> BTreeSet<String> {
            let all = nodes.get(id).and_then(|node| node["deps"].as_array());
            let all = all.filter(|_| !carried(id)).into_iter().flatten();
            let compiled_in = all.filter_map(|dep| {
                let id = dep["pkg"].as_str()?;
                let kinds = dep["dep_kinds"].as_array()?;
                let normal = kinds.iter().any(|kind| kind["kind"].is_null());
                (normal || carried(id)).then(|| id.to_owned())
            });
            compiled_in.collect()
        };
        let mut needs = BTreeMap::new();
        let mut open = vec![program.clone()];
        while let Some(id) = open.pop() {
            if let Entry::Vacant(entry) = needs.entry(id) {
                let of_one = of_one(entry.key());
                open.extend(of_one.iter().cloned());
                entry.insert(of_one);
            }
        }
        Ok(Self {
            packages,
            program,
            needs,
            sums,
        })
    }

    /// The list, as JSON text.
    pub(crate) fn list(&self) -> String {
        let others = self.needs.keys().filter(|id| **id != self.program);
        let dependencies = self.needs.iter().map(|(id, needs)| {
            let needs = needs.iter().map(|id| self.reference(id));
            json!({ "ref": self.reference(id), "dependsOn": needs.collect::<Vec<_>>() })
        });
        let list = json!({
            "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
            "bomFormat": "CycloneDX",
            "specVersion": "1.6",
            "version": 1,
            "metadata": { "component": self.component(&self.program) },
            "components": others.map(|id| self.component(id)).collect::<Vec<_>>(),
            "dependencies": dependencies.collect::<Vec<_>>(),
        });
        format!("{list:#}\n")
    }

    /// Licences and notices of the crates of others, which have to go with the program: folder of
    /// the crate (name and version), and files.
    pub(crate) fn notices(&self) -> anyhow::Result<Vec<(String, Vec<PathBuf>)>> {
        let mut all = Vec::new();
        for id in self.needs.keys() {
            let package = &self.packages[id];
            let Some(manifest) = package["manifest_path"].as_str() else {
                continue;
            };
            // Ours have no source.
            if package["source"].is_null() {
                continue;
            }
            let folder = Path::new(manifest)
                .parent()
                .context("a manifest in a folder")?;
            let mut files = crate::shared::sorted(folder)?;
            files.retain(|path| {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                let name = name.to_uppercase();
                path.is_file() && NOTICES.iter().any(|begin| name.starts_with(begin))
            });
            if !files.is_empty() {
                all.push((self.reference(id), files));
            }
        }
        Ok(all)
    }

    fn component(&self, id: &str) -> Value {
        let package = &self.packages[id];
        let text = |key: &str| package[key].as_str().unwrap_or_default().to_owned();
        let (name, version) = (text("name"), text("version"));
        let mut component = json!({
            "type": if id == self.program { "application" } else { "library" },
            "bom-ref": self.reference(id),
            "name": name,
            "version": version,
            "purl": format!("pkg:cargo/{name}@{version}"),
        });
        if let Some(licence) = package["license"].as_str() {
            // Older crates write a slash for OR.
            let expression = licence.replace('/', " OR ").replace("  ", " ");
            component["licenses"] = json!([{ "expression": expression }]);
        }
        if let Some(sum) = self.sums.get(&(name, version)) {
            component["hashes"] = json!([{ "alg": "SHA-256", "content": sum }]);
        }
        component
    }

    /// How a crate is called within the list.
    fn reference(&self, id: &str) -> String {
        let text = |key: &str| self.packages[id][key].as_str().unwrap_or_default();
        format!("{}@{}", text("name"), text("version"))
    }
}

/// SHA-256 of packages by name and version, as `Cargo.lock` has them.
fn checksums(lock: &str) -> BTreeMap<(String, String), String> {
    let value = |package: &str, key: &str| {
        let line = package.lines().find_map(|line| line.strip_prefix(key))?;
        Some(line.trim_start_matches(" = ").trim_matches('"').to_owned())
    };
    let packages = lock.split("[[package]]\n").skip(1);
    let known = packages.filter_map(|package| {
        let sum = value(package, "checksum")?;
        Some(((value(package, "name")?, value(package, "version")?), sum))
    });
    known.collect()
}

fn array<'a>(value: &'a Value, key: &str) -> anyhow::Result<&'a Vec<Value>> {
    let array = value[key].as_array();
    array.with_context(|| format!("cargo metadata has no {key}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crates_that_only_build_or_test_are_left_out() {
        let package = |name: &str| json!({ "id": name, "name": name, "version": "1.0.0", "license": "MIT/Apache-2.0" });
        let need =
            |name: &str, kind: Value| json!({ "pkg": name, "dep_kinds": [{ "kind": kind }] });
        let packages = ["windtunnel", "used", "deep", "tested", "plotly"].map(package);
        let metadata = json!({
            "packages": packages,
            "resolve": { "nodes": [
                { "id": "windtunnel", "deps": [
                    need("used", Value::Null), need("tested", json!("dev")), need("plotly", json!("build")),
                ] },
                { "id": "used", "deps": [need("deep", Value::Null)] },
                { "id": "deep", "deps": [] },
                { "id": "plotly", "deps": [need("tested", Value::Null)] },
                { "id": "tested", "deps": [] },
            ] },
        });
        let lock =
            "version = 4\n\n[[package]]\nname = \"deep\"\nversion = \"1.0.0\"\nchecksum = \"ab\"\n";
        let components = Components::of(&metadata, checksums(lock)).unwrap();
        let list: Value = serde_json::from_str(&components.list()).unwrap();
        let names: Vec<&Value> = (list["components"].as_array().unwrap().iter())
            .map(|component| &component["name"])
            .collect();
        assert_eq!(names, ["deep", "plotly", "used"]);
        assert_eq!(list["components"][0]["hashes"][0]["content"], "ab");
        let licence = &list["components"][2]["licenses"][0]["expression"];
        assert_eq!(licence, "MIT OR Apache-2.0");
        let program = &list["dependencies"][3];
        assert_eq!(program["dependsOn"], json!(["plotly@1.0.0", "used@1.0.0"]));
    }
}
