//! From what a run says of its policies to the policies themselves. What is said in the run wins
//! over the bundle that it names.

mod dispatch;
mod named;
mod pool_batching;
mod scale;

use crate::disaggregation_spec::DisaggregationSpec;
use crate::scorers;
use crate::settings::Given;
use crate::spec::{PoliciesSpec, SchedulingPolicySpec};
use windtunnel_base::input::{InputError, LARGEST_SPEC, parse_yaml, read_text_up_to, unknown};
use windtunnel_base::request::Symbols;
use windtunnel_config::autoscale::AutoscaleSpec;
use windtunnel_config::flow_control::FlowControlSpec;
use windtunnel_config::pool::PoolSpec;
use windtunnel_engine::instance::Preset;
use windtunnel_policy::builtin::routing::weighted::parse_scorers;
use windtunnel_policy::builtin::{disaggregation, preemption, priority, scheduler};
use windtunnel_policy::bundle::{Bundle, Section};
use windtunnel_policy::lua::ScriptLog;
use windtunnel_policy::{
    Builder, Choice, ChooseValues, Custom, Hook, Param, PolicyLoader, PolicySpec, Reference, tuned,
};

/// The policies, and notes for people.
pub(crate) struct Chosen {
    pub(crate) spec: PolicySpec,
    pub(crate) notes: Vec<String>,
    /// What its scripts print.
    pub(crate) log: ScriptLog,
}

/// The policy bundle that the run names, if any, with its changes.
///
/// # Errors
/// When the file cannot be read or is wrong, or a change makes it so.
pub(crate) fn bundle(policies: &PoliciesSpec) -> Result<Bundle, InputError> {
    let patches = &policies.config_changes;
    let Some(path) = &policies.config else {
        return Ok(Bundle::default());
    };
    let name = path.display().to_string();
    let text = read_text_up_to(path, LARGEST_SPEC)?;
    if patches.is_empty() {
        return Bundle::parse(&name, &text);
    }
    Bundle::parse(&name, &text)?;
    let mut tree: serde_json::Value = parse_yaml(&name, &text)?;
    for (keys, value) in patches {
        let Some(place) = place(&mut tree, keys) else {
            return Err(InputError::in_file(
                &name,
                format!("there is no place for \"{keys}\""),
            ));
        };
        *place = parse_yaml("", value).map_err(|e| {
            InputError::new(format!("the value \"{value}\" is no YAML: {}", e.message()))
        })?;
    }
    // JSON is YAML: the patched tree goes through the same strict door. It has no lines to point
    // at.
    Bundle::parse(&name, &tree.to_string()).map_err(|e| InputError::in_file(&name, e.message()))
}

/// Where a path of keys leads; sections that are missing are made, items of lists must be there.
fn place<'a>(tree: &'a mut serde_json::Value, keys: &str) -> Option<&'a mut serde_json::Value> {
    use serde_json::Value;
    keys.split('.').try_fold(tree, |at, key| {
        if at.is_null() {
            *at = Value::Object(serde_json::Map::new());
        }
        match at {
            Value::Object(map) => Some(map.entry(key).or_insert(Value::Null)),
            Value::Array(items) => items.get_mut(key.parse::<usize>().ok()?),
            _ => None,
        }
    })
}

/// Finds the policies that run and bundle name.
struct Chooser<'a> {
    policies: &'a PoliciesSpec,
    bundle: Bundle,
    given: &'a Given,
    /// Policies of the calling program.
    custom: &'a [Custom],
    loader: PolicyLoader,
    /// Parameters of the run: hook (if named), name, value, and whether anybody takes it.
    params: Vec<(Option<Hook>, String, f64, bool)>,
    /// Names of all parameters that could be set.
    declared: Vec<String>,
}

/// What the policies of a run depend on besides what is said of them.
pub(crate) struct ClusterFacts<'a> {
    pub(crate) instances: u32,
    pub(crate) rules: Preset,
    /// Some instances prefill for others.
    pub(crate) splits: bool,
    pub(crate) disaggregation: &'a DisaggregationSpec,
    /// As the run has them; none = one pool of which nothing is said.
    pub(crate) pools: &'a [PoolSpec],
    pub(crate) flow_control: &'a FlowControlSpec,
    pub(crate) autoscale: &'a AutoscaleSpec,
    pub(crate) pool_names: &'a [String],
    /// What scripts print is kept.
    pub(crate) keeps_script_log: bool,
    /// Times are in ticks.
    pub(crate) in_ticks: bool,
    /// The clock is that of XpuSim.
    pub(crate) as_xpusim: bool,
}

