//! Hooks, events and globals.

use super::types::{Function, INSTANCES, NAME, Slot, Type, View, maybe, slot};
use crate::param::Hook;

const REQ: Slot = slot("req", Type::View(View::Request), "");
const INSTS: Slot = slot("insts", INSTANCES, "");
const CLUSTER: Slot = slot("cluster", Type::View(View::Cluster), "");
const QUEUE: Slot = slot("queue", Type::View(View::Queue), "");
const QUEUED: Slot = slot("req", Type::View(View::QueuedRequest), "");
const RUNNING: Slot = slot(
    "running",
    Type::List(&Type::View(View::RunningRequest)),
    "the running batch, oldest admission first",
);
const PLACE: Slot = slot(
    "choice",
    Type::Either(&Type::Number, &Type::Wait),
    "a position in the list, from 1, or `hold(us)`",
);

/// The functions that fill a hook.
#[must_use]
pub fn hook_functions(hook: Hook) -> &'static [Function] {
    match hook {
        Hook::Admission => ADMISSION,
        Hook::Routing => ROUTING,
        Hook::Priority => PRIORITY,
        Hook::Scheduler => SCHEDULER,
        Hook::Preemption => PREEMPTION,
        Hook::Disaggregation => DISAGGREGATION,
        Hook::Batching => BATCHING,
        Hook::Dispatch => DISPATCH,
        Hook::Scale => SCALE,
    }
}

/// The names of the functions that fill a hook.
#[must_use]
pub fn function_names(hook: Hook) -> Vec<&'static str> {
    let functions = hook_functions(hook).iter();
    functions.map(|function| function.name).collect()
}

const ADMISSION: &[Function] = &[Function {
    name: "admit",
    takes: &[REQ, CLUSTER],
    gives: &[
        slot(
            "verdict",
            Type::Either(&Type::Boolean, &Type::Wait),
            "`true`, `false`, or `delay(us)`",
        ),
        maybe("reason", Type::Text, "why not, for the decision trace"),
    ],
    doc: &["Admits a request, turns it away, or puts it off; asked again after a delay."],
}];

const ROUTING: &[Function] = &[
    Function {
        name: "route",
        takes: &[REQ, INSTS, CLUSTER],
        gives: &[
            PLACE,
            maybe(
                "scores",
                Type::List(&Type::Number),
                "one per instance, for the decision trace",
            ),
        ],
        doc: &["Chooses the instance for a request."],
    },
    Function {
        name: "score",
        takes: &[REQ, slot("inst", Type::View(View::Instance), ""), CLUSTER],
        gives: &[slot(
            "score",
            Type::Number,
            "the highest wins, the first among equals",
        )],
        doc: &["Scores one instance for a request; asked for every instance."],
    },
    Function {
        name: "route_columns",
        takes: &[
            REQ,
            slot(
                "columns",
                Type::Buffer,
                "value of field f of the instance at position i: `buffer.readf64(columns, column(f) + 8 * (i - 1))`",
            ),
            slot("n", Type::Number, "number of instances"),
            CLUSTER,
        ],
        gives: &[PLACE],
        doc: &["Chooses the instance, with all fields in one buffer: the fastest form."],
    },
];

const PRIORITY: &[Function] = &[Function {
    name: "priority",
    takes: &[REQ, QUEUE],
    gives: &[slot("priority", Type::Number, "lower is more urgent")],
    doc: &["Gives a request its priority inside the instance."],
}];

const SCHEDULER: &[Function] = &[
    Function {
        name: "key",
        takes: &[QUEUED, QUEUE],
        gives: &[slot("key", Type::Number, "the smallest goes first")],
        doc: &["Sort key of a request that enters the wait queue."],
    },
    Function {
        name: "score",
        takes: &[slot("now", Type::Number, "now, microseconds"), QUEUED],
        gives: &[slot("score", Type::Number, "the highest goes first")],
        doc: &[
            "Scores a waiting request; asked for all of them before a step that could admit somebody.",
        ],
    },
    Function {
        name: "order",
        takes: &[
            slot(
                "waiting",
                Type::List(&Type::View(View::QueuedRequest)),
                "the wait queue in its present order",
            ),
            RUNNING,
            QUEUE,
        ],
        gives: &[slot(
            "keys",
            Type::List(&Type::Number),
            "one per waiting request, the smallest goes first",
        )],
        doc: &["Sort keys of the whole wait queue at once; asked when `score` would be."],
    },
];

