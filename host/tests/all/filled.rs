//! Clusters whose hooks are filled by the files in `policies/`, in whole or in part.

use crate::cases::Case;
use crate::lab::{self, Affine, Arrival, Script};
use crate::support::root;
use windtunnel_base::record::RunRecord;
use windtunnel_base::request::Source;
use windtunnel_engine::cluster::{Cluster, ClusterConfig};
use windtunnel_plugin_api::{Router, Scheduler};
use windtunnel_policy::{Choice, Hook, PolicyLoader, PolicySpec, Reference};

/// A policy file with values for some of its parameters.
#[derive(Clone, Debug)]
pub(crate) struct File {
    /// Which hook it fills.
    pub(crate) hook: Hook,
    /// Below the project's folder.
    pub(crate) path: String,
    pub(crate) params: Vec<(String, f64)>,
}

/// The file `policies/<hook>/<name>.lua`.
pub(crate) fn file(hook: Hook, name: &str, params: &[(&str, f64)]) -> File {
    File {
        hook,
        path: format!("policies/{hook}/{name}.lua"),
        params: params.iter().map(|(k, v)| ((*k).to_owned(), *v)).collect(),
    }
}

/// The policies, but for the hooks that the files fill.
pub(crate) fn scripted(policies: &PolicySpec, files: &[File]) -> PolicySpec {
    let mut spec = policies.clone();
    let mut loader = PolicyLoader::new(false);
    for File { hook, path, params } in files {
        let script = Reference::Script(root().join(path));
        match loader.load(*hook, &script, &mut |_| params.clone()) {
            Ok(policy @ Choice::External(_)) => spec.set(*hook, policy),
            Ok(policy) => panic!("{path} is the built-in {}", policy.name()),
            Err(e) => panic!("{path}: {e}"),
        }
    }
    spec
}

/// A compiled policy in the place of a built-in.
#[derive(Default)]
pub(crate) struct Compiled {
    pub(crate) router: Option<Box<dyn Router>>,
    /// Makes the scheduler of each instance.
    pub(crate) scheduler: Option<fn() -> Box<dyn Scheduler>>,
}

/// Runs the case, with compiled policies where they are given.
pub(crate) fn run(case: &Case, compiled: Compiled) -> Result<RunRecord, String> {
    let mut script = Script::new(&case.asks);
    let (mut front, mut hooks) = lab::policies(&case.policies, &case.config, script.symbols_mut());
    if let Some(router) = compiled.router {
        front.router = router;
    }
    if let Some(make) = compiled.scheduler {
        hooks.iter_mut().for_each(|hooks| hooks.scheduler = make());
    }
    let cluster = Cluster::new(case.config.clone(), front, hooks, &mut script);
    Ok(lab::run_checked(cluster.map_err(|e| e.to_string())?)?.0)
}

/// Runs `asks` with these files and default built-ins; the run must end without a fault.
pub(crate) fn drive(
    config: ClusterConfig,
    latency: Affine,
    files: &[File],
    asks: &[Arrival],
) -> RunRecord {
    let policies = scripted(&PolicySpec::default(), files);
    let record = lab::run(config, latency, &policies, asks);
    assert_eq!(record.fault, None);
    record
}
