//! From flags and policy bundle to the policies of a run. A flag given explicitly wins over the
//! bundle.

use super::args::{ClusterArgs, EngineArgs};
use super::effects::Explicit;
use windtunnel_base::input::{InputError, parse_yaml, read_text, unknown};
use windtunnel_base::request::Symbols;
use windtunnel_engine::frontend::Predictor;
use windtunnel_engine::instance::Preset;
use windtunnel_policy::bundle::{Bundle, Params, no_params};
use windtunnel_policy::{
    AdmissionSpec, Builder, Choice, Hook, Opener, Param, PolicySpec, Reference, RoutingSpec,
    parse_scorers,
};

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
    bundle: &'a Bundle,
    explicit: &'a Explicit,
    opener: Opener,
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
        bundle,
        explicit,
        opener: Opener::new(cluster.trusted),
        params: cluster
            .policy_param
            .iter()
            .map(|text| parse_param(text))
            .collect::<Result<_, _>>()?,
        declared: Vec::new(),
    };
    let tenant_budgets = bundle.tenant_budgets.iter();
    let keys = &bundle.scheduler.0;
    let spec = PolicySpec {
        admission: chooser.admission()?,
        tenant_budgets: tenant_budgets
            .map(|(t, share)| (t.clone(), *share))
            .collect(),
        routing: chooser.routing()?,
        priority: chooser.priority(engine, rules, &mut notes)?,
        scheduler: chooser.pick(
            Hook::Scheduler,
            &engine.scheduler,
            &keys.policy,
            &keys.params,
            "fcfs",
        )?,
        preemption: chooser.pick(
            Hook::Preemption,
            &engine.preemption_policy,
            &bundle.preemption.policy,
            &bundle.preemption.params,
            "fcfs",
        )?,
        slo_priorities: bundle.slo_priorities()?,
    };
    chooser.all_params_taken()?;
    let reads_priorities = |choice: &Choice| match choice {
        Choice::Named(name) => name.contains("priority"),
        Choice::External(_) => true,
    };
    let priorities_read = reads_priorities(&spec.scheduler) || reads_priorities(&spec.preemption);
    explicit.reject_unless(
        &["priority_policy"],
        priorities_read,
        "because nothing reads priorities; choose --scheduler priority-fcfs or reverse-priority, or --preemption-policy priority",
    )?;
    let from_files = spec.external().next().is_some();
    explicit.reject_unless(
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
    /// The flag's policy, else the bundle's, else the default.
    fn pick(
        &mut self,
        hook: Hook,
        flag: &Option<String>,
        bundled: &Option<String>,
        bundled_params: &Params,
        default: &str,
    ) -> Result<Choice, InputError> {
        let bundled = bundled.as_deref().filter(|name| !name.is_empty());
        let from_bundle = flag.is_none() && bundled.is_some();
        let reference = match (flag.as_deref(), bundled) {
            (Some(flag), _) => Reference::parse(flag),
            (None, Some(name)) => Reference::parse(name).from_folder(&self.bundle.folder),
            (None, None) => Reference::Name(default.to_owned()),
        };
        let (params, names) = (&mut self.params, &mut self.declared);
        let mut given = |declared: &[Param]| {
            names.extend(declared.iter().map(|p| format!("{hook}.{}", p.name)));
            let mut values: Vec<(String, f64)> = Vec::new();
            if from_bundle {
                values.extend(bundled_params.iter().map(|(n, v)| (n.clone(), *v)));
            }
            for (of, name, value, taken) in params.iter_mut() {
                let meant = of.map_or(declared.iter().any(|p| p.name == *name), |of| of == hook);
                if meant {
                    *taken = true;
                    values.push((name.clone(), *value));
                }
            }
            values
        };
        let choice = self.opener.open(hook, &reference, &mut given)?;
        if let (Choice::Named(name), true) = (&choice, from_bundle && !bundled_params.is_empty()) {
            return Err(no_params(hook, name));
        }
        Ok(choice)
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
        let keys = &self.bundle.priority;
        let choice = self.pick(
            Hook::Priority,
            &engine.priority_policy,
            &keys.policy,
            &keys.params,
            "slo-class",
        )?;
        let constant = choice == Choice::from("constant");
        if rules == Preset::Blis && engine.priority_policy.is_none() && constant {
            notes.push(
                "the bundle's priority policy \"constant\" means slo-class under blis rules, as in the reference; \
                 give --priority-policy constant to make all requests equal"
                    .into(),
            );
            return Ok("slo-class".into());
        }
        Ok(choice)
    }

    fn admission(&mut self) -> Result<AdmissionSpec, InputError> {
        let (cluster, keys) = (self.cluster, &self.bundle.admission);
        let choice = self.pick(
            Hook::Admission,
            &cluster.admission_policy,
            &keys.policy,
            &keys.params,
            "always-admit",
        )?;
        let policy = choice.name().to_owned();
        self.explicit.reject_unless(
            &["token_bucket_capacity", "token_bucket_refill_rate"],
            policy == "token-bucket",
            &format!(
                "with admission policy \"{policy}\"; it belongs to --admission-policy token-bucket"
            ),
        )?;
        let positive = |flag: &str, value: Option<f64>| match value {
            Some(x) if !(x.is_finite() && x > 0.0) => Err(InputError::new(format!(
                "{flag} must be a positive number, found {x}"
            ))),
            value => Ok(value),
        };
        let capacity = positive("--token-bucket-capacity", cluster.token_bucket_capacity)?;
        let rate = positive(
            "--token-bucket-refill-rate",
            cluster.token_bucket_refill_rate,
        )?;
        let mut keys = keys.clone();
        keys.token_bucket_capacity = capacity.or(keys.token_bucket_capacity);
        keys.token_bucket_refill_rate = rate.or(keys.token_bucket_refill_rate);
        Ok(AdmissionSpec::of(choice, &keys))
    }

    fn routing(&mut self) -> Result<RoutingSpec, InputError> {
        let (cluster, keys) = (self.cluster, &self.bundle.routing);
        let choice = self.pick(
            Hook::Routing,
            &cluster.routing_policy,
            &keys.policy,
            &keys.params,
            "round-robin",
        )?;
        let policy = choice.name().to_owned();
        self.explicit.reject_unless(
            &[
                "routing_scorers",
                "routing_cache_weight",
                "routing_load_weight",
            ],
            choice == Choice::from("weighted"),
            &format!("with routing policy \"{policy}\"; it belongs to --routing-policy weighted"),
        )?;
        let two_weight_flags =
            cluster.routing_cache_weight.is_some() || cluster.routing_load_weight.is_some();
        if two_weight_flags && cluster.routing_scorers.is_some() {
            return Err(InputError::new(
                "give --routing-scorers or --routing-cache-weight and --routing-load-weight, not both",
            ));
        }
        if let Some(text) = &cluster.routing_scorers {
            return Ok(RoutingSpec::Weighted(parse_scorers(text)?));
        }
        let mut keys = keys.clone();
        if two_weight_flags {
            keys.scorers.clear();
            keys.cache_weight = cluster.routing_cache_weight.or(keys.cache_weight);
            keys.load_weight = cluster.routing_load_weight.or(keys.load_weight);
        }
        RoutingSpec::of(choice, &keys)
    }
}