const PREEMPTION: &[Function] = &[Function {
    name: "victim",
    takes: &[RUNNING, QUEUE],
    gives: &[slot("position", Type::Number, "in `running`, from 1")],
    doc: &[
        "Chooses the running request that gives up its KV blocks when one is needed and none is free.",
    ],
}];

const DISAGGREGATION: &[Function] = &[Function {
    name: "disaggregate",
    takes: &[REQ, slot("inst", Type::View(View::Instance), ""), CLUSTER],
    gives: &[slot(
        "remotely",
        Type::Boolean,
        "`true`: an instance that prefills computes the prompt",
    )],
    doc: &[
        "Decides whether another instance computes a prompt than `inst`, which was chosen to decode it.",
    ],
}];

const BATCHING: &[Function] = &[Function {
    name: "batch",
    takes: &[
        slot("step", Type::View(View::Step), ""),
        maybe(
            "head",
            Type::View(View::QueuedRequest),
            "the head of the wait queue; nil if nobody waits",
        ),
        QUEUE,
    ],
    gives: &[slot(
        "limits",
        Type::Limits,
        "what it leaves out is as the engine's own limits",
    )],
    doc: &["Sets the limits of the step that is about to be chosen."],
}];

const DISPATCH: &[Function] = &[Function {
    name: "next_held",
    takes: &[
        slot(
            "held",
            Type::List(&Type::View(View::HeldRequest)),
            "the held requests that may go: by priority, then by tenant, then as they came",
        ),
        slot("gateway", Type::View(View::Gateway), ""),
        CLUSTER,
    ],
    gives: &[maybe(
        "position",
        Type::Number,
        "in `held`, from 1; nil: all stay",
    )],
    doc: &[
        "Says which of the requests that the gateway holds goes on to the router; asked while the cluster is not saturated.",
    ],
}];

const SCALE: &[Function] = &[Function {
    name: "replicas",
    takes: &[slot("pool", Type::View(View::Pool), ""), CLUSTER],
    gives: &[slot(
        "instances",
        Type::Number,
        "0 or more; fractions are rounded up, and `pool.min` and `pool.max` are the limits",
    )],
    doc: &[
        "Says how many instances a pool should have; asked every `pool.interval_us`. `cluster.instances` are those of the pool that take requests.",
    ],
}];

/// A field of what `batch` returns.
#[derive(Clone, Copy, Debug)]
pub struct Limit {
    /// Its name.
    pub name: &'static str,
    /// Its type.
    pub kind: Type,
    /// What it does.
    pub doc: &'static str,
}

const fn limit(name: &'static str, kind: Type, doc: &'static str) -> Limit {
    Limit { name, kind, doc }
}

/// All of them, in the order in which the binding hands them over.
pub const LIMITS: &[Limit] = &[
    limit(
        "max_new_tokens",
        Type::Number,
        "Most new tokens of the step, of all requests together.",
    ),
    limit(
        "max_prefill_tokens",
        Type::Number,
        "Most prefill tokens of one request, at least 1.",
    ),
    limit(
        "max_admissions",
        Type::Number,
        "Most waiting requests that are admitted.",
    ),
    limit(
        "hold_until_us",
        Type::Number,
        "An instance without a batch that admits nobody sleeps until then, or until its requests change.",
    ),
    limit(
        "decodes_wait",
        Type::Boolean,
        "Decodes take part only in a step that computes no prompt.",
    ),
];