/// Works out the policies of a run; each of `custom` fills its hook.
pub(crate) fn choose(
    policies: &PoliciesSpec,
    bundle: &Bundle,
    custom: &[Custom],
    given: &Given,
    cluster: &ClusterFacts<'_>,
) -> Result<Chosen, InputError> {
    let (rules, splits) = (cluster.rules, cluster.splits);
    let policies = &with_scheduling_policy(policies, custom)?;
    let mut notes = bundle.notes.clone();
    let log = ScriptLog::new(cluster.keeps_script_log);
    let mut chooser = Chooser {
        policies,
        bundle: bundle.clone(),
        given,
        custom,
        loader: PolicyLoader::new(policies.trusted).with_log(log.clone()),
        params: policies
            .params
            .iter()
            .map(|text| parse_param(text))
            .collect::<Result<_, _>>()?,
        declared: Vec::new(),
    };
    let tenant_budgets = bundle.tenant_budgets.iter();
    let routing = chooser.routing()?;
    let [prefill, decode] = [
        Stage {
            name: "prefill",
            policy: &policies.prefill_routing,
            scorers: &policies.prefill_routing_scorers,
        },
        Stage {
            name: "decode",
            policy: &policies.decode_routing,
            scorers: &policies.decode_routing_scorers,
        },
    ]
    .map(|stage| match splits {
        true => chooser.stage_routing(stage, &routing),
        false => Ok(None),
    });
    let (batching, pool_batching) = chooser.batching(cluster)?;
    let (scale, pool_scale) = chooser.scale(cluster)?;
    let spec = PolicySpec {
        admission: chooser.admission()?,
        tenant_budgets: tenant_budgets
            .map(|(t, share)| (t.clone(), *share))
            .collect(),
        routing,
        prefill_routing: prefill?,
        decode_routing: decode?,
        priority: chooser.priority(rules, &mut notes)?,
        scheduler: chooser.pick(Hook::Scheduler, &policies.scheduler, None)?,
        preemption: chooser.pick(Hook::Preemption, &policies.preemption, None)?,
        disaggregation: chooser.disaggregation(cluster)?,
        dispatch: chooser.dispatch(cluster)?,
        batching,
        pool_batching,
        scale,
        pool_scale,
        slo_priorities: bundle.slo_priorities()?,
    };
    chooser.all_params_taken()?;
    let priorities_read =
        spec.scheduler.may_read_priorities() || spec.preemption.may_read_priorities();
    given.reject_unless(
        &["priority_policy"],
        priorities_read,
        "because nothing reads priorities; choose `scheduler` priority-fcfs or reverse-priority, or `preemption_policy` priority",
    )?;
    let own = custom.iter().find(|policy| policy.hook() == Hook::Priority);
    if let Some(own) = own.filter(|_| !priorities_read) {
        return Err(InputError::new(format!(
            "the program fills priority with \"{}\", and nothing reads priorities; choose `scheduler` \
             priority-fcfs or reverse-priority, or `preemption_policy` priority",
            own.name()
        )));
    }
    let from_files = spec.external().next().is_some();
    let why = "because no policy comes from a file";
    given.reject_unless(&["trusted"], from_files, why)?;
    let may_predict = from_files || !custom.is_empty();
    given.reject_unless(&["output_predictor", "estimate_error"], may_predict, why)?;
    if from_files {
        try_out(&spec, cluster.instances)?;
    }
    Ok(Chosen { spec, notes, log })
}

/// The three hooks that vLLM's scheduling policy fills at once.
fn with_scheduling_policy(
    policies: &PoliciesSpec,
    custom: &[Custom],
) -> Result<PoliciesSpec, InputError> {
    let mut filled = policies.clone();
    let Some(policy) = policies.scheduling_policy else {
        return Ok(filled);
    };
    let own = |hook| custom.iter().any(|policy| policy.hook() == hook);
    let hooks = [
        (Hook::Scheduler, "scheduler", &mut filled.scheduler),
        (Hook::Priority, "priority_policy", &mut filled.priority),
        (
            Hook::Preemption,
            "preemption_policy",
            &mut filled.preemption,
        ),
    ];
    for (hook, setting, chosen) in hooks {
        if chosen.is_some() {
            return Err(InputError::new(format!(
                "give `scheduling_policy` or `{setting}`, not both"
            )));
        }
        if own(hook) {
            return Err(InputError::new(format!(
                "`scheduling_policy` fills {hook}, and so does the program"
            )));
        }
        let built_in = match (policy, hook) {
            (SchedulingPolicySpec::Fcfs, Hook::Scheduler) => scheduler::fcfs::POLICY,
            (SchedulingPolicySpec::Fcfs, Hook::Preemption) => preemption::fcfs::POLICY,
            (SchedulingPolicySpec::Priority, Hook::Scheduler) => scheduler::priority_fcfs::POLICY,
            (SchedulingPolicySpec::Priority, Hook::Preemption) => {
                preemption::priority_first::POLICY
            }
            (SchedulingPolicySpec::Priority, _) => priority::client::POLICY,
            // Nothing reads it.
            (SchedulingPolicySpec::Fcfs, _) => continue,
        };
        *chosen = Some(built_in.name.to_owned());
    }
    Ok(filled)
}

