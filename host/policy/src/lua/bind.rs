//! The source of a file's binding: `bind.luau`, completed with the fields that the file mentions.

use super::api::View;
use super::asked::Asked;
use super::fields::{self, ScriptField};
use super::program::Mentions;

/// Bytes of the front end's inbox before the request's fields.
pub(super) const REQUEST: usize = 24;

/// Offsets in the front end's inbox, bytes. A hook gets rows of the instances that changed, each
/// its position and its fields, or the columns of all fields: the two share their place.
#[derive(Clone, Copy, Debug)]
pub(super) struct FrontLayout {
    pub(super) rows: usize,
    /// Bytes of a row.
    pub(super) row: usize,
    pub(super) columns: usize,
    asked: usize,
    /// Bytes of a column.
    column: usize,
    pub(super) size: usize,
}

impl FrontLayout {
    pub(super) fn new(mentions: &Mentions, instances: u32) -> Self {
        let n = instances as usize;
        let rows = REQUEST + 8 * mentions.request.len();
        let row = 8 * (1 + mentions.instance.len());
        let columns = rows + 8 * n;
        let asked = columns + 8 * n * mentions.instance.len();
        Self {
            rows,
            row,
            columns,
            asked,
            column: 8 * n,
            size: asked + 8 * n * mentions.asked.len(),
        }
    }

    /// Where the answers to the `k`-th question are that the file mentions.
    pub(super) fn asked(&self, k: usize) -> usize {
        self.asked + k * self.column
    }
}

/// The columns a file can name, with their offsets in the inbox.
pub(super) fn columns(mentions: &Mentions, instances: u32) -> Vec<(&'static str, usize)> {
    let layout = FrontLayout::new(mentions, instances);
    let fields = mentions.instance.iter().enumerate();
    fields
        .map(|(k, field)| (field.name, layout.columns + 8 * k * instances as usize))
        .chain(
            (0..)
                .zip(&mentions.asked)
                .map(|(k, asked)| (asked.name, layout.asked(k))),
        )
        .collect()
}

/// All fields and methods of a view, by the name of a variable that stands for it in some hook.
fn all_names(variable: &str) -> Vec<&'static str> {
    let views: &[View] = match variable {
        "inst" | "column" => &[View::Instance],
        "req" => &[
            View::Request,
            View::QueuedRequest,
            View::RunningRequest,
            View::HeldRequest,
        ],
        "ev" => &[View::Event],
        "queue" => &[View::Queue],
        "step" => &[View::Step],
        "gateway" => &[View::Gateway],
        "pool" => &[View::Pool],
        _ => &[View::Cluster],
    };
    let fields = views.iter().flat_map(|view| view.fields());
    let methods = views.iter().flat_map(|view| view.methods());
    let names = fields.map(|f| f.name).chain(methods.map(|m| m.name));
    // All instances are scraped at once: there is no column of ages.
    let there = |name: &&str| !(variable == "column" && *name == "age_us");
    names.filter(there).collect()
}

/// Does a view have this field or method, in some hook?
pub(super) fn has(view: &str, name: &str) -> bool {
    all_names(view).contains(&name)
}

/// The message for a name that a view does not have.
pub(super) fn unknown(view: &str, name: &str) -> String {
    if view == "column" && has(view, name) {
        return format!("column \"{name}\" is not there: the file must spell its name out");
    }
    if has(view, name) {
        return format!(
            "{view}.{name} is not there: either this hook does not have it, or the file must spell its name out"
        );
    }
    let names = all_names(view);
    let hint = match windtunnel_base::input::nearest(name, names.iter().copied()) {
        Some(near) => format!("did you mean \"{near}\"?"),
        None => format!("valid: {}", names.join(", ")),
    };
    format!("{view} has no field \"{name}\"; {hint}")
}

/// `a = 0, b = 0` for a table's constructor.
fn zeros<G>(fields: &[ScriptField<G>]) -> String {
    fields.iter().map(|f| format!("{} = 0, ", f.name)).collect()
}

/// A line that sets a field of a table to the number at `place` of the inbox, or to the text that
/// stands for it.
fn set(table: &str, field: &str, place: &str, texts: bool) -> String {
    if texts && fields::is_name(field) {
        format!("do local x = readf64(inbox, {place}) {table}.{field} = names[x] or x end\n")
    } else {
        format!("{table}.{field} = readf64(inbox, {place})\n")
    }
}

