//! How the engines of a run form their batches: `batching_strategy` of a pool names a policy of the
//! hook `batching`, with values for its parameters.

use serde_json::{Map, Number, Value, json};
use windtunnel_base::input::{InputError, unknown};
use windtunnel_config::pool::EngineSpec;
use windtunnel_engine::cluster::PoolConfig;
use windtunnel_engine::instance::EngineConfig;
use windtunnel_policy::registry::{built_in, default_policy};
use windtunnel_policy::{Choice, Hook, Param, PolicySpec, Reference};

/// What `batching_strategy` says.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Named {
    pub(crate) reference: Reference,
    /// Values of parameters, as written.
    params: Vec<(String, String)>,
}

/// A parameter whose name ends so is a time in microseconds. In a strategy's text it has the name
/// without that, and its value a unit.
const TIME: &str = "_us";

/// Is it a time?
pub(crate) fn is_time(param: &Param) -> bool {
    param.name.ends_with(TIME)
}

/// How reports show the times of a strategy.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Times {
    /// In microseconds, for which the engine's clock shows so many units each.
    Microseconds(i64),
    /// In ticks of so many microseconds.
    Ticks(i64),
}

impl Named {
    /// Reads `NAME[:param=value,...]`, or a file in place of the name; one of a library may have a
    /// policy's name behind it.
    ///
    /// # Errors
    /// What stands behind the colon is no list of values.
    pub(crate) fn parse(text: &str) -> Result<Self, InputError> {
        let text = text.trim();
        let (name, params) = match text.rsplit_once(':') {
            Some((file, params)) if params.contains('=') => (file, Some(params)),
            _ => match Reference::parse(text) {
                Reference::Name(_) => match text.split_once(':') {
                    Some((name, params)) => (name, Some(params)),
                    None => (text, None),
                },
                Reference::Script(_) | Reference::Plugin(..) => (text, None),
            },
        };
        let name = name.trim();
        let mut seen: Vec<(String, String)> = Vec::new();
        for part in params.into_iter().flat_map(|params| params.split(',')) {
            let Some((key, value)) = part.split_once('=') else {
                return Err(InputError::new(format!(
                    "batching strategy {name}: found \"{part}\"; expected param=value"
                )));
            };
            let key = key.trim();
            if seen.iter().any(|(known, _)| known == key) {
                return Err(InputError::new(format!(
                    "batching strategy {name}: {key} is given twice"
                )));
            }
            seen.push((key.to_owned(), value.trim().to_owned()));
        }
        Ok(Self {
            reference: Reference::parse(name),
            params: seen,
        })
    }

    /// What the pool's engine is told.
    ///
    /// # Errors
    /// As [`parse`](Self::parse); the message names the setting.
    pub(crate) fn of(engine: &EngineSpec) -> Result<Option<Self>, InputError> {
        let text = engine.batching_strategy.as_deref();
        text.map(Self::parse).transpose().map_err(in_setting)
    }

    /// The name of the built-in strategy, if it is one.
    fn built_in(&self) -> Option<&str> {
        match &self.reference {
            Reference::Name(name) => built_in(Hook::Batching, name).map(|policy| policy.name),
            Reference::Script(_) | Reference::Plugin(..) => None,
        }
    }

    fn shown(&self) -> String {
        match &self.reference {
            Reference::Name(name) => name.clone(),
            Reference::Script(path) => path.display().to_string(),
            Reference::Plugin(path, name) => match name {
                Some(name) => format!("{}:{name}", path.display()),
                None => path.display().to_string(),
            },
        }
    }

    /// The values of parameters, of those that the policy declares; `time_us` reads a time.
    ///
    /// # Errors
    /// A parameter that it does not declare, or a wrong value.
    pub(crate) fn values(
        &self,
        declared: &[Param],
        time_us: impl Fn(&str) -> Result<i64, InputError>,
    ) -> Result<Vec<(String, f64)>, InputError> {
        let named = self.shown();
        let given = self.params.iter();
        given
            .map(|(key, text)| {
                let wrong = |expected: &str| {
                    InputError::new(format!(
                        "batching strategy {named}: {key} is \"{text}\"; expected {expected}"
                    ))
                };
                if let Some(time) = declared
                    .iter()
                    .find(|p| p.name.strip_suffix(TIME) == Some(key))
                {
                    let us = time_us(text).map_err(|e| wrong(e.message()))?;
                    return Ok((time.name.to_string(), us as f64));
                }
                let Some(param) = declared.iter().find(|p| p.name == *key) else {
                    return Err(unknown_param(&named, key, declared));
                };
                let value = text.parse::<f64>().map_err(|_| wrong("a number"))?;
                param.allows(value).map_err(|expected| wrong(&expected))?;
                Ok((key.clone(), value))
            })
            .collect()
    }
}

fn unknown_param(named: &str, key: &str, declared: &[Param]) -> InputError {
    let valid: Vec<&str> = declared
        .iter()
        .map(|p| p.name.strip_suffix(TIME).unwrap_or(&p.name))
        .collect();
    InputError::new(if valid.is_empty() {
        format!("batching strategy {named} has no parameters, found \"{key}\"")
    } else {
        unknown(&format!("parameter of {named}"), key, &valid)
    })
}

