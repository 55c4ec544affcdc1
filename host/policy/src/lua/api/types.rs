//! Types of the script API, and its views by name.

/// Type of a value, in terms that all renderings share.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Type {
    /// A number.
    Number,
    /// `true` or `false`.
    Boolean,
    /// A string.
    Text,
    /// Anything.
    Any,
    /// A Luau buffer.
    Buffer,
    /// What `hold` and `delay` return.
    Wait,
    /// What `batch` returns.
    Limits,
    /// A view.
    View(View),
    /// An array.
    List(&'static Type),
    /// A table of numbers by name.
    Numbers,
    /// An iterator for `for key, value in ... do`.
    Iterator,
    /// One of two.
    Either(&'static Type, &'static Type),
}

impl Type {
    /// As Luau writes it.
    #[must_use]
    pub fn luau(self) -> String {
        match self {
            Self::Number => "number".into(),
            Self::Boolean => "boolean".into(),
            Self::Text => "string".into(),
            Self::Any => "any".into(),
            Self::Buffer => "buffer".into(),
            Self::Wait => "Wait".into(),
            Self::Limits => "Limits".into(),
            Self::View(view) => view.name().into(),
            Self::List(of) => format!("{{ {} }}", of.luau()),
            Self::Numbers => "{ [string]: number }".into(),
            Self::Iterator => "() -> (any, any)".into(),
            Self::Either(a, b) => format!("{} | {}", a.luau(), b.luau()),
        }
    }
}

/// A parameter of a function, or one of its answers.
#[derive(Clone, Copy, Debug)]
pub struct Slot {
    /// Its name.
    pub name: &'static str,
    /// Its type.
    pub kind: Type,
    /// It may be left out.
    pub optional: bool,
    /// What it is; empty where name and type say it.
    pub doc: &'static str,
}

/// A function that a policy calls, or that is called.
#[derive(Clone, Copy, Debug)]
pub struct Function {
    /// Its name.
    pub name: &'static str,
    /// What it takes, in order.
    pub takes: &'static [Slot],
    /// What it returns, in order; empty for nothing.
    pub gives: &'static [Slot],
    /// What it does; lines of prose.
    pub doc: &'static [&'static str],
}

impl Function {
    /// `name(a, b)`, optional parameters in brackets.
    #[must_use]
    pub fn call(&self) -> String {
        let takes: Vec<String> = self
            .takes
            .iter()
            .map(|slot| match slot.optional {
                true => format!("[{}]", slot.name),
                false => slot.name.to_owned(),
            })
            .collect();
        format!("{}({})", self.name, takes.join(", "))
    }
}

/// What a hook sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// A request.
    Request,
    /// A request in a wait queue.
    QueuedRequest,
    /// A request in a running batch.
    RunningRequest,
    /// An instance, as the front end knows it.
    Instance,
    /// All instances.
    Cluster,
    /// The instance at hand, from inside.
    Queue,
    /// The step that it is about to choose.
    Step,
    /// A request that the gateway holds.
    HeldRequest,
    /// The gateway.
    Gateway,
    /// A pool that is scaled.
    Pool,
    /// Something that happened.
    Event,
    /// What is known before the run.
    Setup,
}

impl View {
    /// All views, each after the one it extends.
    pub const ALL: [Self; 12] = [
        Self::Request,
        Self::QueuedRequest,
        Self::RunningRequest,
        Self::Instance,
        Self::Cluster,
        Self::Queue,
        Self::Step,
        Self::HeldRequest,
        Self::Gateway,
        Self::Pool,
        Self::Event,
        Self::Setup,
    ];

    /// Its name as a type.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Request => "Request",
            Self::QueuedRequest => "QueuedRequest",
            Self::RunningRequest => "RunningRequest",
            Self::Instance => "Instance",
            Self::Cluster => "Cluster",
            Self::Queue => "Queue",
            Self::Step => "Step",
            Self::HeldRequest => "HeldRequest",
            Self::Gateway => "Gateway",
            Self::Pool => "Pool",
            Self::Event => "Event",
            Self::Setup => "Setup",
        }
    }

    /// What it is, in one line.
    #[must_use]
    pub fn doc(self) -> &'static str {
        match self {
            Self::Request => "A request. Its true output length is not in here.",
            Self::QueuedRequest => "A request in an instance's wait queue.",
            Self::RunningRequest => "A request in an instance's running batch.",
            Self::Instance => "An instance as the front end knows it.",
            Self::Cluster => "The instances that can serve the request at hand.",
            Self::Queue => "The instance that decides, from inside: everything is fresh.",
            Self::Step => "The step that the instance is about to choose.",
            Self::HeldRequest => "A request that the gateway holds.",
            Self::Gateway => "The gateway that holds requests back.",
            Self::Pool => {
                "A pool that is scaled. What happened is counted since the last decision; a latency is -1 where no request ended."
            }
            Self::Event => "Something that happened to a request. Fields that do not apply are 0.",
            Self::Setup => "What is known before the run; it can be read at any time.",
        }
    }

    /// The view all of whose fields it has, too.
    #[must_use]
    pub fn extends(self) -> Option<Self> {
        let request = matches!(
            self,
            Self::QueuedRequest | Self::RunningRequest | Self::HeldRequest
        );
        request.then_some(Self::Request)
    }
}

/// What stands for a name: a text that the file has, else a number.
pub(super) const NAME: Type = Type::Either(&Type::Number, &Type::Text);
/// A list of instances.
pub(super) const INSTANCES: Type = Type::List(&Type::View(View::Instance));
pub(super) const fn slot(name: &'static str, kind: Type, doc: &'static str) -> Slot {
    Slot {
        name,
        kind,
        optional: false,
        doc,
    }
}

pub(super) const fn maybe(name: &'static str, kind: Type, doc: &'static str) -> Slot {
    Slot {
        name,
        kind,
        optional: true,
        doc,
    }
}