/// Lines that copy numbers from the inbox, the first of them `from` places after `at`, to the
/// fields of a table.
fn copy<G>(table: &str, fields: &[ScriptField<G>], from: usize, texts: bool) -> String {
    let lines = fields.iter().enumerate();
    lines
        .map(|(k, field)| set(table, field.name, &format!("at + 8 * {}", from + k), texts))
        .collect()
}

/// Leaves out the parts of the binding that none of `wanted` needs.
fn only(text: &str, wanted: &[&str]) -> String {
    let mut kept = String::new();
    let mut there = true;
    for line in text.lines() {
        if let Some(functions) = line.strip_prefix("-- @only ") {
            there = functions.split(' ').any(|f| wanted.contains(&f));
        } else if line == "-- @end" {
            there = true;
        } else if there {
            kept += line;
        }
        // Every line keeps its number.
        kept.push('\n');
    }
    kept
}

/// The binding's source for a file that mentions these fields and fills these functions.
pub(super) fn source(m: &Mentions, wanted: &[&str]) -> String {
    let texts = m.renames();
    let rows = |own: String| copy("r", &m.request, 0, texts) + &own;
    let offsets: String = (0..m.instance.len())
        .map(|k| format!("local COLUMN_{k} = 8 * N * {k}\n"))
        .collect();
    let instance: String = m
        .instance
        .iter()
        .enumerate()
        .map(|(k, f)| set("inst", f.name, &format!("at + COLUMN_{k}"), texts))
        .collect();
    let row = copy("inst", &m.instance, 1, texts);
    let scraped = m.instance.iter().any(|f| f.name == "scraped_us");
    let requests = m.request.len();
    let sees = !m.instance.is_empty();
    let asked = |text: &dyn Fn(usize, &Asked) -> String| -> String {
        (0..)
            .zip(&m.asked)
            .map(|(k, asked)| text(k, asked))
            .collect()
    };
    let parts: [(&str, String); 26] = [
        (
            "SEE_INSTANCES",
            if sees { "take_instances()" } else { "" }.to_owned(),
        ),
        (
            "NOTHING_ASKED",
            asked(&|_, asked| format!("{} = false, ", asked.name)),
        ),
        (
            "FORGET_ASKED",
            asked(&|_, asked| format!("call.{} = false\n", asked.name)),
        ),
        ("ASKED_METHODS", asked(&|k, asked| asked.method(k))),
        ("REQUEST_FIELDS", requests.to_string()),
        ("INSTANCE_FIELDS", m.instance.len().to_string()),
        ("QUEUE_FIELDS", m.queue.len().to_string()),
        ("QUEUED_FIELDS", (requests + m.queued.len()).to_string()),
        ("RUNNING_FIELDS", (requests + m.running.len()).to_string()),
        ("HELD_FIELDS", (requests + m.held.len()).to_string()),
        ("COLUMN_OFFSETS", offsets),
        ("REQUEST_ZEROS", zeros(&m.request)),
        ("INSTANCE_ZEROS", zeros(&m.instance)),
        ("QUEUE_ZEROS", zeros(&m.queue)),
        ("EVENT_ZEROS", zeros(&m.event)),
        ("STEP_ZEROS", zeros(&m.step)),
        ("POOL_ZEROS", zeros(&m.pool)),
        (
            "SCRAPED",
            if scraped { "inst.scraped_us" } else { "0" }.to_owned(),
        ),
        ("TAKE_REQUEST", copy("req", &m.request, 0, texts)),
        (
            "SEE_CLUSTER",
            if sees && m.cluster_instances {
                "take_instances()"
            } else {
                ""
            }
            .to_owned(),
        ),
        ("TAKE_INSTANCE", instance),
        ("TAKE_ROW", row),
        ("TAKE_QUEUE", copy("queue", &m.queue, 0, texts)),
        ("TAKE_EVENT", copy("ev", &m.event, 0, texts)),
        ("TAKE_STEP", copy("step", &m.step, 0, texts)),
        ("TAKE_POOL", copy("pool", &m.pool, 0, texts)),
    ];
    let mut text = only(include_str!("bind.luau"), wanted);
    for (name, value) in parts {
        text = text.replace(&format!("{{{{{name}}}}}"), &value);
    }
    text.replace(
        "{{TAKE_QUEUED}}",
        &rows(copy("r", &m.queued, requests, texts)),
    )
    .replace(
        "{{TAKE_RUNNING}}",
        &rows(copy("r", &m.running, requests, texts)),
    )
    .replace("{{TAKE_HELD}}", &rows(copy("r", &m.held, requests, texts)))
    .replace("{{ASKED_FIELDS}}", &m.asked.len().to_string())
}