/// A handler of events.
#[derive(Clone, Copy, Debug)]
pub struct Handler {
    /// It.
    pub function: Function,
    /// The hooks that it can stand beside.
    pub hooks: &'static [Hook],
}

const EV: &[Slot] = &[slot("ev", Type::View(View::Event), "")];

/// The hooks that hear of a request on its way to the instances.
const AT_THE_FRONT: &[Hook] = &[
    Hook::Admission,
    Hook::Routing,
    Hook::Disaggregation,
    Hook::Dispatch,
];
/// These, and the one that hears of a request inside an instance.
const ANYWHERE: &[Hook] = &[
    Hook::Admission,
    Hook::Routing,
    Hook::Disaggregation,
    Hook::Dispatch,
    Hook::Scheduler,
];

const fn handler(
    name: &'static str,
    hooks: &'static [Hook],
    doc: &'static [&'static str],
) -> Handler {
    Handler {
        function: Function {
            name,
            takes: EV,
            gives: &[],
            doc,
        },
        hooks,
    }
}

/// All handlers of events.
pub const HANDLERS: &[Handler] = &[
    handler(
        "on_dispatch",
        ANYWHERE,
        &["A request was sent to an instance; for a scheduler: it entered the wait queue."],
    ),
    handler(
        "on_first_token",
        ANYWHERE,
        &["A request produced its first token."],
    ),
    handler(
        "on_complete",
        ANYWHERE,
        &[
            "A request is done with: `ev.outcome` is 0 completed, 1 its client gave up, 2 the instance can never serve it.",
        ],
    ),
    handler(
        "on_reject",
        AT_THE_FRONT,
        &["Admission refused a request, the gateway turned it away, or no instance could take it."],
    ),
    handler(
        "on_preempt",
        ANYWHERE,
        &["A running request lost its place in the batch."],
    ),
    Handler {
        function: Function {
            name: "on_tick",
            takes: &[CLUSTER],
            gives: &[],
            doc: &["`tick_us` microseconds passed; only called while requests are about."],
        },
        hooks: &[Hook::Admission, Hook::Routing],
    },
];

/// A number that stands in the table beside the functions.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// Its name.
    pub name: &'static str,
    /// Hooks it belongs to.
    pub hooks: &'static [Hook],
    /// What it does.
    pub doc: &'static str,
}

/// All of them.
pub const SETTINGS: &[Setting] = &[
    Setting {
        name: "tick_us",
        hooks: &[Hook::Admission, Hook::Routing],
        doc: "Interval of `on_tick`, microseconds, 1000 or more.",
    },
    Setting {
        name: "refresh_us",
        hooks: &[Hook::Priority, Hook::Scheduler],
        doc: "When numbers are asked for again: at most once per so many microseconds; 0: before each step that could admit somebody.",
    },
];

/// The globals of standard Luau that a policy finds.
pub const STANDARD: &[&str] = &[
    "assert",
    "bit32",
    "buffer",
    "coroutine",
    "error",
    "getmetatable",
    "ipairs",
    "math",
    "next",
    "pairs",
    "pcall",
    "print",
    "rawequal",
    "rawget",
    "rawlen",
    "rawset",
    "select",
    "setmetatable",
    "string",
    "table",
    "tonumber",
    "tostring",
    "type",
    "typeof",
    "unpack",
    "utf8",
    "xpcall",
    "_VERSION",
];

/// The globals that are tables.
pub const TABLES: &[Slot] = &[
    slot(
        "cfg",
        Type::Numbers,
        "Values of the parameters that the file declares with --@param.",
    ),
    slot(
        "setup",
        Type::View(View::Setup),
        "What is known before the run.",
    ),
];

const US: &[Slot] = &[slot("us", Type::Number, "microseconds")];

