//! From flags and policy bundle to the policies of a run. A flag given explicitly wins over the
//! bundle.

use super::args::{ClusterArgs, EngineArgs};
use super::effects::Explicit;
use windtunnel_base::input::{InputError, parse_yaml, read_text, unknown};
use windtunnel_base::request::Symbols;
use windtunnel_engine::cluster::Predictor;
use windtunnel_engine::instance::Preset;
use windtunnel_policy::builtin::priority;
use windtunnel_policy::builtin::routing::weighted::parse_scorers;
use windtunnel_policy::bundle::Bundle;
use windtunnel_policy::{Builder, Choice, Hook, Param, PolicyLoader, PolicySpec, Reference};

/// The policies, and notes for people.
pub struct Chosen {
    pub spec: PolicySpec,
    pub predictor: Option<Predictor>,
    pub notes: Vec<String>,
}

/// The policy bundle, if there is one, with `patches` applied.
///
/// # Errors
/// When the file cannot be read or is wrong, or a patch makes it so.
pub fn bundle(cluster: &ClusterArgs, patches: &[(String, String)]) -> Result<Bundle, InputError> {
    let Some(path) = &cluster.policy_config else {
        return Ok(Bundle::default());
    };
    let name = path.display().to_string();
    let text = read_text(path)?;
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

/// Finds the policies that flags and bundle name.
struct Chooser<'a> {
    cluster: &'a ClusterArgs,
    bundle: Bundle,
    explicit: &'a Explicit,
    loader: PolicyLoader,
    /// Parameters by flag: hook (if named), name, value, and whether anybody takes it.
    params: Vec<(Option<Hook>, String, f64, bool)>,
    /// Names of all parameters that could be set.
    declared: Vec<String>,
}

/// Works out the policies of a run under the given rules.
pub fn choose(
    cluster: &ClusterArgs,
    engine: &EngineArgs,
    bundle: &Bundle,
    explicit: &Explicit,
    rules: Preset,
) -> Result<Chosen, InputError> {
    let mut notes = Vec::new();
    let mut chooser = Chooser {
        cluster,
        bundle: bundle.clone(),
        explicit,
        loader: PolicyLoader::new(cluster.trusted),
        params: cluster
            .policy_param
            .iter()
            .map(|text| parse_param(text))
            .collect::<Result<_, _>>()?,
        declared: Vec::new(),
    };
    let tenant_budgets = bundle.tenant_budgets.iter();
    let spec = PolicySpec {
        admission: chooser.admission()?,
        tenant_budgets: tenant_budgets
            .map(|(t, share)| (t.clone(), *share))
            .collect(),
        routing: chooser.routing()?,
        priority: chooser.priority(engine, rules, &mut notes)?,
        scheduler: chooser.pick(Hook::Scheduler, &engine.scheduler, None)?,
        preemption: chooser.pick(Hook::Preemption, &engine.preemption_policy, None)?,
        slo_priorities: bundle.slo_priorities()?,
    };
    chooser.all_params_taken()?;
    let priorities_read =
        spec.scheduler.may_read_priorities() || spec.preemption.may_read_priorities();
    explicit.need(
        &["priority_policy"],
        priorities_read,
        "because nothing reads priorities; choose --scheduler priority-fcfs or reverse-priority, or --preemption-policy priority",
    )?;
    let from_files = spec.external().next().is_some();
    explicit.need(
        &["trusted", "output_predictor"],
        from_files,
        "because no policy comes from a file",
    )?;
    if from_files {
        try_out(&spec, cluster)?;
    }
    let predictor = cluster.output_predictor.as_deref().map(str::parse);
    Ok(Chosen {
        spec,
        predictor: predictor.transpose()?,
        notes,
    })
}

/// Makes every policy once, so that a file that does not run is found before the run.
fn try_out(spec: &PolicySpec, cluster: &ClusterArgs) -> Result<(), InputError> {
    let mut symbols = Symbols::default();
    let mut builder = Builder::new(spec, cluster.num_instances, 1, &mut symbols);
    builder.admission()?;
    builder.router()?;
    builder.priority(0)?;
    builder.scheduler(0)?;
    builder.victim(0)?;
    Ok(())
}