/// Makes every policy once, so that a file that does not run is found before the run.
fn try_out(spec: &PolicySpec, instances: u32) -> Result<(), InputError> {
    let mut symbols = Symbols::default();
    let mut builder = Builder::new(spec, instances, 1, &mut symbols);
    builder.admission()?;
    builder.router()?;
    builder.stage_router(spec.prefill_routing.as_ref(), 0)?;
    builder.stage_router(spec.decode_routing.as_ref(), 1)?;
    builder.disaggregation()?;
    builder.dispatch()?;
    for pool in 0..spec.pool_scale.len().max(1) {
        builder.scale(pool)?;
    }
    builder.priority(0)?;
    builder.scheduler(0)?;
    builder.victim(0)?;
    for pool in 0..spec.pool_batching.len().max(1) {
        builder.batching(pool as u32, pool)?;
    }
    Ok(())
}

/// Reads `name=value` or `hook.name=value`.
fn parse_param(text: &str) -> Result<(Option<Hook>, String, f64, bool), InputError> {
    let wrong = |message: String| InputError::new(format!("`policy_param` {text}: {message}"));
    let (key, value) = text
        .split_once('=')
        .ok_or_else(|| wrong("expected name=value or hook.name=value".into()))?;
    let number = value.trim().parse::<f64>();
    let number = number.map_err(|_| wrong(format!("\"{}\" is not a number", value.trim())))?;
    let Some((hook, name)) = key.trim().split_once('.') else {
        return Ok((None, key.trim().to_owned(), number, false));
    };
    let names = Hook::ALL.map(Hook::name);
    let hook = Hook::parse(hook).ok_or_else(|| wrong(unknown("hook", hook, &names)))?;
    Ok((Some(hook), name.to_owned(), number, false))
}

/// What a run says of the routing at one stage of split requests.
struct Stage<'a> {
    name: &'static str,
    policy: &'a Option<String>,
    scorers: &'a Option<String>,
}