/// The functions that a policy finds besides those of Luau.
pub const FUNCTIONS: &[Function] = &[
    Function {
        name: "rng",
        takes: &[maybe("n", Type::Number, "")],
        gives: &[slot("x", Type::Number, "")],
        doc: &[
            "A random number: 0 to below 1, or with `n` a whole number from 1 to n. Keyed by seed, hook and request.",
            "In hooks and `on_tick` only. `math.random` draws from the same stream.",
        ],
    },
    Function {
        name: "hash",
        takes: &[slot("value", Type::Either(&Type::Number, &Type::Text), "")],
        gives: &[slot("hash", Type::Number, "")],
        doc: &["A whole number from 0 to 2^53 - 1, the same on every machine."],
    },
    Function {
        name: "symbol",
        takes: &[slot("name", Type::Text, "")],
        gives: &[slot("name", NAME, "")],
        doc: &[
            "What views give for a tenant, session, SLO class, prefix group, model, adapter or pool of this name. While the file is loaded only.",
            "A text does it, too (`req.tenant == \"acme\"`), but not in a file that reads columns.",
        ],
    },
    Function {
        name: "column",
        takes: &[slot(
            "field",
            Type::Text,
            "a field of an instance, or the name of a method that asks about the request",
        )],
        gives: &[slot("offset", Type::Number, "bytes")],
        doc: &["Where a field's column begins in the buffer of `route_columns`."],
    },
    Function {
        name: "hold",
        takes: US,
        gives: &[slot("answer", Type::Wait, "")],
        doc: &[
            "Answer of a router: keep the request and ask again after so many microseconds, at least 1,000.",
        ],
    },
    Function {
        name: "delay",
        takes: US,
        gives: &[slot("answer", Type::Wait, "")],
        doc: &[
            "Answer of an admission policy: ask again after so many microseconds, at least 1,000.",
        ],
    },
    Function {
        name: "softmax_pick",
        takes: &[
            slot("scores", Type::List(&Type::Number), ""),
            slot("temperature", Type::Number, ""),
        ],
        gives: &[slot("position", Type::Number, "")],
        doc: &[
            "A position drawn with probability proportional to exp(score / temperature); at 0 the first highest.",
        ],
    },
    Function {
        name: "sorted_pairs",
        takes: &[slot("map", Type::Any, "")],
        gives: &[slot("iterator", Type::Iterator, "")],
        doc: &["Pairs of a table in the order of their keys: numbers first, then strings."],
    },
    Function {
        name: "est_prefill_us",
        takes: &[
            slot("tokens", Type::Number, ""),
            maybe("cached_tokens", Type::Number, ""),
            maybe("inst", Type::View(View::Instance), "at the front end"),
        ],
        gives: US,
        doc: &[
            "Time to prefill so many tokens after the cached ones on an idle instance: one of the pool of `inst`, else of the first pool. In hooks and `on_tick` only.",
        ],
    },
    Function {
        name: "est_step_us",
        takes: &[
            slot("prefill_tokens", Type::Number, ""),
            maybe("decodes", Type::Number, ""),
            maybe("context_tokens", Type::Number, "of all decodes together"),
            maybe("inst", Type::View(View::Instance), "at the front end"),
        ],
        gives: US,
        doc: &["Duration of a step on such an instance. In hooks and `on_tick` only."],
    },
    Function {
        name: "est_ttft_us",
        takes: &[
            slot("inst", Type::View(View::Instance), ""),
            slot("prompt_tokens", Type::Number, ""),
            maybe("cached_tokens", Type::Number, ""),
        ],
        gives: US,
        doc: &[
            "Time to first token behind everything that the instance's scraped fields show. At the front end only.",
        ],
    },
    Function {
        name: "est_transfer_us",
        takes: &[
            slot("inst", Type::View(View::Instance), "that prefills"),
            slot("tokens", Type::Number, ""),
        ],
        gives: US,
        doc: &[
            "Time to move the KV cache of so many tokens from the instance to another over links that nobody else uses. At the front end only.",
        ],
    },
];

/// All globals of a policy.
pub fn globals() -> impl Iterator<Item = &'static str> {
    let tables = TABLES.iter().map(|table| table.name);
    let functions = FUNCTIONS.iter().map(|function| function.name);
    STANDARD.iter().copied().chain(tables).chain(functions)
}
