//! `windtunnel models`: which models are known, and what a run would use for one.

mod counted;
mod parts;

use super::args::{LatencyName, ModelsArgs};
use super::effects::Explicit;
use super::print::present;
use super::spec::latency_model;
use super::spelling::in_flags;
use comfy_table::{CellAlignment, ColumnConstraint};
use serde_json::{Value, json};
use std::fmt::Write as _;
use windtunnel_base::input::InputError;
use windtunnel_config::{Defaults, FittedRow, ModelEntry, ModelFacts, short_name};
use windtunnel_engine::latency::{
    KvBlocksSource, LatencyModelKind, MaxModelLenSource, Nodes, Resolved, Setup, resolve,
};
use windtunnel_results::report::table::styled;
use windtunnel_sim::defaults;

/// Lists models or explains one.
pub fn models(args: &ModelsArgs, explicit: &Explicit) -> anyhow::Result<()> {
    let defaults = defaults(args.defaults_filepath.as_deref())?;
    let text = match chosen(args, &defaults)? {
        Chosen::One(name) => {
            let explained = Explained::of(name, args, explicit, &defaults)?;
            if args.json {
                pretty(&explained.json())
            } else {
                explained.text()
            }
        }
        Chosen::Many(facts) => {
            explicit.reject_unless(
                &[
                    "hardware",
                    "tp",
                    "pp",
                    "intra_node_bandwidth",
                    "latency_model",
                    "hardware_config",
                    "kv_cache_dtype",
                ],
                false,
                "on a list of models; name one model",
            )?;
            if args.json {
                pretty(&json!({
                    "models": facts.iter().map(list_entry).collect::<Vec<_>>(),
                    "xpu_roofline_models": defaults.xpu.models.keys().collect::<Vec<_>>(),
                    "xpu_roofline_hardware": defaults.xpu.hardware.keys().collect::<Vec<_>>(),
                }))
            } else {
                list(&facts, args.name.is_none().then_some(&defaults))
            }
        }
    };
    present(args.json, &text)
}

fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}

/// The step-time model by its flag; `None` = choose.
fn latency_kind(name: LatencyName) -> Result<Option<LatencyModelKind>, InputError> {
    match latency_model(name) {
        "auto" => Ok(None),
        name => name.parse().map(Some),
    }
}

