//! Plans a spec: gives every client its rate, its windows and its distributions.

use super::compile::{gaps, lengths};
use super::groups::{Group, groups};
use super::locate::Fault;
use super::parts::{self, MOST_IN_WINDOW};
use super::planned::{
    Counted, Deal, Kind, Modalities, Plan, Planned, Prompt, SessionKind, Traffic, Wire,
};
use super::rates::{Rates, rates};
use super::servegen;
use super::types::{Client, Distribution, Multimodal, Window, WorkloadSpec};
use rustc_hash::FxHashMap;
use std::path::Path;
use std::sync::Arc;
use windtunnel_base::input::unknown;
use windtunnel_base::rng::fnv1a64;

/// Time limit of requests in sessions and closed loops that say none, microseconds.
const SESSION_TIMEOUT_US: i64 = 300_000_000;
/// Prefix of a group that never says how long it is, tokens.
const DEFAULT_PREFIX: u32 = 50;
/// Longest prefix.
const MOST_PREFIX: u32 = 1 << 24;
/// Most prompts of a set.
const MOST_PROMPTS: u64 = 1_000_000;
const SLO_CLASSES: [&str; 5] = ["critical", "standard", "sheddable", "batch", "background"];

/// Makes a spec ready. `folder` is where files that it names are.
pub(super) fn plan(spec: &WorkloadSpec, folder: &Path) -> Result<Plan, Fault> {
    if !matches!(spec.version.as_str(), "" | "1" | "2") {
        return Err(Fault::new(
            "version",
            unknown("value", &spec.version, &["1", "2"]),
        ));
    }
    if !matches!(
        spec.category.as_str(),
        "" | "language" | "multimodal" | "reasoning"
    ) {
        let valid = ["language", "multimodal", "reasoning"];
        return Err(Fault::new(
            "category",
            unknown("value", &spec.category, &valid),
        ));
    }
    let kinds = [
        !spec.clients.is_empty(),
        spec.inference_perf.is_some(),
        spec.servegen_data.is_some(),
    ];
    if kinds.iter().filter(|k| **k).count() > 1 {
        return Err(Fault::new(
            "",
            "give one of clients, inference_perf and servegen_data",
        ));
    }
    let mut notes = Vec::new();
    let mut clients = Vec::new();
    if let Some(data) = &spec.servegen_data {
        let loaded = servegen::plan(data, folder).map_err(|f| f.under("servegen_data"))?;
        (clients, notes) = (loaded.clients, loaded.notes);
    }
    let groups = groups(spec)?;
    if groups.is_empty() && clients.is_empty() {
        return Err(Fault::new(
            "",
            "there is nobody to send; give clients, cohorts, inference_perf or servegen_data",
        ));
    }
    check_classes(&groups)?;
    let per_window = groups.iter().any(|g| !g.own_rates && g.sets_windows());
    if spec.aggregate_rate > 0.0 {
        parts::check_sharing(&groups)?;
    }
    let rates = rates(&groups, spec.aggregate_rate, per_window)?;
    if spec.aggregate_rate > 0.0 && groups.iter().all(|g| g.own_rates) {
        notes.push("aggregate_rate has no effect here: the traffic brings its own rates".into());
    }
    let prefixes = prefix_lengths(&groups);
    let part = parts::of_groups(&groups, &rates)?;
    for (group, rates) in groups.iter().zip(&rates) {
        let members = members(group, rates, spec, folder, &prefixes, part, &mut notes);
        clients.extend(members.map_err(|f| f.under(&group.path))?);
    }
    let prompts = clients.iter().filter_map(|c| c.kind.deal.as_ref());
    let prompts: u64 = prompts.map(|deal| u64::from(deal.prompts())).sum();
    if prompts > MOST_PROMPTS {
        let message = format!("{prompts} prompts in all; at most {MOST_PROMPTS} make sense");
        return Err(Fault::new("clients", message));
    }
    name_streams(&mut clients);
    Ok(Plan { clients, notes })
}