/// The same error about `batching_strategy`, unless it is about a file.
pub(crate) fn in_setting(e: InputError) -> InputError {
    if e.file().is_some() {
        return e;
    }
    InputError::new(format!("`batching_strategy`: {}", e.message()))
}

/// Is it vLLM's own?
pub(crate) fn is_continuous(choice: &Choice) -> bool {
    choice.is_built_in(default_policy(Hook::Batching).name)
}

/// Prepares an engine, whose rules and limits are decided, for the strategy that its pool names: an
/// engine with another than the default chooses a step when the last one is over, unless it is told
/// otherwise.
///
/// # Errors
/// Settings that contradict the strategy.
pub(crate) fn configure(engine: &mut EngineConfig, spec: &EngineSpec) -> Result<(), InputError> {
    let Some(named) = Named::of(spec)? else {
        return Ok(());
    };
    let built_in = named.built_in();
    if built_in == Some(default_policy(Hook::Batching).name) {
        return Ok(());
    }
    let with = |name: &str, why: &str| {
        InputError::new(format!(
            "`{name}` does not go with `batching_strategy` {}: {why}",
            named.shown()
        ))
    };
    if engine.scheduling.speculation.is_on() {
        return Err(with("num_speculative_tokens", DRAFTS));
    }
    let own_rules = built_in.is_some();
    if own_rules && spec.async_scheduling == Some(true) {
        return Err(with(
            "async_scheduling",
            "it forms a batch when it knows what the step before left of the last one",
        ));
    }
    if own_rules && engine.scheduling.adaptive_long_prefill_threshold {
        return Err(with(
            "long_prefill_token_threshold_adaptive",
            "vLLM's continuous batching alone reads it",
        ));
    }
    let chunk = built_in == Some("chunked-context");
    if chunk && spec.long_prefill_token_threshold.is_some() {
        return Err(with(
            "long_prefill_token_threshold",
            "its `chunk` says how much of a prompt is computed in a step",
        ));
    }
    if chunk && spec.enable_chunked_prefill == Some(false) {
        return Err(with(
            "enable_chunked_prefill",
            "it computes prompts in chunks",
        ));
    }
    engine.rules.async_scheduling = spec.async_scheduling == Some(true);
    Ok(())
}

/// Why a strategy does not go with drafts.
const DRAFTS: &str = "drafts are known to continuous batching alone";

/// Refuses a chunk where it would change nothing: in ticks.
///
/// # Errors
/// When the pool's strategy is given one.
pub(crate) fn refuse_chunk_in_ticks(spec: &EngineSpec) -> Result<(), InputError> {
    let named = Named::of(spec)?;
    match named.is_some_and(|named| named.params.iter().any(|(name, _)| name == "chunk")) {
        true => Err(InputError::new(
            "`batching_strategy`: chunk has no effect with `latency_model` ticks, where a chunk is a share of the \
             prompt (`total_prefill_chunks`)",
        )),
        false => Ok(()),
    }
}

/// Refuses strategies for engines that do not go with them, whoever has named them.
///
/// # Errors
/// When an engine with drafts is to be batched otherwise than continuously.
pub(crate) fn check(policies: &PolicySpec, pools: &[PoolConfig]) -> Result<(), InputError> {
    let mut all = pools.iter().enumerate();
    let odd = all.find(|(k, pool)| {
        let drafts = pool.engine.scheduling.speculation.is_on();
        drafts && !is_continuous(policies.batching_of(*k))
    });
    odd.map_or(Ok(()), |(k, _)| {
        Err(InputError::new(format!(
            "batching strategy {} does not go with `num_speculative_tokens`: {DRAFTS}",
            policies.batching_of(k).name()
        )))
    })
}

/// What reports say of a strategy: its name, and the values of its parameters.
pub(crate) fn described(choice: &Choice, times: Times) -> (Value, Value) {
    let mut params = Map::new();
    let mut add = |param: &Param, value: f64| {
        let name = param.name.as_ref();
        let value = match times {
            Times::Microseconds(units) if is_time(param) => value / units as f64,
            _ => value,
        };
        let (name, shown) = match (times, name.strip_suffix(TIME)) {
            (Times::Ticks(tick), Some(name)) => (name, json!(value / tick as f64)),
            _ if param.whole && value.abs() < 1e15 => (name, Value::from(value as i64)),
            _ => (
                name,
                Number::from_f64(value).map_or(Value::Null, Value::Number),
            ),
        };
        params.insert(name.to_owned(), shown);
    };
    match choice {
        Choice::BuiltIn { policy, values } => {
            let declared = policy.params.iter();
            declared.for_each(|param| add(param, values.get(&param.name)));
        }
        Choice::External(policy) => {
            let declared = policy.declared().iter().zip(policy.params());
            declared.for_each(|(param, (_, value))| add(param, *value));
        }
        Choice::Custom(_) => {}
    }
    (choice.name().into(), Value::Object(params))
}