/// What a name on the command line means.
enum Chosen<'a> {
    One(&'a str),
    Many(Vec<ModelFacts<'a>>),
}

/// A full or short name or an alias means its model; so does a part that only one name has. Any
/// other part
/// means a list.
fn chosen<'a>(args: &'a ModelsArgs, defaults: &'a Defaults) -> Result<Chosen<'a>, InputError> {
    let Some(name) = args.name.as_deref() else {
        if args.model_config_folder.is_some() {
            return Err(InputError::new(
                "give the name of the model that `model_config_folder` holds",
            ));
        }
        return Ok(Chosen::Many(defaults.models().collect()));
    };
    let wanted = name.trim().to_lowercase();
    if wanted.is_empty() {
        return Err(InputError::new("the model name is empty"));
    }
    let hits: Vec<ModelFacts<'_>> = defaults
        .models()
        .filter(|m| m.name.contains(&wanted))
        .collect();
    let exact: Vec<&str> = hits
        .iter()
        .map(|m| m.name)
        .filter(|full| *full == wanted || short_name(full) == wanted)
        .collect();
    if let (true, Some(full)) = (exact.is_empty(), defaults.full_name(&wanted)?) {
        return Ok(Chosen::One(full));
    }
    match (&exact[..], &hits[..]) {
        ([], _) if args.model_config_folder.is_some() => Ok(Chosen::One(name)),
        ([], _) if defaults.xpu.model(name).is_some() => Ok(Chosen::One(name)),
        (_, []) => Err(defaults.unknown_model(name)),
        ([one], _) => Ok(Chosen::One(one)),
        (_, [one]) => Ok(Chosen::One(one.name)),
        _ => Ok(Chosen::Many(hits)),
    }
}

/// All models, as `--json` lists them.
pub fn listed(defaults: &Defaults) -> Value {
    defaults.models().map(|facts| list_entry(&facts)).collect()
}

/// GPU, tensor parallelism and vLLM image that a run takes when nothing is said.
fn default_deployment(entry: Option<&ModelEntry>) -> Option<(&str, u32, Option<&str>)> {
    let entry = entry?;
    let fitted = entry.fitted_default.as_ref();
    let analytic = entry.analytic_default.as_ref();
    fitted
        .map(|d| (d.gpu.as_str(), d.tp, Some(d.vllm.as_str())))
        .or_else(|| analytic.map(|d| (d.gpu.as_str(), d.tp, None)))
}

/// The models as a table; of `others` those that are no models of it.
fn list(facts: &[ModelFacts<'_>], others: Option<&Defaults>) -> String {
    let mut table = styled(&["Model", "Default GPU:TP", "Fitted GPU:TP", "Config"]);
    for model in facts {
        table.add_row([
            model.name.to_owned(),
            default_deployment(model.entry)
                .map_or("-".to_owned(), |(gpu, tp, _)| format!("{gpu}:{tp}")),
            compact(&model.fitted),
            if model.has_config { "yes" } else { "-" }.to_owned(),
        ]);
    }
    // Names stay in one piece: people copy them.
    if let Some(names) = table.column_mut(0) {
        names.set_constraint(ColumnConstraint::ContentWidth);
    }
    format!(
        "{table}\n\
         GPU:TP is a GPU type and the tensor parallelism. Default: what a run takes that names neither.\n\
         Fitted: deployments that were measured. Config: built in, so that any other can be computed.\n\
         \"windtunnel models NAME\" explains one of the {} models.\n{}",
        facts.len(),
        others.map_or_else(String::new, |defaults| {
            format!(
                "\nLatency model xpu-roofline has models and GPUs of its own:\n  {}\n  {}\n",
                some_per_line(defaults.xpu.models.keys()),
                some_per_line(defaults.xpu.hardware.keys())
            )
        })
    )
}

/// Names in lines of seven.
fn some_per_line<'a>(names: impl Iterator<Item = &'a String>) -> String {
    let names: Vec<&str> = names.map(String::as_str).collect();
    let lines: Vec<String> = names.chunks(7).map(|line| line.join(", ")).collect();
    lines.join(",\n  ")
}

/// `A100-80:1,2 H100:1,2,4`: GPUs by name, each with its tensor parallelisms; vLLM versions do not
/// show.
fn compact(fitted: &[(&str, u32, &str)]) -> String {
    let mut pairs: Vec<(&str, u32)> = fitted.iter().map(|(gpu, tp, _)| (*gpu, *tp)).collect();
    pairs.sort_unstable();
    pairs.dedup();
    let mut text = String::new();
    let mut last = "";
    for (gpu, tp) in pairs {
        let _ = if gpu == last {
            write!(text, ",{tp}")
        } else {
            let gap = if last.is_empty() { "" } else { " " };
            write!(text, "{gap}{gpu}:{tp}")
        };
        last = gpu;
    }
    if text.is_empty() { "-".into() } else { text }
}

fn list_entry(model: &ModelFacts<'_>) -> Value {
    let deployment = |(gpu, tp, vllm): (&str, u32, Option<&str>)| json!({"hardware": gpu, "tensor_parallelism": tp, "vllm_version": vllm});
    let fitted = model.fitted.iter();
    json!({
        "model": model.name,
        "hf_repo": model.entry.and_then(|e| e.hf_repo.as_deref()),
        "aliases": model.entry.map(|e| &e.aliases),
        "default": default_deployment(model.entry).map(deployment),
        "fitted": fitted.map(|&(gpu, tp, vllm)| deployment((gpu, tp, Some(vllm)))).collect::<Vec<_>>(),
        "builtin_config": model.has_config,
    })
}

/// What a run would use for one model.
struct Explained<'a> {
    resolved: Resolved,
    why: String,
    setup: Setup,
    entry: Option<&'a ModelEntry>,
}

impl<'a> Explained<'a> {
    fn of(
        name: &str,
        args: &ModelsArgs,
        explicit: &Explicit,
        defaults: &'a Defaults,
    ) -> Result<Self, InputError> {
        let setup = Setup {
            gpu: args.hardware.clone(),
            tp: args.tp,
            pp: args.pp,
            nodes: Nodes {
                intra_node_gb_s: args.intra_node_bandwidth,
                ..Nodes::default()
            },
            latency: latency_kind(args.latency_model)?,
            model_config_folder: args.model_config_folder.clone(),
            hardware_config: args.hardware_config.clone(),
            kv_cache_dtype: args.kv_cache_dtype.clone(),
            ..Setup::new(name, defaults.clone())
        };
        let resolved = resolve(&setup)?;
        let sends = resolved.spread.is_some_and(|s| s.sends_within_node());
        explicit.reject_unless(
            &["intra_node_bandwidth"],
            sends,
            "where no stage of a pipeline (--pp) sends to another one on its node",
        )?;
        let entry = defaults.models.get(&resolved.canonical);
        let measured = entry.is_some_and(|e| !e.fitted.is_empty());
        let why = match (args.latency_model, resolved.latency_kind) {
            (LatencyName::Auto, LatencyModelKind::KernelTables) => {
                "the kernels of this GPU were measured"
            }
            (LatencyName::Auto, LatencyModelKind::Blackbox) => {
                "this deployment was measured and has fitted coefficients"
            }
            (LatencyName::Auto, _) if measured => {
                "this deployment has no fitted coefficients, so step times are computed"
            }
            (LatencyName::Auto, _) => {
                "this model has no fitted coefficients, so step times are computed"
            }
            _ => "--latency-model asks for it",
        };
        Ok(Self {
            resolved,
            why: why.to_owned(),
            setup,
            entry,
        })
    }

