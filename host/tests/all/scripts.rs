//! Clusters whose hooks are filled by the files in `policies/`, in whole or in part.

use crate::cases::Case;
use crate::lab::{self, Affine, Ask, Script};
use crate::support::root;
use std::sync::Arc;
use windtunnel::cluster::{Cluster, ClusterConfig, FrontEndPolicies};
use windtunnel::instance::InstanceHooks;
use windtunnel::latency::LatencyModel;
use windtunnel::policy::lua::{Facts, Loader, Program};
use windtunnel::policy::{Hook, PolicySpec};
use windtunnel::record::RunRecord;
use windtunnel::request::Source;
use windtunnel_plugin_api::{Router, Scheduler};

/// A policy file with values for some of its parameters.
#[derive(Clone, Debug)]
pub(crate) struct File {
    /// Which hook it fills.
    pub(crate) hook: Hook,
    /// Below `policies/`.
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

impl File {
    fn program(&self) -> Arc<Program> {
        let program = Program::load(&root().join(&self.path), &self.params, false);
        Arc::new(program.unwrap_or_else(|e| panic!("{}: {e}", self.path)))
    }
}

/// A compiled policy in the place of a built-in.
#[derive(Default)]
pub(crate) struct Compiled {
    pub(crate) router: Option<Box<dyn Router>>,
    /// Makes the scheduler of each instance.
    pub(crate) scheduler: Option<fn() -> Box<dyn Scheduler>>,
}

/// Runs the case with its built-ins, but for the hooks that files or compiled policies fill.
pub(crate) fn run(case: &Case, files: &[File], compiled: Compiled) -> Result<RunRecord, String> {
    let Case {
        config, policies, ..
    } = case;
    let mut script = Script::new(&case.asks);
    let mut front = lab::front(policies, config, script.symbols_mut());
    let mut hooks = lab::hooks(policies, config.instances);
    if let Some(router) = compiled.router {
        front.router = router;
    }
    if let Some(scheduler) = compiled.scheduler {
        hooks.iter_mut().for_each(|h| h.scheduler = scheduler());
    }
    fill(files, config, &mut script, &mut front, &mut hooks);
    let latency: Arc<dyn LatencyModel> = Arc::new(case.latency);
    let cluster = Cluster::new(config.clone(), &latency, front, hooks, &mut script);
    Ok(lab::run_checked(cluster)?.0)
}

fn fill(
    files: &[File],
    config: &ClusterConfig,
    script: &mut Script,
    front: &mut FrontEndPolicies,
    hooks: &mut [InstanceHooks],
) {
    let mut loader = Loader::new(Facts {
        instances: config.instances,
        slots: u64::from(config.instances) * u64::from(config.engine.max_running),
    });
    for file in files {
        let program = file.program();
        let symbols = &mut |name: &str| script.symbols_mut().intern(name).0;
        let fault = |e| panic!("{}: {e}", file.path);
        match file.hook {
            Hook::Admission => {
                front.admission = loader.admission(&program, symbols).unwrap_or_else(fault);
            }
            Hook::Routing => {
                front.router = loader.router(&program, symbols).unwrap_or_else(fault);
            }
            Hook::Priority | Hook::Scheduler | Hook::Preemption => {
                for (i, hooks) in (0..).zip(hooks.iter_mut()) {
                    match file.hook {
                        Hook::Priority => {
                            hooks.priority =
                                loader.priority(&program, i, symbols).unwrap_or_else(fault);
                        }
                        Hook::Scheduler => {
                            hooks.scheduler =
                                loader.scheduler(&program, i, symbols).unwrap_or_else(fault);
                        }
                        _ => {
                            hooks.victim =
                                loader.victim(&program, i, symbols).unwrap_or_else(fault);
                        }
                    }
                }
            }
        }
    }
}

/// Runs `asks` with these files and default built-ins; the run must end without a fault.
pub(crate) fn drive(
    config: ClusterConfig,
    latency: Affine,
    files: &[File],
    asks: &[Ask],
) -> RunRecord {
    let case = Case {
        asks: asks.to_vec(),
        config,
        latency,
        policies: PolicySpec::default(),
    };
    let record = run(&case, files, Compiled::default()).expect("the invariants hold");
    assert_eq!(record.fault, None);
    record
}