/// Reads `name=value` or `hook.name=value`.
fn parse_param(text: &str) -> Result<(Option<Hook>, String, f64, bool), InputError> {
    let wrong = |message: String| InputError::new(format!("--policy-param {text}: {message}"));
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

impl Chooser<'_> {
    /// The flag's policy, else the bundle's, else the default. `by_flags` are the values that other
    /// flags give to the parameters of a built-in policy; they win over the bundle's.
    fn pick(
        &mut self,
        hook: Hook,
        flag: &Option<String>,
        by_flags: Option<(&str, Vec<(String, f64)>)>,
    ) -> Result<Choice, InputError> {
        let section = self.bundle.section(hook);
        let reference = match flag {
            Some(flag) => Reference::parse(flag),
            None => section.reference(hook).from_folder(&self.bundle.folder),
        };
        let mut values = self.bundle.reference_values(hook, &reference)?;
        if flag.is_none() && section.named().is_some() {
            values.extend(section.params.iter().map(|(n, v)| (n.clone(), *v)));
        }
        if let Some((policy, flags)) = by_flags
            && reference == Reference::Name(policy.to_owned())
        {
            values.extend(flags);
        }
        let (params, names) = (&mut self.params, &mut self.declared);
        self.loader
            .load(hook, &reference, &mut |declared: &[Param]| {
                names.extend(declared.iter().map(|p| format!("{hook}.{}", p.name)));
                for (of, name, value, taken) in params.iter_mut() {
                    let meant =
                        of.map_or(declared.iter().any(|p| p.name == *name), |of| of == hook);
                    if meant {
                        *taken = true;
                        values.push((name.clone(), *value));
                    }
                }
                values.clone()
            })
    }

    fn all_params_taken(&self) -> Result<(), InputError> {
        let Some((hook, name, ..)) = self.params.iter().find(|(.., taken)| !taken) else {
            return Ok(());
        };
        let asked = hook.map_or(name.clone(), |hook| format!("{hook}.{name}"));
        Err(InputError::new(if self.declared.is_empty() {
            format!("--policy-param {asked}: no policy of this run declares parameters")
        } else {
            let names: Vec<&str> = self.declared.iter().map(String::as_str).collect();
            format!("--policy-param: {}", unknown("parameter", &asked, &names))
        }))
    }

    fn priority(
        &mut self,
        engine: &EngineArgs,
        rules: Preset,
        notes: &mut Vec<String>,
    ) -> Result<Choice, InputError> {
        let choice = self.pick(Hook::Priority, &engine.priority_policy, None)?;
        if rules == Preset::Blis
            && engine.priority_policy.is_none()
            && choice.is_built_in(priority::constant::POLICY.name)
        {
            notes.push(
                "the bundle's priority policy \"constant\" means slo-class under blis rules, as in the reference; \
                 give --priority-policy constant to make all requests equal"
                    .into(),
            );
            return Ok((&priority::slo_class::POLICY).into());
        }
        Ok(choice)
    }

    fn admission(&mut self) -> Result<Choice, InputError> {
        let cluster = self.cluster;
        let positive = |flag: &str, value: Option<f64>| match value {
            Some(x) if !(x.is_finite() && x > 0.0) => Err(InputError::new(format!(
                "{flag} must be a positive number, found {x}"
            ))),
            value => Ok(value),
        };
        let flags = [
            (
                "capacity",
                positive("--token-bucket-capacity", cluster.token_bucket_capacity),
            ),
            (
                "refill_rate",
                positive(
                    "--token-bucket-refill-rate",
                    cluster.token_bucket_refill_rate,
                ),
            ),
        ];
        let sound = flags.iter().filter_map(|(name, value)| {
            let value = value.as_ref().ok()?;
            Some(((*name).to_owned(), (*value)?))
        });
        let by_flags = Some(("token-bucket", sound.collect()));
        let choice = self.pick(Hook::Admission, &cluster.admission_policy, by_flags)?;
        let policy = choice.name();
        self.explicit.need(
            &["token_bucket_capacity", "token_bucket_refill_rate"],
            policy == "token-bucket",
            &format!(
                "with admission policy \"{policy}\"; it belongs to --admission-policy token-bucket"
            ),
        )?;
        for (_, value) in flags {
            value?;
        }
        Ok(choice)
    }

    fn routing(&mut self) -> Result<Choice, InputError> {
        let cluster = self.cluster;
        let scorers = cluster.routing_scorers.as_deref().map(parse_scorers);
        let two_weights = [
            ("cache_weight", cluster.routing_cache_weight),
            ("load_weight", cluster.routing_load_weight),
        ];
        let two_weights = two_weights.map(|(name, value)| Some((name.to_owned(), value?)));
        let any_weight = two_weights.iter().any(Option::is_some);
        // What a flag gives takes the place of all scorers in the bundle.
        let by_flags = match &scorers {
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
        let by_flags = Some(("weighted", by_flags));
        let choice = self.pick(Hook::Routing, &cluster.routing_policy, by_flags)?;
        self.explicit.need(
            &[
                "routing_scorers",
                "routing_cache_weight",
                "routing_load_weight",
            ],
            choice.is_built_in("weighted"),
            &format!(
                "with routing policy \"{}\"; it belongs to --routing-policy weighted",
                choice.name()
            ),
        )?;
        if any_weight && scorers.is_some() {
            return Err(InputError::new(
                "give --routing-scorers or --routing-cache-weight and --routing-load-weight, not both",
            ));
        }
        scorers.transpose()?;
        Ok(choice)
    }
}