/// If one names an SLO class, all do.
fn check_classes(groups: &[Group]) -> Result<(), Fault> {
    let written = || groups.iter().filter(|g| !g.own_rates);
    let some = written().find(|g| !g.client.slo_class.is_empty());
    if let (Some(with), Some(without)) = (some, written().find(|g| g.client.slo_class.is_empty())) {
        let message = format!("slo_class is missing; {} names one, so all must", with.path);
        return Err(Fault::new(&without.path, message));
    }
    Ok(())
}

/// The first explicit length of each prefix group, for those that say none.
fn prefix_lengths(groups: &[Group]) -> FxHashMap<&str, u32> {
    let mut lengths = FxHashMap::default();
    for g in groups {
        if let Some(length) = g.client.prefix_length {
            lengths
                .entry(g.client.prefix_group.as_str())
                .or_insert(length);
        }
    }
    lengths
}

/// Streams of a client hang on its name alone; clients of the same name are counted.
pub(super) fn name_streams(clients: &mut [Planned]) {
    let mut seen: FxHashMap<String, u64> = FxHashMap::default();
    for client in clients {
        let twins = seen.entry(client.id.clone()).or_default();
        client.key = fnv1a64(&client.id).wrapping_add(twins.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        *twins += 1;
    }
}

fn members(
    group: &Group,
    rates: &Rates,
    spec: &WorkloadSpec,
    folder: &Path,
    prefixes: &FxHashMap<&str, u32>,
    part: f64,
    notes: &mut Vec<String>,
) -> Result<Vec<Planned>, Fault> {
    let c = &group.client;
    check(c)?;
    if c.concurrency > 0 && c.arrival.is_some() {
        notes.push(format!(
            "{}.arrival has no effect: users of a closed loop send when their answers come",
            group.path
        ));
    }
    if !c.adapters.is_empty() {
        notes.push(format!(
            "client \"{}\": step times do not depend on adapters; blocks are shared within one only",
            c.id
        ));
    }
    if !c.adapter.is_empty() {
        notes.push(format!(
            "{}: step times do not depend on adapter \"{}\"; blocks are shared within one adapter only",
            group.path, c.adapter
        ));
    }
    let population = f64::from(group.population());
    let traffic = match rates {
        Rates::Users => Traffic::Users {
            users: c.concurrency,
            think_us: c.think_time_us,
        },
        Rates::Steady(rate) => Traffic::Steady {
            gaps: gaps(c.arrival.as_ref(), rate / population).map_err(|f| f.under("arrival"))?,
            windows: merged(group.windows().unwrap_or_default()).into(),
        },
        Rates::PerWindow(rates) => Traffic::Windows(counted(group, rates, folder, part)?),
    };
    let default_prefix = prefixes
        .get(c.prefix_group.as_str())
        .copied()
        .unwrap_or(DEFAULT_PREFIX);
    let kind = Arc::new(kind(c, spec, folder, default_prefix)?);
    let member = |k: u32| {
        let (id, prefix_group) = group.names(k);
        Planned {
            kind: Arc::clone(&kind),
            id,
            prefix_group,
            key: 0,
            traffic: traffic.clone(),
        }
    };
    Ok((0..group.population()).map(member).collect())
}

/// What makes no sense in a client, whatever the others are.
fn check(c: &Client) -> Result<(), Fault> {
    let refuse = |path: &str, message: String| Err(Fault::new(path, message));
    if c.concurrency > 0 {
        if c.rate_fraction != 0.0 {
            return refuse(
                "rate_fraction",
                "has no effect on users of a closed loop (concurrency)".into(),
            );
        }
        if c.lifecycle.is_some() {
            return refuse(
                "lifecycle",
                "has no effect on users of a closed loop (concurrency)".into(),
            );
        }
        if c.multi_turn().is_some() {
            return refuse(
                "reasoning.multi_turn",
                "users of a closed loop (concurrency) have no sessions".into(),
            );
        }
        if c.closed_loop == Some(false) {
            return refuse(
                "closed_loop",
                "users (concurrency) are a closed loop; expected true or nothing".into(),
            );
        }
    } else if c.think_time_us != 0 {
        return refuse(
            "think_time_us",
            "goes with concurrency; sessions have reasoning.multi_turn.think_time_us".into(),
        );
    }
    if c.think_time_us < 0 {
        return refuse(
            "think_time_us",
            format!(
                "expected microseconds of 0 or more, found {}",
                c.think_time_us
            ),
        );
    }
    if c.closed_loop == Some(true) && c.concurrency == 0 && c.multi_turn().is_none() {
        return refuse(
            "closed_loop",
            "needs concurrency or reasoning.multi_turn".into(),
        );
    }
    if c.prefix_group.is_empty() && c.prefix_length.is_some_and(|n| n > 0) {
        return refuse(
            "prefix_length",
            "has no effect without a prefix_group".into(),
        );
    }
    if c.prefix_length.is_some_and(|n| n > MOST_PREFIX) {
        return refuse(
            "prefix_length",
            format!("expected at most {MOST_PREFIX} tokens"),
        );
    }
    for (key, value) in [("timeout", c.timeout), ("slo_target_us", c.slo_target_us)] {
        if let Some(us) = value.filter(|us| *us < 0) {
            return refuse(
                key,
                format!("expected microseconds of 0 or more, found {us}"),
            );
        }
    }
    if let Some(lifecycle) = &c.lifecycle {
        if lifecycle.windows.is_empty() {
            return refuse("lifecycle.windows", "expected at least one window".into());
        }
        for (k, w) in lifecycle.windows.iter().enumerate() {
            if w.start_us < 0 || w.end_us <= w.start_us {
                let message = format!(
                    "expected 0 <= start_us < end_us, found {} and {}",
                    w.start_us, w.end_us
                );
                return refuse(&format!("lifecycle.windows[{k}]"), message);
            }
        }
    }
    Ok(())
}

fn kind(
    c: &Client,
    spec: &WorkloadSpec,
    folder: &Path,
    default_prefix: u32,
) -> Result<Kind, Fault> {
    let slo_class = class(&c.slo_class, &spec.version)?;
    let session = session(c)?;
    let needed = |d: &Option<Distribution>, key: &str| match d {
        Some(d) => lengths(d, folder).map_err(|f| f.under(key)),
        None => Err(Fault::new("", format!("{key} is missing"))),
    };
    let prompt = match &c.multimodal {
        Some(m) => multimodal(m, folder).map_err(|f| f.under("multimodal"))?,
        None => Prompt::Text(needed(&c.input_distribution, "input_distribution")?),
    };
    let reasoning = c
        .reasoning
        .as_ref()
        .and_then(|r| r.reason_ratio_distribution.as_ref());
    let reasoning = reasoning
        .map(|d| lengths(d, folder).map_err(|f| f.under("reasoning.reason_ratio_distribution")))
        .transpose()?;
    let in_conversations = c.prompts.as_ref().is_some_and(|p| p.conversations);
    let in_loop = session.is_some() || c.concurrency > 0 || in_conversations;
    let deal = c.prompts.as_ref();
    let deal = deal.map(|_| deal_of(c, folder).map_err(|f| f.under("prompts")));
    Ok(Kind {
        adapters: adapters(c)?,
        deal: deal.transpose()?,
        tenant: c.tenant_id.clone(),
        slo_class,
        model: c.model.clone(),
        adapter: c.adapter.clone(),
        prefix_tokens: if c.prefix_group.is_empty() {
            0
        } else {
            c.prefix_length.unwrap_or(default_prefix)
        },
        streaming: c.streaming,
        timeout_us: c
            .timeout
            .unwrap_or(if in_loop { SESSION_TIMEOUT_US } else { 0 }),
        slo_ttft_us: c.slo_target_us.unwrap_or(0),
        wire: wire(c)?,
        prompt,
        output: needed(&c.output_distribution, "output_distribution")?,
        reasoning,
        session,
    })
}

/// Adapters, each with the sum of the shares up to its own.
fn adapters(c: &Client) -> Result<Vec<(String, f64)>, Fault> {
    let refuse = |message: String| Err(Fault::new("adapters", message));
    if !c.adapters.is_empty() && !c.adapter.is_empty() {
        return refuse("give adapter or adapters, not both".into());
    }
    let total: f64 = c.adapters.values().sum();
    let fine = |w: &f64| w.is_finite() && *w >= 0.0;
    let weights = c.adapters.values().all(fine) && total > 0.0;
    if !c.adapters.is_empty() && !weights {
        return refuse("expected weights of 0 or more, not all 0".into());
    }
    let mut sum = 0.0;
    let share = |(name, weight): (&String, &f64)| {
        sum += weight / total;
        (name.clone(), sum)
    };
    Ok(c.adapters.iter().map(share).collect())
}

/// The set of prompts of a client that has one.
fn deal_of(c: &Client, folder: &Path) -> Result<Deal, Fault> {
    let refuse = |key: &str, message: String| Err(Fault::new(key, message));
    let Some(p) = &c.prompts else {
        return refuse("", "is missing".into());
    };
    for (key, n) in [("groups", p.groups), ("per_group", p.per_group)] {
        if n == 0 {
            return refuse(key, "expected at least 1, found 0".into());
        }
    }
    let all = u64::from(p.groups) * u64::from(p.per_group);
    if all > MOST_PROMPTS {
        return refuse(
            "",
            format!("{all} prompts; at most {MOST_PROMPTS} make sense"),
        );
    }
    let windows = c.lifecycle.iter().flat_map(|l| &l.windows);
    let lengths_of_windows = windows
        .filter(|w| w.input_distribution.is_some() || w.output_distribution.is_some())
        .count();
    for (what, given) in [
        ("prefix_group", !c.prefix_group.is_empty()),
        ("multimodal", c.multimodal.is_some()),
        ("reasoning", c.reasoning.is_some()),
        ("network", c.network.is_some()),
        ("lengths of its windows", lengths_of_windows > 0),
    ] {
        if given {
            return refuse("", format!("a set of prompts goes without {what}"));
        }
    }
    if p.conversations && c.concurrency > 0 {
        return refuse(
            "conversations",
            "users of a closed loop (concurrency) have none".into(),
        );
    }
    let prefix = p.prefix_distribution.as_ref();
    let prefix = prefix.map(|d| lengths(d, folder).map_err(|f| f.under("prefix_distribution")));
    Ok(Deal {
        groups: p.groups,
        per_group: p.per_group,
        prefix: prefix.transpose()?,
        conversations: p.conversations,
    })
}

/// The SLO class by its name of today.
fn class(name: &str, version: &str) -> Result<String, Fault> {
    let name = match name {
        "realtime" if version != "2" => "critical",
        "interactive" if version != "2" => "standard",
        name => name,
    };
    if name.is_empty() || SLO_CLASSES.contains(&name) {
        Ok(name.to_owned())
    } else {
        Err(Fault::new(
            "slo_class",
            unknown("SLO class", name, &SLO_CLASSES),
        ))
    }
}

fn session(c: &Client) -> Result<Option<SessionKind>, Fault> {
    let Some(m) = c.multi_turn() else {
        return Ok(None);
    };
    let refuse = |key: &str, message: String| {
        Err(Fault::new(format!("reasoning.multi_turn.{key}"), message))
    };
    if m.max_rounds == 0 {
        return refuse("max_rounds", "expected at least 1, found 0".into());
    }
    if m.think_time_us < 0 {
        return refuse(
            "think_time_us",
            format!(
                "expected microseconds of 0 or more, found {}",
                m.think_time_us
            ),
        );
    }
    let accumulate = match m.context_growth.as_str() {
        "accumulate" => true,
        "" | "independent" => false,
        other => {
            return refuse(
                "context_growth",
                unknown("value", other, &["accumulate", "independent"]),
            );
        }
    };
    Ok(Some(SessionKind {
        rounds: m.max_rounds,
        think_us: m.think_time_us,
        accumulate,
        once: m.single_session,
        closed_loop: c.closed_loop != Some(false),
    }))
}

fn wire(c: &Client) -> Result<Wire, Fault> {
    let Some(n) = &c.network else {
        return Ok(Wire::default());
    };
    for (key, x) in [("rtt_ms", n.rtt_ms), ("bandwidth_mbps", n.bandwidth_mbps)] {
        if !(x.is_finite() && x >= 0.0) {
            let message = format!("expected a finite number of 0 or more, found {x}");
            return Err(Fault::new(format!("network.{key}"), message));
        }
    }
    Ok(Wire {
        half_rtt_us: n.rtt_ms * 500.0,
        // 4 bytes per token; megabits per second are bits per microsecond.
        us_per_token: if n.bandwidth_mbps > 0.0 {
            32.0 / n.bandwidth_mbps
        } else {
            0.0
        },
    })
}

fn multimodal(m: &Multimodal, folder: &Path) -> Result<Prompt, Fault> {
    let read = |d: &Option<Distribution>, key: &str| {
        let read = |d| lengths(d, folder).map_err(|f| f.under(key));
        d.as_ref().map(read).transpose()
    };
    let text = read(&m.text_distribution, "text_distribution")?;
    let modality = |name: &str, items: &Option<Distribution>, count: &Option<Distribution>| {
        let (of, how_many) = (
            format!("{name}_distribution"),
            format!("{name}_count_distribution"),
        );
        match (read(count, &how_many)?, read(items, &of)?) {
            (Some(count), Some(items)) => Ok(Some((count, items))),
            (None, None) => Ok(None),
            (None, _) => {
                let message = format!("is missing beside {of}");
                Err(Fault::new(how_many, message))
            }
            (_, None) => {
                let message = format!("is missing beside {how_many}");
                Err(Fault::new(of, message))
            }
        }
    };
    let others = [
        modality("image", &m.image_distribution, &m.image_count_distribution)?,
        modality("audio", &m.audio_distribution, &m.audio_count_distribution)?,
        modality("video", &m.video_distribution, &m.video_count_distribution)?,
    ];
    if text.is_none() && others.iter().all(Option::is_none) {
        return Err(Fault::new("", "expected at least one modality"));
    }
    Ok(Prompt::Multimodal(Box::new(Modalities { text, others })))
}

/// Windows in order of time, those that touch or overlap as one.
fn merged(windows: &[Window]) -> Vec<(i64, i64)> {
    let mut spans: Vec<(i64, i64)> = windows.iter().map(|w| (w.start_us, w.end_us)).collect();
    spans.sort_unstable();
    let mut merged: Vec<(i64, i64)> = Vec::new();
    for (start, end) in spans {
        match merged.last_mut() {
            Some(last) if start <= last.1 => last.1 = last.1.max(end),
            _ => merged.push((start, end)),
        }
    }
    merged
}

/// Windows that send a number of requests each, in order of their beginnings.
fn counted(
    group: &Group,
    rates: &[f64],
    folder: &Path,
    size: f64,
) -> Result<Arc<[Counted]>, Fault> {
    let c = &group.client;
    let population = f64::from(group.population());
    let mut windows = Vec::new();
    for (k, (w, rate)) in group
        .windows()
        .unwrap_or_default()
        .iter()
        .zip(rates)
        .enumerate()
    {
        let path = format!("lifecycle.windows[{k}]");
        let rate = rate / population;
        let arrival = w.arrival.as_ref().or(c.arrival.as_ref());
        let where_ = if w.arrival.is_some() {
            format!("{path}.arrival")
        } else {
            "arrival".into()
        };
        let read = |d: &Option<Distribution>, key: &str| {
            let read = |d| lengths(d, folder).map_err(|f| f.under(&format!("{path}.{key}")));
            d.as_ref().map(read).transpose()
        };
        let expected = rate * ((w.end_us - w.start_us) as f64 / 1e6);
        if expected > MOST_IN_WINDOW {
            let message = format!(
                "{expected:.0} requests in one window; at most {MOST_IN_WINDOW} make sense"
            );
            return Err(Fault::new(path, message));
        }
        let gaps = gaps(arrival, rate).map_err(|f| f.under(&where_))?;
        let prompt = read(&w.input_distribution, "input_distribution")?;
        let prompt = prompt.map(|lengths| Arc::new(Prompt::Text(lengths)));
        let output = read(&w.output_distribution, "output_distribution")?.map(Arc::new);
        let window = Counted {
            start_us: w.start_us,
            end_us: w.end_us,
            expected,
            gaps,
            prompt,
            output,
            reasoning: None,
        };
        windows.extend(parts::split(window, size));
    }
    windows.sort_by_key(|w| w.start_us);
    Ok(windows.into())
}