    /// The fitted rows that can be chosen: the first of equal keys counts.
    fn fitted(&self) -> Vec<&'a FittedRow> {
        let mut rows: Vec<&FittedRow> = Vec::new();
        for row in self.entry.map_or(&[][..], |e| &e.fitted[..]) {
            let same = |r: &&&FittedRow| (&r.gpu, r.tp, &r.vllm) == (&row.gpu, row.tp, &row.vllm);
            if !rows.iter().any(|r| same(&r)) {
                rows.push(row);
            }
        }
        rows.sort_by(|a, b| (&a.gpu, a.tp, &a.vllm).cmp(&(&b.gpu, b.tp, &b.vllm)));
        rows
    }

    fn hf_repo(&self) -> Option<&str> {
        self.entry.and_then(|e| e.hf_repo.as_deref())
    }

    fn kv_cache_tokens(&self) -> u64 {
        let block = u64::from(self.setup.block_size);
        self.resolved.total_kv_blocks.saturating_mul(block)
    }

    fn text(&self) -> String {
        let r = &self.resolved;
        let mut text = format!("{}\n", r.canonical);
        let mut say = |label: &str, value: String| {
            let _ = writeln!(text, "  {label:<17} {value}");
        };
        if let Some(repo) = self.hf_repo() {
            say("Hugging Face", repo.to_owned());
        }
        for alias in self.entry.iter().flat_map(|e| &e.aliases) {
            say("Also for", alias.clone());
        }
        let pipeline = match r.pp {
            1 => String::new(),
            stages => format!(" x {stages} (pipeline parallelism)"),
        };
        let gpus = format!("{} x {} (tensor parallelism){pipeline}", r.gpu, r.tp);
        say("GPU", gpus);
        if r.pp > 1 {
            let layers = r.layers_per_stage.iter().map(u64::to_string);
            let layers: Vec<String> = layers.collect();
            say("Layers per stage", layers.join(", "));
        }
        say("Latency model", format!("{}: {}", r.latency_kind, self.why));
        if let Some(version) = &r.vllm_version {
            say("vLLM version", version.clone());
        }
        for (label, value) in coefficients(r) {
            say(label, value);
        }
        say(
            "KV cache",
            format!(
                "{} blocks of {} tokens = {} tokens, {}",
                r.total_kv_blocks,
                self.setup.block_size,
                self.kv_cache_tokens(),
                kv_source(r.kv_blocks_source)
            ),
        );
        let (_, length_source) = length_source(r.max_model_len_source);
        say(
            "Max model length",
            match r.max_model_len {
                0 => length_source.to_owned(),
                tokens => format!("{tokens} tokens, {length_source}"),
            },
        );
        let why = match r.pp {
            1 => "the latency model was fitted under them",
            _ => "the others have no pipeline parallelism",
        };
        let rules = r.latency.fitted_under();
        say("Rules", format!("{rules} with --rules auto: {why}"));
        for note in &r.notes {
            say("Note", in_flags(note));
        }
        text.push_str(&parts::text(r));
        text.push_str(&counted::text(r));
        text.push_str(&self.deployments());
        text
    }

    fn deployments(&self) -> String {
        let rows = self.fitted();
        if rows.is_empty() {
            return "\nNo deployment of this model has fitted coefficients.\n".into();
        }
        let mut table = styled(&[
            "GPU",
            "TP",
            "vLLM",
            "KV blocks",
            "a0",
            "a1",
            "a2",
            "b0",
            "b1",
            "b2",
        ]);
        for row in rows {
            let numbers = row.alpha.iter().chain(&row.beta).map(|x| format!("{x:.2}"));
            let version = row.vllm.rsplit(':').next().unwrap_or(&row.vllm);
            let mut cells = vec![row.gpu.clone(), row.tp.to_string(), version.to_owned()];
            cells.push(row.kv_blocks.to_string());
            cells.extend(numbers);
            table.add_row(cells);
        }
        for (at, column) in table.column_iter_mut().enumerate() {
            if at != 0 && at != 2 {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        format!(
            "\nDeployments with fitted coefficients, in microseconds: a0 per request, a1 per prompt token, a2 per\n\
             output token; b0 per step, b1 per prefilled token, b2 per decode\n{table}\n"
        )
    }

    fn json(&self) -> Value {
        let r = &self.resolved;
        let rows: Vec<Value> = self
            .fitted()
            .into_iter()
            .map(|row| {
                json!({
                    "hardware": row.gpu,
                    "tensor_parallelism": row.tp,
                    "vllm_version": row.vllm,
                    "kv_blocks": row.kv_blocks,
                    "alpha_us": row.alpha,
                    "beta_us": row.beta,
                    "fit_loss": row.loss,
                })
            })
            .collect();
        let coefficients = match r.latency_kind {
            LatencyModelKind::Blackbox => json!({"alpha_us": r.alpha, "beta_us": r.beta}),
            LatencyModelKind::TrainedPhysics => json!({"alpha_us": r.alpha, "beta": r.beta}),
            LatencyModelKind::Roofline
            | LatencyModelKind::KernelTables
            | LatencyModelKind::XpuRoofline
            | LatencyModelKind::Ticks
            | LatencyModelKind::Profile => Value::Null,
        };
        json!({
            "model": r.canonical,
            "hf_repo": self.hf_repo(),
            "hardware": r.gpu,
            "tensor_parallelism": r.tp,
            "pipeline_parallelism": r.pp,
            "layers_per_stage": (r.pp > 1).then_some(&r.layers_per_stage),
            "latency_model": r.latency_kind.name(),
            "latency_model_because": self.why,
            "vllm_version": r.vllm_version,
            "coefficients": coefficients,
            "total_kv_blocks": r.total_kv_blocks,
            "block_size_tokens": self.setup.block_size,
            "kv_cache_tokens": self.kv_cache_tokens(),
            "kv_blocks_source": r.kv_blocks_source.name(),
            "max_model_len_tokens": (r.max_model_len > 0).then_some(r.max_model_len),
            "max_model_len_source": length_source(r.max_model_len_source).0,
            "rules": r.latency.fitted_under().to_string(),
            "builtin_config": self.setup.model_config_folder.is_none() && r.arch.is_some(),
            "step_time_parts": parts::json(r),
            "counted": counted::json(r),
            "notes": r.notes.iter().map(|note| in_flags(note)).collect::<Vec<_>>(),
            "fitted": rows,
        })
    }
}

/// Coefficients in words, with their labels.
fn coefficients(r: &Resolved) -> Vec<(&'static str, String)> {
    let joined = |values: &[f64]| {
        let values: Vec<String> = values.iter().map(|x| format!("{x:.4}")).collect();
        values.join(", ")
    };
    match (r.latency_kind, &r.alpha[..], &r.beta[..]) {
        (LatencyModelKind::Blackbox, [a0, a1, a2], [b0, b1, b2]) => vec![
            (
                "Alpha",
                format!(
                    "{a0:.2} us per request, {a1:.2} us per prompt token, {a2:.2} us per output token"
                ),
            ),
            (
                "Beta",
                format!(
                    "{b0:.2} us per step, {b1:.2} us per prefilled token, {b2:.2} us per decode"
                ),
            ),
        ],
        (LatencyModelKind::TrainedPhysics, alpha, beta) => {
            let (head, tail) = beta.split_at(beta.len().min(6));
            vec![
                ("Alpha, us", joined(alpha)),
                ("Beta", joined(head)),
                ("", joined(tail)),
            ]
        }
        (LatencyModelKind::KernelTables, ..) => vec![(
            "Kernels",
            "measured, part by part as below; `windtunnel tables show` has all".into(),
        )],
        _ => vec![(
            "Coefficients",
            "none: compute and bandwidth of the GPU".into(),
        )],
    }
}

/// Where KV blocks come from, in words.
fn kv_source(source: KvBlocksSource) -> &'static str {
    match source {
        KvBlocksSource::Flag => "as given",
        KvBlocksSource::FittedRow => "from the fitted deployment",
        KvBlocksSource::Computed => "computed from GPU memory",
        KvBlocksSource::Fallback => "assumed",
        KvBlocksSource::Profile => "from the profile",
        KvBlocksSource::Unlimited => "without end",
    }
}

/// Where the model length comes from: a stable word, and in words.
fn length_source(source: MaxModelLenSource) -> (&'static str, &'static str) {
    match source {
        MaxModelLenSource::Flag => ("flag", "as given"),
        MaxModelLenSource::ModelConfig => ("model_config", "from the model's configuration"),
        MaxModelLenSource::KvCapacity => (
            "kv_cache",
            "all the KV cache holds (the model's configuration allows more)",
        ),
        MaxModelLenSource::Profile => ("profile", "from the profile"),
        MaxModelLenSource::Unlimited => ("unlimited", "unlimited: no configuration is known"),
    }
}
