//! Fields and methods of the views.

use super::super::fields::{self, ScriptField};
use super::types::{Function, INSTANCES, NAME, Type, View, slot};
use windtunnel_plugin_api::{
    Event, HeldView, InstanceView, Interests, QueuedView, RequestView, RunningView, ScaleView,
    StepView,
};

/// How old a field is when a hook reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Age {
    /// As of now.
    Fresh,
    /// As of the last scrape.
    Scraped,
    /// It never changes.
    Fixed,
}

/// A field of a view.
#[derive(Clone, Debug)]
pub struct FieldDoc {
    /// Its name.
    pub name: &'static str,
    /// Its type.
    pub kind: Type,
    /// Its unit; empty for plain numbers and identities.
    pub unit: &'static str,
    /// What it says, in one line.
    pub doc: String,
    /// How old it is.
    pub age: Age,
}

impl View {
    /// Its own fields, in order of layout.
    #[must_use]
    pub fn fields(self) -> Vec<FieldDoc> {
        let own = |name, kind, unit, doc: &str, age| FieldDoc {
            name,
            kind,
            unit,
            doc: doc.to_owned(),
            age,
        };
        match self {
            Self::Request => shown(fields::of::<RequestView>()),
            Self::QueuedRequest => shown(fields::of::<QueuedView<'_>>()),
            Self::RunningRequest => shown(fields::of::<RunningView<'_>>()),
            Self::Queue => shown(fields::queue()),
            Self::Event => shown(fields::of::<Event>()),
            Self::Step => shown(fields::of::<StepView>()),
            Self::HeldRequest => shown(fields::of::<HeldView<'_>>()),
            Self::Pool => shown(fields::of::<ScaleView>()),
            Self::Gateway => vec![
                own(
                    "saturation",
                    Type::Number,
                    "",
                    "What the saturation detector says: 1 and more is saturated.",
                    Age::Fresh,
                ),
                own(
                    "depth",
                    Type::Number,
                    "requests",
                    "Requests that it holds, those that may not go now included.",
                    Age::Fresh,
                ),
                own(
                    "on_the_way",
                    Type::Number,
                    "requests",
                    "Requests that left it and are on their way to an instance.",
                    Age::Fresh,
                ),
            ],
            Self::Instance => {
                let mut fields = shown(fields::of::<InstanceView>());
                for field in &mut fields {
                    field.age = age(field.name);
                }
                fields
            }
            Self::Cluster => vec![
                own("now_us", Type::Number, "us", "Now.", Age::Fresh),
                own("n", Type::Number, "", "Number of instances.", Age::Fresh),
                own("instances", INSTANCES, "", "The instances.", Age::Fresh),
            ],
            Self::Setup => vec![
                own(
                    "instances",
                    Type::Number,
                    "",
                    "Instances in the cluster.",
                    Age::Fixed,
                ),
                own(
                    "slots",
                    Type::Number,
                    "requests",
                    "Most requests the cluster can run at once.",
                    Age::Fixed,
                ),
                own(
                    "highest_priority",
                    Type::Number,
                    "",
                    "The highest `class_priority` that any SLO class has.",
                    Age::Fixed,
                ),
            ],
        }
    }

    /// Its methods, called with a colon.
    #[must_use]
    pub fn methods(self) -> &'static [Function] {
        match self {
            Self::Request => REQUEST_METHODS,
            Self::Instance => INSTANCE_METHODS,
            _ => &[],
        }
    }
}

fn shown<G>(fields: Vec<ScriptField<G>>) -> Vec<FieldDoc> {
    let one_line = |field: &ScriptField<G>| {
        let lines: Vec<&str> = field.doc.iter().map(|line| line.trim()).collect();
        let doc = lines.join(" ");
        if field.unit == "position" {
            format!("{} Counted from 1.", doc.trim_end())
        } else {
            doc
        }
    };
    fields
        .into_iter()
        .map(|field| FieldDoc {
            doc: one_line(&field),
            name: field.name,
            kind: if fields::is_name(field.name) {
                NAME
            } else {
                Type::Number
            },
            unit: field.unit,
            age: Age::Fresh,
        })
        .collect()
}

/// Age of an instance's field.
fn age(name: &str) -> Age {
    match fields::reads(name) {
        Interests::NONE => Age::Fixed,
        Interests::COUNTERS => Age::Fresh,
        _ => Age::Scraped,
    }
}

const REQUEST_METHODS: &[Function] = &[Function {
    name: "prompt_blocks",
    takes: &[],
    gives: &[slot("blocks", Type::Number, "")],
    doc: &["Full KV blocks of the prompt. At the front end only."],
}];

const INSTANCE_METHODS: &[Function] = &[
    Function {
        name: "precise_prefix_blocks",
        takes: &[],
        gives: &[slot("blocks", Type::Number, "")],
        doc: &[
            "Leading blocks of the prompt in the instance's prefix cache, as old as the cache signal.",
        ],
    },
    Function {
        name: "approximate_prefix_blocks",
        takes: &[],
        gives: &[slot("blocks", Type::Number, "")],
        doc: &[
            "Leading blocks of the prompt that the front end sent there before. Fresh, but a guess.",
        ],
    },
    Function {
        name: "adapter_loaded",
        takes: &[],
        gives: &[slot("loaded", Type::Boolean, "")],
        doc: &["Is the request's adapter on the GPU? In columns 1 or 0."],
    },
    Function {
        name: "adapter_running",
        takes: &[],
        gives: &[slot("requests", Type::Number, "")],
        doc: &["Running requests with the request's adapter."],
    },
    Function {
        name: "adapter_waiting",
        takes: &[],
        gives: &[slot("requests", Type::Number, "")],
        doc: &["Waiting requests with the request's adapter."],
    },
    Function {
        name: "age_us",
        takes: &[],
        gives: &[slot("us", Type::Number, "")],
        doc: &["Age of the scraped fields, microseconds."],
    },
];