impl Chooser<'_> {
    /// The disaggregation policy. Under the reference's rules it is `never` if nothing is said.
    fn disaggregation(&mut self, cluster: &ClusterFacts<'_>) -> Result<Choice, InputError> {
        let hook = Hook::Disaggregation;
        let said = self.policies.disaggregation.is_some()
            || self.bundle.section(hook).named().is_some()
            || self.custom(hook)?.is_some();
        if said && !cluster.splits {
            return Err(InputError::new(format!(
                "`pd_decider` has no effect {}",
                crate::disaggregation::NOBODY_SPLITS
            )));
        }
        let tokens = cluster.disaggregation.prefix_threshold;
        let tokens = tokens.map(|tokens| ("tokens".to_owned(), tokens.into()));
        let settings = Some(("prefix-threshold", tokens.into_iter().collect()));
        let choice = match !said && cluster.rules == Preset::Blis {
            true => (&disaggregation::constant::NEVER).into(),
            false => self.pick(hook, &self.policies.disaggregation.clone(), settings)?,
        };
        self.given.reject_unless(
            &["pd_prefix_threshold"],
            choice.is_built_in("prefix-threshold"),
            "without `pd_decider` prefix-threshold",
        )?;
        Ok(choice)
    }

    /// The router of a stage: the run's, else the bundle's.
    fn stage_routing(
        &mut self,
        stage: Stage<'_>,
        whole: &Choice,
    ) -> Result<Option<Choice>, InputError> {
        let Stage {
            name,
            policy,
            scorers,
        } = stage;
        let scorers = scorers.as_deref().map(parse_scorers).transpose()?;
        if policy.is_none() && scorers.is_none() {
            let section = match name {
                "prefill" => self.bundle.prefill_routing.clone(),
                _ => self.bundle.decode_routing.clone(),
            };
            return match section.named() {
                Some(_) => self.of_section(Hook::Routing, &section).map(Some),
                None => Ok(None),
            };
        }
        let reference = policy.as_deref().map(Reference::parse);
        if scorers.is_none()
            && let Some(reference) = reference
        {
            return self.load(Hook::Routing, &reference, Vec::new()).map(Some);
        }
        let weighted = match &reference {
            Some(reference) => *reference == Reference::Name("weighted".to_owned()),
            None => whole.is_built_in("weighted"),
        };
        if !weighted {
            return Err(InputError::new(format!(
                "`{name}_routing_scorers` has no effect with routing policy \"{}\"; it belongs to \
                 `{name}_routing_policy` weighted",
                policy.as_deref().unwrap_or(whole.name())
            )));
        }
        let values = scorers.unwrap_or_default();
        Choice::built_in(Hook::Routing, "weighted", &values).map(Some)
    }

    /// The policy of the calling program, else the run's, else the bundle's, else the default.
    /// `settings` are the values that the run gives to the parameters of a built-in policy; they
    /// win over the bundle's.
    fn pick(
        &mut self,
        hook: Hook,
        chosen: &Option<String>,
        settings: Option<(&str, Vec<(String, f64)>)>,
    ) -> Result<Choice, InputError> {
        if let Some(policy) = self.custom(hook)? {
            return Ok(policy.clone().into());
        }
        let section = self.bundle.section(hook);
        let reference = match chosen {
            Some(name) => Reference::parse(name),
            None => section.reference(hook).from_folder(&self.bundle.folder),
        };
        let mut values = section.values_for(hook, &reference)?;
        if chosen.is_none() && section.named().is_some() {
            values.extend(section.params.iter().map(|(n, v)| (n.clone(), *v)));
        }
        if let Some((policy, more)) = settings
            && let Reference::Name(name) = &reference
            && (name == policy || tuned::find(hook, name).is_some_and(|t| t.policy == policy))
        {
            values.extend(more);
        }
        self.load(hook, &reference, values)
    }

    /// The policy that a section of the bundle names.
    fn of_section(&mut self, hook: Hook, section: &Section) -> Result<Choice, InputError> {
        let reference = section.reference(hook).from_folder(&self.bundle.folder);
        let mut values = section.values_for(hook, &reference)?;
        values.extend(section.params.iter().map(|(n, v)| (n.clone(), *v)));
        self.load(hook, &reference, values)
    }

    /// The policy that `reference` names, with these values and those that the run gives to its
    /// parameters.
    fn load(
        &mut self,
        hook: Hook,
        reference: &Reference,
        values: Vec<(String, f64)>,
    ) -> Result<Choice, InputError> {
        self.load_with(hook, reference, &mut |_| values.clone())
    }

    /// The same, with values that depend on what the policy declares.
    fn load_with(
        &mut self,
        hook: Hook,
        reference: &Reference,
        own: ChooseValues<'_>,
    ) -> Result<Choice, InputError> {
        let (params, names) = (&mut self.params, &mut self.declared);
        self.loader
            .load(hook, reference, &mut |declared: &[Param]| {
                names.extend(declared.iter().map(|p| format!("{hook}.{}", p.name)));
                let mut values = own(declared);
                for (of, name, value, taken) in params.iter_mut() {
                    let meant =
                        of.map_or(declared.iter().any(|p| p.name == *name), |of| of == hook);
                    if meant {
                        *taken = true;
                        values.push((name.clone(), *value));
                    }
                }
                values
            })
    }

    /// The calling program's policy for `hook`; a run that names another contradicts it.
    fn custom(&self, hook: Hook) -> Result<Option<&Custom>, InputError> {
        let mut found = self.custom.iter().filter(|policy| policy.hook() == hook);
        let Some(policy) = found.next() else {
            return Ok(None);
        };
        if let Some(other) = found.next() {
            return Err(InputError::new(format!(
                "the program fills {hook} with both \"{}\" and \"{}\"",
                policy.name(),
                other.name()
            )));
        }
        let setting = match hook {
            Hook::Admission => "admission_policy",
            Hook::Routing => "routing_policy",
            Hook::Priority => "priority_policy",
            Hook::Scheduler => "scheduler",
            Hook::Preemption => "preemption_policy",
            Hook::Disaggregation => "pd_decider",
            Hook::Batching => "batching_strategy",
            Hook::Dispatch => "dispatch_order",
            Hook::Scale => "autoscale",
        };
        let because = format!(
            "because the program fills {hook} with \"{}\"",
            policy.name()
        );
        self.given.reject_unless(&[setting], false, &because)?;
        Ok(Some(policy))
    }

    fn all_params_taken(&self) -> Result<(), InputError> {
        let Some((hook, name, ..)) = self.params.iter().find(|(.., taken)| !taken) else {
            return Ok(());
        };
        let asked = hook.map_or(name.clone(), |hook| format!("{hook}.{name}"));
        Err(if self.declared.is_empty() {
            InputError::new(format!(
                "`policy_param` {asked}: no policy of this run declares parameters"
            ))
        } else {
            let names: Vec<&str> = self.declared.iter().map(String::as_str).collect();
            InputError::unknown("parameter", &asked, &names).about("`policy_param`")
        })
    }

    fn priority(&mut self, rules: Preset, notes: &mut Vec<String>) -> Result<Choice, InputError> {
        let choice = self.pick(Hook::Priority, &self.policies.priority, None)?;
        if rules == Preset::Blis
            && self.policies.priority.is_none()
            && choice.is_built_in(priority::constant::POLICY.name)
        {
            notes.push(
                "the bundle's priority policy \"constant\" means slo-class under blis rules, as in the reference; \
                 give `priority_policy` constant to make all requests equal"
                    .into(),
            );
            return Ok((&priority::slo_class::POLICY).into());
        }
        Ok(choice)
    }

    fn admission(&mut self) -> Result<Choice, InputError> {
        let policies = self.policies;
        let positive = |name: &str, value: Option<f64>| match value {
            Some(x) if !(x.is_finite() && x > 0.0) => Err(InputError::new(format!(
                "{name} must be a positive number, found {x}"
            ))),
            value => Ok(value),
        };
        let given = [
            (
                "capacity",
                positive("`token_bucket_capacity`", policies.token_bucket_capacity),
            ),
            (
                "refill_rate",
                positive(
                    "`token_bucket_refill_rate`",
                    policies.token_bucket_refill_rate,
                ),
            ),
        ];
        let sound = given.iter().filter_map(|(name, value)| {
            let value = value.as_ref().ok()?;
            Some(((*name).to_owned(), (*value)?))
        });
        let settings = Some(("token-bucket", sound.collect()));
        let choice = self.pick(Hook::Admission, &policies.admission, settings)?;
        let policy = choice.name();
        self.given.reject_unless(
            &["token_bucket_capacity", "token_bucket_refill_rate"],
            policy == "token-bucket",
            &format!(
                "with admission policy \"{policy}\"; it belongs to `admission_policy` token-bucket"
            ),
        )?;
        for (_, value) in given {
            value?;
        }
        Ok(choice)
    }

    fn routing(&mut self) -> Result<Choice, InputError> {
        let policies = self.policies;
        let scorers = scorers::given(policies, &self.bundle);
        let scorers = scorers.as_deref().map(parse_scorers);
        let two_weights = [
            ("cache_weight", policies.routing_cache_weight),
            ("load_weight", policies.routing_load_weight),
        ];
        let two_weights = two_weights.map(|(name, value)| Some((name.to_owned(), value?)));
        let any_weight = two_weights.iter().any(Option::is_some);
        // What the run gives takes the place of all scorers in the bundle.
        let settings = match &scorers {
            Some(scorers) => {
                self.bundle.routing.scorers.clear();
                self.bundle.routing.settings.clear();
                scorers.as_ref().map_or(Vec::new(), Clone::clone)
            }
            None if any_weight => {
                self.bundle.routing.scorers.clear();
                two_weights.into_iter().flatten().collect()
            }
            None => Vec::new(),
        };
        let settings = Some(("weighted", settings));
        let choice = self.pick(Hook::Routing, &policies.routing, settings)?;
        self.given.reject_unless(
            &[
                "routing_scorers",
                "lora_scorer_weight",
                "routing_cache_weight",
                "routing_load_weight",
            ],
            choice.is_built_in("weighted"),
            &format!(
                "with routing policy \"{}\"; it belongs to `routing_policy` weighted",
                choice.name()
            ),
        )?;
        if any_weight && scorers.is_some() {
            return Err(InputError::new(
                "give `routing_scorers` or `routing_cache_weight` and `routing_load_weight`, not both",
            ));
        }
        scorers.transpose()?;
        Ok(choice)
    }
}
